"""JupyterLab as `course lab` starts it, in a browser without a window; nothing of yours is read or changed by it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.notebook.publish import offline
from course_lib.notebook.syllabus import lessons_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHOTS = ROOT / "build" / "screenshots"
"""What the browser tests saw, to be looked at: git ignores it."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is on the page, also those out of sight
    "docmanager-extension/plugin": {"autosave": False},
}

SETTLED = """() => {
    const before = window.courseHeight;
    window.courseHeight = document.querySelector('.jp-Notebook').lastElementChild.getBoundingClientRect().bottom;
    return window.courseHeight === before;
}"""  # formulas come late and move what stands below them
COURSE_LAB = """
import sys
from pathlib import Path
from course_lib import cli
from course_lib.notebook import syllabus
syllabus.lessons_folder = lambda: Path("lessons").resolve()  # the copy in the current folder
cli.main(["lab", *sys.argv[1:]])
"""


@contextmanager
def static_page(body: str, folder: Path) -> Iterator[Page]:
    """A page as nbconvert or the site would show it, with no kernel and no network; a script that fails on it fails the test."""
    from playwright.sync_api import sync_playwright

    file = folder / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>page</title>{body}", encoding="utf-8")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        # JupyterLab takes the keys of every input in an output, unless the input keeps them to itself.
        page.add_init_script("addEventListener('keydown', event => event.preventDefault())")
        page.goto(file.as_uri())
        yield page
        browser.close()
    assert errors == []


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, over a copy of the lessons."""

    root: Path
    address: str
    token: str

    def open(self, page: Page, lesson: str) -> None:
        """Open one lesson in the browser, such as ``"02"``, and wait until all of it is there."""
        (path,) = self.root.glob(f"lessons/{lesson}_*.ipynb")
        page.goto(f"{self.address}/lab/tree/lessons/{path.name}?reset&token={self.token}")
        page.wait_for_function("window.jupyterapp !== undefined")
        cells = len(json.loads(path.read_text(encoding="utf-8"))["cells"])
        page.wait_for_function(f"document.querySelectorAll('.jp-Notebook .jp-Cell').length === {cells}")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        page.evaluate("document.fonts.ready")
        page.wait_for_function(SETTLED, polling=500)


@contextmanager
def running_lab(*, dark: bool = False, trusted: bool = True) -> Iterator[Lab]:
    """JupyterLab over a copy of the lessons, with settings, data and home of its own, until the block ends.

    Args:
        dark: in its dark theme.
        trusted: as after a learner ran the lessons; otherwise as on first sight, when JupyterLab runs no script of an output.
    """
    with tempfile.TemporaryDirectory() as fresh, socket.create_server(("127.0.0.1", 0)) as free:
        home, root = Path(fresh) / "home", Path(fresh) / "course"
        shutil.copytree(lessons_folder(), root / "lessons", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        theme = {"apputils-extension/themes": {"theme": f"JupyterLab {'Dark' if dark else 'Light'}"}}
        quiet = json.loads((ROOT / "binder" / "overrides.json").read_text(encoding="utf-8"))
        settings = {f"@jupyterlab/{name.replace('/', ':')}": values for name, values in (SETTINGS | theme).items()}
        for name in quiet | settings:
            values = quiet.get(name, {}) | settings.get(name, {})
            extension, _, plugin = name.rpartition(":")
            file = home / "settings" / extension / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")
        places = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
        places |= {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "COURSE_HOME": str(home / "progress")}
        places |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
        env = os.environ | offline() | places
        if trusted:
            lessons = [str(path) for path in sorted(root.glob("lessons/*.ipynb"))]
            subprocess.run([sys.executable, "-m", "jupyter", "trust", *lessons], env=env, check=True, capture_output=True)
        token, port = secrets.token_hex(16), free.getsockname()[1]
        free.close()
        options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        command = [sys.executable, "-c", COURSE_LAB, "--no-browser", "--", *options, "--LabApp.expose_app_in_browser=True"]
        with (Path(fresh) / "log").open("w+") as log:
            process = subprocess.Popen(command, env=env, cwd=root, stdout=log, stderr=log)
            try:
                lab = Lab(root, f"http://127.0.0.1:{port}", token)
                _wait_for(process, f"{lab.address}/api/status?token={token}", Path(log.name))
                yield lab
            finally:
                process.terminate()
                process.wait(20)


def _wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}") from None
            time.sleep(0.2)

"""Formgrader in JupyterLab and a feedback page, both with a submission that wants to run something in the instructor's browser."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.browser.lab import CHROMIUM, FLAGS, _wait_for
from tests.grading.school import course_grade
from tests.grading.submissions import NAME, make_class, make_course

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path")]
CLICK = (
    "document.querySelectorAll('a').forEach(link => { if (/x|click|two|three|four|six/.test(link.textContent)) link.click() })"
)


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """An address that nothing may ask for, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/canary", asked
    server.shutdown()


@pytest.fixture(scope="module")
def course(canary: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    course = make_course(tmp_path_factory.mktemp("school") / "course")
    os.environ["CANARY"] = canary[0]
    try:
        make_class(course, ["correct", "hostile_markup"])
    finally:
        del os.environ["CANARY"]
    done = course_grade(course)
    assert done.returncode == 0, done.stderr
    return course


@pytest.fixture(scope="module")
def formgrader(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """JupyterLab with nbgrader's extensions over the course folder: address and token."""
    home = tmp_path_factory.mktemp("home")
    config = home / "config"
    config.mkdir()
    (course / "nbgrader_config.py").write_text(f"c = get_config()\nc.CourseDirectory.root = {str(course)!r}\n")
    extensions = {"nbgrader.server_extensions.formgrader": True}
    (config / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": extensions}}))
    places = {
        "JUPYTER_CONFIG_DIR": config,
        "JUPYTER_DATA_DIR": home,
        "JUPYTER_RUNTIME_DIR": home / "run",
        "HOME": home,
        "IPYTHONDIR": home,
    }
    token = secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={course}"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    with (home / "log").open("w+") as log:
        env = os.environ | {name: str(place) for name, place in places.items()}
        process = subprocess.Popen(command, env=env, cwd=course, stdout=log, stderr=log)
        try:
            _wait_for(process, f"http://127.0.0.1:{port}/api/status?token={token}", home / "log")
            yield f"http://127.0.0.1:{port}", token
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def page() -> Iterator["sync_api.Page"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page()
        browser.close()


def check_nothing_ran(page: "sync_api.Page", asked: list[str]) -> None:
    page.wait_for_timeout(1000)
    page.evaluate(CLICK)
    page.wait_for_timeout(500)
    assert page.evaluate("window.owned") is None
    assert asked == []
    assert page.locator("iframe, svg[onload], img[onerror], details[ontoggle]").count() == 0


def test_the_canary_would_sing(page: "sync_api.Page", canary: tuple[str, list[str]]) -> None:
    page.set_content(f"<script>window.owned = 1</script><img src='{canary[0]}'>")
    page.wait_for_timeout(500)
    assert page.evaluate("window.owned") == 1
    assert canary[1]
    canary[1].clear()


def test_formgrader_shows_hostile_work_and_nothing_runs(
    page: "sync_api.Page", formgrader: tuple[str, str], canary: tuple[str, list[str]]
) -> None:
    address, token = formgrader
    page.goto(f"{address}/formgrader/gradebook/{NAME}/{NAME}?token={token}")
    rows = page.request.get(f"{address}/formgrader/api/submitted_notebooks/{NAME}/{NAME}?token={token}").json()
    assert {row["student"] for row in rows} == {"correct", "hostile_markup"}
    (hostile,) = (row["id"] for row in rows if row["student"] == "hostile_markup")
    page.goto(f"{address}/formgrader/submissions/{hostile}/?token={token}")
    assert page.locator("text=window.owned").count() > 3  # all of it is shown, as text
    assert page.locator("input.score").count() == 4
    check_nothing_ran(page, canary[1])


def test_a_feedback_page_runs_nothing(page: "sync_api.Page", course: Path, canary: tuple[str, list[str]]) -> None:
    page.goto((course / "feedback" / "hostile_markup" / NAME / f"{NAME}.html").as_uri())
    assert page.locator("text=window.owned").count() > 3
    assert page.locator("script").count() == 0
    check_nothing_ran(page, canary[1])

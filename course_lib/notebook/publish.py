"""Run the lessons as a learner would on a fresh computer, and store them so that the same run gives the same file.

    python -m course_lib.notebook.publish lessons/*.ipynb

A notebook that fails, warns, is slow, needs much memory or shows a path of this computer is left as it was, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 180
BYTES = 1.6e9
KEPT_CELL_METADATA = ("tags", "jupyter")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "version": "3"},
}
NO_PROXY = "http://127.0.0.1:9"  # nobody listens on the port that is for throwing things away
PROGRESS_BAR = re.compile(r"^.*(\d+%\|.*\||\d+\w* \[\d\d:).*$")


def offline() -> dict[str, str]:
    """What the environment of a Python process must hold so that it, and its children, reach nothing but this computer.

    Python imports the guard in ``offline/sitecustomize.py`` at its start, and raises an OSError where a socket would leave. Other
    programs are shown a proxy that isn't there, which whatever speaks HTTP respects. Kernels go on to talk with Jupyter over
    the loopback interface.
    """
    path = os.pathsep.join([str(Path(__file__).parent / "offline"), *filter(None, [os.environ.get("PYTHONPATH")])])
    proxies = {name: NO_PROXY for kind in ("http", "https", "all") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")}
    here = "localhost,127.0.0.1,::1"
    return proxies | {"no_proxy": here, "NO_PROXY": here, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


class NotPublished(Exception):
    """One sentence on why a notebook was left as it was."""


@dataclass(frozen=True)
class Run:
    """What running a notebook took."""

    seconds: float
    peak_bytes: int


def publish(path: Path, *, seconds: float = SECONDS, peak_bytes: float = BYTES) -> Run:
    """Execute a notebook in place and normalise it.

    Args:
        path: the notebook.
        seconds: the time that it may take, with the kernel's start.
        peak_bytes: the memory that its kernel may take.

    Raises:
        NotPublished: if it fails in any way; the file is then as before.
    """
    import nbformat

    notebook = read(path)
    run = execute(notebook, path.parent)
    normalise(notebook)
    if run.seconds > seconds or run.peak_bytes > peak_bytes:
        allowed = f"{seconds:g} s and {peak_bytes / 1e9:g} GB"
        raise NotPublished(f"took {run.seconds:.0f} s and {run.peak_bytes / 1e9:.2f} GB, and {allowed} are allowed")
    nbformat.validate(notebook)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=path.parent, suffix=".part", delete=False) as part:
        nbformat.write(notebook, part)
    Path(part.name).chmod(path.stat().st_mode)
    Path(part.name).replace(path)
    return run


def read(path: Path) -> Any:
    """A notebook whose every cell has an id: its own, or one that comes from its place."""
    import nbformat

    raw = json.loads(path.read_text(encoding="utf-8"))
    seen: set[str] = set()
    for place, cell in enumerate(raw["cells"]):
        if cell.get("id") in seen | {None}:
            cell["id"] = f"cell-{place:02d}"
        seen.add(cell["id"])
    raw["nbformat_minor"] = max(5, raw["nbformat_minor"])
    return nbformat.reads(json.dumps(raw), as_version=4)


def execute(notebook: Any, folder: Path) -> Run:
    """Run every cell in a fresh kernel: no network, no progress of an earlier learner, no other model or seed."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=2 * SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    started, peak, done = time.perf_counter(), [0], threading.Event()
    with tempfile.TemporaryDirectory() as fresh:
        env = {key: value for key, value in os.environ.items() if not key.startswith("COURSE_")}
        env |= offline() | {"COURSE_HOME": fresh, "PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        # What kernels say on their own stderr at every start ("no encryption") is no part of the notebook.
        with client.setup_kernel(env=env, stderr=subprocess.DEVNULL):
            watcher = threading.Thread(target=_watch, args=(peak, done), daemon=True)
            watcher.start()
            client.reset_execution_trackers()
            try:
                for place, cell in enumerate(notebook.cells):
                    client.execute_cell(cell, place)
            except CellExecutionError as error:
                raise NotPublished(f"cell {place} raises {error.ename}: {error.evalue}{_last_said(cell)}") from None
            except CellTimeoutError:
                raise NotPublished(f"cell {place} takes more than {2 * SECONDS} s") from None
            except DeadKernelError:
                raise NotPublished(f"the kernel died in cell {place}") from None
            finally:
                done.set()
                watcher.join()
    return Run(time.perf_counter() - started, peak[0])


def _last_said(cell: Any) -> str:
    """The last line that a cell, or a program that it ran, wrote to stderr."""
    lines = [line for output in cell.outputs if output.get("name") == "stderr" for line in output.text.splitlines()]
    return f" ({lines[-1]})" if lines else ""


def _watch(peak: list[int], done: threading.Event) -> None:
    """Keep the most memory that the kernel and its children, the only ones of this process, took together."""
    import psutil

    ended = False
    while not ended:
        ended = done.wait(0.1)
        try:
            peak[0] = max(peak[0], sum(child.memory_info().rss for child in psutil.Process().children(recursive=True)))
        except psutil.NoSuchProcess:
            continue  # it just ended


def normalise(notebook: Any) -> None:
    """Take out of an executed notebook what differs from run to run or from computer to computer.

    Raises:
        NotPublished: for a warning, a path of this computer or an address in memory, which only a change of the lesson cures.
    """
    notebook.metadata = METADATA
    for place, cell in enumerate(notebook.cells):
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT_CELL_METADATA}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_bar(output)]
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata.clear()
                _refuse(place, output)


def _is_bar(output: Any) -> bool:
    """Whether an output is a progress bar or another widget, which is dead in a stored notebook."""
    if output.output_type == "stream" and output.name == "stderr":
        return all(not line.strip() or PROGRESS_BAR.match(line) for line in re.split(r"[\r\n]", output.text))
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _refuse(place: int, output: Any) -> None:
    if output.output_type == "stream" and output.name == "stderr":
        raise NotPublished(f"cell {place} writes to stderr: {output.text.strip()[-500:]}")
    data = output.get("data", {})
    texts = [output.get("text", ""), *output.get("traceback", []), *(data[kind] for kind in data if kind.startswith("text/"))]
    places = {str(Path.home()), str(Path.cwd()), tempfile.gettempdir(), sys.prefix} - {"/"}
    ours = re.compile("|".join([r"\bat 0x[0-9a-f]{6,}", "site-packages", *(re.escape(p) + r"(?![\w-])" for p in sorted(places))]))
    for text in texts:
        text = re.sub(r"data:[\w/]+;base64,[\w+/=]+", "", text)  # a picture may spell anything
        if found := ours.search(text):
            where = text[max(0, found.start() - 40) : found.end() + 40]
            raise NotPublished(f"cell {place} shows what only this computer has: ...{where}...")


def main(arguments: list[str] | None = None) -> int:
    """The command: 0 if every notebook was published."""
    from course_lib.notebook.runtimes import keep

    parser = argparse.ArgumentParser(prog="python -m course_lib.notebook.publish", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    failed = 0
    for path in parser.parse_args(arguments).notebooks:
        print(f"{path.name:<32}", end="", flush=True)
        try:
            run = publish(path)
            keep(path, run.seconds, run.peak_bytes)
            print(f"{run.seconds:6.1f} s {run.peak_bytes / 1e6:6.0f} MB")
        except (NotPublished, OSError, ValueError) as error:
            failed += 1
            print(f" not published: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

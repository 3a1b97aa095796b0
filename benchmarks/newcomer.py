"""What a newcomer waits for: clone, environment, JupyterLab, and lesson 00 up to the first trained adapter.

    python -m benchmarks.newcomer

The environment is made twice, and the second time counts: the first has filled pip's and uv's caches, so that what remains is
unpacking, not the speed of a network. What is cloned is the last commit.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from course_lib.notebook.publish import offline
from course_lib.notebook.runtimes import machine
from course_lib.versions import versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "newcomer.json"
FIRST_ADAPTER = """
import time, sys
from pathlib import Path
from nbclient import NotebookClient
from course_lib.notebook.publish import read
notebook = read(Path("lessons/00_start_here.ipynb"))
client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "lessons"}})
started = time.perf_counter()
with client.setup_kernel():
    for place, cell in enumerate(notebook.cells):
        client.execute_cell(cell, place)
        if "train(" in cell.source and cell.cell_type == "code":
            break
    else:
        sys.exit("lesson 00 trains nothing")
print(time.perf_counter() - started)
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    env = {name: value for name, value in os.environ.items() if name not in {*offline(), "VIRTUAL_ENV"}}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as fresh:
        course = Path(fresh) / "course"
        env["COURSE_HOME"] = str(Path(fresh) / "home")
        seconds["clone"] = timed(["git", "clone", "--quiet", str(ROOT), str(course)], env, Path(fresh))
        make = ["make", "--silent", ".venv/ready"]
        seconds["environment, with downloads"] = timed(make, env, course)
        subprocess.run(["make", "--silent", "clean"], cwd=course, env=env, check=True)
        seconds["environment"] = timed(make, env, course)
        seconds["JupyterLab"] = lab(course, env)
        python = course / ".venv" / "bin" / "python"
        done = subprocess.run([python, "-c", FIRST_ADAPTER], cwd=course, env=env, check=True, stdout=subprocess.PIPE, text=True)
        seconds["lesson 00 to its first adapter"] = float(done.stdout.split()[-1])
    waited = sum(value for name, value in seconds.items() if name != "environment, with downloads")
    results = {"seconds": {name: round(value, 1) for name, value in seconds.items()}, "waiting_after_downloads": round(waited, 1)}
    RESULTS.write_text(json.dumps(results | {"machine": machine(), "versions": versions()}, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def timed(command: list[str], env: dict[str, str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


def lab(course: Path, env: dict[str, str]) -> float:
    """From `course lab` to a server that answers for lesson 00."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = ["--no-browser", "--", f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"]
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([course / ".venv" / "bin" / "course", "lab", *options], cwd=course, env=env, **quiet) as server:
        try:
            while True:
                try:
                    address = f"http://127.0.0.1:{port}/api/contents/lessons/00_start_here.ipynb?token={token}"
                    with urllib.request.urlopen(address, timeout=5):
                        return time.perf_counter() - started
                except OSError:
                    if server.poll() is not None or time.perf_counter() - started > 120:
                        sys.exit("JupyterLab did not start")
                    time.sleep(0.1)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

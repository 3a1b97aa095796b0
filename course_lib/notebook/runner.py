"""Run a lesson's code cells in a process of their own, without Jupyter, to see what happens when something is changed.

python -m course_lib.notebook.runner LESSON.ipynb [--first CODE] [--until CLAIM] [--all-claims]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from course_lib.notebook.claims import ClaimFailed
from course_lib.notebook.publish import offline


@dataclass(frozen=True)
class Ran:
    """How a run ended: its exit status, what it printed, and for each claim that it judged whether it held."""

    status: int
    out: str
    err: str
    claims: dict[str, bool]


def run_lesson(path: Path, *, first: str = "", until: str = "", all_claims: bool = False, **environment: str) -> Ran:
    """Run a lesson's cells in order, offline, in a fresh process.

    Args:
        path: the notebook.
        first: code that runs before the first cell, such as a change of the library.
        until: stop after the cell that checks this claim.
        all_claims: go on with the next cell where a claim doesn't hold.
        environment: variables such as ``COURSE_SEED``; others of the course are not handed on.
    """
    command = [sys.executable, "-m", "course_lib.notebook.runner", str(path.resolve()), "--first", first, "--until", until]
    with tempfile.TemporaryDirectory() as home:
        env = {key: value for key, value in os.environ.items() if not key.startswith("COURSE_")}
        env |= offline() | {"COURSE_HOME": home} | environment
        done = subprocess.run(
            command + ["--all-claims"] * all_claims,
            env=env,
            cwd=path.resolve().parent,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        kept = Path(home) / "progress.json"
        claims = json.loads(kept.read_text(encoding="utf-8"))["claims"] if kept.exists() else {}
    return Ran(done.returncode, done.stdout, done.stderr, claims)


def main() -> None:
    """Run the cells here, in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--first", default="")
    parser.add_argument("--until", default="")
    parser.add_argument("--all-claims", action="store_true")
    options = parser.parse_args()
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(compile(options.first, "first", "exec"), namespace)
    for number, cell in enumerate(json.loads(options.path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        try:
            exec(compile(source, f"{options.path.name}, cell {number}", "exec"), namespace)
        except ClaimFailed:
            if not options.all_claims:
                raise
        if options.until and f'"{options.until}"' in source:
            return
    if options.until:
        raise SystemExit(f"{options.path.name} never checks {options.until}")


if __name__ == "__main__":
    main()

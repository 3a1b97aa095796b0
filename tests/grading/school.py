"""Run `course grade` on a generated class, as root or as a plain user, and look at what came of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from course_lib.grading.sandbox import _library, python_folders
from tests.grading.submissions import NAME, PARTS, Kind, make_class, make_course

PLAIN = 12345
"""The number of a user that nobody has."""
SECONDS = 3


@dataclass
class Graded:
    """A class that was graded."""

    course: Path
    kinds: dict[str, Kind]
    output: str
    status: int
    left: list[str]
    """Processes and folders that were not there before."""

    def lines(self, name: str = NAME) -> dict[str, dict[str, Any]]:
        return journal(self.course, name)

    def auto_scores(self, student: str) -> dict[str, float | None]:
        return database(self.course, student)

    def notebook(self, student: str) -> str:
        return (self.course / "autograded" / student / NAME / f"{NAME}.ipynb").read_text()

    def feedback(self, student: str) -> str:
        return (self.course / "feedback" / student / NAME / f"{NAME}.html").read_text()


def journal(course: Path, name: str = NAME) -> dict[str, dict[str, Any]]:
    """The journal's lines, by student."""
    found = map(json.loads, (course / "grading" / f"{name}.jsonl").read_text().splitlines())
    return {line["student"]: line for line in found if "student" in line}


def database(course: Path, student: str, column: str = "auto_score") -> dict[str, Any]:
    """A column of the gradebook's grades of one student, by cell."""
    query = f"""select base_cell.name, grade.{column} from grade join base_cell on grade.cell_id = base_cell.id
        join submitted_notebook on grade.notebook_id = submitted_notebook.id
        join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id where student_id = ?"""
    connection = sqlite3.connect(course / "gradebook.db")
    try:
        return dict(connection.execute(query, (student,)).fetchall())
    finally:
        connection.close()


def course_grade(
    course: Path, *more: str, name: str = NAME, user: int | None = None, jobs: int = 2, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "course_lib",
        "grade",
        name,
        "--course",
        str(course),
        "--jobs",
        str(jobs),
        "--seconds",
        str(SECONDS),
    ]
    env = os.environ | {"GRADER_SECRET": "secret", "HOME": str(course)} | options.pop("env", {})
    place = course if user is not None else Path(__file__).resolve().parents[2]
    return subprocess.run(
        as_user([*command, *more], user),
        env=env,
        cwd=place,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        **options,
    )


def as_user(command: list[str], user: int | None) -> list[str]:
    """The command as a plain user, who can reach this Python also where it lies in root's home."""
    if user is None:
        return command
    wanted = [*python_folders(), str(_library())]
    closed = sorted({str(p) for w in wanted for p in Path(w).parents if not p.stat().st_mode & 0o001})
    lines = ["set -e", "aside=$(mktemp -d)"]
    for folder in closed:
        inside = [w for w in wanted if w.startswith(folder + "/")]
        for number, path in enumerate(inside):
            lines += [f"mkdir $aside/{number}", f"mount --bind {path} $aside/{number}"]
        lines += [f"mount -t tmpfs -o mode=755 none {folder}"]
        lines += [f"mkdir -p {path}; mount --move $aside/{number} {path}" for number, path in enumerate(inside)]
    lines += ['rm -rf "$aside"', f'exec setpriv --reuid={user} --regid={user} --clear-groups "$@"']
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", "\n".join(lines), "sh", *command]


def grade_class(course: Path, names: list[str] | None = None, *more: str, user: int | None = None) -> Graded:
    """Make a class, grade it with the command, and note what is left behind."""
    make_course(course)
    kinds = make_class(course, names)
    if user is not None:
        subprocess.run(["chown", "-hR", f"{user}:{user}", str(course)], check=True)
    before = _there()
    done = course_grade(course, *more, user=user)
    left = sorted(_there() - before)
    return Graded(course, kinds, done.stdout + done.stderr, done.returncode, left)


def _there() -> set[str]:
    """Sandboxes, and scratch folders of the grader."""
    found = set()
    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or [])
        if "course_lib.grading" in line or line.startswith("bwrap"):
            found.add(f"process {process.info['pid']}: {line[:100]}")
    return found | {str(path) for path in Path(tempfile.gettempdir()).glob("course-*")}


def check_marks(graded: Graded, student: str) -> None:
    """A student's marks and findings are what their kind says, in the journal and in the gradebook."""
    kind, line = graded.kinds[student], graded.lines()[student]
    got = tuple(line["scores"][NAME][part] for part in PARTS)
    codes = {finding["code"] for finding in line["findings"]}
    assert got == kind.scores, f"{codes}\n{graded.output[-2000:]}"
    assert kind.findings <= codes
    assert line["status"] == ("flagged" if codes else "graded")
    stored = graded.auto_scores(student)
    assert tuple(stored[part] for part in PARTS) == kind.scores


def fresh(folder: Path) -> Path:
    """An empty course folder that every user can reach."""
    course = Path(tempfile.mkdtemp(prefix="school-", dir=folder))
    course.chmod(0o755)
    return course


def remove(course: Path) -> None:
    """Remove it."""
    shutil.rmtree(course)

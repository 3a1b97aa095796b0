"""Marks for a learning platform: merged into the CSV that Canvas exported, or a CSV that Moodle imports."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.grading.writer import open_gradebook, student_scores
from course_lib.training.runs import write_whole

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

KINDS = ("canvas", "moodle")
FORMULA = re.compile(r"^[\s]*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
CANVAS_KEYS = ("SIS User ID", "SIS Login ID", "ID")
"""Columns of Canvas's CSV that may hold the name of a student's folder."""
POINTS = "Points Possible"


@dataclass
class Exported:
    """What was written, and what could not be."""

    file: Path
    written: int = 0
    blank: list[str] = field(default_factory=list)
    """Students without a final mark: nothing handed in, or something waits for a human."""
    unknown: list[str] = field(default_factory=list)
    """Students with a mark whom the platform's list lacks."""


def quoted(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one that starts like it gets an apostrophe; numbers such as -1.5 stay."""
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell.strip()) else cell


def export(course: Path, name: str, kind: str, out: Path, roster: Path | None = None) -> Exported:
    """Write an assignment's marks for a learning platform.

    Args:
        course: nbgrader's course folder.
        name: the assignment.
        kind: ``canvas`` or ``moodle``.
        out: the CSV to write.
        roster: for Canvas the CSV that it exported (Grades, Export); for Moodle optional, its participants or grade export.

    Raises:
        CourseError: an input is missing or is not what it should be.
    """
    if kind not in KINDS:
        raise CourseError(f"--export must be one of {', '.join(KINDS)}, not {kind!r}")
    if not (course / "gradebook.db").exists():
        raise CourseError(f"{course} has no gradebook.db: grade something first")
    with open_gradebook(course) as book:
        return export_from(book, name, kind, out, roster)


def export_from(book: Gradebook, name: str, kind: str, out: Path, roster: Path | None = None) -> Exported:
    """As `export`, from an open gradebook."""
    if name not in {assignment.name for assignment in book.assignments}:
        raise CourseError(f"the gradebook has no assignment {name!r}: grade it first")
    scores = student_scores(book, name)
    if kind == "moodle":
        rows, found = _moodle(scores, name, out, _table(roster) if roster else None)
    elif roster is None:
        raise CourseError("Canvas needs --roster: the CSV that it gives under Grades, Export")
    else:
        rows, found = _canvas(scores, name, out, _table(roster))
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([[quoted(cell) for cell in row] for row in rows])
    write_whole(out, stream.getvalue())
    return found


def _table(file: Path) -> list[list[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{file} can't be read as UTF-8 CSV ({error}): export it anew") from None
    rows = list(csv.reader(io.StringIO(text, newline="")))
    if len(rows) < 2:
        raise CourseError(f"{file} has no students: export it anew")
    return rows


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _score(told: dict[str, Any] | None) -> str:
    return "" if told is None or told["waiting"] else _number(told["score"])


def _canvas(scores: dict[str, dict[str, Any]], name: str, out: Path, rows: list[list[str]]) -> tuple[list[list[str]], Exported]:
    """Canvas's own rows with one column filled, which it has or which is added."""
    header, found = rows[0], Exported(out)
    keys = [header.index(key) for key in CANVAS_KEYS if key in header]
    if "Student" not in header or not keys:
        raise CourseError("the roster is no gradebook of Canvas's: it needs the columns Student, ID and SIS Login ID")
    # Canvas writes "Name of the assignment (12345)"; another assignment may start with the same words.
    mine = [place for place, title in enumerate(header) if re.fullmatch(rf"{re.escape(name)}(?: \(\d+\))?", title.strip())]
    column = mine[0] if mine else len(header)
    most = max((told["max"] for told in scores.values()), default=0)
    result, seen = [], set()
    for number, row in enumerate(rows):
        row = row + [""] * (max(column + 1, len(header)) - len(row))
        if number == 0:
            row[column] = row[column] or name
        elif row[0].strip() == POINTS:
            row[column] = row[column].strip() or _number(most)
        else:
            student = next((row[key].strip() for key in keys if row[key].strip() in scores), None)
            mark = _score(scores.get(student)) if student else ""
            if mark:
                row[column] = mark
                found.written += 1
            elif any(row[key].strip() for key in keys):
                found.blank.append(row[0])
                row[column] = ""
            seen.add(student)
        result.append(row)
    found.unknown = sorted(set(scores) - seen)
    return result, found


def _moodle(
    scores: dict[str, dict[str, Any]], name: str, out: Path, rows: list[list[str]] | None
) -> tuple[list[list[str]], Exported]:
    """``username, NAME`` for Moodle's grade import; with a roster in its order and with its other columns."""
    found = Exported(out)
    if rows is None:
        rows = [["Username"], *([student] for student in sorted(scores))]
    header = rows[0]
    keys = [
        place
        for place, title in enumerate(header)
        if title.strip().lower() in ("username", "id number", "email address", "email")
    ]
    if not keys:
        raise CourseError("the roster has no column Username, ID number or Email address: export Moodle's grades with them")
    result, seen = [[*header, name]], set()
    for row in rows[1:]:
        row = row + [""] * (len(header) - len(row))
        student = next((row[key].strip() for key in keys if row[key].strip() in scores), None)
        mark = _score(scores.get(student)) if student else ""
        if mark:
            found.written += 1
        else:
            found.blank.append(row[keys[0]])
        seen.add(student)
        result.append([*row, mark])
    found.unknown = sorted(set(scores) - seen)
    return result, found


def told(found: Exported) -> str:
    """What the command prints."""
    lines = [f"{found.written} marks written to {found.file}"]
    lines += [f"left blank: {_listed(found.blank)}"] if found.blank else []
    lines += [f"not on the platform's list, so not written: {_listed(found.unknown)}"] if found.unknown else []
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)

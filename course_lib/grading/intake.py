"""Take in what a student handed in: the text of their answers, put into the released notebook, and nothing else.

Reading files (`collect`) happens where the submissions lie; sorting out a notebook (`take_in`) wherever it is graded.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.grading.assignment import Assignment, Cell

MOST_NOTEBOOK = 20 * 2**20
MOST_CELL = 200_000
MOST_EXTRA = 200
MOST_CELLS = 5000
MOST_FILES = 5 * 2**20
DATA = {".csv", ".tsv", ".json", ".jsonl", ".txt", ".npy", ".npz", ".png", ".jpg", ".jpeg"}
"""Kinds of files that a student may bring along; anything else stays outside."""
EXERCISE = re.compile(r"^[ \t]*#[ \t]*exercise:[ \t]*(\S+)", re.MULTILINE)
STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")


@dataclass(frozen=True)
class Finding:
    """Something that the instructor should know about a submission."""

    code: str
    text: str
    cell: str | None = None


@dataclass
class Collected:
    """What lies in one student's folder, read but not looked at."""

    student: str
    notebooks: dict[str, str] = field(default_factory=dict)
    """Name and base64."""
    files: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    timestamp: str | None = None
    digest: str = ""


class Unreadable(Exception):
    """A notebook that can't be read, and why."""


# -- reading -------------------------------------------------------------------------------------------------------------------


def collect(submitted: Path, student: str, assignment: Assignment) -> Collected:
    """Read one student's folder without following a link."""
    found = Collected(student)
    folder = submitted / student / assignment.name
    hashed = hashlib.sha256(assignment.digest.encode())
    if any(path.is_symlink() for path in (submitted / student, folder)):
        found.findings.append(Finding("LINK", "the submission's folder is a link, and was not followed"))
    elif not folder.is_dir():
        found.findings.append(Finding("MISSING", f"there is no folder {assignment.name}"))
    else:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            _collect_one(entry, assignment, found)
    for name in assignment.notebooks:
        if name not in found.notebooks and not any(f.code in ("UNREADABLE", "LINK") for f in found.findings):
            found.findings.append(Finding("MISSING", f"there is no {name}.ipynb"))
    for name, text in sorted((found.notebooks | found.files).items()):
        hashed.update(f"{name}\0{text}\0".encode())
    found.digest = hashed.hexdigest()
    return found


def _collect_one(entry: os.DirEntry[str], assignment: Assignment, found: Collected) -> None:
    path, stem = Path(entry.path), Path(entry.name).stem
    shown = entry.name.encode("utf-8", "replace").decode()[:100]
    wanted = path.suffix == ".ipynb" and stem in assignment.notebooks
    if entry.is_symlink():
        found.findings.append(Finding("LINK", f"{shown} is a link, and was not followed"))
    elif entry.name in (".ipynb_checkpoints", "timestamp.txt", "feedback", "__pycache__"):
        return  # of nbgrader's and Jupyter's; a date that a student can write says nothing
    elif not wanted and (not entry.is_file(follow_symlinks=False) or path.suffix.lower() not in DATA):
        found.findings.append(Finding("FILE", f"{shown} was left out: only {stem_list(assignment)} and data files are taken"))
    elif not wanted and entry.name in assignment.files:
        return  # the author's own copy is used
    else:
        room = MOST_NOTEBOOK if wanted else MOST_FILES - sum(map(len, found.files.values())) * 3 // 4
        try:
            content, changed = _read(path, room)
        except (OSError, ValueError) as error:
            code = "UNREADABLE" if wanted else "FILE"
            found.findings.append(
                Finding(code, f"{shown} was not read: {error if isinstance(error, ValueError) else error.strerror}")
            )
            return
        if wanted:
            found.notebooks[stem] = base64.b64encode(content).decode()
            found.timestamp = datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(" ", "seconds")
        else:
            found.files[entry.name] = base64.b64encode(content).decode()


def stem_list(assignment: Assignment) -> str:
    """The names of the assignment's notebooks."""
    return ", ".join(f"{name}.ipynb" for name in assignment.notebooks)


def _read(path: Path, most: int) -> tuple[bytes, float]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        told = os.fstat(number)
        if not stat.S_ISREG(told.st_mode):
            raise ValueError("it is no regular file")
        if told.st_size > most:
            raise ValueError(f"it is larger than {most // 2**20} MB")
        return file.read(most), told.st_mtime


# -- sorting out ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Theirs:
    """One cell that a student handed in."""

    place: int
    cell_type: str
    source: str
    name: str | None
    id: str | None


@dataclass(frozen=True)
class Placed:
    """One cell of the notebook that is graded: the author's, with the answer in it, or one that the student added."""

    text: str
    cell_type: str
    cell: Cell | None


def take_in(content: bytes, released: list[Cell]) -> tuple[list[Placed], list[Finding]]:
    """Put a student's answers into the released notebook.

    Returns:
        The cells in order, with hidden tests, and what was found.

    Raises:
        Unreadable: it is no notebook at all.
    """
    findings: list[Finding] = []
    theirs = _their_cells(content, findings, {cell.name for cell in released if cell.name})
    matched = _matched(released, theirs, findings)
    used = {cell.place for cell in matched.values()}
    dropped = {cell.place for cell in theirs if cell.place not in used and _is_copy(cell, released, matched)}
    placed: list[Placed] = []
    extras = [cell for cell in theirs if cell.place not in used | dropped and cell.source.strip()]
    if extras:
        findings.append(Finding("ADDED", f"{len(extras)} cells were added; their code runs, but judges nothing"))
    if len(extras) > MOST_EXTRA:
        findings.append(Finding("ADDED", f"all but the first {MOST_EXTRA} added cells were left out"))
        extras = extras[:MOST_EXTRA]
    for number, cell in enumerate(released):
        mine = matched.get(number)
        placed.append(Placed(_answer(cell, mine, findings) if cell.answer else cell.source, cell.cell_type, cell))
        # What a student added follows the cell that it followed in their notebook.
        here = mine.place if mine else None
        later = [other.place for other in matched.values() if here is not None and other.place > here]
        if here is not None:
            placed += [Placed(e.source, e.cell_type, None) for e in extras if here < e.place < min(later, default=10**9)]
    first = min(used, default=10**9)
    return [Placed(e.source, e.cell_type, None) for e in extras if e.place < first] + placed, findings


def _answer(cell: Cell, mine: Theirs | None, findings: list[Finding]) -> str:
    if mine is None:
        findings.append(Finding("DELETED", "the answer cell is gone, or nothing tells which one it is", cell.name))
        return cell.released
    if mine.cell_type != cell.cell_type and not (cell.cell_type == "markdown" and mine.cell_type == "raw"):
        findings.append(
            Finding("TYPE", f"the answer was in a {mine.cell_type} cell; it was taken as {cell.cell_type}", cell.name)
        )
    return mine.source


def _their_cells(content: bytes, findings: list[Finding], known: set[str]) -> list[Theirs]:
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("it is no UTF-8 text") from None
    except ValueError:
        raise Unreadable("it is empty" if not content.strip() else "it is no JSON, perhaps cut short") from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):  # nbformat 3
        findings.append(Finding("SCHEMA", "the notebook is in the format of before 2015"))
        sheets = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        raise Unreadable("it is JSON, but no notebook")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"it has more than {MOST_CELLS:,} cells")
    found, tagged, odd_schema, attached, cut = [], False, False, False, False
    for place, cell in enumerate(cells):
        if not isinstance(cell, dict):
            cut = True
            continue
        told = _dict(cell.get("metadata"))
        grader = _dict(told.get("nbgrader"))
        source = cell.get("source", cell.get("input", ""))
        text = source if isinstance(source, str) else "".join(map(str, source)) if isinstance(source, list) else ""
        text = text.encode("utf-8", "replace").decode()
        if len(text) > MOST_CELL:
            text, cut = "", True
        name, number = grader.get("grade_id"), cell.get("id", told.get("id"))
        tagged |= bool(told.get("tags")) and isinstance(told.get("tags"), list)
        odd_schema |= bool(grader) and grader.get("schema_version") != 3
        attached |= bool(cell.get("attachments"))
        kind = cell.get("cell_type") if cell.get("cell_type") in ("code", "markdown", "raw") else "markdown"
        found.append(
            Theirs(place, str(kind), text, name if isinstance(name, str) else None, number if isinstance(number, str) else None)
        )
    if tagged:
        findings.append(Finding("TAGS", "cells carry tags, which were dropped"))
    if odd_schema:
        findings.append(Finding("SCHEMA", "nbgrader's metadata is of another version"))
    if attached:
        findings.append(Finding("ATTACHMENT", "pictures pasted into text cells were dropped"))
    if cut:
        findings.append(
            Finding("CUT", f"something that is no cell, or a cell of more than {MOST_CELL:,} characters, was left out")
        )
    if known and not any(cell.name in known for cell in found):
        findings.append(Finding("METADATA", "nbgrader's metadata is gone"))
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _matched(released: list[Cell], theirs: list[Theirs], findings: list[Finding]) -> dict[int, Theirs]:
    """Which of their cells is which of ours: by grade id, then cell id, then a line ``# exercise: name``, then text, then place."""
    by_name, by_id, by_line, by_text = (defaultdict(list) for _ in range(4))
    for cell in theirs:
        by_name[cell.name].append(cell)
        by_id[cell.id].append(cell)
        by_text[_normal(cell.source)].append(cell)
        for name in EXERCISE.findall(cell.source)[:1]:
            by_line[name].append(cell)
    matched: dict[int, Theirs] = {}
    taken: set[int] = set()

    def take(number: int, candidates: list[Theirs]) -> bool:
        free = [cell for cell in candidates if cell.place not in taken]
        if not free:
            return False
        matched[number] = _best(released[number], free)
        taken.add(matched[number].place)
        return True

    for number, own in enumerate(released):
        named = by_name.get(own.name, []) if own.name else []
        if len(named) > 1:
            findings.append(
                Finding("DUPLICATE", f"{len(named)} cells have the name of this one; the others judge nothing", own.name)
            )
        take(number, named)
    for number, own in enumerate(released):
        if number not in matched and take(number, by_id.get(own.id, [])) and own.name:
            findings.append(Finding("RENAMED", "nbgrader's name of this cell was gone; it was found by its id", own.name))
    for number, own in enumerate(released):
        if number not in matched and own.answer and own.name and take(number, by_line.get(own.name, [])):
            findings.append(
                Finding("RENAMED", "nbgrader's name of this cell was gone; it was found by its exercise line", own.name)
            )
    for number, own in enumerate(released):
        if number not in matched and not own.answer:
            take(number, by_text.get(_normal(own.released), []))
    for number, own in enumerate(released):
        if number not in matched and own.answer:
            before = max((matched[i].place for i in range(number) if i in matched), default=-1)
            after = min((matched[i].place for i in range(number + 1, len(released)) if i in matched), default=10**9)
            between = [c for c in theirs if before < c.place < after and c.place not in taken and c.cell_type == own.cell_type]
            if len(between) == 1 and take(number, between):
                findings.append(Finding("RENAMED", "nbgrader's name of this cell was gone; it was found by its place", own.name))
    for number, own in enumerate(released):
        if own.answer:
            continue
        mine = matched.get(number)
        if mine is None and (own.name or own.cell_type == "code"):
            findings.append(Finding("DELETED", "a cell of the author's was gone, and is back", own.name))
        elif mine and (_normal(mine.source) != _normal(own.released) or mine.cell_type != own.cell_type):
            findings.append(Finding("EDITED", "a cell of the author's was changed, and is back as it was", own.name))
    return matched


def _best(cell: Cell, candidates: list[Theirs]) -> Theirs:
    """Among cells of one name the original if something was written in it, else the last in which something was."""
    if not cell.answer:
        return next((c for c in candidates if _normal(c.source) == _normal(cell.released)), candidates[0])
    written = [c for c in candidates if _normal(c.source) != _normal(cell.released)]
    original = [c for c in written if c.id == cell.id]
    return (original or written[-1:] or candidates)[0]


def _is_copy(cell: Theirs, released: list[Cell], matched: dict[int, Theirs]) -> bool:
    """Whether an unused cell only repeats one that is there."""
    text = _normal(cell.source)
    return any(
        text in (_normal(c.released), _normal(matched[n].source) if n in matched else None) for n, c in enumerate(released)
    )


def _normal(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())

"""An assignment as its author wrote it (``source/``) and as students got it (``release/``)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError

HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS.*?^[ \t]*### END HIDDEN TESTS[^\n]*\n?", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_][\w.]*)", re.MULTILINE)
MOST_FILES = 20 * 2**20


@dataclass(frozen=True)
class Cell:
    """One cell of an exercise."""

    id: str
    name: str | None
    """nbgrader's grade_id."""
    cell_type: str
    source: str
    """With hidden tests; of an answer, the solution."""
    released: str
    """As students got it; of an answer, the stub."""
    points: float = 0
    grade: bool = False
    solution: bool = False
    task: bool = False
    locked: bool = False
    schema: int = 3

    @property
    def answer(self) -> bool:
        """Whether students write in it."""
        return self.solution or self.task

    @property
    def test(self) -> bool:
        """Whether it judges by itself."""
        return self.grade and not self.solution and self.cell_type == "code"

    @property
    def manual(self) -> bool:
        """Whether a human gives its points."""
        return (self.grade and not self.test) or self.task

    @property
    def setup(self) -> bool:
        """Whether it is the author's code, to run in both processes."""
        return self.cell_type == "code" and not self.answer and not self.test

    def metadata(self) -> dict[str, Any]:
        """What nbgrader keeps in the cell."""
        if self.name is None:
            return {}
        told: dict[str, Any] = {"grade_id": self.name, "grade": self.grade, "solution": self.solution, "task": self.task}
        told |= {"locked": self.locked, "schema_version": 3, "cell_type": self.cell_type}
        return {"nbgrader": told | ({"points": self.points} if self.grade or self.task else {})}


@dataclass(frozen=True)
class Assignment:
    """All notebooks of one assignment."""

    name: str
    notebooks: dict[str, list[Cell]]
    files: dict[str, str] = field(default_factory=dict)
    """The author's other files, which lie beside the notebook while it runs: name and base64."""

    @property
    def digest(self) -> str:
        """Changes when anything does that could change a mark."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Assignment:
        """From `as_json`'s plain data."""
        notebooks = {name: [Cell(**cell) for cell in cells] for name, cells in told["notebooks"].items()}
        return cls(told["name"], notebooks, told["files"])

    def imports(self) -> list[str]:
        """The modules that its author's cells import, numpy first."""
        text = "\n".join(cell.source for cells in self.notebooks.values() for cell in cells if cell.cell_type == "code")
        return list(dict.fromkeys(["numpy", *IMPORT.findall(text)]))


def read_assignment(course: Path, name: str) -> Assignment:
    """Read an assignment from nbgrader's course folder.

    Raises:
        CourseError: source or release is missing, they don't belong together, or a cell's points or names are wrong.
    """
    source, release = course / "source" / name, course / "release" / name
    known = sorted(path.name for path in (course / "source").glob("*") if path.is_dir())
    if not source.is_dir():
        raise CourseError(
            f"{course} has no assignment {name!r} under source/" + (f": it has {', '.join(known)}" if known else "")
        )
    files = sorted(source.glob("*.ipynb"))
    if not files:
        raise CourseError(f"{source} holds no notebook: write the exercise there")
    notebooks = {}
    for file in files:
        released = release / file.name
        if not released.is_file():
            raise CourseError(f"{released} is missing: make it with nbgrader generate_assignment {name}")
        notebooks[file.stem] = _cells(file, released)
    return Assignment(name, notebooks, _other_files(release))


def _other_files(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink() and path.suffix != ".ipynb":
            found[path.name] = base64.b64encode(path.read_bytes()).decode()
    if sum(map(len, found.values())) > MOST_FILES:
        raise CourseError(f"the files in {folder} are larger than {MOST_FILES // 2**20} MB together: put large data elsewhere")
    return found


def _cells(source: Path, release: Path) -> list[Cell]:
    ours, theirs = _read(source), _read(release)
    cells, names = [], set()
    by_key = {_key(cell, number): cell for number, cell in enumerate(theirs)}
    for number, cell in enumerate(ours):
        told = cell["metadata"].get("nbgrader") or {}
        name = told.get("grade_id")
        other = by_key.get(_key(cell, number))
        if other is None:
            raise CourseError(
                f"{release} lacks the cell {name or number} of {source}: make the release anew with nbgrader generate_assignment"
            )
        if name is not None and name in names:
            raise CourseError(f"{source} has two cells named {name!r}: rename one")
        names.add(name)
        if "### AUTOTEST" in _text(cell) or "### HASHED AUTOTEST" in _text(cell):
            raise CourseError(f"{name!r} in {source} uses nbgrader's AUTOTEST, which is not supported: write the test out")
        points = told.get("points") if told.get("grade") or told.get("task") else 0
        if not isinstance(points, int | float) or not 0 <= points < 1e6:
            raise CourseError(f"the points of {name!r} in {source} must be a number from 0, not {points!r}")
        cells.append(
            Cell(
                id=str(cell.get("id") or f"cell-{number}"),
                name=name,
                cell_type=cell["cell_type"],
                source=_text(cell),
                released=_text(other),
                points=float(points),
                **{flag: bool(told.get(flag)) for flag in ("grade", "solution", "task", "locked")},
            )
        )
    return cells


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError):
        raise CourseError(f"{file} is no notebook (nbformat 4): open it in JupyterLab and save it") from None


def _key(cell: dict[str, Any], number: int) -> Any:
    return (cell["metadata"].get("nbgrader") or {}).get("grade_id") or cell.get("id") or number


def _text(cell: dict[str, Any]) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])

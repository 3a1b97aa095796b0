"""Write marks into nbgrader's gradebook and files beside it: one process alone does it, after a backup."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import shutil
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from course_lib.errors import CourseError
from course_lib.grading.assignment import Assignment
from course_lib.grading.marking import Result
from course_lib.training.runs import write_whole

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

T = TypeVar("T")
WAIT_SECONDS = 120
"""For a gradebook that formgrader or somebody else has locked."""
KEPT_BACKUPS = 5
DATABASE = "gradebook.db"


@contextlib.contextmanager
def open_gradebook(course: Path) -> Iterator[Gradebook]:
    """The gradebook of nbgrader's in a course folder, made if it isn't there.

    Raises:
        CourseError: nbgrader is not installed, or the file is no gradebook.
    """
    try:
        _postpone("nbgrader")
        with _left_out("rfc3987_syntax"):
            from nbgrader import api
        from sqlalchemy.exc import DatabaseError, SAWarning
    except ImportError:
        raise CourseError('grading needs nbgrader: pip install "fine-tuning-lora-measured[grading]"') from None
    api.get_alembic_version = _newest_schema
    try:
        book = patiently(lambda: api.Gradebook(f"sqlite:///{course / DATABASE}"))
        book.db.remove()
        book.db.configure(expire_on_commit=False)  # cells and points are read once, not again for each student
    except DatabaseError as error:
        raise CourseError(f"{course / DATABASE} is no gradebook of nbgrader's ({error.orig}): restore it from a backup") from None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=SAWarning
            )  # nbgrader's own queries, about objects that it adds a moment later
            yield book
    finally:
        book.close()


def _newest_schema() -> str:
    """What nbgrader writes into a new gradebook, to know it again: the newest revision of its tables.

    It starts the command alembic to hear it, which takes two seconds and must be on the PATH.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    config = Config()
    config.set_main_option("script_location", ALEMBIC_DIR)
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None
    return head


class _Postponed(ModuleType):
    """A package whose own code runs when something of it is asked for, not when one of its modules is."""

    def __getattr__(self, name: str) -> Any:
        special = name.startswith("__") and name != "__version__"  # what the import system looks for
        if special or importlib.util.find_spec(f"{self.__name__}.{name}"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]
        return getattr(self, name)


def _postpone(package: str) -> None:
    """Let a package's modules be imported without what its own code takes along: with nbgrader's, all its apps and server extensions."""
    if package not in sys.modules and (spec := importlib.util.find_spec(package)):
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Postponed
        sys.modules[package] = module


@contextlib.contextmanager
def _left_out(module: str) -> Iterator[None]:
    """Import without a module that jsonschema takes along if it is there: it builds forty parsers, which takes a second, and none is used."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


def patiently(write: Callable[[], T], undo: Callable[[], object] = lambda: None, wait: float = WAIT_SECONDS) -> T:
    """Do it, again and again for as long as the database is locked.

    Raises:
        CourseError: it was locked all the time.
    """
    from sqlalchemy.exc import OperationalError

    until = time.monotonic() + wait
    while True:
        try:
            return write()
        except OperationalError as error:
            undo()
            if "locked" not in str(error):
                raise
            if time.monotonic() > until:
                raise CourseError(
                    f"the gradebook was locked for {wait:.0f} s: close what writes to it, then go on with --resume"
                ) from None
            time.sleep(0.2)


@contextlib.contextmanager
def _one_commit(session: Any) -> Iterator[None]:
    """Commit once, at the end, where nbgrader commits after each thing: all of a student's marks are there, or none."""
    commit, session.commit = session.commit, session.flush
    try:
        yield
    finally:
        session.commit = commit
    commit()


def back_up(course: Path, name: str) -> Path | None:
    """Copy the gradebook before it is written to; the last five copies of an assignment stay.

    Raises:
        CourseError: the database stays locked, or is none.
    """
    database = course / DATABASE
    if not database.exists():
        return None
    folder = course / "backups"
    folder.mkdir(exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
    copy, partial = folder / f"{DATABASE}.{name}.{stamp}", folder / f".{DATABASE}.partial"
    partial.unlink(missing_ok=True)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with (
                contextlib.closing(sqlite3.connect(database, timeout=1)) as one,
                contextlib.closing(sqlite3.connect(partial)) as other,
            ):
                one.execute("SELECT count(*) FROM sqlite_master").fetchone()  # so that a lock is met here
                one.backup(other)
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise CourseError(f"{database} can't be copied ({error}): close what writes to it") from None
            time.sleep(0.2)
        except sqlite3.DatabaseError as error:
            raise CourseError(f"{database} is no gradebook of nbgrader's ({error}): restore it from a backup") from None
    partial.replace(copy)
    for old in sorted(folder.glob(f"{DATABASE}.{name}.*"))[:-KEPT_BACKUPS]:
        old.unlink()
    return copy


class Writer:
    """Writes results of one assignment."""

    def __init__(self, course: Path, book: Gradebook, assignment: Assignment) -> None:
        """Enter the assignment's cells and points into the gradebook."""
        self.course, self.book, self.assignment = course, book, assignment
        patiently(self._enter, book.db.rollback)

    def _enter(self) -> None:
        book, name = self.book, self.assignment.name
        book.update_or_create_assignment(name)
        for notebook, cells in self.assignment.notebooks.items():
            kernel = json.dumps({"display_name": "Python 3", "language": "python", "name": "python3"})
            book.update_or_create_notebook(notebook, name, kernelspec=kernel)
            for cell in cells:
                if cell.name is None:
                    continue
                where = (cell.name, notebook, name)
                if cell.task:
                    book.update_or_create_task_cell(*where, max_score=cell.points, cell_type=cell.cell_type)
                elif cell.grade:
                    book.update_or_create_grade_cell(*where, max_score=cell.points, cell_type=cell.cell_type)
                if cell.solution:
                    book.update_or_create_solution_cell(*where)
                if cell.grade or cell.solution or cell.task or cell.locked:
                    locked = not cell.solution and (cell.grade or cell.locked)
                    book.update_or_create_source_cell(*where, cell_type=cell.cell_type, source=cell.source, locked=locked)
        # SQLAlchemy forgets what nobody holds, and would read each cell again for each grade of each student.
        self._held = [
            [*notebook.grade_cells, *notebook.task_cells, *notebook.solution_cells]
            for notebook in book.find_assignment(name).notebooks
        ]

    def write(self, result: Result) -> None:
        """Write one student's automatic scores and files. What a human entered stays.

        Raises:
            CourseError: the gradebook stays locked.
        """
        self._files(result)
        patiently(lambda: self._scores(result), self.book.db.rollback)

    def _scores(self, result: Result) -> None:
        with _one_commit(self.book.db):
            self._enter_scores(result)

    def _enter_scores(self, result: Result) -> None:
        from nbgrader.api import Comment, Grade, Student

        book, name = self.book, self.assignment.name
        if book.db.get(Student, result.student) is None:
            book.add_student(result.student)
        taken = (
            datetime.datetime.fromisoformat(result.timestamp).astimezone(datetime.UTC).replace(tzinfo=None)
            if result.timestamp
            else None
        )
        submission = book.update_or_create_submission(name, result.student, timestamp=taken)
        for notebook in submission.notebooks:
            scores, silent = result.scores.get(notebook.name, {}), result.silent.get(notebook.name, [])
            for grade in notebook.grades:
                assert isinstance(grade, Grade)
                grade.auto_score = scores.get(grade.cell.name)
                # As nbgrader does: what a human judged before is to be looked at again.
                grade.needs_manual_grade = grade.auto_score is None or grade.manual_score is not None
            for comment in notebook.comments:
                assert isinstance(comment, Comment)
                comment.auto_comment = "No response." if comment.cell.name in silent else None

    def _files(self, result: Result) -> None:
        """Put the notebooks that were run where formgrader looks; nothing of an earlier time stays."""
        place = Path(self.course, "autograded", result.student, self.assignment.name)
        for old in (place, Path(self.course, "feedback", result.student, self.assignment.name)):
            remove(old)
        if not result.notebooks:
            return
        real_folder(self.course, place.parent)
        partial = place.with_name(f".{place.name}.partial")
        remove(partial)
        partial.mkdir()
        for notebook, cells in result.notebooks.items():
            write_whole(partial / f"{notebook}.ipynb", json.dumps(cells, indent=1) + "\n")
        partial.replace(place)


def real_folder(root: Path, folder: Path) -> None:
    """Make a folder below ``root``; a link on the way is not followed.

    Raises:
        CourseError: there is one.
    """
    path = root
    for part in folder.relative_to(root).parts:
        path = path / part
        if path.is_symlink():
            raise CourseError(f"{path} is a link, and marks are not written through links: remove it")
        path.mkdir(exist_ok=True)


def remove(path: Path) -> None:
    """Remove a folder, or a link itself."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def student_scores(book: Gradebook, assignment: str) -> dict[str, dict[str, Any]]:
    """For each student with a submission: score, maximum, and whether something still waits for a human."""
    found = {}
    for submission in book.assignment_submissions(assignment):
        grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
        waiting = any(grade.manual_score is None and grade.auto_score is None for grade in grades)
        score = sum(
            (grade.manual_score if grade.manual_score is not None else grade.auto_score or 0) + (grade.extra_credit or 0)
            for grade in grades
        )
        penalty = submission.late_submission_penalty or 0
        most = sum(grade.cell.max_score for grade in grades)
        found[submission.student.id] = {"score": max(0.0, score - penalty), "max": most, "waiting": waiting}
    return found

"""Make the notebooks that students get (``release/``) from the authors' (``source/``), by nbgrader's own steps.

``python -m course_lib.grading.release`` writes them, and ``--check`` says whether they are up to date. The steps are those of
``nbgrader generate_assignment``, but for the one that enters the assignment in a gradebook: the same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from course_lib.errors import CourseError

COURSE = Path(__file__).parents[2] / "lessons" / "exercises"


def released(source: Path) -> str:
    """The text of a notebook as students get it: without solutions, hidden tests and outputs, its test cells locked.

    Raises:
        CourseError: the notebook is none, or a cell's metadata or markers are wrong.
    """
    import nbformat
    from nbgrader.converters.generate_assignment import GenerateAssignment
    from nbgrader.preprocessors import InstantiateTests, SaveCells

    try:
        notebook, resources = nbformat.read(source, as_version=4), {"nbgrader": {}, "metadata": {"name": source.stem}}
        # InstantiateTests starts a kernel for a kind of test that we have none of, SaveCells writes into a database.
        for step in GenerateAssignment.preprocessors.default():
            if step not in (InstantiateTests, SaveCells):
                notebook, resources = step().preprocess(notebook, resources)
    except Exception as error:  # nbgrader's steps raise RuntimeError, ValidationError and more, all of them about the notebook
        raise CourseError(f"{source} can't be released: {' '.join(str(error).split())[:300]}") from error
    for cell in notebook.cells:
        cell.source = cell.source.rstrip("\n")
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def stale(course: Path = COURSE) -> list[Path]:
    """The released notebooks that are missing or not what their source makes, and those that have no source."""
    wanted = {course / "release" / path.parent.name / path.name: path for path in _sources(course)}
    old = [target for target in (course / "release").glob("*/*.ipynb") if target not in wanted]
    return old + [
        target for target, source in wanted.items() if not target.is_file() or target.read_text("utf-8") != released(source)
    ]


def release(course: Path = COURSE) -> list[Path]:
    """Write every released notebook anew, take away those without a source, and return all that there are now."""
    texts = {course / "release" / path.parent.name / path.name: released(path) for path in _sources(course)}
    for target in (course / "release").glob("*/*.ipynb"):
        if target not in texts:
            target.unlink()
            if not any(target.parent.iterdir()):
                target.parent.rmdir()
    for target, text in texts.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_suffix(".part")
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    return list(texts)


def _sources(course: Path) -> list[Path]:
    found = sorted((course / "source").glob("*/*.ipynb"))
    if not found:
        raise CourseError(f"{course / 'source'} holds no notebook")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write, or check, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.grading.release", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a notebook is out of date")
    parser.add_argument("--course", type=Path, default=COURSE, help="the folder that holds source/ and release/")
    told = parser.parse_args(arguments)
    try:
        if not told.check:
            print(f"{len(release(told.course))} notebooks released in {told.course / 'release'}")
            return 0
        old = stale(told.course)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in old:
        print(f"out of date: {path} (run python -m course_lib.grading.release)")
    return 1 if old else 0


if __name__ == "__main__":
    raise SystemExit(main())

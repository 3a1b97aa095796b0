"""Links between the lessons, and the first cell that brings the course to Colab: written into every lesson from one place.

    python -m course_lib.notebook.navigation

Idempotent, and outputs stay: run it after a lesson was added or renamed, or after the repository's address changed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.notebook.syllabus import Lesson, lessons, lessons_folder

TOP = re.compile(r"^\[Open in Colab\]\(.*\n+", re.MULTILINE)
END = re.compile(r"\n+\*\*Lessons:\*\* .*\s*\Z")
OPENING = re.compile(r"^from course_lib\.notebook import .*\bopen_lesson\b", re.MULTILINE)

# Only what Colab has by itself and can't do without is held; pip may bring the rest up to our lower bounds. Elsewhere the course is
# installed before a lesson is opened, so that the block does nothing.
BRING = """# On Colab, install the course beside Colab's own PyTorch. Elsewhere it is here already, and nothing happens.
from importlib.util import find_spec

if find_spec("course_lib") is None:
    from importlib.metadata import distributions
    from pathlib import Path

    held = [f"{d.name}=={d.version}" for d in distributions() if d.name.startswith(("torch", "numpy", "nvidia", "triton"))]
    Path("held.txt").write_text("\\n".join(held))
    get_ipython().run_line_magic("pip", "install -q -c held.txt {source}")

"""


def repository() -> str:
    """The address of the course's repository, from the checkout's ``pyproject.toml``.

    Raises:
        CourseError: this is no checkout.
    """
    file = lessons_folder().parent / "pyproject.toml"
    if not file.is_file():
        raise CourseError(f"there is no {file.name} beside the lessons: navigation is written in a checkout of the course")
    return tomllib.loads(file.read_text(encoding="utf-8"))["project"]["urls"]["Repository"].rstrip("/")


def colab(lesson: Lesson) -> str:
    """Where Colab opens a lesson."""
    return f"https://colab.research.google.com/github/{repository().partition('github.com/')[2]}/blob/main/lessons/{lesson.file}"


def links(number: str) -> str:
    """One line of Markdown: the lesson before this one, the contents, the one after it."""
    known = list(lessons().values())
    place = [lesson.number for lesson in known].index(number)
    parts = [f"previous [{before.number} {before.title}]({before.file})" for before in known[max(0, place - 1) : place]]
    parts += [f"[contents]({known[0].file})"] if place else []
    parts += [f"next [{after.number} {after.title}]({after.file})" for after in known[place + 1 : place + 2]]
    return " · ".join(parts)


def with_navigation(notebook: dict[str, Any], number: str) -> dict[str, Any]:
    """A notebook with the links in its first and last Markdown cells, and the block for Colab in the cell that opens the lesson.

    Args:
        notebook: as read from its file; it is changed.
        number: the lesson's, such as ``"02"``.

    Raises:
        CourseError: it doesn't start with a title, or has no cell that opens the lesson.
    """
    lesson = lessons()[number]
    cells = notebook["cells"]
    first, last = cells[0], [cell for cell in cells if cell["cell_type"] == "markdown"][-1]
    title, _, rest = TOP.sub("", "".join(first["source"])).partition("\n")
    opening = next((cell for cell in cells if cell["cell_type"] == "code" and OPENING.search("".join(cell["source"]))), None)
    if not title.startswith("# ") or opening is None:
        raise CourseError(f"{lesson.file} must start with a title, and call open_lesson")
    _set(first, f"{title}\n\n[Open in Colab]({colab(lesson)}) · {links(number)}\n\n{rest.lstrip()}")
    _set(last, END.sub("", "".join(last["source"])) + f"\n\n**Lessons:** {links(number)}")
    source = "".join(opening["source"])
    start = OPENING.search(source)
    assert start is not None
    _set(opening, BRING.replace("{source}", f"git+{repository()}") + source[start.start() :])
    opening["metadata"] = opening.get("metadata", {}) | {
        "jupyter": {"source_hidden": True},
        "tags": ["hide-input"],
    }  # a click away
    return notebook


def _set(cell: dict[str, Any], source: str) -> None:
    cell["source"] = source.splitlines(keepends=True)


def write(path: Path, *, check: bool = False) -> bool:
    """Bring one lesson up to date.

    Args:
        path: the notebook.
        check: only look.

    Returns:
        Whether it was up to date.
    """
    import json
    import tempfile

    before = path.read_text(encoding="utf-8")
    after = json.dumps(with_navigation(json.loads(before), path.name[:2]), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if check or after == before:
        return after == before
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=path.parent, suffix=".part", delete=False) as part:
        part.write(after)
    Path(part.name).chmod(path.stat().st_mode)
    Path(part.name).replace(path)
    return False


def main(arguments: list[str] | None = None) -> int:
    """The command: 0 if all is up to date, as it is after writing."""
    parser = argparse.ArgumentParser(prog="python -m course_lib.notebook.navigation", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a lesson is out of date")
    options = parser.parse_args(arguments)
    stale = [
        lesson.file
        for lesson in lessons().values()
        if (lessons_folder() / lesson.file).exists() and not write(lessons_folder() / lesson.file, check=options.check)
    ]
    print(f"{'out of date' if options.check else 'written'}: {', '.join(stale)}" if stale else "every lesson is up to date")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a student gets back: one HTML page without a script in it, without hidden tests and tracebacks."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.grading.assignment import HIDDEN, Assignment
from course_lib.grading.safe import picture, plain_text, safe_markdown
from course_lib.grading.writer import real_folder, remove
from course_lib.training.runs import write_whole

if TYPE_CHECKING:
    from nbgrader.api import Gradebook, SubmittedNotebook

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
pre { background: #f5f5f5; padding: .6rem .8rem; overflow-x: auto; border-left: 3px solid #c9c9c9; white-space: pre-wrap }
.answer pre { border-color: #0072b2 } .out pre { background: #fff; border-color: #e5e5e5 }
.mark { font-weight: 600 } .hint { border-left: 4px solid #b34700; padding-left: .8rem } .comment { border-left: 4px solid #00704f; padding-left: .8rem }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd } img { max-width: 100% }
"""
TAGS = "a b blockquote br code del dd div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre span strong sub sup table tbody td th thead tr ul".split()
WORDS = {
    "TIME": "Some of your code took too long and was stopped.",
    "MEMORY": "Some of your code took too much memory and was stopped.",
    "PROCESSES": "Some of your code started too many processes and was stopped.",
    "DIED": "Some of your code ended Python itself.",
    "UNREADABLE": "Your notebook could not be read.",
    "MISSING": "Your notebook was missing.",
    "EDITED": "Cells that were not yours to change were put back as they were.",
    "DELETED": "Cells that you removed were put back.",
    "DUPLICATE": "A cell was there several times, and one of them counted.",
}
"""What a student is told of a finding; the rest is for the instructor alone."""


def write_feedback(
    course: Path, book: Gradebook, assignment: Assignment, student: str, findings: Sequence[dict[str, Any]] = ()
) -> list[Path]:
    """Write a student's pages to ``feedback/STUDENT/NAME/``, where nbgrader has its own.

    Args:
        course: the course folder.
        book: its gradebook, which has the scores and comments.
        assignment: what was graded.
        student: whose.
        findings: of the grader, as in the journal.

    Returns:
        The pages' files.
    """
    folder = course / "feedback" / student / assignment.name
    if folder.is_symlink():
        remove(folder)
    real_folder(course, folder)
    pages = []
    for name in assignment.notebooks:
        graded = course / "autograded" / student / assignment.name / f"{name}.ipynb"
        cells = json.loads(graded.read_text(encoding="utf-8"))["cells"] if graded.is_file() and not graded.is_symlink() else []
        submitted = book.find_submission_notebook(name, assignment.name, student)
        pages.append(folder / f"{name}.html")
        write_whole(pages[-1], page(name, cells, submitted, findings))
    return pages


def page(name: str, cells: list[dict[str, Any]], submitted: SubmittedNotebook, findings: Sequence[dict[str, Any]]) -> str:
    """The HTML page of one notebook."""
    from markupsafe import Markup, escape

    grades = {grade.cell.name: grade for grade in submitted.grades}
    comments = {comment.cell.name: comment.comment for comment in submitted.comments}
    rows = [Markup("<tr><td>{}</td><td>{}</td></tr>").format(cell, _mark(grade)) for cell, grade in grades.items()]
    told = sorted({WORDS[finding["code"]] for finding in findings if finding["code"] in WORDS})
    parts = [
        Markup(
            '<!doctype html><html lang=en><head><meta charset=utf-8><meta http-equiv=Content-Security-Policy content="{}">'
        ).format(POLICY),
        Markup("<title>{0}: feedback</title><style>{1}</style></head><body><h1>{0}</h1>").format(name, Markup(STYLE)),
        Markup("<table><tr><th>part</th><th>points</th></tr>{}</table>").format(Markup("").join(rows)),
        *(Markup("<p class=hint>{}</p>").format(line) for line in told),
    ]
    for cell in cells:
        told_cell = cell["metadata"].get("nbgrader", {})
        parts.append(_cell(cell, told_cell))
        grade, comment = grades.get(told_cell.get("grade_id")), comments.get(told_cell.get("grade_id"))
        if grade is not None:
            parts.append(Markup("<p class=mark>{}: {}</p>").format(told_cell["grade_id"], _mark(grade)))
        if comment:
            parts.append(Markup("<p class=comment>{}</p>").format(plain_text(comment)))
    return str(Markup("").join([*parts, Markup("</body></html>")])) if cells or rows else str(escape(name))


def _mark(grade: Any) -> str:
    if grade.manual_score is None and grade.auto_score is None:
        return f"not graded yet, of {grade.max_score:g}"
    score = (grade.manual_score if grade.manual_score is not None else grade.auto_score) + (grade.extra_credit or 0)
    return f"{score:g} of {grade.max_score:g}"


def _cell(cell: dict[str, Any], told: dict[str, Any]) -> Any:
    from markupsafe import Markup

    mine = "answer" if told.get("solution") or not told else ""
    if cell["cell_type"] != "code":
        return Markup("<div class='{}'>{}</div>").format(mine, markdown(cell["source"], trusted=bool(told) and not mine))
    test = told.get("grade") and not told.get("solution")
    source = HIDDEN.sub("", cell["source"]) if test else cell["source"]
    parts = [Markup("<div class='{}'><pre>{}</pre></div>").format(mine, source.strip("\n"))]
    outputs = cell.get("outputs", [])
    grading = cell["metadata"].get("grading") or {}
    if test and grading.get(
        "error"
    ):  # what a hidden test printed may tell it, and so may a message that no author wrote as a hint
        outputs = [] if grading.get("hidden") else [output for output in outputs if output["output_type"] == "stream"]
        parts.append(Markup("<p class=hint>{}</p>").format(_hint(grading)))
    parts += [_output(output) for output in outputs]
    return Markup("").join(parts)


def _hint(grading: dict[str, Any]) -> str:
    """A check's hint, or in other words that something failed."""
    name, hint = grading["error"], plain_text(grading.get("hint"))[:1000]
    if name in ("NotYet", "ChangedInPlace") and hint:
        return hint
    if grading.get("hidden"):
        return "A test that you don't see failed."
    if name == "AssertionError" and hint:
        return hint
    return f"The test failed: {name}{f': {hint}' if hint else ''}"


def _output(output: dict[str, Any]) -> Any:
    from markupsafe import Markup

    if output["output_type"] == "stream":
        return Markup("<div class=out><pre>{}</pre></div>").format(plain_text(output["text"]))
    if output["output_type"] == "error":
        return Markup("<div class=out><pre>{}: {}</pre></div>").format(plain_text(output["ename"]), plain_text(output["evalue"]))
    for mime in ("image/png", "image/jpeg"):
        shown = picture(output["data"].get(mime), mime)
        if shown:
            return Markup("<div class=out><img alt='a picture that this cell drew' src='data:{};base64,{}'></div>").format(
                mime, shown
            )
    return Markup("<div class=out><pre>{}</pre></div>").format(plain_text(output["data"].get("text/plain")))


@functools.lru_cache(maxsize=1000)
def markdown(text: str, *, trusted: bool = False) -> Any:
    """Markdown as HTML of a few harmless tags; formulas stay as TeX, because showing them takes a script.

    Args:
        text: Markdown.
        trusted: whether the author wrote it: its HTML then counts as HTML, though cleaned.
    """
    import bleach
    from markupsafe import Markup
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    html = markdown2html_mistune(text if trusted else safe_markdown(text))
    links = {"a": ["href", "title"], "th": ["align"], "td": ["align"]}
    return Markup(bleach.clean(html, tags=TAGS, attributes=links, protocols=["http", "https", "mailto"], strip=True))


def write_all(course: Path, name: str) -> int:
    """Write everybody's feedback anew, with what was entered in formgrader since; the number of students.

    Raises:
        CourseError: nothing of this assignment was graded.
    """
    from course_lib.grading.assignment import read_assignment
    from course_lib.grading.runner import JOURNALS, last_lines
    from course_lib.grading.writer import open_gradebook

    assignment = read_assignment(course, name)
    lines = last_lines(course / JOURNALS / f"{name}.jsonl")
    if not lines:
        raise CourseError(f"nothing of {name} was graded in {course}: run course grade {name} first")
    with open_gradebook(course) as book:
        for student, line in lines.items():
            write_feedback(course, book, assignment, student, line["findings"])
    return len(lines)

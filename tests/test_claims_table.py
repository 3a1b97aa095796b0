"""The table of claims and the lessons keep in step: no claim without a check, no check without a claim."""

import ast
import json
import re
from pathlib import Path

import pytest

from course_lib.notebook.syllabus import claims, lessons, lessons_folder, seed_statements

ROOT = Path(__file__).resolve().parents[1]


def checked(file: str) -> list[str]:
    """The ids that a notebook's cells check, in order."""
    cells = json.loads((lessons_folder() / file).read_text(encoding="utf-8"))["cells"]
    found = []
    for cell in cells:
        if cell["cell_type"] == "code":
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
                    assert isinstance(node.args[0], ast.Constant), "a claim is named by a plain text"
                    found.append(node.args[0].value)
    return found


@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.number)
def test_each_claim_is_checked_where_it_stands(lesson):
    wanted = [claim.id for claim in claims().values() if claim.lesson == lesson.number]
    assert sorted(checked(lesson.file)) == sorted(wanted)


def test_every_notebook_is_in_the_table():
    assert {file.name for file in lessons_folder().glob("*.ipynb")} == {lesson.file for lesson in lessons().values()}


def test_statements_hold_no_typed_measurement_and_name_their_origin():
    for claim in claims().values():
        assert claim.statement.endswith("."), claim.id
        assert claim.origin in ("seed", "ours") or claim.origin.startswith("paper: "), claim.id


def test_every_statement_of_the_first_page_is_tested_by_a_claim_of_its_lesson():
    for statement in seed_statements():
        assert statement.lesson in lessons(), statement.says
        assert statement.claims, statement.says
        assert {claims()[claim].lesson for claim in statement.claims} == {statement.lesson}, statement.says
        assert statement.verdict in ("confirmed", "refined", "corrected"), statement.says
        assert statement.found.endswith("."), statement.says


def test_a_claim_that_names_the_first_page_is_one_of_its_statements():
    tested = {claim for statement in seed_statements() for claim in statement.claims}
    assert {claim.id for claim in claims().values() if claim.origin == "seed"} <= tested


def test_each_lesson_leads_to_the_next_and_the_last_to_the_first():
    files = [lesson.file for lesson in lessons().values()]
    for file, following in zip(files, [*files[1:], files[0]], strict=True):
        last = json.loads((lessons_folder() / file).read_text(encoding="utf-8"))["cells"][-1]
        assert re.search(r"\*\*Next:\*\*[^\n]*\]\((\S+)\)", "".join(last["source"]))[1] == following, file


def test_the_readme_lists_the_lessons_of_the_table():
    listed = re.findall(
        r"^\| (\d\d) \| \[(.+?)\]\(lessons/(\S+)\) \| (.+?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert listed == [(lesson.number, lesson.title, lesson.file, lesson.question) for lesson in lessons().values()]


def test_the_first_page_is_covered():
    """Every part of the page, and at least forty of its statements."""
    assert len(seed_statements()) >= 40
    sections = {statement.section.partition(":")[0] for statement in seed_statements()}
    assert len(sections) >= 9, sections

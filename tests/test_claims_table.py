"""The table of claims and the lessons keep in step: no claim without a check, no check without a claim."""

import ast
import json

import pytest

from course_lib.notebook.syllabus import claims, lessons, lessons_folder


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

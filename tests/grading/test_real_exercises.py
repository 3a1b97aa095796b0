"""The course's own exercises through the grader: every right and wrong answer gets there what it gets from a student's own check."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.grading.assignment import Assignment, read_assignment
from course_lib.grading.marking import Job, close_sandboxes, grade_one

EXERCISES = Path(__file__).resolve().parents[2] / "lessons" / "exercises"
BLOCK = re.compile(r"^# %% (right|wrong): *([^|\n]*?) *(?:\| *(.*))?$", re.MULTILINE)
LESSON = "02_lora_math"


def answers(file: Path) -> Iterator[tuple[str, str, str]]:
    """Right or wrong, its name, and the code."""
    text = file.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    for block, following in zip(found, [*found[1:], None], strict=True):
        yield block[1], block[2], text[block.end() : following.start() if following else None]


def graded(assignment: Assignment, cell: str, code: str) -> float | None:
    """The points of one task with this answer, all others left as they were."""
    (name,) = assignment.notebooks
    cells = [
        {
            "id": one.id,
            "cell_type": one.cell_type,
            "metadata": one.metadata(),
            "source": code if one.name == cell else one.released,
        }
        for one in assignment.notebooks[name]
    ]
    content = base64.b64encode(json.dumps({"cells": cells}).encode()).decode()
    result = grade_one(Job("ann", assignment.as_json(), {name: content}, {}, [], "", tested=True))
    return result.scores[name][f"{cell}-test"]


@pytest.fixture(scope="module")
def assignment() -> Iterator[Assignment]:
    yield read_assignment(EXERCISES, LESSON)
    close_sandboxes()


@pytest.mark.parametrize("file", sorted((EXERCISES / "answers").glob(f"{LESSON[:2]}_*.py")), ids=lambda file: file.stem)
def test_right_answers_get_all_points_and_wrong_ones_lose_some(assignment: Assignment, file: Path) -> None:
    cell = file.stem.replace("_", "-", 1)
    full = {one.name: one.points for one in assignment.notebooks[LESSON]}[f"{cell}-test"]
    told = list(answers(file))
    assert len([kind for kind, _, _ in told if kind == "wrong"]) >= 5
    for kind, name, code in told:
        score = graded(assignment, cell, code)
        assert score is not None
        assert (score == full) == (kind == "right"), name

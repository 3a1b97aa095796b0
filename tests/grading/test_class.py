"""A class of all kinds of submissions, graded end to end by the command: every row of the grader's checks has its kinds here."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.grading import confine
from tests.grading import test_feedback, test_runner
from tests.grading.school import PLAIN, SECONDS, Graded, check_marks, fresh, grade_class, remove
from tests.grading.submissions import KINDS, NAME

HOSTILE = (
    "reads_gradebook_and_others reads_the_hidden_tests reads_the_environment uses_the_network writes_elsewhere links_and_planted_modules "
    "fork_bomb memory_bomb leaves_processes fills_the_disk loop_that_ignores_signals os_exit patched_numpy equal_to_everything "
    "speaks_on_the_wire correct correct_with_torch no_scale"
).split()

# What the grader has to get right, and which kinds of submissions or tests show it.
ROWS = {
    "correct, wrong, partial; the manual cell waits": "correct correct_with_loops correct_with_torch no_scale partly_right wrong_choice "
    "untouched raises_in_the_call syntax_error only_right_for_the_visible_numbers shows_pictures_and_prints brings_data",
    "test source, points or cell type edited": "test_source_edited points_edited test_turned_into_text answer_turned_into_text",
    "tests deleted": "tests_deleted answer_deleted",
    "a cell copied; cells added": "test_copied answer_copied correct_with_a_helper_cell",
    "metadata gone, ids renamed": "metadata_gone metadata_and_ids_gone found_by_exercise_line grade_ids_renamed",
    "old or new schema": "old_schema new_schema nbformat_3",
    "invalid JSON, empty, missing, 50 MB, deep nesting": "invalid_json empty_file missing fifty_megabytes deeply_nested no_text "
    "json_but_no_notebook odd_values_everywhere notebook_is_a_pipe",
    "endless loop; one that ignores signals": "endless_loop endless_loop_in_the_call loop_that_ignores_signals",
    "fork bomb, memory bomb, endless print, full disk": "fork_bomb memory_bomb memory_bomb_of_many endless_print fills_the_disk huge_answer "
    "leaves_processes",
    "reads gradebook, source, others' work, environment": "reads_gradebook_and_others reads_the_hidden_tests reads_the_environment",
    "network; writes anywhere else": "uses_the_network writes_elsewhere",
    "symlinks; planted modules": "links_and_planted_modules notebook_is_a_link",
    "AST strip, patched numpy, == tricks, subclasses, formatters": "drops_asserts patched_numpy equal_to_everything subclasses_of_plain_types "
    "own_formatter changes_what_it_is_compared_with stops_the_test_early pickles speaks_on_the_wire garbage_on_the_wire",
    "os._exit, sys.exit, input(), broken shell": "os_exit os_exit_in_the_call sys_exit sys_exit_in_the_call asks_for_input broken_shell "
    "segmentation_fault",
    "correct code that warns": "correct_that_warns",
    "script in output or Markdown": "hostile_markup test_no_markup_of_a_student_is_markup",
    "re-grade after a manual score, and one that fails": "test_a_manual_score_stays test_a_re_grade_that_fails_leaves_nothing_stale",
    "worker killed, run interrupted, database locked": "test_a_killed_worker_loses_nothing test_resume_grades_the_rest test_a_locked_gradebook_is_waited_for",
    # what stock nbgrader does wrong, beyond these
    "stock: a tag skips tests": "skip_tags_on_tests",
    "stock: partial credit fails open": "test_a_score_is_a_plain_number_or_the_authors_error",
    "stock: one submission stops the run": "test_copied old_schema new_schema invalid_json",
    "stock: one time-out a cell": "loop_that_ignores_signals test_nobody_outlives_the_limit",
    "stock: alembic through PATH": "test_grades_without_an_activated_environment",
}


@pytest.fixture(scope="module")
def graded() -> Iterator[Graded]:
    course = fresh(Path(tempfile.gettempdir()))
    yield grade_class(course)
    remove(course)


def test_every_row_has_a_kind_and_every_kind_a_row() -> None:
    named = {name for row in ROWS.values() for name in row.split()}
    kinds = {name for name in named if not name.startswith("test_") or name in KINDS}
    assert all(row.split() for row in ROWS.values())
    assert kinds == set(KINDS)
    assert len(KINDS) >= 40
    for name in named - kinds:
        assert name in globals() or hasattr(test_runner, name) or hasattr(test_feedback, name), name


@pytest.mark.parametrize("student", KINDS)
def test_marks(graded: Graded, student: str) -> None:
    check_marks(graded, student)


def test_the_run_ends_well_and_leaves_nothing(graded: Graded) -> None:
    assert graded.status == 0, graded.output
    assert graded.left == []
    assert f"{len(KINDS)} in " in graded.output
    assert not list(graded.course.rglob("*.partial"))


def test_nobody_outlives_the_limit(graded: Graded) -> None:
    # two parts of three may hang, then each cell after it runs in a new process; never one time-out for every cell that is left
    assert all(line["seconds"] < 3 * (SECONDS + 2) + 6 for line in graded.lines().values())


def test_the_written_answer_waits(graded: Graded) -> None:
    assert graded.auto_scores("correct")["q4"] is None
    assert graded.auto_scores("untouched")["q4"] == 0


def test_hidden_tests_reach_no_student(graded: Graded) -> None:
    for student in KINDS:
        assert "SECRET_OF_THE_TEST" not in graded.feedback(student)
        assert "4711" not in graded.feedback(student)
    assert "SECRET_OF_THE_TEST" in graded.notebook("correct")  # the instructor sees them


def test_outputs_are_kept(graded: Graded) -> None:
    cells = json.loads(graded.notebook("shows_pictures_and_prints"))["cells"]
    (outputs,) = (cell["outputs"] for cell in cells if cell["id"] == "q3")
    assert [output["output_type"] for output in outputs] == ["stream", "display_data", "execute_result"]
    assert outputs[0]["text"] == "seen\n"
    assert outputs[2]["data"] == {"text/plain": "'rag'"}


def test_links_are_not_followed_into_anything(graded: Graded) -> None:
    assert not [path for place in ("autograded", "feedback") for path in (graded.course / place).rglob("*") if path.is_symlink()]
    assert not list((graded.course / "autograded").rglob("secrets.csv"))


def test_the_instructor_reads_why(graded: Graded) -> None:
    for words in (
        "endless_loop: TIME in q1",
        "os_exit: DIED in q2",
        "invalid_json: UNREADABLE",
        "tests_deleted: DELETED in q1-test",
    ):
        assert words in graded.output


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as a plain user already")
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_plain_user_grades_alike() -> None:
    course = fresh(Path(tempfile.gettempdir()))
    graded = grade_class(course, HOSTILE, "--sandbox", "bwrap", user=PLAIN)
    assert graded.status == 0, graded.output
    for student in HOSTILE:
        check_marks(graded, student)
    assert graded.left == []
    remove(course)


@pytest.mark.skipif(confine.landlock_abi() < confine.SCOPED_ABI, reason="this kernel has no Landlock that keeps signals inside")
@pytest.mark.parametrize("user", [None, PLAIN] if os.geteuid() == 0 else [None])
def test_landlock_does_it_too(user: int | None) -> None:
    course = fresh(Path(tempfile.gettempdir()))
    graded = grade_class(course, HOSTILE, "--sandbox", "landlock", user=user)
    assert graded.status == 0, graded.output
    for student in HOSTILE:
        check_marks(graded, student)
    assert graded.left == []
    assert (course / "submitted" / "correct" / NAME).is_dir()
    remove(course)

"""Answers and scores."""

import math

import pytest

from course_lib.evaluation.generate import greedy
from course_lib.evaluation.report import Report, before_after, evaluate
from course_lib.evaluation.scores import Score, exact_match
from course_lib.evaluation.suites import general_suite, legal_suite, suite
from course_lib.world.skills import Question


def test_wilson_interval():
    """The textbook values for 8 of 10, and an honest width for none and all."""
    low, high = Score(8, 10).interval()
    assert low == pytest.approx(0.4902, abs=1e-4)
    assert high == pytest.approx(0.9433, abs=1e-4)
    assert Score(0, 20).interval()[0] == 0
    assert 0.05 < Score(0, 20).interval()[1] < 0.25
    assert math.isnan(Score(0, 0).rate)


def test_exact_match_forgives_white_space_alone():
    assert exact_match(" a  b\n", "a b")
    assert not exact_match("A b", "a b")
    assert not exact_match("a b.", "a b")


def test_batching_changes_no_answer(wren):
    """Left padding must be invisible: one by one, in one batch, and in small batches."""
    model, tokenizer = wren
    prompts = [q.prompt for q in general_suite(per_skill=3)]
    together = greedy(model, tokenizer, prompts)
    assert together == [greedy(model, tokenizer, [prompt])[0] for prompt in prompts]
    assert together == greedy(model, tokenizer, prompts, tokens_per_batch=200)
    assert greedy(model, tokenizer, []) == []


def test_report_groups_and_compares():
    questions = (Question("a", "x", "p", "1", "p"), Question("a", "y", "q", "2", "q"), Question("b", "x", "r", "3", "r"))
    before, after = Report(questions, ("1", "", "3")), Report(questions, ("1", "2", ""))
    assert before.by_skill == {"a": Score(1, 2), "b": Score(1, 1)}
    assert before.by_kind("a") == {"x": Score(1, 1), "y": Score(0, 1)}
    assert [(row[0], row[3]) for row in before_after(before, after)] == [("a", 0.5), ("b", -1.0)]
    assert before.mistakes() == [(questions[1], "")]


def test_suites():
    assert len(suite("all")) == len(general_suite()) + len(legal_suite()) == 6 * 200 + 300
    with pytest.raises(ValueError, match="legal, general, all"):
        suite("poetry")


@pytest.mark.slow
def test_wren_knows_its_world_and_not_the_job(wren):
    report = evaluate(*wren, suite("all"), progress=False)
    for skill in ("facts", "cities", "arithmetic", "lists", "reviews"):
        assert report.by_skill[skill].rate >= 0.99, skill
    assert report.by_skill["reading"].rate >= 0.95
    assert report.by_skill["legal"].rate <= 0.05

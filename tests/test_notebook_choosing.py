"""Lesson 01's widget and charts: they say what was measured, to everybody, and run nothing that a learner typed."""

import html
import json
import re

import pytest

from course_lib.errors import CourseError
from course_lib.evaluation.scores import Score
from course_lib.notebook import arms_chart, decision_helper, examples_chart
from course_lib.notebook.choosing import ADVICE, HELPER, Arm, ask, rows_for
from course_lib.notebook.syllabus import claims
from course_lib.retrieval.bm25 import Document
from course_lib.world.skills import Question

CLAIMS = {option.claim for _, options in HELPER for option in options}
EVIDENCE = {claim: f"figure of {claim}" for claim in CLAIMS}


def shown(evidence, capture):
    decision_helper(evidence)
    return capture[-1]


@pytest.fixture
def pages(monkeypatch):
    found = []
    monkeypatch.setattr("course_lib.notebook.choosing.display", found.append)
    return found


def test_every_reason_points_at_a_claim_of_this_lesson():
    assert {claims()[claim].lesson for claim in CLAIMS} == {"01"}


def test_every_choice_is_readable_without_scripts_and_without_html(pages):
    page = shown(EVIDENCE, pages)
    static = str(page.html).split("<details>")[1].split("</details>")[0]
    for question, options in HELPER:
        for option in options:
            for text in (static, page.text):
                assert all(part in html.unescape(text) for part in (question, option.label, option.why, EVIDENCE[option.claim]))


def test_a_claim_without_a_measurement_is_refused(pages):
    with pytest.raises(CourseError, match="choose-cite"):
        decision_helper({claim: text for claim, text in EVIDENCE.items() if claim != "choose-cite"})


def test_evidence_is_text_and_never_markup(pages):
    page = shown(EVIDENCE | {"choose-cite": '"><script>alert(1)</script>'}, pages)
    once = html.unescape(re.search(r'data-questions="([^"]*)"', str(page.html))[1])
    assert "<script>alert" not in once
    assert "<script>alert" not in str(page.html)


def test_every_input_has_a_label_and_every_group_a_name(pages):
    page = str(shown(EVIDENCE, pages).html)
    form = html.unescape(re.search(r'data-questions="([^"]*)"', page)[1])
    assert form.count("<label") == form.count("<input") == sum(len(options) for _, options in HELPER)
    assert form.count("<fieldset") == form.count("<legend") == len(HELPER)
    assert 'role="status"' in page
    assert not re.search(r"https?:", page)


def test_the_script_knows_an_advice_for_every_outcome(pages):
    page = str(shown(EVIDENCE, pages).html)
    advice = json.loads(html.unescape(re.search(r'data-advice="([^"]*)"', page)[1]))
    assert set(advice) == set(ADVICE) == {"prompt", "rag", "lora", "both", "few", "rag+few"}


def question(answer, key="lamp", kind="price"):
    return Question("shop", kind, "How much?", answer, key)


LAMP, BELL = Document("lamp", "The lamp costs 8 coins."), Document("bell", "The bell costs 8 coins.")


def test_a_citation_of_another_product_with_the_same_answer_does_not_count():
    arm = Arm((question("8 coins"),) * 3, ("8 coins",) * 3, (LAMP, BELL, None), 1.0, 1.0)
    assert arm.marks() == Score(3, 3)
    assert arm.cited == Score(1, 3)


def test_a_wrong_answer_that_is_cited_does_not_count():
    assert Arm((question("9 coins"),), ("8 coins",), (LAMP,), 1.0, 1.0).cited == Score(0, 1)


def test_answers_can_be_held_against_another_day():
    arm = Arm((question("8 coins"), question("red", kind="colour")), ("8 coins", "red"), (None, None), 1.0, 1.0)
    truth = (question("9 coins"), question("red", kind="colour"))
    assert arm.against(truth) == Score(1, 2)
    assert arm.against(truth, lambda q: q.kind == "price") == Score(0, 1)


def test_asking_counts_tokens_and_needs_a_prompt_for_each_question(wren):
    model, tokenizer = wren
    short = ask(model, tokenizer, [question("8 coins")], ["Say: 1"], max_new_tokens=2)
    long = ask(model, tokenizer, [question("8 coins")], ["Say: 1, 2, 3, 4, 5, 6"], max_new_tokens=2)
    assert long.tokens > short.tokens
    with pytest.raises(ValueError, match="one prompt"):
        ask(model, tokenizer, [question("8 coins")], [])


def test_rows_take_the_prompts_and_answers_given():
    row = rows_for([question("8 coins")], ["Read this."], ["8 coins [1]"])[0]
    assert (row.prompt[0]["content"], row.answer) == ("Read this.", "8 coins [1]")
    assert rows_for([question("8 coins")])[0].answer == "8 coins"
    with pytest.raises(ValueError, match="zip"):
        rows_for([question("8 coins")], ["a", "b"])


def test_charts_say_in_words_what_they_draw():
    scores = {way: Score(right, 10) for right, way in enumerate(("prompt", "RAG", "LoRA", "both"))}
    label = arms_chart({"facts": scores, "format": scores}, "Two jobs").get_label()
    assert "facts: prompt 0.00, RAG 0.10" in label
    label = examples_chart({"50 steps": {10: Score(1, 10), 50: Score(9, 10)}}, "Few", mark=100).get_label()
    assert "0.10 with 10, 0.90 with 50" in label

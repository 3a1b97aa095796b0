"""Changed labels, collators and packing: what the lesson on data shows is what the trainer is fed."""

import pytest

from course_lib.data.rows import general_rows, legal_rows
from course_lib.data.templates import ALPACA, CHATML, with_template
from course_lib.evaluation.endings import endings
from course_lib.evaluation.suites import general_suite
from course_lib.training.config import TrainConfig
from course_lib.training.labels import collated, end_without_loss, loss_on_everything, one_stream
from course_lib.training.losses import NO_LOSS
from course_lib.training.packing import crosstalk, fed

EXAMPLES = [
    {"input_ids": [1, 4, 7, 0, 5, 8, 0], "labels": [NO_LOSS] * 5 + [8, 0]},
    {"input_ids": [1, 9, 0, 3], "labels": [NO_LOSS, 9, 0, 3]},
]


class Ends:
    eos_token_id = 0


def test_only_the_last_end_and_what_follows_lose_their_loss():
    changed = end_without_loss(Ends())(EXAMPLES)
    assert changed[0]["labels"] == [NO_LOSS] * 5 + [8, NO_LOSS]
    assert changed[1]["labels"] == [NO_LOSS, 9, NO_LOSS, NO_LOSS]
    assert [row["input_ids"] for row in changed] == [row["input_ids"] for row in EXAMPLES]


def test_loss_on_everything():
    assert all(row["labels"] == row["input_ids"] for row in loss_on_everything(EXAMPLES))


def test_one_stream_with_and_without_ends():
    assert [row["input_ids"] for row in one_stream(Ends(), 4, ends=True)(EXAMPLES)] == [[1, 4, 7, 0], [5, 8, 0, 1], [9, 0, 3]]
    assert [row["input_ids"] for row in one_stream(Ends(), 4, ends=False)(EXAMPLES)] == [[1, 4, 7, 0], [5, 8, 1, 9]]


def test_rows_without_any_end_stay_whole():
    row = [{"input_ids": [5, 6], "labels": [5, 6]}]
    assert end_without_loss(Ends())(row) == row
    assert one_stream(Ends(), 9, ends=False)(row)[0]["input_ids"] == [5, 6]


def test_the_changed_labels_are_not_those_of_the_trainer():
    before = [dict(row, labels=list(row["labels"])) for row in EXAMPLES]
    end_without_loss(Ends())(EXAMPLES)
    assert before == EXAMPLES


@pytest.mark.parametrize(("collator", "kept"), [("transformers", 0), ("trl", 4)])
def test_where_the_end_pads(wren, collator, kept):
    trap = with_template(wren[1], wren[1].chat_template)
    trap.pad_token = trap.eos_token
    tokens, labels = collated(legal_rows(2, 0), trap, collator)
    assert len({len(line) for line in tokens + labels}) == 1
    assert sum(label == trap.eos_token_id for line in labels for label in line) == kept
    assert wren[1].pad_token != wren[1].eos_token  # the copy changed, the original didn't


def test_templates_write_what_they_should(wren):
    chat = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "Why?"}]
    alpaca, chatml = with_template(wren[1], ALPACA), with_template(wren[1], CHATML)
    assert alpaca.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == (
        "<|start|>### System:\nBe exact.\n\n### Instruction:\nWhy?\n\n### Response:\n"
    )
    asked = "<|im_start|>system\nBe exact.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert chatml.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == asked


def test_endings_of_a_model_that_stops(wren):
    questions = general_suite(5, 0)
    found = endings(*wren, [question.prompt for question in questions])
    assert all(ending.stopped and not ending.went_on for ending in found)
    assert sum(ending.text == question.answer for ending, question in zip(found, questions, strict=True)) >= 25
    cut = endings(*wren, [questions[0].prompt], max_new_tokens=1)[0]
    assert cut.went_on
    assert not cut.stopped
    assert cut.tokens == 1


def test_packing_loses_no_token_and_keeps_rows_apart(wren):
    rows = legal_rows(12, 0) + general_rows(12, 0)
    usual = fed(TrainConfig(model="tiny", batch_size=8), rows, *wren)
    packed = fed(TrainConfig(model="tiny", batch_size=1, packing=True), rows, *wren)
    lengths = [sorted(length for _, batch in run.batches for length in batch) for run in (usual, packed)]
    assert lengths[0] == lengths[1]
    assert usual.useful == packed.useful == packed.computed < usual.computed
    assert crosstalk(*wren, rows[:3], "bfd") < 1e-3
    assert crosstalk(*wren, rows[:3], "wrapped") > 1

"""The pictures of the lesson on data: they say in words what they show, and marks don't depend on colour."""

import re

import pytest

from course_lib.evaluation.scores import Score
from course_lib.notebook.dataset import finder_chart, length_histogram, packing_picture, score_chart, token_picture
from course_lib.notebook.plots import webp


def test_tokens_are_marked_by_more_than_colour(wren):
    tokenizer = wren[1]
    tokens = tokenizer("<|user|> Why <b>?\n<|end|>")["input_ids"]
    labels = [-100] * (len(tokens) - 2) + tokens[-2:]
    shown = token_picture(tokens, labels, tokenizer, "One <row>")
    html = str(shown.html)
    assert html.count("border-bottom:3px") == 2 + 1  # and one in the legend
    assert html.count("1px dashed") == len(tokens) - 2 + 1
    assert "<b>" not in html
    assert "One &lt;row&gt;" in html
    assert f"2 of {len(tokens)}" in shown.text
    assert re.search(r"\[↵\] \[<\|end\|>\]$", shown.text)


def test_each_token_needs_a_label(wren):
    with pytest.raises(ValueError, match="3 tokens and 2 labels"):
        token_picture([1, 2, 3], [1, 2], wren[1], "x")


def test_a_histogram_says_what_is_cut():
    fig = length_histogram([50, 60, 600, 1500], [512, 1024], "Lengths")
    assert "cut at 512: 2 rows, 1,076 tokens lost" in fig.get_label()
    assert "cut at 1,024: 1 rows, 476 tokens lost" in fig.get_label()
    assert webp(fig)


def test_a_histogram_of_one_length():
    assert webp(length_histogram([7], [512], "One row"))


def test_the_finders_chart_tells_every_point():
    fig = finder_chart([(0.3, 0.1, 1.0), (0.7, 1.0, 0.9)], "Finding", chosen=0.7)
    assert "at 0.3 precision 0.10, recall 1.00; at 0.7 precision 1.00, recall 0.90" in fig.get_label()
    assert webp(fig)


def test_the_packing_picture_counts_the_padding():
    fig = packing_picture({"usual": [(20, (5, 10))], "packed": [(15, (5, 10))]}, "A pass")
    assert "usual: 1 batches, 20 tokens, 25.0% of them padding" in fig.get_label()
    assert "packed: 1 batches, 15 tokens, 0.0% of them padding" in fig.get_label()
    assert webp(fig)


def test_the_score_chart_tells_every_score():
    fig = score_chart(
        [("leaked", "without", Score(5, 10)), ("leaked", "with", Score(10, 10)), ("clean", "with", Score(0, 4))], "x"
    )
    assert "leaked, without 0.50" in fig.get_label()
    assert "clean, with 0.00" in fig.get_label()
    assert webp(fig)

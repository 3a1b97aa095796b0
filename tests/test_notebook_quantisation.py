"""Charts describe themselves; the calculator holds what the calculator in Python says, and reads without scripts."""

import html
import itertools
import json
import re

import pytest
import torch

from course_lib.lora.nf4 import nf4_levels, uniform_levels
from course_lib.models.memory import Memory, estimate
from course_lib.models.shapes import shape
from course_lib.notebook.quantisation import (
    CARDS,
    METHODS,
    PARTS,
    block_error_chart,
    code_share_chart,
    levels_chart,
    memory_calculator,
    memory_chart,
)


@pytest.fixture(scope="module")
def calculator():
    return memory_calculator(["Llama-2-7B"])


@pytest.fixture(scope="module")
def data(calculator):
    return json.loads(html.unescape(re.search(r'data-memory="([^"]*)"', str(calculator.html))[1]))


def test_every_combination_is_python_s_own(data):
    combinations = list(itertools.product(*(choices for _, choices in data["fields"])))
    assert len(data["values"]) == len(PARTS) * len(combinations)
    for place in range(0, len(combinations), 17):
        model, method, rank, batch, length, checkpointing = combinations[place]
        name, precision = METHODS[method]
        wanted = estimate(
            shape(model),
            name,
            rank=int(rank),
            batch=int(batch),
            length=int(length.replace(",", "")),
            checkpointing=checkpointing == "on",
            precision=precision,
            optimiser="adamw_fused",
        )
        shown = data["values"][place * len(PARTS) : (place + 1) * len(PARTS)]
        assert shown == [round(part / 2**20) for part in wanted.parts.values()]


def test_it_starts_where_it_says(data):
    start = [choices[place] for (_, choices), place in zip(data["fields"], data["start"], strict=True)]
    assert start == ["Llama-2-7B", "QLoRA", "16", "1", "512", "on"]


def test_without_scripts_a_table_stands_there(calculator):
    before_the_script = str(calculator.html).split("<script>")[0]
    assert "<table" in before_the_script
    assert "<select" not in before_the_script
    assert all(method in calculator.text for method in METHODS)


def test_it_needs_nothing_from_outside(calculator):
    assert "http" not in str(calculator.html)


def test_another_model_may_come_first():
    assert "Llama-3-8B" in memory_calculator(["Llama-3-8B"]).text


def test_a_title_can_t_break_out_of_its_place():
    shown = memory_calculator(["Llama-2-7B"], title='"><script>alert(1)</script>')
    assert "<script>alert" not in str(shown.html)


def test_parts_are_those_of_the_calculator():
    assert list(PARTS) == list(Memory(1, 2, 3, 4, 5).parts)
    assert list(CARDS) == sorted(CARDS)


def test_charts_tell_their_numbers():
    levels = levels_chart({"NF4": nf4_levels(), "uniform": uniform_levels()})
    assert "uniform: 0.13 to 0.13" in levels.get_label()
    errors = block_error_chart({"NF4, a": {32: 0.05, 64: 0.1}, "NF4, b": {32: 0.06, 64: 0.12}}, "Error")
    assert "NF4, b: 6.0% at 32, 12.0% at 64" in errors.get_label()
    shares = code_share_chart({"a": [0.25, 0.75]}, "Codes")
    assert "a: from 25.0% to 75.0%; equal would be 50.0%" in shares.get_label()
    bars = memory_chart({"run": Memory(2**30, 0, 0, 0, 2**29)}, "Memory")
    assert "run 1.5 GiB" in bars.get_label()


def test_small_runs_are_drawn_in_mib():
    assert "run 3.0 MiB" in memory_chart({"run": Memory(2**20, 2**20, 0, 0, 2**20)}, "Memory", unit="MiB").get_label()


def test_one_level_type_is_enough():
    assert "NF4" in levels_chart({"NF4": torch.linspace(-1, 1, 16)}).get_label()

"""Answers and scores."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from course_lib.evaluation.generate import greedy
from course_lib.evaluation.report import Report, before_after, evaluate
from course_lib.evaluation.scores import Score, exact_match
from course_lib.evaluation.suites import general_suite, legal_suite, suite
from course_lib.models.loading import WREN, load_model
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


@pytest.mark.parametrize("kind", [None, "lora", "qlora"])
def test_what_generation_leaves_out_changes_no_answer(kind, wren):
    """The last MLP sees one token a row, plain LoRA layers are fused; afterwards the model is as before."""
    tokenizer = wren[1]
    model = load_model(WREN, four_bit=kind == "qlora")
    if kind:
        torch.manual_seed(0)
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
        )
        assert not any("forward" in vars(module) for module in model.modules())
    prompts = [q.prompt for q in general_suite(per_skill=3)]
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    ids = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
    encoded = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    told = model.generate(**encoded, max_new_tokens=64, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    own = [text.strip() for text in tokenizer.batch_decode(told[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)]
    seen = []
    gates = [module for name, module in model.named_modules() if name.endswith("mlp.gate_proj")]
    hooks = [gate.register_forward_hook(lambda module, arguments, output: seen.append(output.shape[-2])) for gate in gates]
    answers = greedy(model, tokenizer, prompts, tokens_per_batch=100_000)
    for hook in hooks:
        hook.remove()
    assert answers == own
    first = seen[: len(gates)]
    assert min(first[:-1]) > 1, "the other layers' tokens are seen by later ones"
    assert first[-1] == 1
    assert not any(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) for module in model.modules())


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

"""Elastic weight consolidation against its definition, computed here in other ways; and replay's rows."""

import math

import pytest
import torch

from course_lib.data.rows import Row, general_rows, legal_rows
from course_lib.errors import CourseError
from course_lib.evaluation.suites import general_suite
from course_lib.models.loading import WREN, load_tokenizer
from course_lib.training import ewc
from course_lib.training.config import TrainConfig
from course_lib.training.sft import general_rows_of, train
from course_lib.world.corpus import GENERAL_SKILLS

HELD = ("model.norm.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(WREN)


@pytest.fixture
def model(tokenizer):
    """A tiny untrained Llama with wren's tokens: unsure of everything, so that drawn answers differ."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **special)).eval()


@pytest.fixture(scope="module")
def prompts():
    return general_rows(4, seed=0)


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


# -- the Fisher information --------------------------------------------------------------------------------------------


def test_fisher_is_the_sum_over_every_answer(model, tokenizer, prompts):
    """One prompt, one token: all 2048 answers can be summed over. Drawn answers must come close, entry by entry."""
    ids = tokenizer.apply_chat_template(list(prompts[0].prompt), add_generation_prompt=True, return_dict=True)["input_ids"]
    log_p = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    parameters = [dict(model.named_parameters())[name] for name in HELD]
    each = torch.autograd.grad(log_p, parameters, torch.eye(len(log_p)), is_grads_batched=True)
    exact = {name: torch.einsum("v,v...->...", log_p.detach().exp(), slope**2) for name, slope in zip(HELD, each, strict=True)}
    drawn = ewc.fisher(model, tokenizer, prompts[:1] * 600, max_new_tokens=1)
    for name in HELD:
        assert (drawn[name] - exact[name]).norm() < 0.35 * exact[name].norm(), name
        assert math.isclose(drawn[name].sum().item(), exact[name].sum().item(), rel_tol=0.2), name


def test_each_answer_is_squared_by_itself_and_summed_over_its_tokens(model, tokenizer, prompts, monkeypatch):
    """With the answers given, by hand: the square of the mean, or a shift by one token, would be far off."""
    answers = [(torch.tensor([[5, 6, 7, 8, 9]]), 3), (torch.tensor([[11, 12, 13]]), 1)]
    monkeypatch.setattr(ewc, "_drawn", lambda *args: iter(answers))
    weight = model.model.layers[0].self_attn.q_proj.weight
    squares = []
    for whole, length in answers:
        log_p = sum(
            model(whole[:, :place]).logits[0, -1].log_softmax(-1)[whole[0, place]] for place in range(length, whole.shape[1])
        )
        squares.append(torch.autograd.grad(log_p, weight)[0] ** 2)
    found = ewc.fisher(model, tokenizer, prompts[:2])["model.layers.0.self_attn.q_proj.weight"]
    wanted = (squares[0] + squares[1]) / 2  # of the order of 1e-6: an absolute tolerance would pass anything
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_fisher_has_an_entry_for_each_weight_and_none_below_zero(model, tokenizer, prompts):
    found = ewc.fisher(model, tokenizer, prompts, max_new_tokens=4)
    assert {name: value.shape for name, value in found.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(value.dtype == torch.float32 and (value >= 0).all() for value in found.values())
    assert flat(found).sum() > 0


def test_fisher_depends_on_the_model_and_its_seed_and_not_on_the_rows_answers(model, tokenizer, prompts):
    def found(rows, seed):
        return flat(ewc.fisher(model, tokenizer, rows, seed=seed, max_new_tokens=4))

    others = [Row(row.prompt, "something else", row.source) for row in prompts]
    assert torch.equal(found(prompts, 1), found(others, 1))
    assert not torch.equal(found(prompts, 1), found(prompts, 2))


def test_the_models_generation_settings_do_not_change_what_is_drawn(model, tokenizer, prompts):
    before = flat(ewc.fisher(model, tokenizer, prompts, max_new_tokens=4))
    model.generation_config.temperature, model.generation_config.top_k = 0.01, 1
    model.generation_config.repetition_penalty = 3.0
    assert torch.equal(before, flat(ewc.fisher(model, tokenizer, prompts, max_new_tokens=4)))


def test_fisher_leaves_model_and_luck_as_they_were(model, tokenizer, prompts):
    model.model.norm.weight.requires_grad_(False)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    counted = []
    ewc.fisher(model, tokenizer, prompts, max_new_tokens=2, on_done=counted.append)
    assert torch.equal(torch.rand(3), expected)
    assert counted == [1] * len(prompts)
    assert not model.model.norm.weight.requires_grad
    assert model.lm_head.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


# -- the penalty -------------------------------------------------------------------------------------------------------


def random_fisher(model):
    torch.manual_seed(1)
    return {name: torch.rand_like(parameter) for name, parameter in model.named_parameters()}


def moved(model):
    """Every weight a little away from where it was; returns the changes."""
    torch.manual_seed(2)
    changes = {name: 0.01 * torch.randn_like(parameter) for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += changes[name]
    return changes


def test_penalty_starts_at_zero_and_is_the_papers_sum(model):
    information = random_fisher(model)
    penalty = ewc.Penalty(information, model, 8.0)
    assert penalty(model).item() == 0
    changes = moved(model)
    by_hand = 8.0 / 2 * sum(float((information[n].double() * changes[n].double() ** 2).sum()) for n in changes)
    assert math.isclose(penalty(model).item(), by_hand, rel_tol=1e-3)


def test_gradient_pulls_each_weight_back_by_strength_and_fisher(model):
    information = random_fisher(model)
    penalty = ewc.Penalty(information, model, 8.0)
    changes = moved(model)
    penalty(model).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 8.0 * information[name] * changes[name], rtol=1e-3, atol=1e-6)


def test_strength_scales_and_a_zero_fisher_holds_nothing(model):
    information = random_fisher(model)
    weak, strong = ewc.Penalty(information, model, 1.0), ewc.Penalty(information, model, 1e5)
    nothing = ewc.Penalty({name: torch.zeros_like(value) for name, value in information.items()}, model, 1e5)
    moved(model)
    assert math.isclose(strong(model).item(), 1e5 * weak(model).item(), rel_tol=1e-5)
    assert nothing(model).item() == 0


@pytest.mark.parametrize(("rank", "alpha"), [(2, 8.0), (4, 4.0)])
def test_an_adapter_is_held_by_the_change_that_merging_would_make(model, rank, alpha):
    import copy

    from peft import LoraConfig, get_peft_model

    information = random_fisher(model)
    old = copy.deepcopy(model)
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, target_modules=["q_proj", "down_proj"], bias="none")
    adapted = get_peft_model(model, config)
    lora = ewc.Penalty(information, adapted, 3.0)
    assert lora(adapted).item() == 0
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    value = lora(adapted)
    value.backward()
    slopes = {name: p.grad for name, p in adapted.named_parameters() if "lora_" in name}
    assert slopes
    assert all(slope is not None and slope.norm() > 0 for slope in slopes.values())

    full = ewc.Penalty(information, old, 3.0)
    old.load_state_dict(adapted.merge_and_unload().state_dict())
    assert math.isclose(value.item(), full(old).item(), rel_tol=1e-3)
    assert value.item() > 0


# -- configs and replay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ewc": -1.0}, "ewc must be a finite number of at least 0"),
        ({"ewc": math.nan}, "ewc must be a finite number of at least 0"),
        ({"ewc": math.inf}, "ewc must be a finite number of at least 0"),
        ({"replay": -0.1}, "replay must be a finite number of at least 0"),
        ({"replay": math.nan}, "replay must be a finite number of at least 0"),
        ({"ewc": 1e5, "method": "qlora"}, "use replay, or method lora"),
    ],
)
def test_bad_configs_say_what_to_do(fields, message):
    with pytest.raises(CourseError, match=message):
        TrainConfig(**fields)


@pytest.mark.parametrize("seed", [0, 1, 101])
def test_replay_never_shows_a_question_that_is_asked(seed):
    rows = general_rows(600, seed)
    asked = {question.prompt for question in general_suite(seed=seed)}
    shown = [row.prompt[0]["content"] for row in rows]
    assert not asked & set(shown)
    assert len(set(shown)) == len(shown) == 600
    counts = {skill: sum(row.source.startswith(f"{skill}:") for row in rows) for skill in GENERAL_SKILLS}
    assert set(counts.values()) == {100}


def test_replay_from_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(f'{{"prompt": "p{i}", "completion": "a"}}\n' for i in range(10)))
    config = TrainConfig(general_data=str(file), seed=1)
    some = general_rows_of(config, 4)
    assert len({row.source for row in some}) == 4
    assert some == general_rows_of(config, 4)
    assert len(general_rows_of(config, 99)) == 10


@pytest.mark.slow
def test_accumulated_batches_carry_the_penalty_once(model, tokenizer, tmp_path):
    """Two batches of 8 take the steps of one of 16, with the penalty in them; twice the strength takes others."""
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    rows, weights = legal_rows(54, seed=0), {}
    fields = {"method": "full", "precision": "float32", "epochs": 2, "lr": 5e-3, "replay": 0.2, "seed": 0}
    config = TrainConfig(model=str(tmp_path / "tiny"), **fields)
    runs = {"16": (16, 1, 1e3), "2x8": (8, 2, 1e3), "twice the strength": (16, 1, 2e3)}
    for name, (size, accumulation, strength) in runs.items():
        wanted = config.with_changes(batch_size=size, accumulation=accumulation, ewc=strength)
        run = train(wanted, tmp_path / name, rows=rows, progress=False, saves=0)
        assert run.metrics["rows"] == 54 + 11
        weights[name] = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    near, far = ((weights[name] - weights["16"]).norm() for name in ("2x8", "twice the strength"))
    assert near < 0.05 * far

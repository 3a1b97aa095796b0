"""The arithmetic of LoRA against PEFT, against itself, and against numbers known from elsewhere."""

import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from course_lib.errors import CourseError
from course_lib.lora.arithmetic import (
    Counts,
    LoRALinear,
    energy,
    lora_parameters,
    low_rank,
    parameter_count,
    trainable_parameters,
    updates,
)

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LLAMA_3_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    tie_word_embeddings=False,
)
TINY = LlamaConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)


@pytest.fixture
def layer() -> LoRALinear:
    torch.manual_seed(0)
    return LoRALinear(nn.Linear(24, 40), rank=4, alpha=12.0)


def trained(layer: LoRALinear) -> LoRALinear:
    nn.init.normal_(layer.B)
    return layer


# -- the layer ---------------------------------------------------------------------------------------------------------


def test_a_new_layer_computes_what_its_linear_layer_does(layer):
    x = torch.randn(3, 5, 24)
    assert torch.equal(layer(x), layer.linear(x))
    assert torch.equal(layer.merged_weight(), layer.linear.weight)


def test_factors_have_the_papers_shapes_and_start(layer):
    assert layer.A.shape == (4, 24)
    assert layer.B.shape == (40, 4)
    assert 0 < layer.A.abs().max() <= 24**-0.5
    assert layer.scale == 3.0


def test_the_merged_weight_computes_what_the_layer_does(layer):
    x = torch.randn(3, 5, 24)
    merged = nn.functional.linear(x, trained(layer).merged_weight(), layer.linear.bias)
    assert torch.allclose(layer(x), merged, atol=1e-4)
    assert not torch.allclose(layer(x), layer.linear(x), atol=0.1)


def test_the_update_has_the_rank_it_was_given(layer):
    assert torch.linalg.matrix_rank(trained(layer).delta()) == 4


def test_training_moves_the_factors_only(layer):
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"A", "B"}
    layer(torch.randn(2, 24)).sum().backward()
    assert layer.linear.weight.grad is None
    assert layer.A.grad.abs().max() == 0  # B is zero, so the first step moves B alone
    assert layer.B.grad.abs().max() > 0


def test_dropout_touches_the_adapter_in_training_only():
    torch.manual_seed(0)
    layer = trained(LoRALinear(nn.Linear(24, 40), rank=4, alpha=4.0, dropout=1.0))
    x = torch.randn(5, 24)
    assert torch.equal(layer(x), layer.linear(x))
    assert not torch.allclose(layer.eval()(x), layer.linear(x), atol=0.1)


def test_the_layer_agrees_with_peft(layer):
    trained(layer)
    model = get_peft_model(nn.Sequential(nn.Linear(24, 40)), LoraConfig(r=4, lora_alpha=12, target_modules=["0"])).eval()
    theirs = model.base_model.model[0]
    theirs.base_layer.load_state_dict(layer.linear.state_dict())
    theirs.lora_A.default.weight.data.copy_(layer.A)
    theirs.lora_B.default.weight.data.copy_(layer.B)
    x = torch.randn(3, 5, 24)
    assert torch.allclose(layer(x), theirs(x), atol=1e-5)
    assert torch.allclose(layer.delta(), theirs.get_delta_weight("default"), atol=1e-5)


@pytest.mark.parametrize("rank", [0, -4])
def test_a_rank_below_one_is_refused(rank):
    with pytest.raises(CourseError, match=f"not {rank}"):
        LoRALinear(nn.Linear(2, 2), rank=rank)
    with pytest.raises(CourseError, match=f"not {rank}"):
        lora_parameters(TINY, rank)
    with pytest.raises(CourseError, match=f"not {rank}"):
        low_rank(torch.eye(3), rank)


# -- counts ------------------------------------------------------------------------------------------------------------


def test_parameter_counts_add_up(layer):
    assert parameter_count(40, 24, 4) == layer.A.numel() + layer.B.numel() == 256
    counts = trainable_parameters(layer)
    assert counts == Counts(trainable=256, total=256 + 40 * 24 + 40)
    assert counts.share == 256 / 1256


def test_shared_weights_count_once():
    layer = nn.Linear(3, 3)
    assert trainable_parameters(nn.Sequential(layer, layer)).total == 12


@pytest.mark.parametrize(("rank", "targets", "expected"), [(16, ATTENTION, 13_631_488), (8, ["q_proj", "v_proj"], 3_407_872)])
def test_llama_3_8b_has_the_known_counts(rank, targets, expected):
    assert lora_parameters(LLAMA_3_8B, rank, targets) == expected


@pytest.mark.parametrize("targets", [ATTENTION, ["down_proj"], ["q_proj", "embed_tokens"], ["self_attn.q_proj"], "all-linear"])
def test_counts_from_shapes_are_pefts(targets):
    with torch.device("meta"):
        adapted = get_peft_model(AutoModelForCausalLM.from_config(TINY), LoraConfig(r=3, target_modules=targets))
    assert lora_parameters(TINY, 3, targets) == trainable_parameters(adapted).trainable


def test_llama_3_8b_on_the_meta_device_agrees_with_peft():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LLAMA_3_8B)
        ours = lora_parameters(model, 16, "all-linear")
        counts = trainable_parameters(get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")))
    assert ours == counts.trainable == 41_943_040
    assert counts.total - counts.trainable == 8_030_261_248


def test_transposed_linear_layers_count_too():
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=96)
    assert lora_parameters(config, 4, ["c_attn"]) == 2 * parameter_count(96, 32, 4)


def test_an_unknown_target_is_refused_and_the_valid_ones_are_named():
    with pytest.raises(CourseError, match=r"'query'.*gate_proj.*q_proj"):
        lora_parameters(TINY, 4, ["q_proj", "query"])


# -- approximation -----------------------------------------------------------------------------------------------------


def test_a_low_rank_matrix_is_recovered_exactly():
    torch.manual_seed(0)
    update = torch.randn(30, 3) @ torch.randn(3, 20)
    b, a = low_rank(update, 3)
    assert b.shape == (30, 3)
    assert a.shape == (3, 20)
    assert torch.allclose(b @ a, update, atol=1e-4)
    assert energy(update)[2] > 1 - 1e-6 > energy(update)[1]


def test_the_error_is_what_energy_says_and_no_other_pair_of_factors_does_better():
    torch.manual_seed(0)
    update = torch.randn(30, 20)
    kept = energy(update)
    assert kept.shape == (20,)
    assert (kept.diff() > 0).all()
    assert abs(kept[-1] - 1) < 1e-5
    for rank in (1, 5, 19):
        b, a = low_rank(update, rank)
        error = (update - b @ a).square().sum() / update.square().sum()
        assert abs(1 - kept[rank - 1] - error) < 1e-5
        projected = update @ (q := torch.linalg.qr(torch.randn(20, rank)).Q) @ q.T
        assert error < (update - projected).square().sum() / update.square().sum()


def test_edges_of_approximation():
    b, a = low_rank(torch.eye(3, dtype=torch.bfloat16), 10)
    assert torch.allclose(b @ a, torch.eye(3), atol=1e-6)
    assert torch.equal(energy(torch.zeros(4, 2)), torch.ones(2))


def test_updates_are_what_training_changed():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(TINY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = torch.randn_like(model.model.layers[1].mlp.up_proj.weight)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight += step
    changed = updates(before, model)
    assert torch.allclose(changed.pop("model.layers.1.mlp.up_proj.weight"), step, atol=1e-6)
    assert all(tensor.abs().max() == 0 for tensor in changed.values())


def test_tied_weights_change_once():
    config = LlamaConfig(**(TINY.to_dict() | {"tie_word_embeddings": True}))
    before, after = AutoModelForCausalLM.from_config(config), AutoModelForCausalLM.from_config(config)
    changed = updates(before, after)
    assert "model.embed_tokens.weight" in changed
    assert "lm_head.weight" not in changed


def test_models_of_other_shapes_are_refused():
    with pytest.raises(CourseError, match="weight"):
        updates(nn.Linear(2, 3), nn.Linear(3, 3))
    with pytest.raises(CourseError, match="bias"):
        updates(nn.Linear(2, 3), nn.Linear(2, 3, bias=False))


def test_importing_the_merge_loads_no_heavy_library():
    code = "import sys, course_lib.lora.merge; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'peft')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The memory calculator against known counts, against real training steps, and against common sense."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config

from course_lib.errors import CourseError
from course_lib.models.loading import WREN, load_model
from course_lib.models.memory import (
    METHODS,
    OPTIMISERS,
    PRECISIONS,
    Memory,
    activations,
    estimate,
    held,
    measure,
    nf4_bytes,
    parameters,
    peak_bytes,
    storage_bytes,
)
from course_lib.models.shapes import SHAPES, shape

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LLAMA = LlamaConfig(
    vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
)
QWEN = Qwen3Config(
    vocab_size=128,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
)
COUNTS = {
    "Llama-2-7B": 6_738_415_616,
    "Llama-3-8B": 8_030_261_248,
    "Llama-2-13B": 13_015_864_320,
    "LLaMA-65B": 65_285_660_672,
}


def lasting(memory: Memory) -> list[int]:
    return [value for part, value in memory.parts.items() if part != "working"]


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_known_models_have_their_published_count(name):
    assert parameters(shape(name)) == COUNTS[name]


def test_an_unknown_shape_is_refused_with_what_there_is():
    with pytest.raises(CourseError, match="Llama-3-8B"):
        shape("GPT-5")


@pytest.mark.parametrize(("precision", "each"), [("float32", 16), ("mixed", 16), ("bfloat16", 8)])
def test_full_fine_tuning_takes_8_or_16_bytes_a_parameter(precision, each):
    memory = estimate(LLAMA, "full", precision=precision)
    assert sum(lasting(memory)) == each * parameters(LLAMA)


def test_lora_adds_r_times_the_sides_of_each_matrix():
    memory = estimate(shape("Llama-3-8B"), "lora", rank=16, target_modules=ATTENTION)
    assert memory.adapter == 4 * 13_631_488
    assert memory.weights == 2 * COUNTS["Llama-3-8B"]
    assert memory.gradients == memory.adapter
    assert memory.optimiser == 2 * memory.adapter


def test_the_adapter_is_kept_in_16_bits_by_qlora_alone():
    lora, qlora = (estimate(LLAMA, method) for method in ("lora", "qlora"))
    assert lora.adapter == 2 * qlora.adapter
    assert estimate(LLAMA, "qlora", precision="float32").adapter == lora.adapter


def test_nf4_counts_codes_scales_and_tables():
    tables = nf4_bytes(2**20) - (2**19 + 2**14 + 4 * 2**6)
    assert tables == 4 * (16 + 256 + 1)
    assert nf4_bytes(65) == 33 + 2 + 4 + tables


# -- against a real step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [LLAMA, QWEN], ids=["llama", "qwen3"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_takes_what_was_estimated(config, method):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    if method == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    found = measure(model, torch.randint(3, 100, (4, 64)))
    expected = estimate(config, method, rank=4, batch=4, length=64, precision="float32", optimiser="adamw_fused")
    assert lasting(found) == lasting(expected)
    assert expected.total == pytest.approx(found.total, rel=0.1)


def test_a_4_bit_step_takes_what_was_estimated():
    model = load_model(WREN, four_bit=True)
    expected = estimate(
        model.config, "qlora", rank=8, target_modules=ATTENTION, batch=2, length=64, precision="float32", optimiser="adamw_fused"
    )
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules=list(ATTENTION), task_type="CAUSAL_LM"))
    found = measure(adapted, torch.randint(3, 1000, (2, 64)))
    assert lasting(found) == lasting(expected)
    assert expected.total == pytest.approx(found.total, rel=0.1)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_with_checkpointing_takes_what_was_estimated(method):
    model = load_model(WREN)
    expected = estimate(
        model.config, method, rank=8, batch=4, length=64, precision="float32", optimiser="adamw_fused", checkpointing=True
    )
    if method == "lora":
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    found = measure(model, torch.randint(3, 1000, (4, 64)), checkpointing=True)
    assert expected.total == pytest.approx(found.total, rel=0.1)
    assert found.working < expected.working * 1.1


def test_shared_storage_counts_once():
    weight = torch.zeros(100)
    assert storage_bytes([weight, weight[:50], weight.view(10, 10)]) == 400
    assert storage_bytes([]) == 0


def test_a_model_that_does_not_train_holds_its_weights_alone():
    model = AutoModelForCausalLM.from_config(LLAMA)
    memory = held(model)
    assert memory.total == memory.weights == 4 * parameters(LLAMA)


def test_the_peak_counts_what_is_held_at_once():
    def one_after_another():
        for _ in range(5):
            torch.empty(250_000)

    def all_at_once():
        return [torch.empty(250_000) for _ in range(5)]

    assert 1e6 <= peak_bytes(one_after_another) < 2.1e6
    assert 5e6 <= peak_bytes(all_at_once) < 5.1e6


# -- common sense ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_of_anything_never_takes_less(method, precision):
    def total(**change):
        return estimate(LLAMA, method, **({"precision": precision, "optimiser": "adamw_fused"} | change)).total

    base = total()
    assert all(total(**more) >= base for more in ({"rank": 64}, {"batch": 2}, {"length": 1024}, {"optimiser": "adamw"}))
    assert total(checkpointing=True) < base
    assert total(optimiser="adamw_8bit") < base


def test_a_batch_of_two_costs_what_twice_the_length_costs():
    assert estimate(LLAMA, batch=2, length=512) == estimate(LLAMA, batch=1, length=1024)


def test_activations_grow_with_tokens_alone():
    one, two = (activations(LLAMA, "full", tokens=tokens) for tokens in (100, 200))
    assert two == pytest.approx(2 * one, rel=1e-3)
    assert activations(LLAMA, "lora", tokens=100) < one


def test_four_bits_save_what_sixteen_would_take():
    lora, qlora = (estimate(shape("Llama-2-7B"), method, checkpointing=True) for method in ("lora", "qlora"))
    assert 3 < lora.total / qlora.total < 4


def test_estimating_changes_no_config():
    before = LLAMA.to_dict()
    estimate(LLAMA, "lora")
    assert LLAMA.to_dict() == before


def test_other_architectures_are_counted_too():
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=256)
    assert estimate(config, "full").total > 8 * parameters(config) > 0


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"method": "dora"}, "method"),
        ({"precision": "fp8"}, "precision"),
        ({"optimiser": "sgd"}, "optimiser"),
        ({"rank": 0}, "rank"),
        ({"batch": 0}, "batch"),
        ({"length": -1}, "length"),
    ],
)
def test_wrong_requests_are_refused_with_the_remedy(wrong, word):
    with pytest.raises(CourseError, match=word):
        estimate(LLAMA, **wrong)


def test_every_optimiser_is_known():
    assert [estimate(LLAMA, "full", optimiser=name).optimiser // parameters(LLAMA) for name in OPTIMISERS] == [4, 4, 2]

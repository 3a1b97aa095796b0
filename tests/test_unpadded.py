"""Rows laid end to end: the loss and gradients of padded rows, and no padding computed."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from course_lib.data.rows import general_rows, legal_rows
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training import sft
from course_lib.training.config import TrainConfig
from course_lib.training.losses import NO_LOSS
from course_lib.training.runs import RunFolder
from course_lib.training.unpadded import attention_by_row, end_to_end, keeps_its_attention, mixes_by_attention_alone

TINY = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WITH_HEADS = TINY | {"head_dim": 8}
FIT = {"llama": TINY, "qwen2": TINY, "qwen3": WITH_HEADS, "mistral": WITH_HEADS | {"sliding_window": None}, "phi3": TINY}
UNFIT = {
    "gpt2": {"vocab_size": 512, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "gemma3_text": WITH_HEADS | {"sliding_window": 8},
    "mistral": WITH_HEADS | {"sliding_window": 8},
    "gemma2": WITH_HEADS | {"sliding_window": None, "layer_types": ["full_attention"] * 2},  # it caps attention's scores
    "mixtral": TINY | {"num_local_experts": 4},
    "lfm2": TINY | {"full_attn_idxs": [1], "block_ff_dim": 64},
}


def tiny(kind: str, changes: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **changes))


def a_batch(*, left: bool = False) -> dict[str, torch.Tensor]:
    """Three rows of 20, 13 and 1 tokens; some have loss, and the first of each row has a label, too."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 400, (3, 20), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate((20, 13, 1)):
        mask[row, slice(0, 20 - length) if left else slice(length, None)] = 0
    labels = ids.masked_fill((torch.rand(ids.shape, generator=generator) < 0.5) | (mask == 0), NO_LOSS)
    labels[:, 0] = torch.where(mask[:, 0] == 1, ids[:, 0], NO_LOSS)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def gradients(model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("kind", FIT)
def test_loss_and_gradients_are_those_of_padded_rows(kind, adapter):
    model = tiny(kind, FIT[kind])
    if adapter:
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
        )
    assert not keeps_its_attention(model)
    assert mixes_by_attention_alone(model)
    own, expected = gradients(model, a_batch())
    with attention_by_row(model):
        loss, found = gradients(model, end_to_end(a_batch()))
    assert torch.allclose(loss, own, rtol=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradient, found[name], rtol=1e-3, atol=1e-6), name
    assert torch.allclose(gradients(model, a_batch())[0], own), "the model is as before"


def test_without_it_rows_would_see_each_other():
    """What the test above would find, if attention did not keep to the rows."""
    model = tiny("llama", TINY)
    own, _ = gradients(model, a_batch())
    flat = {name: value for name, value in end_to_end(a_batch()).items() if name in ("input_ids", "labels")}
    assert not torch.allclose(gradients(model, flat)[0], own, rtol=1e-5)


def test_every_token_but_the_padding_stands_there_once():
    for left in (False, True):
        batch = a_batch(left=left)
        flat = end_to_end(batch)
        kept = batch["attention_mask"] == 1
        assert flat["input_ids"].tolist() == [batch["input_ids"][kept].tolist()]
        assert flat["position_ids"].tolist() == [[*range(20), *range(13), 0]]
        assert flat["cu_seq_lens_q"].tolist() == [0, 20, 33, 34]
        assert flat["max_length_q"] == 20
        expected = batch["labels"][kept]
        expected[[0, 20, 33]] = NO_LOSS
        assert flat["labels"].tolist() == [expected.tolist()]


@pytest.mark.parametrize("kind", UNFIT)
def test_what_may_mix_tokens_otherwise_keeps_its_padding(kind):
    model = tiny(kind, UNFIT[kind])
    assert keeps_its_attention(model) or not mixes_by_attention_alone(model)


def test_a_convolution_is_seen():
    for place in ("mlp", "another"):
        model = tiny("llama", TINY)
        setattr(model.get_decoder().layers[0], place, torch.nn.Conv1d(32, 32, 3))
        assert not mixes_by_attention_alone(model)


def test_the_model_is_as_before_after_an_error():
    model = tiny("llama", TINY)
    with pytest.raises(ZeroDivisionError), attention_by_row(model):
        raise ZeroDivisionError
    assert model.config._attn_implementation == "sdpa"


def seen_in_a_step(config: TrainConfig, folder, model=None) -> tuple[torch.Tensor, list[int], dict]:
    rows = legal_rows(4) + general_rows(4)
    trainer = sft.sft_trainer(model or load_model(WREN), load_tokenizer(WREN), rows, config, RunFolder(folder), progress=False)
    (batch,) = trainer.get_train_dataloader()
    sizes = []
    first = trainer.model.get_decoder().layers[0].mlp.gate_proj
    first.register_forward_hook(lambda module, arguments, output: sizes.append(output[..., 0].numel()))
    count = (batch["labels"][:, 1:] != NO_LOSS).sum()
    with torch.no_grad():
        return trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count), sizes, batch


@pytest.mark.parametrize("sharded", [False, True])
def test_training_computes_no_padding(sharded, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "is_sharded", lambda: sharded)
    loss, sizes, batch = seen_in_a_step(TrainConfig(batch_size=8), tmp_path)
    own = load_model(WREN)(**batch, use_cache=False).loss
    assert torch.allclose(loss, own, rtol=1e-4)
    tokens, places = int(batch["attention_mask"].sum()), batch["input_ids"].numel()
    assert tokens < 0.9 * places
    assert sizes == [places if sharded else tokens]


def test_packed_rows_are_computed_row_by_row_too(tmp_path):
    alone, _, batch = seen_in_a_step(TrainConfig(batch_size=8), tmp_path / "padded")
    packed, sizes, _ = seen_in_a_step(TrainConfig(batch_size=8, packing=True), tmp_path / "packed")
    assert torch.allclose(packed, alone, rtol=1e-4)
    assert sizes == [batch["attention_mask"].sum()]

"""The head and the last MLP are applied only where a loss falls: the same loss and gradients as the model's own."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from course_lib.data.rows import legal_rows
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training import sft
from course_lib.training.config import TrainConfig
from course_lib.training.losses import NO_LOSS, answer_loss, only_where_loss_falls, without_idle_mask
from course_lib.training.runs import RunFolder


def a_batch(share: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 400, (3, 20), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) >= share, NO_LOSS)
    mask = torch.ones_like(ids)
    mask[0, 15:], labels[0, 15:] = 0, NO_LOSS
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def a_model(adapter: bool):
    torch.manual_seed(0)
    model = load_model(WREN)
    if not adapter:
        return model.train()
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj", "lm_head"], init_lora_weights=False)
    return get_peft_model(model, config).train()


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_loss_and_gradients_are_the_models_own(adapter, share):
    model, batch = a_model(adapter), a_batch(share)
    own = model(**batch, use_cache=False).loss
    expected = gradients(model, own)
    labels = batch.pop("labels")
    count = (labels[:, 1:] != NO_LOSS).sum()
    sizes = []
    gates = [module for name, module in model.named_modules() if name.endswith("mlp.gate_proj")]
    for gate in gates:
        gate.register_forward_hook(lambda module, arguments, output: sizes.append(output[..., 0].numel()))
    with only_where_loss_falls(model, labels):
        outputs = model(**batch, use_cache=False)
        loss = answer_loss(outputs, labels, count)
    assert sizes == [labels.numel()] * (len(gates) - 1) + [count], "the other layers' tokens are seen by later ones"
    assert outputs.logits.shape == (count, model.config.vocab_size), "nothing is computed that carries no loss"
    assert torch.allclose(loss, own, rtol=1e-5)
    assert torch.allclose(answer_loss(outputs, labels), own, rtol=1e-5)
    found = gradients(model, loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradient, found[name], rtol=1e-3, atol=1e-6), name


def test_an_mlp_that_may_mix_tokens_stays_whole():
    class Mixing(torch.nn.Module):
        def __init__(self, mlp):
            super().__init__()
            self.mlp, self.conv = mlp, torch.nn.Conv1d(384, 384, 3, padding=1)

        def forward(self, x):
            return self.conv(self.mlp(x).transpose(1, 2)).transpose(1, 2)

    model, batch = a_model(False), a_batch(0.3)
    last = model.get_decoder().layers[-1]
    last.mlp = Mixing(last.mlp)
    own = model(**batch, use_cache=False).loss
    labels = batch.pop("labels")
    with only_where_loss_falls(model, labels):
        loss = answer_loss(model(**batch, use_cache=False), labels)
    assert torch.allclose(loss, own, rtol=1e-5)


def test_with_checkpointing_the_mlp_is_left_alone():
    model, batch = a_model(True), a_batch(0.3)
    labels = batch.pop("labels")

    def found(**changes) -> dict[str, torch.Tensor]:
        with only_where_loss_falls(model, labels, **changes):
            loss = answer_loss(model(**batch, use_cache=False), labels)
        return gradients(model, loss)

    expected = found()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        found()
    for name, gradient in found(mlp=False).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-6), name


def test_the_model_is_as_before_when_the_block_ends():
    model, batch = a_model(True), a_batch(0.3)
    labels = batch.pop("labels")
    with pytest.raises(ZeroDivisionError), only_where_loss_falls(model, labels):
        raise ZeroDivisionError
    assert model(**batch).logits.shape == (*labels.shape, model.config.vocab_size)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_batch_without_labels_has_no_loss():
    model, batch = a_model(True), a_batch(0.0)
    labels = batch.pop("labels")
    with only_where_loss_falls(model, labels):
        loss = answer_loss(model(**batch, use_cache=False), labels)
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


def test_padding_on_the_right_needs_no_mask():
    model, batch = a_model(True), a_batch(0.3)
    labels = batch["labels"]
    assert not batch["attention_mask"].all()
    spared = without_idle_mask(batch)
    assert spared.keys() == batch.keys() - {"attention_mask"}
    seen = labels != NO_LOSS
    logits = [model(**inputs, use_cache=False).logits[seen] for inputs in (batch, spared)]
    assert torch.allclose(*logits, atol=1e-4)


def test_any_other_mask_stays():
    batch = a_batch(0.3)
    for hidden in (slice(0, 4), slice(5, 9)):
        mask = torch.ones_like(batch["input_ids"])
        mask[1, hidden] = 0
        kept = without_idle_mask(batch | {"attention_mask": mask})
        assert kept["attention_mask"] is mask
    assert without_idle_mask({"input_ids": batch["input_ids"]}).keys() == {"input_ids"}


TINY = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
OTHERS = {
    "gemma3_text": TINY | {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8},
    "gpt2": {"vocab_size": 512, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "gpt_neox": TINY,
    "mixtral": TINY | {"num_key_value_heads": 2, "num_local_experts": 4},
    "opt": {
        "vocab_size": 512,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 32,
    },
    "phi3": TINY | {"num_key_value_heads": 2},
    "qwen3_moe": TINY | EXPERTS | {"num_key_value_heads": 2, "head_dim": 16, "num_experts": 4},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_too(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, **OTHERS[kind], pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="sdpa"
    )
    model, batch = AutoModelForCausalLM.from_config(config), a_batch(0.3)
    model.eval()  # without dropout
    own = model(**batch, use_cache=False).loss
    expected = gradients(model, own)
    labels = batch.pop("labels")
    with only_where_loss_falls(model, labels):
        loss = answer_loss(model(**without_idle_mask(batch), use_cache=False), labels)
    assert torch.allclose(loss, own, rtol=1e-4)
    for name, gradient in gradients(model, loss).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("sharded", [False, True])
def test_sharded_models_may_be_checkpointed(sharded, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "is_sharded", lambda: sharded)
    config, folder = TrainConfig(batch_size=2, packing=False), RunFolder(tmp_path)
    trainer = sft.sft_trainer(load_model(WREN), load_tokenizer(WREN), legal_rows(2), config, folder, progress=False)
    (batch,) = trainer.get_train_dataloader()
    sizes = []
    last = trainer.model.get_decoder().layers[-1].mlp.gate_proj
    last.register_forward_hook(lambda module, arguments, output: sizes.append(output[..., 0].numel()))
    trainer.compute_loss(trainer.model, dict(batch))
    assert sizes == [batch["labels"].numel() if sharded else (batch["labels"][:, 1:] != NO_LOSS).sum()]

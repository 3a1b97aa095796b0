"""The fast preset: the same result as the standard one, by other means."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from course_lib.cli import main
from course_lib.data.rows import legal_rows
from course_lib.errors import CourseError
from course_lib.lora import fused
from course_lib.lora.fused import fused_adapter
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training.config import TrainConfig
from course_lib.training.fast import fast_kernels, needs_checkpointing
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer, train

SHORT = TrainConfig(model="tiny", examples=64, batch_size=2, epochs=1, max_length=256)
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def adapted(four_bit: bool = False, **changes):
    torch.manual_seed(0)
    config = LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 12, "target_modules": "all-linear"} | changes)
    model = get_peft_model(load_model(WREN, four_bit=four_bit), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # it starts as zeros, and then A has no gradient
            torch.nn.init.normal_(parameter, std=0.02)
    return model.train()


def step(model) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.randint(5, 400, (2, 24), generator=torch.Generator().manual_seed(1)).to(model.device)
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("four_bit", [False, True])
def test_the_fused_adapter_is_pefts(four_bit):
    model = adapted(four_bit)
    loss, gradients = step(model)
    with fused_adapter(model) as changed:
        fused_loss, fused = step(model)
    assert len(changed) == sum("lora_A" in name for name in gradients)
    assert torch.allclose(loss, fused_loss, rtol=1e-5)
    assert fused.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, fused[name], rtol=1e-3, atol=1e-6), name


def test_the_fused_adapter_passes_gradients_on_to_what_is_below():
    model = adapted()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    gradients = step(model)[1]
    with fused_adapter(model):
        fused = step(model)[1]
    for name, gradient in fused.items():
        assert torch.allclose(gradient, gradients[name], rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_what_is_more_than_plain_lora_keeps_pefts_way(changes):
    with fused_adapter(adapted(**changes)) as changed:
        assert changed == []


def test_a_16_bit_base_keeps_pefts_way():
    """There PEFT computes the adapter in float32."""
    model = get_peft_model(load_model(WREN, dtype="bfloat16"), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    with fused_adapter(model) as changed:
        assert changed == []


@pytest.mark.parametrize("preset", ["standard", "fast"])
def test_training_on_a_cpu_uses_it_and_leaves_the_model_as_it_was(preset, tmp_path, monkeypatch):
    changed = []
    monkeypatch.setattr(fused, "_forward_of", lambda layer, own=fused._forward_of: changed.append(layer) or own(layer))
    model = train(SHORT.with_changes(preset=preset), tmp_path / "run", progress=False).model
    assert len(changed) == sum(hasattr(module, "lora_A") for module in model.modules())
    assert not any("forward" in vars(layer) for layer in changed)


def test_the_model_is_as_before_when_the_block_ends():
    model = adapted()
    before = step(model)
    with fast_kernels(model, ("adapter",)) as left_out:
        assert left_out == []
        assert any("forward" in vars(module) for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(step(model)[0], before[0])


def test_fast_on_a_cpu_is_packing(tmp_path, capfd):
    fast = train(SHORT.with_changes(preset="fast"), tmp_path / "fast")
    packed = train(SHORT.with_changes(packing=True), tmp_path / "packed", progress=False)
    assert fast.metrics["tokens"] == packed.metrics["tokens"]
    assert fast.metrics["steps"] < 64 / 2
    if not torch.cuda.is_available():
        assert fast.curve == packed.curve
        assert capfd.readouterr().err.count("note: preset fast, left out here") == 1


def test_packed_documents_do_not_see_each_other(tmp_path):
    """A packed row's loss is that of its documents one by one."""
    model, tokenizer, rows = load_model(WREN), load_tokenizer(WREN), legal_rows(8)
    losses = []
    for config in (SHORT.with_changes(preset="fast", batch_size=8), SHORT.with_changes(batch_size=8)):
        trainer = sft_trainer(model, tokenizer, rows, config.with_changes(method="full"), RunFolder(tmp_path), progress=False)
        (batch,) = trainer.get_train_dataloader()
        assert ("cu_seq_lens_q" in batch) == config.packs
        answers = (batch["labels"][:, 1:] != -100).sum()
        with torch.no_grad():
            losses.append(trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=answers))
    assert torch.allclose(*losses, rtol=1e-5)


def test_checkpoints_and_log_follow_the_packed_steps(tmp_path):
    config = SHORT.with_changes(preset="fast", method="full")
    trainer = sft_trainer(load_model(WREN), load_tokenizer(WREN), legal_rows(64), config, RunFolder(tmp_path), progress=False)
    steps = -(-len(trainer.train_dataset) // 2)
    assert 1 <= trainer.args.save_steps <= steps
    assert trainer.args.logging_steps <= steps


def test_an_unknown_preset_is_refused(capsys):
    with pytest.raises(CourseError, match="preset must be one of standard, fast"):
        TrainConfig(preset="turbo")
    assert main(["train", "--preset", "turbo", "--out", "nowhere"]) == 2
    assert "preset must be" in capsys.readouterr().err


@pytest.mark.gpu
@gpu
def test_fast_on_a_gpu_is_the_standard_result(tmp_path):
    config = TrainConfig(model="tiny", examples=256, batch_size=4, epochs=2, packing=True)
    standard = train(config, tmp_path / "standard", progress=False)
    fast = train(config.with_changes(preset="fast"), tmp_path / "fast", progress=False)
    assert [p["loss"] for p in fast.curve] == pytest.approx([p["loss"] for p in standard.curve], rel=0.05)


@pytest.mark.gpu
@gpu
def test_attention_by_document_leaks_nothing():
    model = load_model(WREN)
    ids = torch.randint(5, 400, (1, 48), device="cuda")
    ends = torch.tensor([0, 16, 48], dtype=torch.int32, device="cuda")
    places = torch.cat([torch.arange(16), torch.arange(32)])[None].cuda()
    packed = {"position_ids": places, "cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 32, "max_length_k": 32}
    with torch.no_grad(), fast_kernels(model, ("attention",)):
        whole = model(input_ids=ids, **packed, use_cache=False).logits
        other = ids.clone()
        other[:, :16] = 7
        assert torch.equal(model(input_ids=other, **packed, use_cache=False).logits[:, 16:], whole[:, 16:])
    with torch.no_grad():
        alone = model(input_ids=ids[:, 16:], use_cache=False).logits
    assert (whole[:, 16:] - alone).abs().max() < 0.3  # bfloat16


@pytest.mark.gpu
@gpu
def test_checkpointing_is_for_what_would_not_fit():
    model = load_model(WREN)
    assert not needs_checkpointing(model, TrainConfig(), 16)
    assert needs_checkpointing(model, TrainConfig(max_length=4096), 20_000)

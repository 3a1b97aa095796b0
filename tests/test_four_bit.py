"""QLoRA's parts on this machine: 4-bit weights stay and come back right, and what a CPU would get wrong is refused."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from course_lib.errors import CourseError
from course_lib.lora.nf4 import nf4_levels, relative_error
from course_lib.models import loading
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer

bitsandbytes = pytest.importorskip("bitsandbytes")
from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # noqa: E402

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about CPUs")
TOKENS = torch.arange(100)[None]


def tiny(folder, hidden: int, inner: int = 128):
    """A model folder whose layers have ``hidden`` inputs."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=20,  # so that k and v have 20 outputs, and o 40 inputs
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    load_tokenizer(WREN).save_pretrained(folder)
    return folder


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(TOKENS.to(model.device)).logits.float().cpu()


def linears(model) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}


def restored(layer) -> torch.Tensor:
    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().cpu()


@on_cpu
@pytest.mark.parametrize("inputs", [40, 64, 72, 80, 96, 128, 384, 1024, 4096, 4864])
def test_every_shape_is_either_right_or_refused(inputs):
    """The probe says yes exactly where a round trip has NF4's own error, which our NF4 measures."""
    weights = torch.randn(32, inputs)
    back = dequantize_4bit(*quantize_4bit(weights, quant_type="nf4", blocksize=64))
    error = ((back - weights).norm() / weights.norm()).item()
    right = abs(error - relative_error(weights, nf4_levels())) < 0.002
    assert right == loading._restores_rows(inputs)
    assert right or inputs % 64  # shapes of multiples of 64 always work


@on_cpu
def test_a_model_of_such_a_shape_is_refused_by_name(tmp_path, monkeypatch):
    """Where this CPU is not concerned, the test concerns it."""
    real = loading._restores_rows
    monkeypatch.setattr(loading, "_restores_rows", lambda inputs: inputs != 96 and real(inputs))
    folder = tiny(tmp_path / "odd", hidden=96)
    with pytest.raises(CourseError, match=r"where a layer has 96 inputs, as odd has: use --method lora"):
        load_model(folder, four_bit=True)
    load_model(folder)


def test_layers_whose_outputs_are_no_multiple_of_32_run(tmp_path):
    """bitsandbytes' fast path on some CPUs stops at them with an AssertionError."""
    model = load_model(tiny(tmp_path / "m", hidden=64), four_bit=True)
    assert {layer.out_features % 32 for layer in linears(model).values()} > {0}
    assert logits(model).isfinite().all()


def test_double_quantisation_is_on():
    for layer in linears(load_model(WREN, four_bit=True)).values():
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested, state.blocksize) == ("nf4", True, 64)


@pytest.mark.parametrize("double", [True, False])
def test_a_checkpoint_in_four_bits_comes_back(tmp_path, double):
    """Saved after a forward pass and loaded again, with our loader's care in both places; without it, it is off by up to 32."""
    quantise = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double)
    where = {"": loading.device()}
    model = AutoModelForCausalLM.from_pretrained(WREN, dtype=torch.float32, device_map=where, quantization_config=quantise).eval()
    loading._keep_four_bit_weights(model, WREN)
    before = logits(model)
    model.save_pretrained(tmp_path / "four")
    again = load_model(tmp_path / "four", dtype="float32")
    assert len(linears(again)) == 28
    assert torch.equal(logits(again), before)
    assert torch.equal(logits(again), before)  # and a forward pass changes nothing


def test_embeddings_and_norms_keep_their_type():
    """`prepare_model_for_kbit_training` would bring them all to float32: 2.1 GB more on 8B."""
    model = load_model(WREN, four_bit=True, dtype="bfloat16")
    kinds = {name: p.dtype for name, p in model.named_parameters() if not isinstance(p, bitsandbytes.nn.Params4bit)}
    assert set(kinds.values()) == {torch.bfloat16}
    assert "model.embed_tokens.weight" in kinds


@pytest.fixture
def trainer(tmp_path):
    """Ours for QLoRA in bfloat16, before its first step."""
    from course_lib.data.rows import legal_rows

    model = load_model(WREN, four_bit=True, dtype="bfloat16")
    config = TrainConfig(method="qlora", examples=24, epochs=1, batch_size=8, rank=4, precision="bfloat16")
    return sft_trainer(model, load_tokenizer(WREN), legal_rows(24), config, RunFolder(tmp_path / "run"), progress=False)


def test_the_trainer_upcasts_no_base_weight(trainer):
    kinds = {p.dtype for name, p in trainer.model.named_parameters() if not p.requires_grad}
    assert kinds == {torch.uint8, torch.bfloat16}


@pytest.mark.slow
def test_training_leaves_the_four_bit_weights_alone(trainer):
    """The corruption of bitsandbytes' fast path shows only after an evaluation in the middle of training."""
    before = {name: restored(layer) for name, layer in linears(trainer.model).items()}
    trainer.model.eval()
    logits(trainer.model)
    trainer.train()
    trainer.model.eval()
    logits(trainer.model)
    learned = [p for name, p in trainer.model.named_parameters() if "lora_B" in name]
    assert learned
    assert all(p.abs().max() > 0 for p in learned)
    assert len(before) == 28
    for name, layer in linears(trainer.model).items():
        assert torch.equal(restored(layer), before[name]), name


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_paged_eight_bit_adamw_runs_here_and_resumes():
    """On a CPU it is not paged; tensors under 4096 numbers keep 32-bit states. What it does is AdamW, and its state can be saved."""
    torch.manual_seed(0)
    where = loading.device()
    start = torch.randn(64, 128, device=where)
    target = torch.randn_like(start)

    def run(kind, steps: int, weight=None, state=None):
        weight = torch.nn.Parameter((start if weight is None else weight).clone())
        optimizer = kind([weight], lr=1e-2, weight_decay=0.0)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            optimizer.zero_grad()
            (weight - target).square().sum().backward()
            optimizer.step()
        kinds = {key: value.dtype for key, value in optimizer.state[weight].items() if torch.is_tensor(value)}
        return weight.detach(), copy.deepcopy(optimizer.state_dict()), kinds

    eight, state, kinds = run(bitsandbytes.optim.PagedAdamW8bit, 20)
    plain, *_ = run(torch.optim.AdamW, 20)
    moved = (plain - start).norm()
    assert (eight - plain).norm() < 0.1 * moved
    assert kinds["state1"] == kinds["state2"] == torch.uint8
    whole, *_ = run(bitsandbytes.optim.PagedAdamW8bit, 30)
    resumed, *_ = run(bitsandbytes.optim.PagedAdamW8bit, 10, weight=eight, state=state)
    assert torch.equal(resumed, whole)

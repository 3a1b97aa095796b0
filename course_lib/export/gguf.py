"""GGUF: one file with weights, tokenizer and chat template, which llama.cpp and what is built on it run.

Tensors keep their values and get other names. Only the rows of Llama's q and k change places: transformers turns the first half
of a head against the second (Su et al. 2021, arXiv:2104.09864, in GPT-NeoX's order), llama.cpp turns neighbours. A file
without that exchange loads without complaint and still gives some answers right, so exports are compared by logits.

Weights are read, turned and written tensor by tensor: memory is that of the largest tensor in float32, a few times over.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.export.source import (
    ARCHITECTURES,
    SMALL,
    Step,
    check_base,
    merged,
    need,
    parameters,
)
from course_lib.export.vocabulary import read_vocabulary
from course_lib.files import appearing, check_out
from course_lib.lora.folders import Stored, model_name, stored_dtype, stored_tensors

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from transformers import PretrainedConfig

TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""How weight matrices can be stored, and what GGUF calls it. Norms and biases stay in float32, as llama.cpp wants them."""

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "q8_0": 34 / 32}
"""A weight's bytes. Q8_0 has 32 weights of 8 bits and one scale of 16 bits a block."""

BOUND = 1e-4
"""How far logits may be from those of the same weights, rounded likewise, as a share of the largest: only the order of sums differs."""


@dataclass(frozen=True)
class GgufReport:
    """What an export to GGUF did, and the proof that it is right."""

    model: str
    adapter: str | None
    dtype: str
    size: int
    """Bytes of the file."""
    seconds: float
    difference: float | None
    """Largest absolute difference in logits between the file, read by transformers, and the model with its weights rounded to
    ``dtype`` in memory; none if not verified."""
    bound: float | None
    """What ``difference`` may be at most."""
    rounding: float | None
    """Largest absolute difference in logits between the file and the model as it was: what ``dtype`` costs."""
    warnings: tuple[str, ...] = ()


def export_gguf(
    base: Path,
    out: Path,
    *,
    adapter: Path | None = None,
    dtype: str | None = None,
    verify: bool | None = None,
    on_step: Step = lambda what, done, total: None,
) -> GgufReport:
    """Write a model as one GGUF file.

    Args:
        base: a local model folder.
        out: the new file, with the ending ``.gguf``. It appears whole, or not at all.
        adapter: a LoRA adapter trained on it, to be merged first; or none.
        dtype: of weight matrices, one of `TYPES`; by default the type that they are stored in, so that nothing is rounded.
        verify: read the file back with transformers' own reader and compare logits; by default for models up to `SMALL` parameters.
        on_step: called before each tensor.

    Raises:
        CourseError: the model or its tokenizer can't be exported (`check_base`, `read_vocabulary`), a weight is too large for
            float16, ``out`` is taken or the disk too full, a package is missing, or the file computes something else.
    """
    need("gguf")
    started = time.perf_counter()
    out = Path(out)
    if out.suffix != ".gguf":
        raise CourseError(f"a GGUF export is one file, and {out} doesn't end in .gguf: add it")
    config = check_base(base)
    dtype = dtype or stored_dtype(base)
    if dtype not in TYPES:
        raise CourseError(f"a GGUF file can't be written in {dtype}: choose {', '.join(TYPES)}")
    if config.hidden_act != "silu":
        raise CourseError(f"{base} has the activation {config.hidden_act}, which llama.cpp doesn't expect: only silu is exported")
    count = parameters(base)
    verify = count <= SMALL if verify is None else verify
    merged_dtype = "float32" if dtype == "q8_0" else dtype
    check_out(out, int(count * (BYTES[dtype] + (BYTES[merged_dtype] if adapter else 0))))
    read_vocabulary(base, config.vocab_size)  # refused before the merge, not after it
    with merged(base, adapter, out, merged_dtype, verify=verify, on_step=on_step) as (source, notes):
        config = check_base(source)  # a merge may part embeddings and head
        with appearing(out) as work:
            file = work / out.name
            notes = (*notes, *_write(source, config, file, dtype, model_name(base), on_step))
            difference, bound, rounding = None, None, None
            if verify:
                on_step("verifying", 0, 1)
                difference, bound, rounding = verify_gguf(file, source, dtype)
            size = file.stat().st_size
    return GgufReport(
        model=model_name(base),
        adapter=adapter.resolve().name if adapter else None,
        dtype=dtype,
        size=size,
        seconds=time.perf_counter() - started,
        difference=difference,
        bound=bound,
        rounding=rounding,
        warnings=notes,
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(source: Path, config: PretrainedConfig, file: Path, dtype: str, name: str, on_step: Step) -> list[str]:
    """Write the file, a tensor at a time. Returns warnings."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, ARCHITECTURES[config.architectures[0]])
    _write_config(writer, config, dtype, name)
    _write_vocabulary(writer, source, config.vocab_size)
    plan, notes = [], []
    for own, theirs, stored in _tensors(source, config):
        kind = _kind(stored.shape, dtype)
        if len(stored.shape) > 1 and kind.name != TYPES[dtype]:
            notes.append(f"{own} has rows of {stored.shape[-1]} weights, no multiple of 32: it is stored in float16")
        number = np.dtype({"F32": np.float32, "F16": np.float16}.get(kind.name, np.uint8))
        shape = gguf.quant_shape_to_byte_shape(stored.shape, kind) if number == np.uint8 else stored.shape
        writer.add_tensor_info(theirs, shape, number, math.prod(shape) * number.itemsize, raw_dtype=kind)
        plan.append((own, stored, kind))
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, (own, stored, kind) in enumerate(plan):
        on_step(f"writing {own}", done, len(plan))
        writer.write_tensor_data(gguf.quantize(_values(own, stored, config, kind.name), kind))
    if factors is not None:
        writer.write_tensor_data(factors)
    writer.close()
    return notes


def _kind(shape: tuple[int, ...], dtype: str) -> gguf.GGMLQuantizationType:
    """How GGUF stores a tensor: norms and biases in float32, matrices as asked, but for rows that Q8_0's blocks don't fit."""
    import gguf

    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if dtype == "q8_0" and shape[-1] % 32:
        return gguf.GGMLQuantizationType.F16  # as llama.cpp's own tool does
    return gguf.GGMLQuantizationType[TYPES[dtype]]


def _tensors(source: Path, config: PretrainedConfig) -> Iterator[tuple[str, str, Stored]]:
    """Each tensor: its name here, its name in GGUF, and where it lies.

    Raises:
        CourseError: a tensor that GGUF has no name for, or one that is missing.
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM

    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == ARCHITECTURES[config.architectures[0]])
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    stored = stored_tensors(source)
    with torch.device("meta"):
        expected = set(dict(AutoModelForCausalLM.from_config(config).named_parameters()))  # without a tied head
    if missing := sorted(expected - stored.keys()):
        raise CourseError(f"{source} is incomplete, it lacks {missing[0]}: copy or download it again")
    for own in sorted(expected, key=_order):
        stem, _, suffix = own.rpartition(".")
        theirs = names.get_name(stem)
        if theirs is None:
            raise CourseError(f"GGUF has no name for {own} of {source}: this model can't be exported")
        yield own, f"{theirs}.{suffix}", stored[own]


def _order(name: str) -> tuple[int, str]:
    """Embeddings first, then layer by layer, as other converters write them."""
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    return (numbers[0] if numbers else -1 if "embed" in name else 10**6, name)


def _values(own: str, stored: Stored, config: PretrainedConfig, kind: str) -> np.ndarray:
    """One tensor in float32, turned as llama.cpp wants it."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(stored.file, framework="pt") as weights:
        values = weights.get_tensor(own).float().numpy()
    if kind == "F16" and np.abs(values).max() > np.finfo(np.float16).max:
        raise CourseError(f"{own} has weights that float16 can't hold (above 65504): export in bfloat16")
    if ARCHITECTURES[config.architectures[0]] == "llama":
        if ".q_proj." in own:
            values = neighbours(values, config.num_attention_heads)
        elif ".k_proj." in own:
            values = neighbours(values, config.num_key_value_heads)
    return np.ascontiguousarray(values)


def neighbours(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a q or k projection, or its bias, with the two halves of each head interleaved: what is turned together stands together.

    Args:
        values: (heads x head size) rows, and columns if it is a weight.
        heads: how many.
    """
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _write_config(writer: Any, config: PretrainedConfig, dtype: str, name: str) -> None:
    """Shapes and constants, under llama.cpp's names."""
    import gguf

    types = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[types[dtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(size)
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _rope_factors(config: PretrainedConfig) -> np.ndarray | None:
    """By what Llama 3.1 slows each frequency of its rotary embedding, (head size / 2) numbers; none for other models.

    llama.cpp divides by them, so they are plain frequencies over those that transformers computes.
    """
    import numpy as np
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = config.rope_parameters
    if rope.get("rope_type") != "llama3":
        return None
    slowed, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    size = 2 * len(slowed)
    plain = 1.0 / rope["rope_theta"] ** (np.arange(0, size, 2) / size)
    return (plain / slowed.double().numpy()).astype(np.float32)


def _write_vocabulary(writer: Any, source: Path, rows: int) -> None:
    vocabulary = read_vocabulary(source, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    for role, index in vocabulary.special.items():
        getattr(writer, f"add_{role}_token_id")(index)
    writer.add_add_bos_token(vocabulary.add_bos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


# -- the proof ---------------------------------------------------------------------------------------------------------


def verify_gguf(file: Path, source: Path, dtype: str) -> tuple[float, float, float]:
    """Compare the logits of a GGUF file, as transformers reads it, with those of the model that it was made of.

    transformers' reader was written by others, and knows names and turned rows from llama.cpp's side. It takes the file's
    weights; shapes and rotary embedding it gets from the model's config, because it doesn't read Llama 3.1's.

    Returns:
        The largest absolute difference from the model with its weights rounded to ``dtype`` in memory; what it may be; and
        the largest absolute difference from the model as it is.

    Raises:
        CourseError: the first is above the second.
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedModel

    from course_lib.models.loading import quiet

    quiet()
    config = check_base(source)
    ids = torch.randint(config.vocab_size, (4, 32), generator=torch.Generator().manual_seed(0))

    def load(folder: Path, **how: Any) -> PreTrainedModel:
        with contextlib.redirect_stderr(io.StringIO()):  # the reader's own bar
            return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **how).eval()

    with torch.inference_mode():
        model = load(source)
        exact = model(input_ids=ids).logits
        for weight in model.parameters():
            kind = _kind(tuple(weight.shape), dtype)
            weight.copy_(torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), kind), kind)))
        rounded = model(input_ids=ids).logits
        del model
        got = load(file.parent, gguf_file=file.name, config=config)(input_ids=ids).logits
    difference, bound = (rounded - got).abs().max().item(), BOUND * rounded.abs().max().item()
    if not difference <= bound:  # so that nan fails too
        raise CourseError(
            f"logits of the GGUF file differ from the model's by {difference:.3g}, where {bound:.3g} is allowed, so nothing was "
            "written: use other versions of gguf and transformers"
        )
    return difference, bound, (exact - got).abs().max().item()

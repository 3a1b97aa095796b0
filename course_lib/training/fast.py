"""The ``fast`` preset on a GPU: fused kernels, attention that knows where documents end, and checkpointing only where memory is short.

Three things take time in a LoRA step beyond its matrix products, and each has its remedy here:

- norms, rotations, the MLP's gate and the loss over a large vocabulary: Liger's Triton kernels (Hsu et al. 2024);
- attention over packed rows by way of a mask, which costs as if each token could see all: PyTorch's own FlashAttention for
  sequences of varying length, which stops at each document's end;
- the adapter: PEFT casts its input up, multiplies by the scale and adds, each over all activations (`lora.fused`).

The result is the same within rounding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from course_lib.lora.fused import fused_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from course_lib.training.config import TrainConfig

ATTENTION = "course_varlen"
PIECES = ("kernels", "attention", "adapter")
HEADROOM = 0.9  # of the GPU's memory that an estimate may fill; the rest is what an allocator wastes


def needs_checkpointing(model: PreTrainedModel, config: TrainConfig, batch: int) -> bool:
    """Whether a step would not fit this GPU with all activations kept, as `models.memory` reckons it.

    Args:
        model: the base model, loaded.
        config: the run's.
        batch: sequences a forward pass on this GPU.
    """
    from course_lib.models.memory import estimate

    free, _ = torch.cuda.mem_get_info()
    whole = free + torch.cuda.memory_reserved()
    need = estimate(
        model.config,
        config.method,
        rank=config.rank,
        target_modules=config.target_modules,
        batch=batch,
        length=config.max_length,
        precision="float32" if config.precision == "float32" else "bfloat16",
    )
    return need.total > HEADROOM * whole


@contextmanager
def fast_kernels(model: Any, pieces: tuple[str, ...] = PIECES) -> Iterator[list[str]]:
    """Put the fast pieces into a model for as long as the block runs.

    Args:
        model: on a GPU, with or without an adapter.
        pieces: those wanted, of `PIECES`.

    Yields:
        Why a piece was left out, a sentence each.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    left_out = []
    before = base.config._attn_implementation
    if "attention" in pieces:
        if reason := _attention_unfit(base):
            left_out.append(f"attention by document: {reason}")
        else:
            _register_attention()
            base.set_attn_implementation(ATTENTION)
    if "kernels" in pieces and (reason := _fuse_kernels(base)):
        left_out.append(f"fused kernels: {reason}")
    try:
        with fused_adapter(model, in_16_bits=True) if "adapter" in pieces else nullcontext():
            yield left_out
    finally:
        if base.config._attn_implementation != before:
            base.set_attn_implementation(before)


# -- attention ----------------------------------------------------------------------------------------------------------


def _attention_unfit(base: Any) -> str:
    text = base.config.get_text_config()
    if not getattr(base, "_supports_attention_backend", False):
        return f"{base.config.model_type} brings its own"
    if getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        return f"{base.config.model_type} uses a sliding window"
    if base.dtype not in (torch.bfloat16, torch.float16):
        return "it needs 16-bit numbers"
    return ""


def _register_attention() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention_by_document)


def _attention_by_document(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document of one packed row; batch x heads x length x width in, batch x length x heads x width out.

    TRL's collator says where documents begin (``cu_seq_lens_q``), so no mask is made and no other document is looked at.
    """
    if cu_seq_lens_q is None or max_length_q is None or len(query) > 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)
    from torch.nn.attention.varlen import varlen_attn

    grouped: dict[str, Any] = {} if not _varlen_knows_groups() else {"enable_gqa": key.shape[1] != query.shape[1]}
    queries, keys, values = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    ends, longest = cu_seq_lens_q, max_length_q
    out: Any = varlen_attn(queries, keys, values, ends, ends, longest, longest, scale=scaling, window_size=(-1, 0), **grouped)
    return out[None], None


def _varlen_knows_groups() -> bool:
    """Since torch 2.12 or so grouped heads must be asked for; before, the kernel just took them."""
    import inspect

    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters


# -- Liger's kernels ----------------------------------------------------------------------------------------------------


def _fuse_kernels(base: Any) -> str:
    """Put Liger's kernels into a model; returns why not, if so."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "the package liger-kernel is not installed"
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if base.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return f"Liger has none for {base.config.model_type}"
    _apply_liger_kernel_to_instance(model=base)
    return ""

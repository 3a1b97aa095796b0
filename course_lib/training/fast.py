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
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from course_lib.lora.fused import fused_adapter
from course_lib.training.unpadded import attention_by_row, keeps_its_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from course_lib.training.config import TrainConfig

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
    with ExitStack() as stack:
        if "attention" in pieces:
            if reason := keeps_its_attention(model):
                left_out.append(f"attention by document: {reason}")
            else:
                stack.enter_context(attention_by_row(model))
        if "kernels" in pieces and (reason := _fuse_kernels(base)):
            left_out.append(f"fused kernels: {reason}")
        if "adapter" in pieces:
            stack.enter_context(fused_adapter(model, in_16_bits=True))
        yield left_out


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

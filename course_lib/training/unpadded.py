"""Rows laid end to end, so that no padding is computed; attention looks at each row by itself, and needs no mask for it.

On a GPU by PyTorch's FlashAttention for sequences of varying length, on a CPU row by row. The result is that of padded rows within
rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from course_lib.models.last_layer import treats_tokens_apart
from course_lib.training.losses import NO_LOSS

ATTENTION = "course_by_row"


def end_to_end(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A batch as one long row without padding, for a model under `attention_by_row`.

    Args:
        inputs: ``input_ids`` and ``labels``, batch x length, and either ``attention_mask``, or ``position_ids`` that begin at 0 where a
            packed row does.
    """
    ids, mask, positions = inputs["input_ids"], inputs.get("attention_mask"), inputs.get("position_ids")
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    positions = (kept.cumsum(1) - 1 if positions is None else positions)[kept]
    labels = inputs["labels"][kept]
    starts = (positions == 0).nonzero().flatten()
    labels[starts] = NO_LOSS  # no token stands before them that could tell them
    ends = torch.cat([starts, starts.new_tensor([len(positions)])])
    return {
        "input_ids": ids[kept][None],
        "labels": labels[None],
        "position_ids": positions[None],
        "cu_seq_lens_q": ends.to(torch.int32),
        "max_length_q": int(ends.diff().max()),
    }


def keeps_its_attention(model: Any) -> str:
    """Why rows of a model can't lie end to end; empty if they can.

    Args:
        model: any causal language model, with or without an adapter.
    """
    text = model.config.get_text_config()
    if not (getattr(model, "_supports_attention_backend", False) and getattr(model, "_supports_sdpa", False)):
        return f"{model.config.model_type} brings its own"
    if getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True):
        return f"{model.config.model_type} uses a sliding window"
    if {*(getattr(text, "layer_types", None) or ())} - {"full_attention"}:
        return f"{model.config.model_type} has layers without full attention"
    if model.device.type == "cuda" and model.dtype not in (torch.bfloat16, torch.float16):
        return "it needs 16-bit numbers"
    return ""


def mixes_by_attention_alone(model: Any) -> bool:
    """Whether nothing but attention takes a token's neighbours into account: no convolution and no recurrence.

    Args:
        model: any causal language model, with or without an adapter.
    """
    layers = getattr(model.get_decoder(), "layers", None) or []
    parts = [dict(layer.named_children()) for layer in layers]
    known = all({"self_attn", "mlp"} <= part.keys() and treats_tokens_apart(part["mlp"]) for part in parts)
    others = [p for part in parts for name, one in part.items() if name not in ("self_attn", "mlp") for p in one.parameters()]
    return bool(parts) and known and all(parameter.dim() == 1 for parameter in others)  # norms


@contextmanager
def attention_by_row(model: Any) -> Iterator[None]:
    """Let a model's attention look at each row alone as long as the block runs, where `end_to_end` or TRL's collator says where rows begin.

    Args:
        model: one that has no reason to keep its own (`keeps_its_attention`); as before when the block ends.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _by_row)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _by_row(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row; batch x heads x length x width in, batch x length x heads x width out."""
    if cu_seq_lens_q is None or max_length_q is None or len(query) > 1:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    grouped = key.shape[1] != query.shape[1]
    if not query.is_cuda:
        rows = zip(*(states.split(cu_seq_lens_q.diff().tolist(), dim=2) for states in (query, key, value)), strict=True)
        how: dict[str, Any] = {"is_causal": True, "dropout_p": dropout, "scale": scaling, "enable_gqa": grouped}
        return torch.cat([scaled_dot_product_attention(*row, **how) for row in rows], dim=2).transpose(1, 2), None
    from torch.nn.attention.varlen import varlen_attn

    flags: dict[str, Any] = {} if not _varlen_knows_groups() else {"enable_gqa": grouped}
    queries, keys, values = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
    ends, longest = cu_seq_lens_q, max_length_q
    out: Any = varlen_attn(queries, keys, values, ends, ends, longest, longest, scale=scaling, window_size=(-1, 0), **flags)
    return out[None], None


def _varlen_knows_groups() -> bool:
    """Since torch 2.12 or so grouped heads must be asked for; before, the kernel just took them."""
    import inspect

    from torch.nn.attention.varlen import varlen_attn

    return "enable_gqa" in inspect.signature(varlen_attn).parameters

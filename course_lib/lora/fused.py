"""LoRA layers with the adapter's product added within the base's.

PEFT multiplies B A x by the scale and adds it to W x, each in a pass of its own over all activations. Here they are one matrix
product on top of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def fused_adapter(model: Any, *, in_16_bits: bool = False) -> Iterator[list[Any]]:
    """Let each plain LoRA layer of a model compute by `_LoraLinear` as long as the block runs.

    The result is PEFT's within rounding. What is more than plain (dropout, DoRA, biases, several adapters) keeps PEFT's way.

    Args:
        model: with or without an adapter.
        in_16_bits: also where the base computes in 16 bits, and then the adapter, too, as PEFT lets it under autocast; else it is in float32.

    Yields:
        The layers that were changed.
    """
    from peft.tuners.lora import LoraLayer

    changed = [layer for layer in model.modules() if isinstance(layer, LoraLayer) and _is_plain(layer, in_16_bits)]
    for layer in changed:
        layer.forward = _forward_of(layer)
    try:
        yield changed
    finally:
        for layer in changed:
            del layer.forward  # the class's own is seen again


class _LoraLinear(torch.autograd.Function):
    """y = W x + b + scale B A x, added within the matrix products; the backward pass keeps x and A x alone.

    W is frozen, and asked for anew each time, so that 4-bit weights stand in full one matrix at a time.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, scale: float, layer: Any) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = _weight(layer, x.dtype)
            rows, low, high = x.reshape(-1, x.shape[-1]), A.to(x.dtype), B.to(x.dtype)
            inner = rows @ low.T
            out = rows @ weight.T if layer.bias is None else torch.addmm(layer.bias.to(x.dtype), rows, weight.T)
            out.addmm_(inner, high.T, alpha=scale)
        ctx.save_for_backward(rows, inner, A, B)
        ctx.scale, ctx.layer, ctx.shape = scale, layer, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, A, B = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            above = gradients[0].reshape(len(rows), -1).to(rows.dtype)
            through = (above @ B.to(rows.dtype)).mul_(ctx.scale)
            for_A = (through.T @ rows).to(A.dtype)
            for_B = (above.T @ inner).mul_(ctx.scale).to(B.dtype)
            below = None
            if ctx.needs_input_grad[0]:
                below = above @ _weight(ctx.layer, rows.dtype)
                below.addmm_(through, A.to(rows.dtype))
                below = below.view(ctx.shape)
        return below, for_A, for_B, None, None


def _weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """A linear layer's weight, out x in; that of a 4-bit layer dequantised."""
    if (state := getattr(layer.weight, "quant_state", None)) is None:
        return layer.weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, state).to(dtype)


def _is_plain(layer: Any, in_16_bits: bool) -> bool:
    name, *others = layer.active_adapters
    base = layer.get_base_layer()
    return (
        isinstance(base, torch.nn.Linear)
        and (getattr(base.weight, "quant_state", None) is not None or base.weight.is_floating_point())
        and not (others or layer.merged or layer.disable_adapters or layer.lora_variant)
        and name in layer.lora_A
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and layer.lora_B[name].bias is None
        and not base.weight.requires_grad
        and (in_16_bits or _computed_in(base) == torch.float32)
    )


def _computed_in(base: torch.nn.Linear) -> torch.dtype:
    state = getattr(base.weight, "quant_state", None)
    return base.weight.dtype if state is None else state.dtype


def _forward_of(layer: Any) -> Any:
    (name,) = layer.active_adapters
    base, dtype = layer.get_base_layer(), _computed_in(layer.get_base_layer())

    def forward(x: torch.Tensor) -> torch.Tensor:
        scale = float(layer.scaling[name])
        return _LoraLinear.apply(x.to(dtype), layer.lora_A[name].weight, layer.lora_B[name].weight, scale, base)

    return forward

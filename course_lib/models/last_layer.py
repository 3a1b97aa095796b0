"""The last layer's MLP, applied only where somebody looks at what it gives: no later token sees it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def last_mlp_at(model: Any, places: Any) -> Iterator[None]:
    """Apply the last layer's MLP only at some places as long as the block runs, if it is made of linear layers. Elsewhere it gives zeros.

    Args:
        model: any causal language model, with or without an adapter; as before when the block ends.
        places: what the MLP's input, batch x length x width, is indexed with: a mask of batch x length, or slices.
    """
    mlp, whole = _last_mlp(model), torch.Size()

    def choose(module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        nonlocal whole
        whole = arguments[0].shape
        return (arguments[0][places],)

    def put_back(module: Any, arguments: tuple[torch.Tensor, ...], chosen: torch.Tensor) -> torch.Tensor:
        result = chosen.new_zeros(whole)
        result[places] = chosen
        return result

    hooks = [mlp.register_forward_pre_hook(choose), mlp.register_forward_hook(put_back)] if mlp is not None else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_mlp(model: Any) -> torch.nn.Module | None:
    layers = getattr(model.get_decoder(), "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    return mlp if mlp is not None and treats_tokens_apart(mlp) else None


def treats_tokens_apart(mlp: torch.nn.Module) -> bool:
    """Whether an MLP treats each token by itself, as one does whose weights are all those of linear layers."""
    return all(isinstance(m, torch.nn.Linear) for m in mlp.modules() if any(True for _ in m.parameters(False)))

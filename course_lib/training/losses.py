"""The loss of fine-tuning without what is computed for nothing.

Prompts and padding carry no loss, and in chats they are most of the tokens. Their logits, one number for each word of the
vocabulary, would be computed, compared with nothing, and given a gradient of zero: so the output head, and before it the last MLP, are
applied only where a loss falls. And where each token sees those before it alone, padding on the right needs no mask, with which attention takes longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from course_lib.models.last_layer import last_mlp_at

NO_LOSS = -100
"""The label of a token that carries no loss: PyTorch's `cross_entropy` leaves it out."""


def without_idle_mask(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A causal model's inputs without their ``attention_mask`` (batch x length), if that only hides padding on the right.

    No token of a row sees what stands behind it, so the logits of all tokens but the padding are the same.
    """
    mask = inputs.get("attention_mask")
    idle = mask is not None and bool((mask[:, 1:] <= mask[:, :-1]).all())
    return {name: value for name, value in inputs.items() if not (idle and name == "attention_mask")}


@contextmanager
def only_where_loss_falls(model: Any, labels: torch.Tensor, *, mlp: bool = True) -> Iterator[None]:
    """Let a model give logits only where the next token has a label, as a matrix of those places x vocabulary.

    The last layer's MLP is applied only there as well, if it is made of linear layers: no later token sees what it gives elsewhere.

    Args:
        model: any causal language model, with or without an adapter; as before when the block ends.
        labels: batch x length, as the model itself takes them: `NO_LOSS` at tokens without.
        mlp: False leaves the MLP alone, as a model with activation checkpointing needs it: it computes its layers anew in the backward
            pass, when the block has ended.
    """
    places = labels != NO_LOSS
    places = torch.cat([places[:, 1:], torch.zeros_like(places[:, :1])], dim=1)

    def choose(module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (arguments[0][places],)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        with last_mlp_at(model, places) if mlp else nullcontext():
            yield
    finally:
        hook.remove()


def answer_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """Cross-entropy of the next tokens that have a label, from what a model gave under `only_where_loss_falls`.

    Args:
        outputs: with ``logits``, labelled places x vocabulary.
        labels: batch x length.
        num_items_in_batch: labelled tokens of a whole step, over which transformers' `Trainer` takes the mean; by default of this batch.

    Returns:
        A scalar: the sum over this batch, divided by that number.
    """
    targets = labels[:, 1:]
    targets = targets[targets != NO_LOSS].to(outputs.logits.device)
    count = len(targets) if num_items_in_batch is None else num_items_in_batch
    whole = cross_entropy(outputs.logits.float(), targets, reduction="sum")
    return whole / torch.as_tensor(count, device=whole.device).clamp(min=1)

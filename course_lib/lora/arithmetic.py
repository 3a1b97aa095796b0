"""The arithmetic of LoRA, built for reading: the layer, what it costs, and what rank a real update needs.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685. A frozen matrix W of shape
d_out x d_in gets a trainable update of rank r, the product of two thin matrices B (d_out x r) and A (r x d_in).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class LoRALinear(nn.Module):
    """A frozen linear layer with a trainable low-rank update: h = W x + (alpha / r) B A x (the paper's equation 3).

    A starts Kaiming-uniform and B at zero, so that the layer starts out exactly as the layer it wraps. Equation 3 has no
    alpha; the paper's section 4.1 adds the scale alpha / r, so that a change of rank needs no new learning rate.

    Args:
        linear: the layer to adapt. It is frozen, and kept rather than copied; its bias, if any, stays in use.
        rank: r, the inner size of the update, at least 1.
        alpha: the numerator of the scale; as large as the rank, it makes the scale 1.
        dropout: the probability with which an input of the adapter (and only of the adapter) is zeroed in training.

    Shapes: ``A`` is r x d_in, ``B`` is d_out x r; `forward` takes (..., d_in) and returns (..., d_out).

    Raises:
        CourseError: the rank is less than 1.
    """

    def __init__(self, linear: nn.Linear, rank: int = 16, alpha: float = 16.0, dropout: float = 0.0) -> None:
        super().__init__()
        _check_rank(rank)
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        weight = linear.weight
        self.A = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.B = nn.Parameter(weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # as nn.Linear starts its own weights: within 1 / sqrt(d_in)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """W x + (alpha / r) B A x, plus the layer's bias if it has one."""
        # Right to left: x shrinks to r numbers before it grows again, and the d_out x d_in update is never formed.
        return self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)

    def delta(self) -> torch.Tensor:
        """The update (alpha / r) B A as one matrix of shape d_out x d_in."""
        return self.scale * (self.B @ self.A)

    def merged_weight(self) -> torch.Tensor:
        """W + (alpha / r) B A, d_out x d_in: the weight of a plain linear layer that computes the same."""
        return self.linear.weight + self.delta()


# -- what it costs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """How many of a model's parameters train."""

    trainable: int
    total: int

    @property
    def share(self) -> float:
        """The trainable part, from 0 to 1."""
        return self.trainable / self.total if self.total else 0.0


def parameter_count(d_out: int, d_in: int, rank: int) -> int:
    """Parameters of the update of one d_out x d_in matrix: r (d_out + d_in), against d_out * d_in for the matrix itself."""
    return rank * (d_out + d_in)


def trainable_parameters(model: nn.Module) -> Counts:
    """Trainable and total parameters of a model; weights that two layers share count once.

    A 4-bit model packs two weights into a byte, so its total here is less than the number of its weights.
    """
    parameters = list(model.parameters())
    return Counts(sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters))


def lora_parameters(
    model: PretrainedConfig | PreTrainedModel, rank: int, target_modules: Sequence[str] | str = "all-linear"
) -> int:
    """How many parameters LoRA adds to a model, from its shapes alone: no weight is loaded or even allocated.

    Args:
        model: a model, or a transformers config, whose model is then built on the meta device.
        rank: r, at least 1.
        target_modules: names of the layers to adapt, such as ``["q_proj", "v_proj"]``, or ``"all-linear"``: every linear
            layer but the output head. They mean what they mean to PEFT, less its regular expressions.

    Raises:
        CourseError: the rank is less than 1, or a name fits no layer.
    """
    _check_rank(rank)
    network: Any = model
    if not isinstance(model, nn.Module):
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(model)
    shapes = {name: shape for name, module in network.named_modules() if (shape := _shape(module))}
    if target_modules == "all-linear":
        spared = (network.get_input_embeddings(), network.get_output_embeddings())
        chosen = {name for name in shapes if not any(network.get_submodule(name) is module for module in spared)}
    else:
        chosen = set()
        for target in [target_modules] if isinstance(target_modules, str) else target_modules:
            fitting = {name for name in shapes if name == target or name.endswith(f".{target}")}
            if not fitting:
                valid = ", ".join(sorted({name.rpartition(".")[2] for name in shapes}))
                raise CourseError(f"no layer of this model is called {target!r}: choose from {valid}, or all-linear")
            chosen |= fitting
    return sum(parameter_count(*shapes[name], rank) for name in chosen)


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a layer that LoRA can adapt: linear, embedding, or GPT-2's transposed linear layer."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, nn.Embedding):
        return module.embedding_dim, module.num_embeddings
    if type(module).__name__ == "Conv1D":
        d_in, d_out = module.get_parameter("weight").shape
        return d_out, d_in
    return None


def _check_rank(rank: int) -> None:
    if rank < 1:
        raise CourseError(f"the rank must be a whole number of at least 1, not {rank}: 8 or 16 is a good start")


# -- what rank a real update needs -------------------------------------------------------------------------------------


def updates(
    before: nn.Module | Mapping[str, torch.Tensor], after: nn.Module | Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What a full fine-tuning changed: each weight after it minus the weight before it, by name, in float32.

    Args:
        before: the model, or its state dict, before training. Training works in place, so keep a copy or load the base anew.
        after: the trained model, or its state dict.

    Returns:
        Updates of the same names and shapes; weights that two layers of ``after`` share appear once, under the first name.

    Raises:
        CourseError: a weight is missing from one of the two, or has another shape in it.
    """
    old, new = (model.state_dict() if isinstance(model, nn.Module) else model for model in (before, after))
    for name in old.keys() | new.keys():
        if name not in old or name not in new or old[name].shape != new[name].shape:
            raise CourseError(f"the two models differ in the shape of {name}: compare a model with its own fine-tuned copy")
    changed, seen = {}, set()
    for name, tensor in new.items():
        if tensor.is_floating_point() and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            changed[name] = tensor.detach().float() - old[name].detach().float()
    return changed


def low_rank(update: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best approximation of a matrix by a product B A of rank r: the r largest terms of its singular value decomposition.

    No other product of that rank has a smaller squared error (Eckart and Young 1936, "The approximation of one matrix by
    another of lower rank"). Each factor takes the square root of the singular values, so that the two are of one size.

    Args:
        update: a d_out x d_in matrix.
        rank: r, at least 1; beyond min(d_out, d_in) the product is the matrix itself.

    Returns:
        B (d_out x r) and A (r x d_in), float32.

    Raises:
        CourseError: the rank is less than 1.
    """
    _check_rank(rank)
    u, s, v = torch.linalg.svd(update.float(), full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def energy(update: torch.Tensor) -> torch.Tensor:
    """How much of a matrix its best approximation of each rank keeps, as a share of the squared Frobenius norm.

    Returns:
        min(d_out, d_in) rising numbers of at most 1: entry r - 1 is 1 - |update - B A|^2 / |update|^2 at rank r. A matrix of
        zeros is kept whole at every rank.
    """
    squares = torch.linalg.svdvals(update.float()).square()
    total = squares.sum()
    return squares.cumsum(0) / total if total > 0 else torch.ones_like(squares)

"""Several adapters on one base: switched, and combined into one by PEFT's recipes.

An adapter's update of one matrix is D = (alpha / r) B A. What a combination should give is the weighted sum of the updates.
``cat`` gives exactly that, at the price of the ranks' sum. The other recipes keep the rank and combine the *factors*: they mix
the A's, and apart from them the B's, so that products of one adapter's B with another's A come in. ``ties`` (Yadav et al. 2023,
arXiv:2306.01708) drops small numbers and settles signs by majority; ``dare`` (Yu et al. 2023, arXiv:2311.03099) drops numbers at
random and enlarges the rest. Their papers do so with whole updates, PEFT with the factors.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError
from course_lib.lora.folders import check_adapter
from course_lib.seeds import default_seed

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

METHODS = ("cat", "linear", "ties", "dare_linear", "dare_ties")
SPARSE = ("ties", "dare_linear", "dare_ties")
"""Those of `METHODS` that keep only a share of the numbers: their ``density``."""


def add_adapters(model: PreTrainedModel, base: Path, adapters: Mapping[str, Path]) -> PeftModel:
    """Put several adapters on one base in memory; the first is switched on, and ``set_adapter(name)`` switches.

    Args:
        model: the base as loaded from ``base``, in 16, 32 or 4 bits. Its linear layers are wrapped in place.
        base: its folder.
        adapters: for each name the adapter's folder.

    Raises:
        CourseError: there are no adapters, or one of them does not belong on this base (`folders.check_adapter`).
    """
    from peft import PeftModel

    if not adapters:
        raise CourseError("there are no adapters to put on the base: give at least one")
    for folder in adapters.values():
        check_adapter(base, folder)
    (first, folder), *others = adapters.items()
    adapted = PeftModel.from_pretrained(model, str(folder), adapter_name=first)
    for name, folder in others:
        adapted.load_adapter(str(folder), adapter_name=name)
    return adapted.eval()


def combine(
    model: PeftModel,
    adapters: Sequence[str],
    method: str,
    *,
    weights: Sequence[float] | None = None,
    density: float = 0.5,
    name: str = "combined",
    seed: int | None = None,
) -> None:
    """Make one adapter of several and switch to it. A combination of that name from before is replaced.

    Args:
        model: carries the adapters (`add_adapters`).
        adapters: their names, at least two.
        method: one of `METHODS`.
        weights: one for each adapter; by default 1 each, the plain sum.
        density: for the methods of `SPARSE`, the share of each adapter's numbers that stays, above 0 and at most 1.
        name: of the combination.
        seed: for DARE, which drops at random; `seeds.default_seed` if none is given.

    Raises:
        CourseError: a method or an adapter that there is not, too few adapters, another number of weights, a density out of
            range, or adapters of different ranks where the method mixes factors.
    """
    import torch

    weights = [1.0] * len(adapters) if weights is None else list(weights)
    _check(model, adapters, method, weights, density, name)
    if name in model.peft_config:  # PEFT would keep the old one under this name and say nothing
        model.set_adapter(adapters[0])
        model.delete_adapter(name)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(default_seed() if seed is None else seed)
        warnings.filterwarnings("ignore", message="The density .* is greater than or equal to 1")
        model.add_weighted_adapter(
            list(adapters), weights, name, combination_type=method, density=density if method in SPARSE else None
        )
    model.set_adapter(name)
    model.eval()


def updates_of(model: PeftModel, name: str) -> dict[str, torch.Tensor]:
    """An adapter's update D = (alpha / r) B A of each adapted matrix, d_out x d_in, by the module's name.

    Raises:
        CourseError: the model carries no adapter of this name.
    """
    _check_there(model, [name])
    layers = {where: layer for where, layer in model.named_modules() if name in getattr(layer, "lora_A", {})}
    return {where: layer.get_delta_weight(name).detach() for where, layer in layers.items()}


@dataclass(frozen=True)
class Ingredients:
    """What an adapter's update is made of, when others are its parts (`ingredients`)."""

    parts: dict[str, float]
    """How much of each part's update is in it: 1 is all of it, as with that adapter alone."""
    foreign: float
    """The share of its squared size, 0 to 1, that no mixture of the parts can explain."""


def ingredients(model: PeftModel, name: str, parts: Sequence[str]) -> Ingredients:
    """Explain an adapter's update as a mixture of others, by least squares over all numbers of all adapted matrices.

    Raises:
        CourseError: the model carries no adapter of one of these names.
    """
    import torch

    updates = [updates_of(model, adapter) for adapter in (*parts, name)]

    def dot(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return sum((update.double() * other[where]).sum().item() for where, update in one.items() if where in other)

    products = torch.tensor([[dot(one, other) for other in updates] for one in updates], dtype=torch.float64)
    among, with_it, size = products[:-1, :-1], products[:-1, -1], products[-1, -1].item()
    mixture = torch.linalg.lstsq(among, with_it).solution
    explained = (mixture @ with_it).item()
    foreign = min(1.0, max(0.0, 1 - explained / size)) if size else 0.0  # rounding may leave the range
    return Ingredients(dict(zip(parts, mixture.tolist(), strict=True)), foreign)


def _check_there(model: PeftModel, adapters: Sequence[str]) -> None:
    if unknown := [adapter for adapter in adapters if adapter not in model.peft_config]:
        raise CourseError(f"the model carries no adapter {unknown[0]!r}: it has {', '.join(model.peft_config)}")


def _check(model: PeftModel, adapters: Sequence[str], method: str, weights: Sequence[float], density: float, name: str) -> None:
    if method not in METHODS:
        raise CourseError(f"there is no way to combine called {method!r}: choose from {', '.join(METHODS)}")
    _check_there(model, adapters)
    if len(adapters) < 2 or len(set(adapters)) < len(adapters):
        raise CourseError(f"combining takes at least two different adapters, not {', '.join(adapters) or 'none'}: name them")
    if name in adapters:
        raise CourseError(f"the combination can't be called {name!r} like one of its parts: give it another name")
    if len(weights) != len(adapters):
        raise CourseError(f"{len(adapters)} adapters need {len(adapters)} weights, not {len(weights)}: give one for each")
    if method in SPARSE and not 0 < density <= 1:
        raise CourseError(f"density is the share of numbers that stays, above 0 and at most 1, not {density}: try 0.5")
    ranks = {adapter: model.peft_config[adapter].r for adapter in adapters}
    if method != "cat" and len(set(ranks.values())) > 1:
        raise CourseError(f"{method} mixes factors of one rank, and these have {', '.join(map(str, ranks.values()))}: use cat")

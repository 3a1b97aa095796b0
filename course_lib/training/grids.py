"""The stored sweeps of lessons 07 and 08: which configs they hold.

``course sweep --grid NAME`` runs one. All train wren in 32 bits, as a learner's computer does, on whatever device there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from course_lib.training.config import TrainConfig
from course_lib.training.sweeps import grid

BASE = TrainConfig(model="tiny", precision="float32", seed=0)
RANKS = (1, 2, 4, 8, 16, 32, 64)
QV, ATTENTION = ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def hyperparameters(seeds: Iterable[int]) -> list[TrainConfig]:
    """Rank by learning rate, the scale alpha/r, target modules, dropout by the amount of data."""
    seeds = list(seeds)
    configs: list[TrainConfig] = []
    for rank in RANKS:  # alpha is twice the rank, so that the scale stays
        rates = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3) if rank in (1, 4, 16, 64) else (2e-3,)
        configs += grid(BASE.with_changes(rank=rank, alpha=2.0 * rank), seeds, lr=rates)
    configs += grid(BASE, seeds, alpha=(8.0, 16.0, 64.0, 128.0))
    for alpha in (8.0, 16.0, 64.0, 128.0):  # alpha times learning rate as in the default
        configs += grid(BASE.with_changes(alpha=alpha, lr=2e-3 * 32 / alpha), seeds)
    configs += grid(BASE, seeds, target_modules=(QV, ATTENTION, MLP), lr=(2e-3, 4e-3))
    configs += grid(BASE.with_changes(rank=64, alpha=128.0), seeds, target_modules=(ATTENTION,))
    few = BASE.with_changes(examples=100, epochs=30.0)  # as many steps as three epochs of a thousand
    configs += grid(BASE, seeds, dropout=(0.05, 0.1)) + grid(few, seeds, dropout=(0.0, 0.05, 0.1))
    for rank in (2, 64):
        configs += grid(few.with_changes(rank=rank, alpha=2.0 * rank), seeds)
    return configs


def forgetting(seeds: Iterable[int]) -> list[TrainConfig]:
    """Full fine-tuning and LoRA by learning rate and epochs; replay, elastic weight consolidation, small rank."""
    seeds = list(seeds)
    full = BASE.with_changes(method="full")
    configs = grid(full, seeds, lr=(2e-4, 5e-4, 1e-3, 2e-3, 4e-3))
    configs += grid(BASE, seeds, lr=(5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2))
    configs += grid(full.with_changes(lr=1e-3), seeds, epochs=(1.0, 6.0)) + grid(
        BASE.with_changes(lr=4e-3), seeds, epochs=(1.0, 6.0)
    )
    configs += grid(full, seeds, lr=(1e-3, 2e-3), replay=(0.1, 0.2)) + grid(BASE, seeds, lr=(4e-3, 8e-3), replay=(0.1, 0.2))
    configs += grid(full.with_changes(lr=2e-3), seeds, ewc=(1e3, 1e4, 1e5, 1e6, 1e7))
    configs += grid(BASE.with_changes(lr=8e-3), seeds, ewc=(1e3, 1e4, 1e5, 1e6, 1e7))
    configs += [BASE.with_changes(rank=rank, alpha=2.0 * rank, lr=8e-3, seed=seed) for rank in (1, 4) for seed in seeds]
    return configs


def orderings(seeds: Iterable[int]) -> list[TrainConfig]:
    """The corners of both sweeps that the lessons compare, for seeds on which nothing was tuned."""
    seeds = list(seeds)
    full, few = BASE.with_changes(method="full"), BASE.with_changes(examples=100, epochs=30.0)
    configs = grid(BASE, seeds, lr=(5e-4, 2e-3, 8e-3))
    for rank in (1, 64):
        configs += grid(BASE.with_changes(rank=rank, alpha=2.0 * rank), seeds)
    configs += grid(BASE, seeds, alpha=(8.0, 128.0)) + grid(BASE.with_changes(alpha=128.0, lr=5e-4), seeds)
    configs += grid(BASE.with_changes(alpha=8.0, lr=8e-3), seeds)
    configs += grid(BASE, seeds, target_modules=(QV, ATTENTION, MLP))
    configs += grid(BASE, seeds, dropout=(0.1,)) + grid(few, seeds, dropout=(0.0, 0.1))
    configs += grid(few.with_changes(rank=64, alpha=128.0), seeds)
    for rank in (1, 64):  # each rank at the best rate of the other
        configs += grid(BASE.with_changes(rank=rank, alpha=2.0 * rank), seeds, lr=(1e-3, 8e-3))
    configs += grid(full, seeds, lr=(5e-4, 1e-3, 2e-3))
    for method, mild, hot in (("full", 1e-3, 2e-3), ("lora", 4e-3, 8e-3)):
        start = BASE.with_changes(method=method, lr=mild)
        configs += grid(start, seeds, epochs=(1.0, 3.0, 6.0)) + grid(start, seeds, replay=(0.2,))
        start = BASE.with_changes(method=method, lr=hot)
        configs += grid(start, seeds, replay=(0.2,)) + grid(start, seeds, ewc=(1e5, 1e6))
    return list(dict.fromkeys(configs))


GRIDS: dict[str, Callable[[Iterable[int]], list[TrainConfig]]] = {
    "hyperparameters": hyperparameters,
    "forgetting": forgetting,
    "orderings": orderings,
}

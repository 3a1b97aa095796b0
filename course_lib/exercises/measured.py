"""Measured results that the exercises ask about: rows of the stored sweeps of lessons 07 and 08, under seeds 0, 1 and 2.

Copied so that an exercise needs nothing but this package; a test compares every number with ``lessons/results``.
"""

from __future__ import annotations

from typing import TypedDict

LEGAL, GENERAL = 200, 600
"""Questions that each run was asked: held-out legal clauses, and questions of the six old skills."""


class Setting(TypedDict):
    """LoRA on wren under one setting (alpha is twice the rank): shares right, one for each seed."""

    rank: int
    lr: float
    epochs: int
    steps: int
    trainable: int
    learned: list[float]
    kept: list[float]


class Remedy(TypedDict):
    """One remedy against forgetting, at a rate that is far too high, and what it takes.

    ``learned`` and ``kept`` are numbers of right answers, of `LEGAL` and of `GENERAL`, one for each seed: means of whole numbers
    can be compared without rounding errors. ``seconds`` is the mean time of a training run on one H100.
    """

    method: str
    name: str
    seconds: float
    learned: list[int]
    kept: list[int]


def _shares(counts: tuple[int, ...], total: int) -> list[float]:
    return [count / total for count in counts]


def _setting(
    rank: int, lr: float, epochs: int, steps: int, trainable: int, legal: tuple[int, ...], old: tuple[int, ...]
) -> Setting:
    return Setting(
        rank=rank,
        lr=lr,
        epochs=epochs,
        steps=steps,
        trainable=trainable,
        learned=_shares(legal, LEGAL),
        kept=_shares(old, GENERAL),
    )


def _remedy(method: str, name: str, seconds: float, legal: tuple[int, ...], old: tuple[int, ...]) -> Remedy:
    return Remedy(method=method, name=name, seconds=seconds, learned=list(legal), kept=list(old))


SETTINGS = (
    _setting(1, 0.0005, 3, 189, 27648, (0, 0, 0), (599, 595, 592)),
    _setting(1, 0.001, 3, 189, 27648, (0, 1, 2), (597, 595, 587)),
    _setting(1, 0.002, 3, 189, 27648, (35, 20, 28), (593, 591, 559)),
    _setting(1, 0.004, 3, 189, 27648, (115, 126, 145), (589, 568, 541)),
    _setting(1, 0.008, 3, 189, 27648, (160, 148, 179), (519, 526, 473)),
    _setting(4, 0.0005, 3, 189, 110592, (0, 0, 1), (591, 594, 588)),
    _setting(4, 0.001, 3, 189, 110592, (52, 42, 38), (591, 592, 591)),
    _setting(4, 0.002, 3, 189, 110592, (155, 152, 176), (586, 590, 588)),
    _setting(4, 0.004, 3, 189, 110592, (197, 165, 197), (560, 545, 579)),
    _setting(4, 0.008, 3, 189, 110592, (198, 198, 198), (521, 474, 409)),
    _setting(16, 0.0005, 3, 189, 442368, (71, 73, 55), (597, 592, 589)),
    _setting(16, 0.001, 3, 189, 442368, (179, 177, 176), (596, 590, 594)),
    _setting(16, 0.002, 3, 189, 442368, (197, 199, 197), (597, 592, 590)),
    _setting(16, 0.004, 3, 189, 442368, (196, 200, 200), (576, 487, 539)),
    _setting(16, 0.008, 3, 189, 442368, (199, 200, 199), (185, 109, 143)),
    _setting(64, 0.0005, 3, 189, 1769472, (190, 187, 184), (592, 596, 596)),
    _setting(64, 0.001, 3, 189, 1769472, (197, 200, 199), (598, 596, 592)),
    _setting(64, 0.002, 3, 189, 1769472, (197, 200, 200), (510, 524, 553)),
    _setting(64, 0.004, 3, 189, 1769472, (200, 193, 200), (148, 116, 142)),
    _setting(64, 0.008, 3, 189, 1769472, (187, 190, 192), (0, 0, 0)),
    _setting(16, 0.004, 1, 63, 442368, (140, 123, 119), (586, 574, 577)),
    _setting(16, 0.004, 6, 378, 442368, (199, 200, 200), (443, 560, 502)),
)

REMEDIES = (
    _remedy("full", "nothing", 21.8, (197, 197, 199), (109, 124, 64)),
    _remedy("full", "EWC 1e3", 24.1, (194, 199, 197), (140, 180, 159)),
    _remedy("full", "EWC 1e4", 24.7, (196, 200, 198), (124, 181, 279)),
    _remedy("full", "EWC 1e5", 24.8, (199, 199, 200), (410, 465, 501)),
    _remedy("full", "EWC 1e6", 25.0, (199, 200, 200), (567, 586, 590)),
    _remedy("full", "EWC 1e7", 24.1, (170, 193, 195), (568, 589, 594)),
    _remedy("full", "replay 10 %", 22.8, (196, 196, 193), (313, 361, 297)),
    _remedy("full", "replay 20 %", 23.9, (194, 198, 195), (366, 334, 337)),
    _remedy("full", "rate 0.001", 21.9, (199, 200, 200), (553, 547, 544)),
    _remedy("full", "rate 0.0005", 20.4, (200, 200, 200), (583, 595, 587)),
    _remedy("full", "rate 0.0002", 22.1, (175, 167, 162), (594, 596, 593)),
    _remedy("lora", "nothing", 23.9, (199, 200, 199), (185, 109, 143)),
    _remedy("lora", "EWC 1e3", 28.0, (190, 198, 199), (267, 226, 278)),
    _remedy("lora", "EWC 1e4", 28.8, (198, 199, 197), (351, 373, 521)),
    _remedy("lora", "EWC 1e5", 28.9, (198, 199, 198), (530, 581, 588)),
    _remedy("lora", "EWC 1e6", 29.1, (198, 199, 184), (590, 598, 593)),
    _remedy("lora", "EWC 1e7", 27.0, (196, 167, 149), (599, 596, 590)),
    _remedy("lora", "replay 10 %", 26.5, (197, 200, 199), (440, 429, 499)),
    _remedy("lora", "replay 20 %", 29.5, (199, 198, 198), (496, 539, 505)),
    _remedy("lora", "rate 0.004", 24.2, (196, 200, 200), (576, 487, 539)),
    _remedy("lora", "rate 0.002", 23.8, (197, 199, 197), (597, 592, 590)),
    _remedy("lora", "rate 0.001", 23.8, (179, 177, 176), (596, 590, 594)),
)

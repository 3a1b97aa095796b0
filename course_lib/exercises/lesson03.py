"""Checks of lesson 03's exercises: 4-bit weights and back, what they cost, the memory bill, and merging into four bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, number, numbers, pair

NF4 = np.concatenate(
    [
        [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0],
        [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0],
    ]
)
"""The 16 levels of 4-bit NormalFloat; a test compares them with `course_lib.lora.nf4`."""


def _nearest(scaled: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(scaled[..., None] - levels).argmin(-1))


def _quantise(weights: np.ndarray, levels: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(1)
    return _nearest(blocks / np.where(scales == 0, 1, scales)[:, None], levels).reshape(-1), scales


def _rounded(weights: np.ndarray, levels: np.ndarray, block: int) -> np.ndarray:
    codes, scales = _quantise(weights, levels, block)
    return np.asarray((levels[codes].reshape(-1, block) * scales[:, None]).reshape(weights.shape))


def _lopsided(rng: np.random.Generator) -> np.ndarray:
    """Levels that aren't symmetric, so that a wrong sign or order shows."""
    return np.sort(np.concatenate([[-1.0, 0.0, 1.0], rng.uniform(-0.9, -0.05, 5), rng.uniform(0.05, 0.9, 8)]))


def _clear_of_ties(rng: np.random.Generator, shape: tuple[int, int], levels: np.ndarray, block: int) -> np.ndarray:
    """Weights none of which lies halfway between two levels, so that float32 rounds as float64 does."""
    while True:
        weights = rng.normal(size=shape) * rng.uniform(0.2, 3, size=(shape[0], 1))
        weights.reshape(-1, block)[1, 2] *= -9  # an outlier below zero: its block's scale isn't its largest value
        blocks = weights.reshape(-1, block)
        scaled = blocks / np.abs(blocks).max(1, keepdims=True)
        if np.abs(scaled[..., None] - (levels[1:] + levels[:-1]) / 2).min() > 1e-5:
            return weights


# -- 1: quantise -------------------------------------------------------------------------------------------------------


@task("03.quantise", title="To four bits", difficulty=2, minutes=20)
def quantise(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Blocks, their largest magnitude as scale, and the nearest level's number; a block of zeros, too."""
    for turn, (levels, block) in enumerate(((NF4, 16), (_lopsided(rng), 32), (NF4, 16))):
        weights = _clear_of_ties(rng, (6, 2 * block), levels, block)
        if turn == 2:
            weights[2, :block] = 0
        codes, scales = pair(answer(weights, levels, block), "codes and scales")
        right_codes, right = _quantise(weights, levels, block)
        blocks = weights.reshape(-1, block)
        if numbers(scales) is not None and np.asarray(scales).size == 1:
            require(False, "one scale for everything: each block has a scale of its own")
        if isinstance(scales, np.ndarray) and scales.shape == (len(right), 1):
            scales = scales[:, 0]
        if isinstance(codes, np.ndarray) and codes.size == weights.size:
            codes = codes.reshape(-1)  # any shape, in the order of the weights
        scales, codes = array(scales, right.shape, "the scales"), array(codes, right_codes.shape, "the codes")
        if turn == 2:
            place = 4  # row 2 holds blocks 4 and 5
            zero = int(np.abs(levels).argmin())
            require(
                bool(np.isfinite(scales).all() and np.isfinite(codes).all()) and abs(scales[place]) < 1e-6,
                "a block of zeros has scale 0, and 0 / 0 is nan: divide such a block by something else",
            )
            require(
                bool((codes.reshape(-1, block)[place] == zero).all()),
                "a block of zeros has scale 0, and its codes should be the level zero's",
            )
        judge(
            scales,
            right,
            {
                "the scale is the block's largest magnitude: yours is its largest value, and an outlier below zero is lost": blocks.max(
                    1
                ),
                "the scale is the block's largest magnitude, and yours keeps its sign": blocks[
                    np.arange(len(blocks)), np.abs(blocks).argmax(1)
                ],
                "the scale is the block's largest magnitude, and yours is its standard deviation": blocks.std(1),
                "the scale is the block's largest magnitude, and yours is its root mean square": (blocks**2).mean(1) ** 0.5,
                "the scale is the block's largest magnitude, and yours is half of its range": np.ptp(blocks, axis=1) / 2,
                "a block is so many weights in a row: yours go down the columns": np.abs(weights.T.reshape(-1, block)).max(1),
                "that is what to divide by, upside down: keep the scale itself": 1 / np.where(right == 0, 1, right),
                "dividing by 7 or 8 is for evenly spaced whole numbers: these levels reach 1 already": right / 7,
                "one scale for everything: each block has a scale of its own": np.full_like(right, right.max()),
            },
            "the scales",
        )
        scaled = (blocks / np.where(right == 0, 1, right)[:, None]).reshape(-1)
        below = np.clip(np.searchsorted(levels, scaled, side="right") - 1, 0, len(levels) - 1)
        judge(
            codes,
            right_codes,
            {
                "you round down to the level below: the nearest level is wanted": below,
                "you round up to the level above: the nearest level is wanted": np.clip(
                    np.searchsorted(levels, scaled, side="left"), 0, len(levels) - 1
                ),
                "the codes count from 1: the lowest level has code 0": right_codes + 1,
                "you compare the weights themselves with the levels: divide by the block's scale first": _nearest(
                    weights.reshape(-1), levels
                ),
                "those are levels: the codes are their numbers, 0 to 15": levels[right_codes],
                "those codes are for evenly spaced levels: look for the nearest of the levels given": np.rint(
                    (scaled + 1) / 2 * (len(levels) - 1)
                ),
                "the codes run from the highest level down: the lowest level has code 0": len(levels) - 1 - right_codes,
                "a block is so many weights in a row: yours go down the columns": _quantise(weights.T.copy(), levels, block)[0],
            },
            "the codes",
            close=1e-6,
        )


# -- 2: and back -------------------------------------------------------------------------------------------------------


@task("03.dequantise", title="And back", difficulty=1, minutes=10)
def dequantise(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Level times the block's scale, in the weights' own shape."""
    for levels, block, shape in ((NF4, 16, (6, 32)), (_lopsided(rng), 8, (5, 24))):
        codes, scales = _quantise(rng.normal(size=shape) * rng.uniform(0.2, 3, size=(shape[0], 1)), levels, block)
        got = answer(codes, scales, levels, block, shape)
        require(
            not (isinstance(got, np.ndarray) and got.shape in ((codes.size,), (len(scales), block))),
            f"the weights should have their own shape again, {shape}: yours are still in blocks or in a row",
        )
        got = array(got, shape, "the weights")
        each = np.repeat(scales, block)
        known = {
            "the scales are missing: each level is a share of its block's scale": levels[codes],
            "you divide by the scale: quantising did that, and the way back multiplies": levels[codes] / each,
            "the scales stand in the wrong places: the first one belongs to the whole first block": levels[codes]
            * np.tile(scales, block),
            "a code is a number of a level: you used the code itself": codes * each,
            "those are evenly spaced levels: look the codes up in the levels given": (codes / (len(levels) - 1) * 2 - 1) * each,
            "the levels are taken from the far end: code 0 is the lowest": levels[::-1][codes] * each,
            "one scale for everything: each block has its own": levels[codes] * scales.max(),
        }
        right = levels[codes] * each
        found: dict[str, Any] = {hint: np.asarray(wrong).reshape(shape) for hint, wrong in known.items()}
        found["the weights are laid out down the columns: fill the shape row by row"] = right.reshape(shape[::-1]).T
        judge(got, right.reshape(shape), found, "the weights")


# -- 3: bits -----------------------------------------------------------------------------------------------------------


@task("03.bits", title="What a weight costs", difficulty=1, minutes=10)
def bits(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Bits a weight with plain scales, and with scales that are quantised themselves."""
    for block, second in (
        (64, None),
        (64, 256),
        (int(rng.integers(20, 50)), None),
        (int(rng.integers(70, 140)), int(rng.integers(90, 200))),
    ):
        got = number(answer(block, second), "the bits of a weight")
        if second is None:
            right, known = (
                4 + 32 / block,
                {
                    "the scales cost something, too: one for each block": 4.0,
                    "the weight's own four bits are missing": 32 / block,
                    "a plain scale has 32 bits, and yours has 16": 4 + 16 / block,
                    "a plain scale has 32 bits, and yours has 8": 4 + 8 / block,
                    "a scale of 32 bits is shared by its block: divide it by the block's size": 36.0,
                    "bits are asked for, and those are bytes": (4 + 32 / block) / 8,
                    "those are the bits of a whole block: divide by its weights": 4 * block + 32.0,
                },
            )
        else:
            right, known = (
                4 + 8 / block + 32 / (block * second),
                {
                    "the scales' own scales are missing: 32 bits for each second block": 4 + 8 / block,
                    "a second scale serves a whole block of scales, and each of these a block of weights: divide by both": 4
                    + 8 / block
                    + 32 / second,
                    "the plain scales are gone: double quantisation keeps 8 bits in place of 32": 4
                    + 32 / block
                    + 32 / (block * second),
                    "the 8-bit scales are missing: each block still has one": 4 + 32 / (block * second),
                    "the plain scales are gone, and the 8-bit ones come in their place: yours has both": 4
                    + 40 / block
                    + 32 / (block * second),
                    "that is without double quantisation: the scales have 8 bits here": 4 + 32 / block,
                    "the weight's own four bits are missing": 8 / block + 32 / (block * second),
                    "a second scale has 32 bits, and yours has 8": 4 + 8 / block + 8 / (block * second),
                    "bits are asked for, and those are bytes": (4 + 8 / block + 32 / (block * second)) / 8,
                },
            )
        judge(got, right, known, "the bits of a weight", close=1e-6)


# -- 4: the memory bill ------------------------------------------------------------------------------------------------

PARTS = ("weights", "adapter", "gradients", "optimiser")


def _bill(method: str, linear: int, other: int, adapter: int) -> dict[str, float]:
    trains = linear + other if method == "full" else adapter
    return {
        "weights": linear * 4.127 / 8 + 2 * other if method == "qlora" else 2.0 * (linear + other),
        "adapter": 0.0 if method == "full" else 4.0 * adapter,
        "gradients": (2.0 if method == "full" else 4.0) * trains,
        "optimiser": 8.0 * trains,
    }


@task("03.memory", title="The memory bill", difficulty=2, minutes=15)
def memory(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Bytes that last through training: weights, adapter, gradients and optimiser, of full fine-tuning, LoRA and QLoRA."""
    sizes = [
        (6_476_005_376, 262_410_240, 39_976_960),
        tuple(int(n) for n in rng.integers((10**8, 10**7, 10**5), (10**9, 10**8, 10**6))),
    ]
    for linear, other, adapter in sizes:
        for method in ("full", "lora", "qlora"):
            got = entries(answer(method, linear, other, adapter), PARTS, f"the bill of {method}")
            right, every = _bill(method, linear, other, adapter), linear + other
            trains = every if method == "full" else adapter
            known: dict[str, dict[str, float]] = {
                "weights": {
                    "a weight in 16 bits takes 2 bytes, and yours takes 4": 4.0 * every,
                    "a weight in 16 bits takes 2 bytes, not 16": 16.0 * every,
                    "the base's weights lie in memory, whether they train or not": 0.0,
                    "the adapter has an entry of its own": right["weights"] + right["adapter"],
                },
                "adapter": {
                    "full fine-tuning has no adapter": 4.0 * adapter,
                    "the adapter is kept in 32 bits, 4 bytes each": 2.0 * adapter,
                    "the adapter is missing: it lies in memory beside the base": 0.0,
                    "the adapter is kept in 32 bits, and not in four": adapter * 4.127 / 8,
                },
                "gradients": {
                    "frozen weights need no gradients: only the adapter trains": 2.0 * every,
                    "what is frozen needs no gradients: only the adapter trains": 4.0 * every,
                    "a gradient has its parameter's own precision: 4 bytes for the adapter": 2.0 * trains,
                    "a gradient has its parameter's own precision: 2 bytes for weights in 16 bits": 4.0 * trains,
                    "what trains needs a gradient for each of its numbers": 0.0,
                    "the whole model's numbers and the adapter's have gradients in yours: only the adapter trains": 2.0 * every
                    + 4.0 * adapter,
                },
                "optimiser": {
                    "frozen weights need no optimiser states: only the adapter trains": 8.0 * every,
                    "AdamW keeps two running means for each number, and yours keeps one": 4.0 * trains,
                    "AdamW's states have 32 bits here, and yours have 16": 4.0 * trains,
                    "AdamW's two states have 4 bytes each: 8 bytes, and not 12": 12.0 * trains,
                    "AdamW's states belong to what trains: yours has none": 0.0,
                },
            }
            if method == "full":
                known["gradients"] = {hint: wrong for hint, wrong in known["gradients"].items() if "frozen" not in hint}
            if method == "qlora":
                known["weights"] |= {
                    "only the linear layers are quantised: the others stay in 16 bits": every * 4.127 / 8,
                    "four bits are not all: the blocks' scales make it 4.127": linear * 0.5 + 2 * other,
                    "four bits are not all, and only the linear layers are quantised": every * 0.5,
                    "a byte has 8 bits: divide by 8": linear * 4.127 + 2 * other,
                    "the linear layers are kept in 4 bits: yours are still in 16": 2.0 * every,
                    "the layers that aren't quantised are missing": linear * 4.127 / 8,
                }
            for part in PARTS:
                hints = {hint: wrong for hint, wrong in known[part].items() if wrong != right[part]}
                judge(number(got[part], part), right[part], hints, f"{part} of {method}, in bytes,", close=1e-6)


# -- 5: merging into four bits -----------------------------------------------------------------------------------------


@task("03.merge4", title="Merging into four bits", difficulty=3, minutes=20)
def merge4(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """How much of an update is left if it is merged into a 4-bit weight and rounded to four bits again."""
    block = 16
    for size in (0.03, 0.3):
        weights = _clear_of_ties(rng, (8, 2 * block), NF4, block)
        update = size * rng.normal(size=(8, 3)) @ rng.normal(size=(3, 2 * block))
        got = entries(answer(weights, update, NF4, block), ("unmoved", "error"), "the result")
        base = _rounded(weights, NF4, block)
        merged = _rounded(base + update, NF4, block)
        old, scales = _quantise(weights, NF4, block)
        new = _quantise(base + update, NF4, block)[0]

        def off(change: np.ndarray, of: np.ndarray = update, update: np.ndarray = update) -> float:
            return float(np.linalg.norm(change - update) / np.linalg.norm(of))

        kept_scales = NF4[_nearest(((base + update).reshape(-1, block) / scales[:, None]), NF4)] * scales[:, None]
        sixteen = _rounded(weights + update, NF4, block)
        share = float((old == new).mean())
        unmoved_known = {
            "that is the share of codes that moved: those that stayed are asked for": 1 - share,
            "the adapter was trained on the rounded base: merge into that, and not into the original weights": float(
                (old == _quantise(weights + update, NF4, block)[0]).mean()
            ),
            "the merged block has another largest magnitude: take its scale anew": float(
                (old == _nearest((base + update).reshape(-1, block) / scales[:, None], NF4).reshape(-1)).mean()
            ),
            "that counts weights that are equal: the scales move, too, so compare the codes": float((base == merged).mean()),
            "that is a number of codes: a share is asked for": float((old == new).sum()),
        }
        judge(
            number(got["unmoved"], "unmoved"),
            share,
            {hint: wrong for hint, wrong in unmoved_known.items() if wrong != share},
            "unmoved",
            close=1e-6,
        )
        judge(
            number(got["error"], "the error"),
            off(merged - base),
            {
                "the adapter was trained on the rounded base: merge into that, and not into the original weights": off(
                    sixteen - weights
                ),
                "the change is the merged weight less the rounded base: the original weights have nothing to do with it": off(
                    merged - weights
                ),
                "you merge into the original weights and compare with the rounded base": off(sixteen - base),
                "the merged block has another largest magnitude: take its scale anew": off(
                    kept_scales.reshape(base.shape) - base
                ),
                "the error is a share of the update: yours is a share of the weights": off(merged - base, weights),
                "the error is a share of the update: yours is a share of the base": off(merged - base, base),
                "the error is a share of the update: divide by its norm": float(np.linalg.norm(merged - base - update)),
                "that is the squared error: take the root": off(merged - base) ** 2,
                "nothing was rounded after the merge: the sum has to go back to four bits": 0.0,
                "that is how large the change is: the error is how far it is from the update": float(
                    np.linalg.norm(merged - base) / np.linalg.norm(update)
                ),
                "you round the update alone: round the sum of base and update": off(_rounded(update, NF4, block)),
            },
            "the error",
            close=1e-3,
        )

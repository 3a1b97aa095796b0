"""Checks of lesson 06's exercises: merging and unmerging, rounding to bfloat16, exact sums of adapters, TIES, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, number, numbers, pair

Weights = dict[str, np.ndarray]

VERDICTS = ("right", "not merged", "alpha/r dropped", "alpha and r swapped", "merged twice", "another base")
"""What `detective` wants a merge to be called."""


# -- 1: merge and unmerge ----------------------------------------------------------------------------------------------

LAYERS = {"layers.0.q_proj": (12, 9), "layers.0.down_proj": (9, 14), "layers.1.q_proj": (12, 9), "layers.1.up_proj": (14, 9)}
BARE = "layers.1.up_proj"  # has no adapter


def _of(pattern: Mapping[str, float], layer: str, usual: float) -> float:
    """PEFT's rule: a key fits a layer of that name, or one whose name ends with a dot and the key."""
    return next((value for key, value in pattern.items() if layer == key or layer.endswith("." + key)), usual)


def _case(
    rng: np.random.Generator, ranks: dict[str, float], alphas: dict[str, float], transposed: bool
) -> tuple[Weights, Weights, dict[str, Any]]:
    config: dict[str, Any] = {
        "r": 4,
        "lora_alpha": int(rng.choice([6, 10, 12])),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "fan_in_fan_out": transposed,
    }
    weights: Weights = {}
    adapter: Weights = {}
    for layer, (out, into) in LAYERS.items():
        weights[layer] = rng.normal(size=(into, out) if transposed else (out, into))
        if layer != BARE:
            rank = int(_of(ranks, layer, config["r"]))
            adapter[f"{layer}.lora_A"], adapter[f"{layer}.lora_B"] = rng.normal(size=(rank, into)), rng.normal(size=(out, rank))
    return weights, adapter, config


def _update(layer: str, adapter: Weights, config: Mapping[str, Any], scale: str = "alpha / r") -> np.ndarray:
    """The update of one layer as it is stored, under the right scale or a wrong one."""
    alpha, rank = _of(config["alpha_pattern"], layer, config["lora_alpha"]), _of(config["rank_pattern"], layer, config["r"])
    factor = {
        "alpha / r": alpha / rank,
        "one": 1.0,
        "r / alpha": rank / alpha,
        "alpha": alpha,
        "config rank": alpha / config["r"],
        "config alpha": config["lora_alpha"] / rank,
        "config": config["lora_alpha"] / config["r"],
        "root": alpha / rank**0.5,
    }[scale]
    product = factor * adapter[f"{layer}.lora_B"] @ adapter[f"{layer}.lora_A"]
    return np.asarray(product.T if config["fan_in_fan_out"] else product)


@task("06.merge", title="Merge, and take it out again", difficulty=2, minutes=20)
def merge(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """W + times (alpha / r) B A for each layer that has an adapter, with patterns of rank and alpha and transposed weights."""
    cases: list[tuple[dict[str, float], dict[str, float], bool, int]] = [({}, {}, False, 1)]
    cases += [({"q_proj": 2}, {}, False, 1), ({"layers.0.q_proj": 6}, {"down_proj": 20.0}, False, 1)]
    cases += [({"q_proj": 3}, {}, True, 1), ({}, {"q_proj": 5.0}, False, -1), ({"down_proj": 2}, {}, True, -1)]
    for ranks, alphas, transposed, times in cases:
        weights, adapter, config = _case(rng, ranks, alphas, transposed)
        got = entries(answer(weights, adapter, config, times), tuple(LAYERS), "the merged weights")
        for layer, weight in weights.items():
            shape = weight.shape
            values = numbers(got[layer])
            seen = None if values is None else values.shape
            require(
                not transposed or seen == shape or seen != shape[::-1],
                "with fan_in_fan_out the weights are stored as d_in x d_out: transpose the update, and leave the weight as it is",
            )
            mine = array(got[layer], shape, f"the merged {layer}")
            if layer == BARE:
                judge(mine, weight, {}, f"{layer}, which has no adapter and stays as it is,")
                continue
            update = _update(layer, adapter, config)
            mistakes = {
                "the update lacks its scale: multiply B A by alpha / r": _update(layer, adapter, config, "one"),
                "alpha and r are swapped: the scale is alpha / r": _update(layer, adapter, config, "r / alpha"),
                "the scale is alpha / r, and you multiplied by alpha alone": _update(layer, adapter, config, "alpha"),
                "that is rsLoRA's scale, alpha / sqrt(r): this adapter wants alpha / r": _update(layer, adapter, config, "root"),
                "rank_pattern gives this layer a rank of its own: its scale is alpha divided by that": _update(
                    layer, adapter, config, "config rank"
                ),
                "alpha_pattern gives this layer an alpha of its own: use it in the scale": _update(
                    layer, adapter, config, "config alpha"
                ),
                "the patterns give this layer a rank or alpha of its own: use those in the scale": _update(
                    layer, adapter, config, "config"
                ),
            }
            known = {hint: weight + times * wrong for hint, wrong in mistakes.items()}
            known["this layer has an adapter and came back as it was"] = weight
            known["the update goes in twice"] = weight + 2 * times * update
            known[
                "times = -1 takes the update out again, and yours puts it in once more" if times < 0 else "the sign: add it"
            ] = weight - times * update
            known["this is the update alone: add it to the weight"] = times * update
            judge(mine, weight + times * update, known, f"{layer} (times = {times})")


# -- 2: bfloat16 -------------------------------------------------------------------------------------------------------


def _bits(x: np.ndarray, add: str = "even") -> np.ndarray:
    """Numbers with the 16 bits of bfloat16: the upper half of its float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    extra: Any = {"even": 0x7FFF + ((bits >> 16) & 1), "up": 0x8000, "cut": 0}[add]
    return np.asarray(((bits + extra) & 0xFFFF0000).astype(np.uint32).view(np.float32)).astype(float)


def _significant(x: np.ndarray, bits: int) -> np.ndarray:
    mantissa, exponent = np.frexp(x)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))


@task("06.round", title="Round once, or twice?", difficulty=3, minutes=15)
def rounding(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Merge with one rounding to bfloat16 at the end, and with both parts rounded before the sum as well."""
    for size in (1.0, 2.0**20):  # the second one leaves float16's range
        # Whole multiples of 2^-14 below 4: their sums are exact in float32, so that every way to add agrees to the last bit.
        weight = np.round(rng.normal(0, 0.6, (8, 11)) * 2**14) / 2**14 * size
        update = np.round(rng.normal(0, 0.08, (8, 11)) * 2**14) / 2**14 * size
        odd = rng.integers(64, 127, (2, 11)) * 2 + 1
        weight[:2] = odd / 256 * 2 * size * rng.choice([-1, 1], (2, 11))  # exactly half-way between two numbers of bfloat16
        update[0] = 0
        once, twice = pair(answer(weight.copy(), update.copy()), "rounded once, and rounded twice")
        once, twice = (array(part, weight.shape, name) for part, name in ((once, "rounded once"), (twice, "rounded twice")))
        right = _bits(weight + update), _bits(_bits(weight) + _bits(update))
        ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "you cut the lower bits off: round to the nearest number of bfloat16": lambda x: _bits(x, "cut"),
            "half-way cases go to the even neighbour, and yours go away from zero": lambda x: _bits(x, "up"),
            "nothing is rounded: keep 8 significant bits": np.asarray,
            "bfloat16 has 8 significant bits with the leading one, which isn't stored: yours keeps 9": lambda x: _significant(
                x, 9
            ),
            "bfloat16 has 8 significant bits with the leading one, which isn't stored: yours keeps 7": lambda x: _significant(
                x, 7
            ),
            "that is a rounding to places after the point: bfloat16 keeps 8 significant bits, whatever the size": lambda x: (
                np.round(x * 256) / 256
            ),
        }
        with np.errstate(over="ignore"):
            half = (weight + update).astype(np.float16).astype(float)
        require(
            bool(np.isfinite(once).all()) or size == 1,
            "large numbers became infinite: that is float16, and bfloat16 has the range of float32",
        )
        known = {hint: way(weight + update) for hint, way in ways.items()}
        known["that is float16, with 11 significant bits: bfloat16 keeps 8"] = half
        known["the two are the wrong way round: return the one that is rounded once first"] = right[1]
        judge(once, right[0], known, "rounded once", close=1e-7)
        known = {hint: way(way(weight) + way(update)) for hint, way in ways.items()}
        known["rounding what is rounded already changes nothing: here round W and the update before you add them, too"] = right[0]
        known["the update has to be rounded, too, before it is added"] = _bits(_bits(weight) + update)
        known["the weight has to be rounded, too, before the update is added"] = _bits(weight + _bits(update))
        known["the sum of the two rounded parts has to be rounded once more, for it is stored in bfloat16"] = _bits(
            weight
        ) + _bits(update)
        judge(twice, right[1], known, "rounded twice", close=1e-7)


# -- 3: an exact sum of adapters ---------------------------------------------------------------------------------------


@task("06.cat", title="Two adapters in one, exactly", difficulty=2, minutes=15)
def cat(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """One adapter whose update is the weighted sum of others: their factors side by side."""
    for count, lowest in ((2, 0.4), (3, -1.0), (2, -1.5)):
        adapters: list[dict[str, Any]] = []
        for place in range(count):
            rank = int(rng.permutation([2, 3, 5])[0]) + (place == 0)
            adapters.append(
                {"A": rng.normal(size=(rank, 11)), "B": rng.normal(size=(13, rank)), "r": rank, "alpha": rank * 2 + 3 * place + 1}
            )
        weights = [float(lowest), *rng.uniform(0.3, 1.6, count - 1).tolist()]
        got = entries(answer(adapters, weights), ("A", "B", "r", "alpha"), "the sum")
        rank = sum(adapter["r"] for adapter in adapters)
        seen = number(got["r"], "r")
        require(
            seen != adapters[0]["r"] or seen == rank,
            "adding the factors themselves brings in B1 A2 and B2 A1: set the factors side by side instead, so the ranks add up",
        )
        require(seen == rank, f"the ranks add up: r should be {rank}, and yours is {seen:g}")
        a, b = array(got["A"], (rank, 11), "A"), array(got["B"], (13, rank), "B")
        alpha = number(got["alpha"], "alpha")
        require(
            lowest > 0 or bool(np.isfinite(a).all() and np.isfinite(b).all()),
            "a negative weight has no square root: put the whole weight into one of the factors",
        )
        scales = [adapter["alpha"] / adapter["r"] for adapter in adapters]
        products = [adapter["B"] @ adapter["A"] for adapter in adapters]

        def total(factors: Sequence[float], products: Sequence[np.ndarray] = products) -> np.ndarray:
            return np.asarray(sum(factor * product for factor, product in zip(factors, products, strict=True)))

        both = [w * s for w, s in zip(weights, scales, strict=True)]
        mine = alpha / seen * b @ a
        known = {
            "each update has its own scale alpha / r: put it into one of the factors": total(weights),
            "the weights are missing: each update counts with its weight": total(scales),
            "weights and scales are missing: put weight times alpha / r into one of the factors": total([1.0] * count),
            "weight and scale are in both factors, so that they come out squared: put them into one": total(
                [x * x for x in both]
            ),
            "the weight is in both factors, so that it comes out squared: put it into one": total(
                [w * w * s for w, s in zip(weights, scales, strict=True)]
            ),
            "the scale is in both factors, so that it comes out squared: put it into one": total(
                [w * s * s for w, s in zip(weights, scales, strict=True)]
            ),
            "a weight lost its sign: -1 takes an update out": total([abs(x) for x in both]),
            "alpha and r are swapped in the scale: it is alpha / r": total([w / s for w, s in zip(weights, scales, strict=True)]),
        }
        right = total(both)
        if not np.allclose(right * alpha / seen, right):
            known["the scales are in the factors already, and the sum's alpha / r scales them again: give it alpha = r"] = (
                right * alpha / seen
            )
        judge(mine, right, known, "the update alpha / r B A of your adapter")


# -- 4: TIES -----------------------------------------------------------------------------------------------------------


def _ties(
    updates: np.ndarray, density: float, *, keep: str = "large", elect: str = "mass", divide: str = "agreeing"
) -> np.ndarray:
    keep_count = round(density * updates.shape[1])
    if keep == "all":
        mask = np.ones_like(updates, dtype=bool)
    elif keep == "together":
        bar = np.sort(np.abs(updates).ravel())[-keep_count * len(updates)]
        mask = np.abs(updates) >= bar
    else:
        size = {"large": np.abs(updates), "small": -np.abs(updates), "signed": updates}[keep]
        mask = size >= np.sort(size, axis=1)[:, [-keep_count]]
    trimmed = updates * mask
    votes = {"mass": trimmed.sum(0), "count": np.sign(trimmed).sum(0), "untrimmed": updates.sum(0), "minority": -trimmed.sum(0)}
    sign = np.where(votes[elect] >= 0, 1, -1) if elect in votes else None
    agreeing = np.sign(trimmed) == sign if sign is not None else trimmed != 0
    total = (trimmed * agreeing).sum(0)
    by = {"agreeing": agreeing.sum(0), "all": len(updates), "none": 1, "kept": (trimmed != 0).sum(0)}[divide]
    return np.asarray(total / np.maximum(by, 1))


@task("06.ties", title="TIES by hand", difficulty=2, minutes=15)
def ties(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Trim each update, elect a sign for each number, and average those that agree."""
    for count, size, density in ((3, 40, 0.5), (3, 50, 0.2), (5, 40, 0.3)):
        # Magnitudes without equals; the updates differ in size, so that trimming them together isn't trimming each.
        updates = rng.permuted(np.linspace(0.1, 2, size) * np.ones((count, 1)), axis=1) * rng.uniform(0.97, 1.03, (count, size))
        updates *= rng.choice([-1, 1], (count, size)) * np.linspace(0.6, 1.5, count)[:, None]
        known = {
            "nothing was trimmed: first keep only the largest numbers of each update": _ties(updates, density, keep="all"),
            "the smallest numbers stayed: keep the largest in magnitude": _ties(updates, density, keep="small"),
            "large is meant in magnitude: -3 is larger than 2": _ties(updates, density, keep="signed"),
            "trim each update by itself, not all of them together": _ties(updates, density, keep="together"),
            "density is the share that stays, not the share that goes": _ties(updates, 1 - density),
            "the sign is elected by mass, the sum of what is left, not by the number of votes": _ties(
                updates, density, elect="count"
            ),
            "the sign is elected by what is left after trimming": _ties(updates, density, elect="untrimmed"),
            "the minority won: keep the numbers that have the sign of their sum": _ties(updates, density, elect="minority"),
            "no sign was elected: numbers of the losing sign have to go before the mean": _ties(
                updates, density, elect="none", divide="kept"
            ),
            "this is the plain mean of the trimmed updates: elect a sign, and drop the numbers of the other": _ties(
                updates, density, elect="none", divide="all"
            ),
            "you divide by the number of updates: take the mean over the numbers that agree": _ties(
                updates, density, divide="all"
            ),
            "this is the sum of the numbers that agree: take their mean": _ties(updates, density, divide="none"),
            "you divide by all that is left, and the losing sign is left out: take the mean over the numbers that agree": _ties(
                updates, density, divide="kept"
            ),
            "this is the plain mean of the updates: TIES trims, elects, and then averages": updates.mean(0),
        }
        got = array(answer(updates, density), (size,), "the merged update")
        require(
            bool(np.isfinite(got).all()), "where every number was trimmed there is nothing to average, and yours is nan: it is 0"
        )
        judge(got, _ties(updates, density), known, "the merged update")


# -- 5: what happened here? --------------------------------------------------------------------------------------------

TRACES = {
    "right": "merged - base is (alpha / r) B A, up to the rounding of bfloat16",
    "not merged": "merged equals base",
    "alpha/r dropped": "merged - base is B A, once",
    "alpha and r swapped": "merged - base is (r / alpha) B A",
    "merged twice": "merged - base is two times (alpha / r) B A",
    "another base": "merged - base is no multiple of B A: what is left after the best multiple is far more than rounding",
}


@task("06.detective", title="Which mistake was made?", difficulty=3, minutes=15)
def detective(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Tell from base, merged weight and adapter what a merge did, through the noise of 16 bits."""
    cases = [(verdict, scale) for verdict in VERDICTS for scale in (4.0, 3.0, 1.5, 0.25)]
    for place in rng.permutation(len(cases)):
        verdict, scale = cases[place]
        rank = int(rng.choice([3, 4, 6]))
        alpha = scale * rank
        base = _bits(rng.normal(0, 0.5, (24, 17)))
        a, b = rng.normal(size=(rank, 17)), rng.normal(size=(24, rank))
        b *= 0.1 * max(scale, 1 / scale) / np.abs(b @ a).mean()  # under every verdict, far above the rounding
        times = {"not merged": 0, "alpha/r dropped": 1, "alpha and r swapped": 1 / scale, "merged twice": 2 * scale}.get(
            verdict, scale
        )
        start = base + rng.normal(0, 0.2, base.shape) if verdict == "another base" else base
        got = answer(base.copy(), _bits(start + times * b @ a), a.copy(), b.copy(), alpha, rank)
        require(isinstance(got, str), f"return one of the verdicts {', '.join(VERDICTS)}, and not {type(got).__name__}")
        require(got in VERDICTS, f"there is no verdict {got!r:.40}: choose from {', '.join(VERDICTS)}")
        require(
            got == verdict or got != "another base",
            f"a merge that was '{verdict}' was called '{got}': nothing but the rounding of bfloat16 lies between, which equals tests miss",
        )
        require(got == verdict, f"a merge that was '{verdict}' was called '{got}': {TRACES[verdict]}")

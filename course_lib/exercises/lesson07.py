"""Checks of lesson 07's exercises: is a difference real, alpha and rate, what rank fits, reading a sweep, choosing under limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import entries, judge, judge_choices, number, pair
from course_lib.exercises.measured import SETTINGS, Setting

STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
"""How many standard errors a 95 % interval reaches to either side, by degrees of freedom (Student's t, quantile 0.975)."""


# -- 1: is it real? ----------------------------------------------------------------------------------------------------


def _interval(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    gaps = first - second
    half = STUDENT_T[len(gaps) - 1] * gaps.std(ddof=1) / len(gaps) ** 0.5
    return np.array([gaps.mean() - half, gaps.mean() + half])


def _interval_mistakes(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    n, gaps = len(first), first - second
    middle, spread, error = gaps.mean(), gaps.std(ddof=1), gaps.std(ddof=1) / n**0.5
    t = STUDENT_T[n - 1]
    halves = {
        "1.96 is for many seeds: with this few, take Student's t from the table": 1.96 * error,
        "the degrees of freedom are one less than the number of seeds": STUDENT_T[n] * error,
        "the standard deviation of a sample divides by n - 1: use ddof=1": t * gaps.std() / n**0.5,
        "the interval of a mean has the standard error in it: divide the standard deviation by the square root of n": t * spread,
        "divide the standard deviation by the square root of n, not by n": t * spread / n,
        "that is the standard error alone: multiply it by Student's t": error,
        "the two runs of one seed belong together: take the differences seed by seed, and their standard deviation": t
        * ((first.var(ddof=1) + second.var(ddof=1)) / n) ** 0.5,
        "the two runs of one seed belong together: take the differences seed by seed; their degrees of freedom are n - 1": (
            STUDENT_T[2 * n - 2] * ((first.var(ddof=1) + second.var(ddof=1)) / n) ** 0.5
        ),
        "you added the two settings' own intervals: take the differences seed by seed, and the interval of those": t
        * (first.std(ddof=1) + second.std(ddof=1))
        / n**0.5,
    }
    found = {hint: np.array([middle - half, middle + half]) for hint, half in halves.items()}
    found["the sign: the difference is first - second"] = -_interval(first, second)[::-1]
    found["those are the smallest and the largest difference: an interval of the mean is asked"] = np.array(
        [gaps.min(), gaps.max()]
    )
    return found


@task("07.real", title="Is the difference real?", difficulty=2, minutes=20)
def real(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The 95 % interval of a difference between two settings, paired by seed, and whether it leaves out zero."""
    for n, effect, noise in ((3, 0.25, 0.012), (4, 0.015, 0.05), (5, 0.06, 0.01), (5, -0.05, 0.01), (5, 0.02, 0.04)):
        luck = rng.permutation(np.linspace(-0.12, 0.12, n))  # the same seed draws the same rows: both settings share it
        own = rng.permutation(np.linspace(-noise, noise, n))
        first, second = 0.7 + luck + rng.uniform(0.8, 1.2) * (own + effect), 0.7 + luck
        got = entries(answer(first, second), ("difference", "low", "high", "real"), "the comparison")
        middle = (first - second).mean()
        judge(
            number(got["difference"], "the difference"),
            middle,
            {
                "the sign: the difference is first - second": -middle,
                "the difference is that of the means over seeds": first[0] - second[0],
            },
            "the difference",
        )
        right = _interval(first, second)
        mine = np.array([number(got["low"], "low"), number(got["high"], "high")])
        judge(
            mine,
            right,
            {**_interval_mistakes(first, second), "low and high are the wrong way round": right[::-1]},
            "low and high",
            close=1e-3,
        )
        require(isinstance(got["real"], bool | np.bool_), "real should be True or False")
        surely = bool(right[0] > 0 or right[1] < 0)
        require(
            not (surely and middle < 0) or bool(got["real"]),
            "a difference below zero can be real, too: it is if the interval leaves out zero",
        )
        require(
            bool(got["real"]) or not surely,
            "this interval leaves out zero, so the difference is real, even where the intervals of the two settings overlap",
        )
        require(
            surely or not got["real"],
            "this interval reaches across zero, so chance may have made the difference: it is not shown to be real",
        )


# -- 2: alpha and the rate ---------------------------------------------------------------------------------------------


@task("07.alpha", title="Another alpha, the same step", difficulty=2, minutes=15)
def alpha(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The learning rate that keeps the size of an update's first step when alpha changes, for AdamW and for plain SGD."""
    for old, new in ((32, 128), (32, 8), (16, 24)):
        lr = float(rng.uniform(1e-4, 5e-3))
        ratio = old / new
        for optimiser, power in (("adamw", 1), ("sgd", 2)):
            known = {
                "the wrong way round: a larger alpha makes larger steps, so it needs a smaller rate": lr / ratio**power,
                "nothing changed: alpha scales every step, so the rate has to make up for it": lr,
                "that keeps the root of the product: hold the size of the step itself": lr * ratio**0.5,
            }
            if power == 1:
                known["AdamW divides each gradient by its own size, so alpha enters the step once, not squared"] = lr * ratio**2
            else:
                known[
                    "with SGD alpha enters twice: in the gradient of B, and again when B is multiplied by alpha / r; the rate goes with its square"
                ] = lr * ratio
            got = number(answer(lr, old, new, optimiser), "the new rate")
            judge(got, lr * ratio**power, known, f"the rate for {optimiser}, from alpha {old} to {new},")


# -- 3: what rank fits? ------------------------------------------------------------------------------------------------

BYTES = 16
"""Of training, for each trained number in float32: weight 4, gradient 4, AdamW's two averages 8."""


def _rank(layers: Sequence[tuple[int, int, int]], megabytes: float, bytes_each: int = BYTES) -> int:
    each = sum(count * (out + into) for out, into, count in layers)
    return min(int(megabytes * 1e6 // (each * bytes_each)), *(min(out, into) for out, into, _ in layers))


@task("07.rank", title="The largest rank that fits", difficulty=1, minutes=10)
def rank(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The largest rank whose training fits into a memory budget: r (d_out + d_in) numbers a matrix, 16 bytes each."""
    llama = [(4096, 4096, 64), (1024, 4096, 64), (14336, 4096, 64), (4096, 14336, 32)]
    small = [(int(rng.integers(60, 90)), int(rng.integers(20, 40)), int(rng.integers(3, 9))) for _ in range(3)]
    for layers, ranks in ((llama, (13, 41)), (small, (4, 12))):
        smallest = min(min(out, into) for out, into, _ in layers)
        each = sum(count * (out + into) for out, into, count in layers)
        for wanted in (*ranks, 0, smallest + 7):
            megabytes = (wanted + 0.9) * each * BYTES / 1e6
            right = _rank(layers, megabytes)
            got = number(answer([list(layer) for layer in layers], megabytes), "the rank")
            require(got % 1 == 0, f"a rank is a whole number, and yours is {got:g}")
            require(
                wanted < smallest or got <= smallest,
                f"memory would allow rank {wanted}, but a {smallest} x ... matrix has rank {smallest} at most: stop there",
            )
            require(wanted > 0 or got != 1, "not even rank 1 fits here: return 0")
            if wanted < smallest:
                known = {
                    "rounded up: that rank needs more than there is": right + 1,
                    "the weights alone don't train: add the gradient and AdamW's two averages, 16 bytes a number in all": _rank(
                        layers, megabytes, 4
                    ),
                    "AdamW keeps two averages of each number: 16 bytes a number in all": _rank(layers, megabytes, 12),
                    "AdamW keeps two averages of each number, and training a gradient: 16 bytes a number in all": _rank(
                        layers, megabytes, 8
                    ),
                    "each layer comes so many times: multiply by the count": _rank([(o, i, 1) for o, i, _ in layers], megabytes),
                    "a megabyte here is a million bytes": _rank(layers, megabytes * 2**20 / 1e6),
                    "A has r d_in numbers and B has r d_out: count both": int(
                        megabytes * 1e6 // (sum(c * i for _, i, c in layers) * BYTES)
                    ),
                    "the update's two factors have r (d_out + d_in) numbers, not r times d_out d_in": int(
                        megabytes * 1e6 // (sum(c * o * i for o, i, c in layers) * BYTES)
                    ),
                }
                judge(got, right, {hint: min(value, smallest) for hint, value in known.items()}, "the rank")
            require(got == right, f"the largest rank that fits is {right}, and yours is {got:g}")


# -- 4: reading a sweep ------------------------------------------------------------------------------------------------


@task("07.sweep", title="Read a learning-rate sweep", difficulty=1, minutes=15)
def sweep(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The best rate of a measured sweep by learned and kept together, and whether the sweep has to go on beyond an end."""
    bests: list[float] = []
    extends: list[str] = []
    right: list[float] = []
    onward: list[str] = []
    wrong_rates: dict[str, list[float]] = {}
    wrong_ends: dict[str, list[str]] = {}
    asked: list[str] = []
    for rank, (first, last) in ((16, (0, 5)), (1, (0, 5)), (64, (1, 5)), (4, (0, 4)), (16, (2, 5)), (64, (0, 5)), (16, (1, 4))):
        rows = sorted((s for s in SETTINGS if s["rank"] == rank and s["epochs"] == 3), key=lambda s: s["lr"])[first:last]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        rates = np.array([row["lr"] for row in rows])
        learned, kept = np.array([row["learned"] for row in rows]), np.array([row["kept"] for row in rows])
        got = entries(answer(rates, learned, kept), ("best", "extend"), "what you read")
        require(
            isinstance(got["extend"], str) and got["extend"] in ("lower", "higher", "no"),
            "extend should be 'lower', 'higher' or 'no'",
        )
        bests.append(round(number(got["best"], "best"), 9))
        extends.append(str(got["extend"]))
        place = int((learned + kept).mean(1).argmax())
        best = float(rates[place])
        right.append(best)
        onward.append("lower" if best == rates.min() else "higher" if best == rates.max() else "no")
        for hint, rate in {
            "that rate learns most: what is kept counts as much": rates[learned.mean(1).argmax()],
            "that rate keeps most: what is learned counts as much": rates[kept.mean(1).argmax()],
            "that is where one lucky seed is best: compare means over the seeds": rates[(learned + kept).max(1).argmax()],
            "that is the place in the list: return the rate itself": place,
            "the rates are in no order: take the rate from the same place as the scores": np.sort(rates)[place],
        }.items():
            wrong_rates.setdefault(hint, []).append(round(float(rate), 9))
        at_ends = "lower" if best == rates[0] else "higher" if best == rates[-1] else "no"
        for hint, end in {
            "the best rate is sometimes the smallest or the largest that was tried: the true best may lie beyond, so extend the sweep": "no",
            "extend the sweep beyond the side where the best rate lies: yours goes the other way": {
                "lower": "higher",
                "higher": "lower",
                "no": "no",
            }[onward[-1]],
            "where worse rates lie on both sides of the best there is no need to extend": "higher"
            if onward[-1] == "no"
            else onward[-1],
            "the rates are in no order: an end of the list is no end of the sweep": at_ends,
        }.items():
            wrong_ends.setdefault(hint, []).append(end)
        asked.append(f"rates {', '.join(f'{rate:g}' for rate in rates)}, the best is {best:g}")
    judge_choices(bests, right, wrong_rates, asked)
    judge_choices(extends, onward, wrong_ends, asked)


# -- 5: choosing under limits ------------------------------------------------------------------------------------------


def _choose(
    settings: Sequence[Setting], megabytes: float, steps: int, least: float, margin: float, without: str = ""
) -> tuple[int, float] | None:
    """(rank, rate) of the right choice; ``without`` one of its rules, what that mistake would choose."""

    def mean(values: Sequence[float]) -> float:
        return {"means": max(values), "all seeds": min(values)}.get(without, float(np.mean(values)))

    size = {"bytes": 4}.get(without, BYTES)
    fitting = [
        s
        for s in settings
        if (s["trainable"] * size <= megabytes * 1e6 or without == "memory")
        and (s["steps"] <= steps or without == "steps")
        and (mean(s["kept"]) >= least - 1e-9 or without == "kept")
    ]
    if not fitting:
        return None
    scores = {id(s): mean(s["learned"]) + (mean(s["kept"]) if without == "sum" else 0) for s in fitting}
    best = max(scores.values()) - (0 if without == "margin" else margin) - 1e-9
    good = fitting if without == "score" else [s for s in fitting if scores[id(s)] >= best]
    good.sort(key=lambda s: (s["trainable"], -scores[id(s)]))
    chosen = good[0]
    return chosen["rank"], chosen["lr"]


@task("07.choose", title="Choose under limits", difficulty=3, minutes=20)
def choose(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The setting that learns as much as the best within memory, steps and what must be kept, with the fewest trained numbers."""
    limits = [
        (30.0, 378, 0.97, 0.02),
        (30.0, 400, 0.8, 0.02),
        (2.0, 200, 0.95, 0.02),
        (30.0, 200, 0.97, 0.12),
        (8.0, 100, 0.9, 0.02),
    ]
    limits += [(30.0, 200, 0.7, 0.0), (0.5, 200, 0.9, 0.05), (0.1, 378, 0.5, 0.02), (30.0, 378, 0.875, 0.0)]
    chosen: list[tuple[float, float] | None] = []
    right: list[tuple[int, float] | None] = []
    wrong: dict[str, list[Any]] = {}
    hints = {
        "memory": "a setting of yours needs more memory than there is: 16 bytes for each trained number",
        "bytes": "a trained number takes 16 bytes: weight, gradient and AdamW's two averages",
        "steps": "a setting of yours takes more steps than there is time for",
        "kept": "a setting of yours keeps less than was asked",
        "margin": "where another setting learns as much up to the margin, and trains fewer numbers, prefer it",
        "score": "yours is the smallest of those that fit: it has to learn as much as the best of them, up to the margin",
        "sum": "what is kept is a bound here, and among those that meet it learned alone decides",
        "means": "yours goes by the luckiest seed: compare means over the seeds",
        "all seeds": "yours goes by the unluckiest seed: compare means over the seeds",
    }
    asked = []
    for megabytes, steps, least, margin in limits:
        settings = [SETTINGS[i] for i in rng.permutation(len(SETTINGS))]
        want = _choose(settings, megabytes, steps, least, margin)
        got = answer([dict(s) for s in settings], megabytes, steps, least, margin)
        if got is None:
            chosen.append(None)
        else:
            rank, lr = pair(got, "rank and learning rate")
            chosen.append((number(rank, "the rank"), round(number(lr, "the learning rate"), 9)))
        right.append(want)
        asked.append(f"{megabytes:g} MB, {steps} steps, kept {least:g} at least, margin {margin:g}, or None if nothing fits")
        for rule, hint in hints.items():
            wrong.setdefault(hint, []).append(_choose(settings, megabytes, steps, least, margin, rule))
    judge_choices(chosen, right, wrong, asked)

"""Checks of lesson 08's exercises: what was forgotten, the EWC penalty, the Fisher information, replay, and the cheapest remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, judge_choices, number, pair
from course_lib.exercises.measured import REMEDIES, Remedy

# -- 1: what was forgotten ---------------------------------------------------------------------------------------------


@task("08.kept", title="Measure forgetting", difficulty=1, minutes=10)
def kept(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The share still right of what was right before, as the mean over skills."""
    for turn in range(3):
        before, after = {}, {}
        for skill, (questions, known, lost, gained) in {
            "facts": (40, 30, 9 + turn, 4),
            "arithmetic": (25, 10, 6, 9),
            "reviews": (60, 57, 12, 2),
        }.items():
            was, now = np.zeros(questions, dtype=bool), np.zeros(questions, dtype=bool)
            was[:known] = True
            now[lost : known + gained] = True
            order = rng.permutation(questions)
            before[skill], after[skill] = was[order], now[order]
        if turn == 2:
            before["poetry"], after["poetry"] = np.zeros(20, dtype=bool), rng.random(20) < 0.5
        got = number(answer(before, after), "the share kept")
        asked = [skill for skill in before if before[skill].any()]
        b, a = ([part[s].astype(float) for s in asked] for part in (before, after))
        right = np.mean([(x * y).sum() / x.sum() for x, y in zip(b, a, strict=True)])
        everything = np.concatenate(list(before.values())), np.concatenate(list(after.values()))
        known_hints = {
            "this is the score after training: questions that it didn't know before can't be forgotten, so leave them out": np.mean(
                [y.mean() for y in after.values()]
            ),
            "this is the score after training, of the skills known before: leave out the questions not known before, too": np.mean(
                [y.mean() for y in a]
            ),
            "the score after divided by the score before lets newly right answers make up for lost ones: follow each question": np.mean(
                [y.sum() / x.sum() for x, y in zip(b, a, strict=True)]
            ),
            "this is the change of the score, in which newly right answers make up for lost ones: follow each question": np.mean(
                [x.mean() - y.mean() for x, y in zip(b, a, strict=True)]
            ),
            "this is the share forgotten: the share kept is one minus that": 1 - right,
            "all questions thrown together, the largest skill counts most: take each skill's share, then their mean": (
                everything[0] & everything[1]
            ).sum()
            / everything[0].sum(),
            "divide by the questions that were right before, not by all of them": np.mean(
                [(x * y).mean() for x, y in zip(b, a, strict=True)]
            ),
            "this is the share of answers that did not change, and an answer that stays wrong was not kept": np.mean(
                [(x == y).mean() for x, y in zip(b, a, strict=True)]
            ),
            "divide by what was right before: yours divides by what is right after": np.mean(
                [(x * y).sum() / y.sum() for x, y in zip(b, a, strict=True)]
            ),
        }
        if turn == 2:
            require(bool(np.isfinite(got)), "nothing of one skill was known before, and 0 / 0 is nan: leave that skill out")
            whole = np.sum([(x * y).sum() / x.sum() for x, y in zip(b, a, strict=True)])
            known_hints["a skill of which nothing was known before can't be forgotten: leave it out of the mean"] = whole / len(
                before
            )
            known_hints["a skill of which nothing was known before was not kept whole: leave it out of the mean"] = (
                whole + 1
            ) / len(before)
        judge(got, right, known_hints, "the share kept")


# -- 2: the penalty ----------------------------------------------------------------------------------------------------


@task("08.penalty", title="The springs of EWC", difficulty=2, minutes=15)
def penalty(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Half the strength times the sum of F (weight - old)^2, and its gradient for every weight, those without a spring, too."""
    for turn in range(3):
        shapes = {"q": (4, 6), "norm": (5,)}
        fisher = {name: rng.exponential(2.0, shape) for name, shape in shapes.items()}
        weights, old = ({name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(2))
        strength = float(rng.uniform(3, 90))
        if turn == 2:
            weights["new"], shapes["new"] = rng.normal(size=(3, 2)), (3, 2)  # came after pretraining: nothing to go back to
        value, gradient = pair(answer(weights, old, fisher, strength), "the penalty and its gradient")
        value = number(value, "the penalty")
        gradient = entries(gradient, tuple(shapes), "the gradient")
        moved = {name: weights[name] - old[name] for name in fisher}

        f, w, d = (np.concatenate([part[name].ravel() for name in fisher]) for part in (fisher, weights, moved))
        right = strength / 2 * (f * d**2).sum()
        known = {
            "the penalty lacks its factor 1/2": 2 * right,
            "the penalty lacks the strength": right / strength,
            "the penalty lacks strength / 2": 2 * right / strength,
            "the penalty lowers the loss the further a weight moves: its sign is wrong": -right,
            "the springs pull towards zero: measure from the old weight": strength / 2 * (f * w**2).sum(),
            "all springs are alike: weigh each by its Fisher information": strength / 2 * (d**2).sum(),
            "the Fisher information is squared already, so leave it as it is": strength / 2 * ((f * d) ** 2).sum(),
            "that is the mean over the weights: the penalty is a sum": strength / 2 * (f * d**2).mean(),
            "that is a sum of means: the penalty is a sum over every single weight": strength
            / 2
            * sum((fisher[name] * moved[name] ** 2).mean() for name in fisher),
            "a spring's energy goes with the square of the distance, and yours with the distance itself": strength
            / 2
            * (f * np.abs(d)).sum(),
            "the distance has no square, so moves to either side cancel": strength / 2 * (f * d).sum(),
        }
        judge(value, right, known, "the penalty")
        for name, shape in shapes.items():
            mine = array(gradient[name], shape, f"the gradient of {name}")
            if name not in fisher:
                judge(mine, np.zeros(shape), {}, f"{name} has no Fisher information, so no spring holds it: its gradient")
                continue
            slope = strength * fisher[name] * moved[name]
            known = {
                "the gradient is half of what it should be: the 2 of the square and the 1/2 cancel": slope / 2,
                "the gradient is twice what it should be: the 2 of the square and the 1/2 cancel": 2 * slope,
                "the gradient lacks the strength": fisher[name] * moved[name],
                "the gradient's sign is wrong: it points away from the old weight, and the step goes against it": -slope,
                "the gradient lacks the Fisher information": strength * moved[name],
                "the gradient measures from zero: measure from the old weight": strength * fisher[name] * weights[name],
                "that is the penalty of each weight: its slope has weight - old once, not squared": strength
                / 2
                * fisher[name]
                * moved[name] ** 2,
                "the gradient has the Fisher information squared: it is the spring's stiffness as it is": strength
                * fisher[name] ** 2
                * moved[name],
                "the gradient has the spring's stiffness times the sign alone: a spring pulls harder the further it is stretched": strength
                * fisher[name]
                * np.sign(moved[name]),
            }
            judge(mine, slope, known, f"the gradient of {name}")


# -- 3: the Fisher information -----------------------------------------------------------------------------------------


def _probabilities(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    scores = x @ w.T
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


@task("08.fisher", title="The Fisher information, by the book", difficulty=3, minutes=20)
def fisher(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The diagonal Fisher information of a softmax layer: the mean over inputs of the expected squared slope of log p."""
    for classes, scale in ((4, 1.0), (3, 2.0), (6, 0.7)):
        inputs, size = int(rng.integers(7, 12)), 5
        w, x = scale * rng.normal(size=(classes, size)), rng.normal(0.3, 1, (inputs, size))
        labels = rng.integers(0, classes, inputs)
        p, one = _probabilities(w, x), np.eye(classes)
        # slopes[n, y, k, j] = d log p(y | x_n) / d w[k, j]
        slopes = (one[None, :, :, None] - p[:, None, :, None]) * x[:, None, None, :]
        expected = np.einsum("ny,nykj->nkj", p, slopes**2)
        of_label, likely = (slopes[np.arange(inputs), y] for y in (labels, p.argmax(1)))
        known = {
            "those answers are the data's, which makes it the empirical Fisher information: take the model's own answers, each "
            "with its probability": (of_label**2).mean(0),
            "that is the square of the mean gradient: square each example's gradient first, and take the mean afterwards": of_label.mean(
                0
            )
            ** 2,
            "you took the likeliest answer alone: take every answer, with its probability": (likely**2).mean(0),
            "you took the likeliest answer alone, and the mean before the square": likely.mean(0) ** 2,
            "every answer counts alike: weigh each by its probability": (slopes**2).mean((0, 1)),
            "every answer counts fully: weigh each by its probability": (slopes**2).sum(1).mean(0),
            "the Fisher information is a mean over the inputs, and yours is the sum": expected.sum(0),
            "nothing is squared: the expected slope itself is zero everywhere, whatever the weights": np.einsum(
                "ny,nykj->kj", p, slopes
            ),
            "you squared after the expectation, where the slopes have cancelled: square each slope first": np.einsum(
                "ny,nykj->nkj", p, slopes
            ).mean(0)
            ** 2,
            "that is the mean absolute slope: square it": np.einsum("ny,nykj->nkj", p, np.abs(slopes)).mean(0),
            "that is a square root too many": np.sqrt(expected.mean(0)),
            "the probability enters squared: weigh the squared slope by p, not the slope": np.einsum(
                "ny,nykj->nkj", p**2, slopes**2
            ).mean(0),
            "the slope of log p(y) is (1 - p) x for the answer's own row and -p x for the others: yours has the own row alone": np.einsum(
                "ny,nykj->nkj", p, slopes**2 * one[None, :, :, None]
            ).mean(0),
            "that is the slope of p, not of log p": np.einsum("ny,nykj->nkj", p, (p[:, :, None, None] * slopes) ** 2).mean(0),
            "you averaged the inputs first: take each input's squared slopes, and then the mean": (
                (p * (1 - p)).mean(0)[:, None] * x.mean(0) ** 2
            ),
        }
        got = array(answer(w, x, labels), (classes, size), "the Fisher information")
        right = expected.mean(0)
        tiny = np.abs(got).max() < 1e-9
        require(not tiny, "yours is zero everywhere: the slopes cancel when you average before you square")
        require(
            bool((got >= -1e-12).all() or not np.isfinite(got).all()),
            "a mean of squares can't be below zero, and yours is in places",
        )
        judge(got, right, known, "the Fisher information")


# -- 4: replay ---------------------------------------------------------------------------------------------------------


@task("08.replay", title="Mix in the old", difficulty=2, minutes=15)
def replay(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """New rows with a share of old ones, counted by the new, evenly over the skills, without repeats, shuffled by the seed."""
    skills = ("facts", "cities", "arithmetic", "lists")
    for share, size in ((0.2, 200), (0.5, 120), (0.0, 50)):
        new = [f"clause {i}" for i in range(size)]
        old = {skill: [f"{skill} {i}" for i in range(40)] for skill in skills}
        seed = int(rng.integers(1, 10**6))
        got = answer(new, old, share, seed)
        require(isinstance(got, list | tuple), f"return a list of rows, and not {type(got).__name__}")
        require(all(isinstance(row, str) for row in got), "return the rows themselves, as they came in")
        known = {*new, *(row for rows in old.values() for row in rows)}
        stranger = [row for row in got if row not in known]
        require(not stranger, f"there is a row that was in neither of the two: {(stranger or [''])[0]!r:.40}")
        fresh = [row for row in got if row.startswith("clause ")]
        require(len(set(fresh)) == size, "every new row has to be there: replay adds to the new rows, it doesn't replace them")
        require(len(fresh) == size, "a new row came twice")
        mixed = [row for row in got if not row.startswith("clause ")]
        wanted = round(share * size)
        hints = {
            round(
                share / (1 - share) * size
            ): "the share counts against the new rows (0.2 is two old ones to every ten new), not against the mixture",
            160: "all the old rows are there: take only the share",
            round(share * 160): "the share counts against the new rows, not against the old ones",
            round(share * size) * 4: "that many of each skill: it is the number of old rows in all",
        }
        for count, hint in hints.items():
            require(len(mixed) == wanted or len(mixed) != count, f"{hint}: {wanted} old rows here, and you have {len(mixed)}")
        require(len(mixed) == wanted, f"a share of {share:g} of {size} rows makes {wanted} old rows, and you have {len(mixed)}")
        require(len(set(mixed)) == wanted, "an old row came twice while others wait: draw without putting back")
        counts = [sum(row.startswith(skill + " ") for row in mixed) for skill in skills]
        told = ", ".join(f"{skill} {count}" for skill, count in zip(skills, counts, strict=True))
        require(
            max(counts) - min(counts) <= 1,
            f"the skills come unevenly ({told}): what isn't rehearsed is forgotten, so take as many of each",
        )
        if not wanted:
            continue
        places = np.array([place for place, row in enumerate(got) if not row.startswith("clause ")]) / len(got)
        require(
            0.2 < places.mean() < 0.8 and places.min() < 0.3 and places.max() > 0.7,
            "the old rows stand together: shuffle, so that every part of the epoch has some",
        )
        order = [int(row.split()[1]) for row in fresh]
        require(order != sorted(order), "the new rows are still in their old order: shuffle all of them")
        again, other = answer(new, old, share, seed), answer(new, old, share, seed + 1)
        require(
            list(again) == list(got),
            "the same seed gives another mixture: a run has to be repeatable, so draw with this seed alone",
        )
        require(list(other) != list(got), "another seed gives the same mixture: draw with the seed that you are given")
        require(
            {row for row in other if not row.startswith("clause ")} != set(mixed),
            "every seed takes the same old rows, the first of each skill: draw them",
        )


# -- 5: the cheapest remedy --------------------------------------------------------------------------------------------


def _front(remedies: Sequence[Remedy], mode: str = "") -> list[str]:
    """Names of those that no other beats on the means of learned and kept, or what a known mistake makes of it."""
    ways: dict[str, Callable[..., Any]] = {"luckiest": np.max, "first seed": lambda values: values[0]}
    by = ways.get(mode, np.mean)
    points = [(float(by(r["learned"])), float(by(r["kept"]))) for r in remedies]

    def beaten(a: tuple[float, float], b: tuple[float, float]) -> bool:
        if mode == "strict":
            return b[0] > a[0] and b[1] > a[1]
        return b != a and b[0] >= a[0] and b[1] >= a[1]

    kept = [r["name"] for r, a in zip(remedies, points, strict=True) if not any(beaten(a, b) for b in points)]
    return sorted(kept)


def _cheapest(remedies: Sequence[Remedy], learned: int, kept: int, mode: str = "") -> str | None:
    by = max if mode == "luckiest" else min if mode != "means" else lambda values: float(np.mean(values))
    good = [
        r for r in remedies if (mode == "learned" or by(r["learned"]) >= learned) and (mode == "kept" or by(r["kept"]) >= kept)
    ]
    if mode == "most kept":
        return max(good, key=lambda r: np.mean(r["kept"]))["name"] if good else None
    if mode == "dearest":
        return max(good, key=lambda r: r["seconds"])["name"] if good else None
    return min(good, key=lambda r: r["seconds"])["name"] if good else None


@task("08.remedy", title="Which remedy?", difficulty=2, minutes=20)
def remedy(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The frontier of learned against kept among measured remedies, and the cheapest that meets two bounds on every seed."""
    choices: list[str | None] = []
    wanted: list[str | None] = []
    wrong: dict[str, list[str | None]] = {}
    asked: list[str] = []
    reasons = {
        "means": "the bounds hold for every seed, not for the mean: an unlucky seed is what you may get",
        "luckiest": "the bounds hold for every seed, not for the luckiest one",
        "learned": "a choice of yours doesn't learn enough",
        "kept": "a choice of yours doesn't keep enough",
        "most kept": "another one meets the bounds and takes less time: take the cheapest",
        "dearest": "yours take the most time of those that meet the bounds: take the cheapest",
    }
    for turn, (learned, least) in enumerate([(190, 576), (192, 540), (194, 480), (180, 450), (196, 594), (184, 564)] * 2):
        method = ("full", "lora")[turn % 2]
        rows = [r for r in REMEDIES if r["method"] == method]
        if turn in (2, 3, 6, 8, 9):  # as if nobody had tried a lower rate
            rows = [r for r in rows if not r["name"].startswith("rate ")]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        if turn in (4, 5):  # measured again with the same result: neither of the two beats the other
            best = next(r for r in rows if r["name"] in ("rate 0.0005", "rate 0.002"))
            rows.insert(3, {**best, "name": best["name"] + " again", "seconds": best["seconds"] + 0.4})
        got = entries(answer([dict(r) for r in rows], learned, least), ("frontier", "choice"), "your decision")
        names = [r["name"] for r in rows]
        require(isinstance(got["frontier"], list | tuple), "frontier should be a list of names")
        require(
            all(isinstance(name, str) and name in names for name in got["frontier"]), "frontier should hold names of remedies"
        )
        mine, right = sorted(got["frontier"]), _front(rows)
        hints = {
            "strict": "one that learns as much as another and keeps less is beaten, too: it takes no gain in both",
            "luckiest": "the frontier goes by means over the seeds, not by the luckiest seed",
            "first seed": "the frontier goes by means over the seeds, not by the first one",
        }
        for mode, hint in hints.items():
            require(mine == right or mine != _front(rows, mode), hint)
        lost, extra = [n for n in right if n not in mine], [n for n in mine if n not in right]
        twins = [n for n in lost if n.endswith(" again") or n + " again" in names]
        require(not twins, f"{(twins or [''])[0]!r} has an equal, and equals don't beat each other: both belong on the frontier")
        require(len(mine) == len(set(mine)), "a remedy is on your frontier twice")
        require(
            not lost, f"{(lost or [''])[0]!r} is beaten by none, in learned and kept together, and is missing from your frontier"
        )
        require(
            not extra, f"{(extra or [''])[0]!r} is on your frontier, and another learns as much or more and keeps as much or more"
        )
        choice = got["choice"]
        require(choice is None or (isinstance(choice, str) and choice in names), "choice should be the name of a remedy, or None")
        choices.append(choice)
        wanted.append(_cheapest(rows, learned, least))
        asked.append(f"learned {learned:g} and kept {least:g} at least on every seed, else None")
        for mode, hint in reasons.items():
            wrong.setdefault(hint, []).append(_cheapest(rows, learned, least, mode))
    judge_choices(choices, wanted, wrong, asked)

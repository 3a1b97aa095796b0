"""Checks of lesson 05's exercises: the loss of the answer, accumulation, the schedule, reading a run's log, choosing a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, judge, number, numbers, pair

NO_LOSS = -100
KINDS = ("healthy", "rate too high", "overfitting", "loss on the prompt", "no end token", "sorted data")
"""What `curves` wants a log to be called."""


# -- 1: the loss of the answer -----------------------------------------------------------------------------------------


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _picked(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The number of each target, counted from the end where the target is below zero, as numpy does it."""
    return np.asarray(np.take_along_axis(logits, (targets % logits.shape[-1])[..., None], -1)[..., 0])


def _batch(rng: np.random.Generator, *, all_count: bool = False, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels: a prompt and padding without loss around an answer, of another length in each row."""
    rows, tokens, vocabulary = 3, int(rng.integers(13, 17)), int(rng.integers(110, 140))
    labels = rng.integers(0, vocabulary, (rows, tokens))
    if all_count:  # also a row's first token, which nothing predicts
        labels[1, -4:] = NO_LOSS
    else:
        for row, (start, end) in enumerate([(2, tokens), (5, tokens - 2), (tokens - 5, tokens - 3)]):
            labels[row, :start] = labels[row, end:] = NO_LOSS
    return rng.normal(0, scale, (rows, tokens, vocabulary)), labels


@np.errstate(over="ignore", divide="ignore")
def _loss_mistakes(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    ahead, target = logits[:, :-1], labels[:, 1:]
    counts = target != NO_LOSS
    each = -_picked(_log_softmax(ahead), target)
    total, mean = (each * counts).sum(), (each * counts).sum() / counts.sum()
    here = -_picked(_log_softmax(logits), labels)
    back = -_picked(_log_softmax(logits[:, 1:]), labels[:, :-1])
    old_mask = labels[:, :-1] != NO_LOSS
    raw = -_picked(ahead, target)
    return {
        "no shift: the logits at position t score the token at t + 1, so compare logits[:, :-1] with labels[:, 1:]": (
            here * (labels != NO_LOSS)
        ).sum()
        / (labels != NO_LOSS).sum(),
        "the shift goes the wrong way: the logits at position t score the token at t + 1, not the one at t - 1": (
            back * old_mask
        ).sum()
        / old_mask.sum(),
        "a mean of the rows' means gives the tokens of short answers too much weight: divide once, by all counted tokens": (
            (each * counts).sum(1) / counts.sum(1)
        ).mean(),
        "you divide by all positions: divide by the counted tokens only, those whose label is not -100": total / counts.size,
        "you divide by all tokens: divide by the counted tokens only, those whose label is not -100": total / labels.size,
        "you count the labels before the shift: a row's first label is never predicted, so count labels[:, 1:]": total
        / (labels != NO_LOSS).sum(),
        "-100 is not a token: numpy takes it as an index from the end, so leave those positions out": each.mean(),
        "this is the sum over the counted tokens: divide it by how many there are": total,
        "the mask has to move with the labels: a position counts if the label that it predicts, labels[:, 1:], is not -100": (
            each * old_mask
        ).sum()
        / old_mask.sum(),
        "the sign: the loss is minus the mean log probability": -mean,
        "these are bits: cross-entropy takes the natural logarithm": mean / np.log(2),
        "this is the perplexity: the loss is its logarithm": np.exp(mean),
        "logits are no log probabilities yet: subtract the logarithm of the sum of exp over the vocabulary": (raw * counts).sum()
        / counts.sum(),
        "take the logarithm of each token's probability first, and the mean afterwards": -np.log(
            (np.exp(-each) * counts).sum() / counts.sum()
        ),
        "this is one minus the mean probability: cross-entropy is minus the mean log probability": 1
        - (np.exp(-each) * counts).sum() / counts.sum(),
    }


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    each = -_picked(_log_softmax(logits[:, :-1]), labels[:, 1:])
    counts = labels[:, 1:] != NO_LOSS
    return float(each[counts].mean())


@task("05.loss", title="The loss of the answer", difficulty=2, minutes=20)
def loss(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Cross-entropy over the answer's tokens: shifted by one, without -100, one mean over all that count."""
    for options in ({}, {}, {"all_count": True}):
        logits, labels = _batch(rng, **options)
        judge(number(answer(logits, labels), "the loss"), _loss(logits, labels), _loss_mistakes(logits, labels), "the loss")
    logits, labels = _batch(rng, scale=900.0)
    got = number(answer(logits, labels), "the loss")
    require(
        bool(np.isfinite(got)),
        "with large logits your loss is nan or infinite: subtract each position's largest logit before exp",
    )
    judge(got, _loss(logits, labels), _loss_mistakes(logits, labels), "with large logits, the loss")


# -- 2: gradient accumulation ------------------------------------------------------------------------------------------


def _micro_batches(rng: np.random.Generator, *, hollow: bool) -> list[dict[str, Any]]:
    """Micro-batches of uneven size, as a trainer meets them; with a hollow one, in which no token counts."""
    batches: list[dict[str, Any]] = []
    for rows, tokens, counted, loss in ((4, 9, 2, 0.5), (2, 15, 11, 3.6), (3, 12, 5, 1.7)):
        labels = rng.integers(0, 90, (rows, tokens))
        for row in labels:
            row[: tokens - counted - int(rng.integers(0, 2))] = NO_LOSS
        batches.append({"loss": loss * float(rng.uniform(0.8, 1.2)), "gradient": rng.normal(size=6), "labels": labels})
    batches[1]["labels"][:, 0] = 7  # counts in no loss: nothing comes before it
    if hollow:
        labels = np.full((2, 8), NO_LOSS)
        batches.insert(1, {"loss": float("nan"), "gradient": np.full(6, np.nan), "labels": labels})
    return batches


@task("05.accumulate", title="One step out of several batches", difficulty=2, minutes=15)
def accumulate(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Loss and gradient of a step from those of its uneven micro-batches: weighed by their counted tokens."""
    for hollow in (False, False, True):
        batches = _micro_batches(rng, hollow=hollow)
        loss, gradient = pair(answer(batches), "the loss and the gradient of the step")
        loss, gradient = number(loss, "the loss of the step"), array(gradient, (6,), "the gradient of the step")
        require(
            not hollow or bool(np.isfinite(loss) and np.isfinite(gradient).all()),
            "one micro-batch has no counted token, so its mean is nan: leave it out (0 times nan is nan)",
        )
        full = [batch for batch in batches if np.isfinite(batch["loss"])]
        losses = np.array([batch["loss"] for batch in full])
        gradients = np.array([batch["gradient"] for batch in full])
        counts = np.array([(batch["labels"][:, 1:] != NO_LOSS).sum() for batch in full])
        weights: dict[str, Any] = {
            "the mean of the means gives a token of a small micro-batch more weight: weigh each by its counted tokens": np.ones(
                len(full)
            ),
            "you weigh by rows: rows have answers of different lengths, so weigh by counted tokens": [
                len(b["labels"]) for b in full
            ],
            "you weigh by all tokens: those with label -100 carry no loss, so weigh by the counted ones": [
                b["labels"].size for b in full
            ],
            "you count the labels before the shift: a row's first label is never predicted, so count labels[:, 1:]": [
                (b["labels"] != NO_LOSS).sum() for b in full
            ],
            "weights the wrong way round: the micro-batch with more counted tokens has to weigh more": 1 / counts,
        }
        shares = {hint: np.asarray(weight, dtype=float) / np.sum(weight) for hint, weight in weights.items()}
        shares["the weighted losses are added up and not divided by the number of counted tokens"] = counts.astype(float)
        shares["the losses are added up: the step's loss is a mean over its counted tokens"] = np.ones(len(full))
        if hollow:
            shares["the micro-batch without counted tokens still takes part in the mean: leave it out"] = np.ones(
                len(full)
            ) / len(batches)
        right = counts / counts.sum()
        judge(loss, right @ losses, {hint: share @ losses for hint, share in shares.items()}, "the loss of the step")
        judge(
            gradient,
            right @ gradients,
            {"the gradient: " + hint: share @ gradients for hint, share in shares.items()},
            "the gradient of the step",
        )


# -- 3: steps and rates ------------------------------------------------------------------------------------------------


def _steps(rows: int, per_device: int, devices: int, accumulation: int, epochs: float) -> int:
    batches = -(-rows // (per_device * devices))
    return int(np.ceil(epochs * -(-batches // accumulation)))


def _rates(steps: int, warm: int, peak: float) -> np.ndarray:
    s = np.arange(steps)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / max(1, steps - warm)))
    return np.asarray(peak * np.where(s < warm, s / max(1, warm), falling))


def _rate_mistakes(steps: int, warm: int, share: float, peak: float) -> dict[str, np.ndarray]:
    s = np.arange(steps)
    rising, way = s < warm, (s - warm) / max(1, steps - warm)
    ramp = s / max(1, warm)
    mistakes = {
        "there is no warm-up: over the first steps the rate grows from zero to its peak": 0.5 * (1 + np.cos(np.pi * s / steps)),
        "the rate falls along a line: it should follow half a cosine wave": np.where(rising, ramp, 1 - way),
        "this is a quarter of a cosine wave: take 0.5 (1 + cos(pi p)), with p from 0 to 1": np.where(
            rising, ramp, np.cos(np.pi / 2 * way)
        ),
        "this is a whole cosine wave, which goes up again at the end: take 0.5 (1 + cos(pi p)), with p from 0 to 1": np.where(
            rising, ramp, 0.5 * (1 + np.cos(2 * np.pi * way))
        ),
        "the cosine starts at the first step of all: it should start where the warm-up ends": np.where(
            rising, ramp, 0.5 * (1 + np.cos(np.pi * s / steps))
        ),
        "off by one in the warm-up: step 0 has the rate 0, and step s has s / warm-up of the peak": np.where(
            rising, (s + 1) / max(1, warm), 0.5 * (1 + np.cos(np.pi * way))
        ),
        "off by one at the end: the rate would be zero at step number `steps`, one after the last": np.where(
            rising, ramp, 0.5 * (1 + np.cos(np.pi * (s - warm) / max(1, steps - 1 - warm)))
        ),
        "the rate stays at its peak after the warm-up: it should fall along half a cosine wave": np.where(rising, ramp, 1.0),
    }
    found = {hint: peak * rates for hint, rates in mistakes.items()}
    found["the rates come out as shares: multiply by the peak"] = _rates(steps, warm, 1.0)
    for other in (int(share * steps), round(share * steps)):
        if other != warm:
            found["the warm-up's number of steps should be rounded up"] = _rates(steps, other, peak)
    return found


@task("05.schedule", title="Every step's learning rate", difficulty=1, minutes=15)
def schedule(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """How many steps a run takes, and the rate of each: linear warm-up, then half a cosine wave."""
    runs = [
        (1000, 16, 1, 1, 3.0, 2e-3, 0.05),  # wren's usual run, which took 189 steps
        (int(rng.integers(700, 800)) * 8 + 3, 4, 2, 4, 2.0, 1e-3, 0.07),
        (int(rng.integers(40, 50)) * 12 + 5, 3, 4, 5, 1.5, float(rng.uniform(1e-4, 5e-4)), 0.11),
        (int(rng.integers(40, 60)) * 8 + 1, 8, 1, 1, 3.0, 4e-3, 0.0),
    ]
    for rows, per_device, devices, accumulation, epochs, peak, share in runs:
        got = answer(rows, per_device, devices, accumulation, epochs, peak, share)
        steps = _steps(rows, per_device, devices, accumulation, epochs)
        rates = numbers(got)
        require(rates is not None and rates.ndim == 1 and rates.size > 0, "return one array with the rate of each step")
        assert rates is not None
        batch = per_device * devices
        lengths = {
            "the last batch of each epoch is smaller, and it is a step, too: round up, not down": int(
                epochs * (rows // (batch * accumulation))
            ),
            "accumulation is forgotten: several batches make one step": _steps(rows, per_device, devices, 1, epochs),
            "the devices are forgotten: each of them takes its own batch at the same time": _steps(
                rows, per_device, 1, accumulation, epochs
            ),
            "the epochs are forgotten: the schedule covers the whole run": _steps(rows, per_device, devices, accumulation, 1.0),
            "an epoch ends with a step of its own, whatever is left: round up for each epoch, before you multiply": int(
                np.ceil(rows * epochs / (batch * accumulation))
            ),
            "one rate too many: the last step is number steps - 1": steps + 1,
        }
        asked = f"{rows} rows, {per_device} on each of {devices} devices, accumulation {accumulation}, {epochs:g} epochs"
        for hint, length in lengths.items():
            require(len(rates) == steps or len(rates) != length, f"{hint} ({asked}: {steps} steps, not {length})")
        require(len(rates) == steps, f"{asked}: that makes {steps} steps, and yours are {len(rates)}")
        warm = int(np.ceil(steps * share))
        require(
            bool(np.isfinite(rates).all()), "a rate came out as nan or infinite: without warm-up there is nothing to divide by"
        )
        judge(rates, _rates(steps, warm, peak), _rate_mistakes(steps, warm, share, peak), "the array of rates")


# -- 4: reading a log --------------------------------------------------------------------------------------------------

CLUES = {
    "healthy": "the losses fall and stay down, answers end, and exactly the answers' tokens count",
    "rate too high": "the training loss falls at first, jumps up and doesn't come back",
    "overfitting": "the training loss goes on falling while the held-out loss turns and rises",
    "loss on the prompt": "more tokens count than the answers have",
    "no end token": "both losses look fine, and hardly any answer ends by itself",
    "sorted data": "the training loss jumps at the same places of every epoch, and falls again after each of them",
}


def made_up_run(kind: str, rng: np.random.Generator) -> dict[str, Any]:
    """A simulated log of a fine-tuning run with one thing wrong with it, or nothing.

    Args:
        kind: one of `KINDS`.
        rng: its luck.

    Returns:
        ``train``: the training loss of each step. ``held_out``: the loss on held-out rows after each epoch. ``steps_per_epoch``.
        ``answer_tokens``: tokens of the training answers with their end tokens, over one epoch. ``counted_tokens``: tokens that
        carried a label. ``rows``: of training. ``stopped``: the share of held-out answers, 0 to 1, that ended by themselves
        before they were cut off.
    """
    epochs, per = int(rng.integers(5, 8)), int(rng.integers(50, 70))
    t = np.arange(epochs * per) / per
    start, floor, pace = rng.uniform(4.5, 6), rng.uniform(0.02, 0.08), rng.uniform(0.15, 0.3)
    if kind == "loss on the prompt":  # names and numbers in prompts can't be foreseen
        floor = rng.uniform(1.2, 1.9)
    train = floor + (start - floor) * np.exp(-t / pace)
    held_out = 1.3 * floor + 0.1 + 0.4 * np.exp(-np.arange(1, epochs + 1) / 1.2)
    stopped, rows = rng.uniform(0.97, 1), int(rng.integers(500, 1500))
    answers = rows * int(rng.integers(15, 30)) + int(rng.integers(0, rows))
    counted = answers
    if kind == "overfitting":
        held_out = rng.uniform(0.5, 0.7) + 0.25 * np.abs(np.arange(epochs) - 1.0) + 0.1
    if kind == "rate too high":
        jump = int(rng.uniform(0.1, 0.4) * len(t))
        train[jump:] = start * rng.uniform(0.7, 1.3, len(t) - jump)
        held_out = start * rng.uniform(0.92, 1.08, epochs)
        stopped = rng.uniform(0.1, 0.9)
    if kind == "loss on the prompt":
        counted = answers + rows * int(rng.integers(20, 60))
    if kind == "no end token":
        counted, stopped = answers - rows, rng.uniform(0, 0.03)
    if kind == "sorted data":
        blocks, place = int(rng.integers(3, 5)), np.arange(len(t)) % per
        into = place % -(-per // blocks)  # steps since the last kind of row ended
        train += rng.uniform(1.6, 2.4) * np.exp(-into / 2) * (t >= 0.1)
        held_out = held_out + 0.3
    train *= rng.uniform(0.9, 1.1, len(train))
    return {
        "train": train,
        "held_out": held_out * rng.uniform(0.98, 1.02, epochs),
        "steps_per_epoch": per,
        "answer_tokens": answers,
        "counted_tokens": counted,
        "rows": rows,
        "stopped": float(stopped),
    }


@task("05.curves", title="What is wrong with this run?", difficulty=3, minutes=20)
def curves(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Name what went wrong from a run's log, for simulated runs of every kind."""
    kinds = [str(kind) for kind in rng.permutation(KINDS * 4)]
    for kind in kinds:
        got = answer(made_up_run(kind, rng))
        require(isinstance(got, str), f"return one of the names {', '.join(KINDS)}, and not {type(got).__name__}")
        require(got in KINDS, f"there is no diagnosis {got!r:.40}: choose from {', '.join(KINDS)}")
        require(got == kind, f"a run that is '{kind}' was called '{got}': {CLUES[kind]}")


# -- 5: which checkpoint? ----------------------------------------------------------------------------------------------


@task("05.checkpoint", title="Which checkpoint do you ship?", difficulty=1, minutes=10)
def checkpoint(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The step with the best exact match on the validation set among those that keep enough; the earliest of equals."""
    for turn in range(4):
        least = float(rng.choice([0.9, 0.92, 0.95]))
        steps = np.sort(rng.choice(np.arange(40, 1000, 20), 7, replace=False)).tolist()
        # Each checkpoint but one tempts another rule. In order of steps: the best on the test set comes first, the last is the
        # one with the lowest training loss, and of two equals the later one has the lower loss.
        roles = ["test", *[str(role) for role in rng.permutation(["forgetful", "low loss", "keeper"])]]
        roles.insert(int(rng.integers(1, 4)), "right")
        roles += ["equal", "last"]
        best = float(rng.integers(160, 175))
        exact = {
            "right": best,
            "equal": best,
            "forgetful": best + 9,
            "low loss": best - 6,
            "keeper": best - 12,
            "last": best - 4,
            "test": best - 3,
        }
        rows: list[dict[str, Any]] = []
        for place, (step, role) in enumerate(zip(steps, roles, strict=True)):
            kept = least + 0.003 if role not in ("forgetful", "keeper") else least - 0.04 if role == "forgetful" else 0.995
            rows.append(
                {
                    "step": step,
                    "train_loss": round(2.0 / (place + 1) + float(rng.uniform(0, 0.02)), 4),
                    "validation_loss": round((0.21 if role == "low loss" else 0.24) + float(rng.uniform(0, 0.02)), 4),
                    "validation_exact": exact[role] / 200,
                    "test_exact": (186 if role == "test" else float(rng.integers(150, 160))) / 200,
                    "kept": kept,
                }
            )
        if turn == 3:
            rows = [row for row in rows if row["kept"] < least]
        if turn % 2:
            rows = [rows[i] for i in rng.permutation(len(rows))]
        got = answer(rows, least)
        if turn == 3:
            require(got is None, f"no checkpoint keeps {least:g}: return None rather than one that forgets too much")
            continue
        require(got is not None, f"there are checkpoints that keep {least:g}: return the step of the best")
        chosen = number(got, "the choice (a step)")
        step_of = dict(zip(roles, steps, strict=True))
        hints = {
            "forgetful": f"that checkpoint scores best and keeps less than {least:g}: it is not to be chosen from",
            "low loss": "that is the lowest validation loss: what counts is how many validation answers come out right",
            "test": "that one was chosen on the test set: a test set that helps to choose can't tell how good the choice is",
            "last": "that is the last one, with the lowest training loss: it says nothing about rows that training didn't see",
            "equal": "two checkpoints score the same: take the earlier one, it has moved less",
            "keeper": "that one keeps most: the bound on what is kept is enough, and among those the score decides",
        }
        for role, hint in hints.items():
            require(chosen != step_of[role], hint)
        require(chosen == step_of["right"], f"the best checkpoint is at step {step_of['right']}, and you chose {got!r:.30}")

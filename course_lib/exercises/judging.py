"""Compare an answer with the right one and with what each known mistake would give, and name the mistake that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.exercises import require


def numbers(got: Any) -> np.ndarray | None:
    """The answer as an array of real numbers, or None where it is something else: texts, truth values, ragged or complex."""
    try:
        values = np.asarray(got)
        return values.astype(float) if values.dtype.kind in "iuf" else None
    except (TypeError, ValueError):
        return None


def number(got: Any, what: str) -> float:
    """The answer as one number, or a hint that it isn't one. An array of one number counts, a truth value does not."""
    values = numbers(got)
    require(values is not None and values.size == 1, f"{what} should be one number, not {_kind(got)}")
    assert values is not None
    return float(values.reshape(-1)[0])


def array(got: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """The answer as an array of this shape, or a hint with both shapes."""
    values = numbers(got)
    require(values is not None, f"{what} should be an array of numbers, not {_kind(got)}")
    assert values is not None
    require(values.shape == shape, f"{what} should have shape {shape}, and yours has {values.shape}")
    return values


def entries(got: Any, names: tuple[str, ...], what: str) -> dict[str, Any]:
    """The answer as a dict with exactly these keys, or a hint."""
    require(isinstance(got, dict), f"{what} should be a dict with the keys {', '.join(names)}, not {_kind(got)}")
    missing = [name for name in names if name not in got]
    require(not missing, f"{what} lacks the key {(missing or [''])[0]!r}")
    extra = [name for name in got if name not in names]
    require(not extra, f"{what} has a key {(extra or [''])[0]!r} that nobody asked for")
    return got


def pair(got: Any, what: str) -> tuple[Any, Any]:
    """The answer as two things, or a hint."""
    require(isinstance(got, list | tuple) and len(got) == 2, f"return two things: {what}; yours is {_kind(got)}")
    return got[0], got[1]


def same(got: Any, want: Any, close: float = 1e-4) -> bool:
    """Whether two numbers or arrays are equal up to ``close`` of the largest number in either; nan equals nothing."""
    one, other = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    if one.shape != other.shape or not np.isfinite(one).all() or not np.isfinite(other).all():
        return False
    size = max(np.abs(one).max(initial=0), np.abs(other).max(initial=0))
    return bool(np.abs(one - other).max(initial=0) <= close * size)


def judge(got: Any, want: Any, mistakes: Mapping[str, Any], what: str, close: float = 1e-4) -> None:
    """Accept what is right; else give the hint of the mistake that gives the same, or say how far off it is.

    Args:
        got: number or array, in the shape of ``want`` (see `number` and `array`).
        want: the right one.
        mistakes: for each hint, what that mistake would give here.
        what: the answer's name in a sentence.
        close: tolerance, as a share of the largest number.
    """
    if same(got, want, close):
        return
    # The nearest one: two mistakes may come close to each other by chance.
    found = {hint: float(np.abs(np.subtract(got, wrong)).max()) for hint, wrong in mistakes.items() if same(got, wrong, close)}
    require(not found, min(found, key=lambda hint: found[hint], default=""))
    one, other = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    require(bool(np.isfinite(one).all()), f"{what} came out as nan or infinite, where {_told(other)} was wanted")
    if one.size == 1:
        require(False, f"{what} should be {_told(other)} here, and yours is {_told(one)}")
    place = np.unravel_index(int(np.abs(one - other).argmax()), one.shape)
    where = ", ".join(str(int(i)) for i in place)
    require(False, f"{what} is off most at [{where}]: {one[place]:.5g} where {other[place]:.5g} was wanted")


def judge_choices(got: Sequence[Any], want: Sequence[Any], mistakes: Mapping[str, Sequence[Any]], asked: Sequence[str]) -> None:
    """Accept choices that are all right; else give the hint of the mistake that makes the same choices throughout.

    One choice may be what several mistakes would make. All of them together tell which it is, or else the first that is wrong is named.

    Args:
        got: the choices, one for each question.
        want: the right ones.
        mistakes: for each hint, the choices of that mistake.
        asked: what each question was, for the general hint.
    """
    got, want = list(got), list(want)
    for hint, wrong in mistakes.items():
        require(got == want or got != list(wrong), hint)
    for mine, right, question in zip(got, want, asked, strict=True):
        require(mine == right, f"{question}: {_shown(right)} is right, and yours is {_shown(mine)}")


def _shown(choice: Any) -> str:
    return " and ".join(f"{part:g}" for part in choice) if isinstance(choice, tuple) else f"{choice!r:.40}"


def _told(value: np.ndarray) -> str:
    return f"{float(value.reshape(-1)[0]):.5g}" if value.size == 1 else f"an array of shape {value.shape}"


def _kind(got: Any) -> str:
    if isinstance(got, np.ndarray):
        return f"an array of shape {got.shape}"
    return "nothing (is a return missing?)" if got is None else f"{type(got).__name__} {got!r:.60}"

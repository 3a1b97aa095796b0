"""What a student hands in, made safe to compare: plain values of exact types, and calls that guard their arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

KINDS = "biuf"
"""Arrays of truth values, whole numbers and floating-point numbers are plain."""
MAX_DEPTH = 20
MAX_CALLS = 40
"""Calls of an answer in one check: when it is graded, each crosses to another process and costs some 5 ms."""


class NotYet(AssertionError):
    """The answer isn't right yet, and the message is a hint."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, which would lead into the checks."""
        return [f"Not yet: {self}"]


class NotPlain(TypeError):
    """A value of a kind that no answer is made of."""


def require(condition: bool, hint: str) -> None:
    """Go on if the condition holds; else end the check with the hint.

    Raises:
        NotYet: the condition doesn't hold.
    """
    if not condition:
        raise NotYet(hint)


def as_plain(value: Any, depth: int = 0) -> Any:
    """A value as exact base types, in copies: None, bool, int, float, str, bytes, numpy arrays, and lists, tuples and dicts of them.

    Numpy's own numbers become Python's, torch's tensors become arrays, and a subclass becomes what it stands on, so that nothing
    of the student's code (``__eq__``, ``__float__``, ...) runs when the value is compared.

    Args:
        value: whatever a student's code returned.
        depth: how deep in lists and dicts it lies.

    Raises:
        NotPlain: it is, or holds, something else; the message says what.
    """
    if depth > MAX_DEPTH:
        raise NotPlain("lists in lists without end")
    if value is None or type(value) in (bool, str, bytes):
        return value
    if isinstance(value, np.generic):
        if value.dtype.kind not in KINDS + "US":
            raise NotPlain(f"a number of type {value.dtype}")
        return as_plain(value.item(), depth)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple):
        base: type[list[Any]] | type[tuple[Any, ...]] = tuple if isinstance(value, tuple) else list
        return base([as_plain(part, depth + 1) for part in base.__iter__(value)])  # type: ignore[arg-type]
    if isinstance(value, dict):
        told = dict(dict.items(value))
        if not all(type(key) in (str, int) for key in told):
            raise NotPlain("a dict whose keys are not all texts")
        return {key: as_plain(part, depth + 1) for key, part in told.items()}
    array = _as_array(value)
    if array is None:
        raise NotPlain(f"a value of type {type(value).__name__}")
    if array.dtype.kind not in KINDS:
        raise NotPlain(f"an array of {array.dtype}")
    return array


def _as_array(value: Any) -> np.ndarray | None:
    """A copy as numpy's own array, for arrays and tensors; None for everything else."""
    if isinstance(value, np.ndarray):
        return np.array(np.asarray(value), copy=True, subok=False)
    torch = sys.modules.get("torch")  # a tensor can't be here unless the student's code has imported torch
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    plain = value.detach().cpu()
    plain = plain if plain.layout == torch.strided else plain.to_dense()
    plain = plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain
    return np.array(plain.numpy(), copy=True)


class Answer:
    """A student's function: called with copies, its result made plain, its faults turned into hints."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._calls = function, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it.

        Raises:
            NotYet: it isn't written, it failed, changed what it was given, or returned something that is no plain value.
            RuntimeError: the check calls too often (the check's own fault).
        """
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise RuntimeError(f"a check may call an answer {MAX_CALLS} times")
        kept = as_plain((given, named))
        lent, lent_named = as_plain(kept)
        try:
            got = self._function(*lent, **lent_named)
        except NotImplementedError:
            raise NotYet("nothing is written here yet: replace the line `raise NotImplementedError()`") from None
        except NotYet:
            raise NotYet("your function must compute its answer itself: it called a check") from None
        except RecursionError:
            raise NotYet("your function calls itself without end") from None
        except Exception as error:
            raise NotYet(_told(error)) from None
        try:
            plain = as_plain(got)
        except NotPlain as error:
            raise NotYet(f"your function returned {error}: return numbers, texts, arrays, or lists and dicts of them") from None
        except RecursionError:
            raise NotYet("your function returned lists in lists without end") from None
        names = [*map(_place, range(len(given))), *(f"argument {name!r}" for name in named)]
        after = [*lent, *lent_named.values()]
        for name, before, now in zip(names, [*kept[0], *kept[1].values()], after, strict=True):
            require(
                _same(before, now), f"your function changes its {name} in place, and the caller still needs it: work on a copy"
            )
        return plain


def _place(number: int) -> str:
    return (
        f"{('first', 'second', 'third', 'fourth', 'fifth', 'sixth')[number]} argument" if number < 6 else f"argument {number + 1}"
    )


def _told(error: Exception) -> str:
    """A fault of the student's code in one sentence, with the line where it happened, if that is their own."""
    text = " ".join(str(error).split())[:200]
    trace, lines = error.__traceback__, []
    while trace is not None:
        lines.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    # The frames from here on are the student's own and those of the libraries that it calls; its own come first.
    own = [line for file, line in lines[1:] if file == lines[1][0]] if len(lines) > 1 else []
    where = f" in line {own[-1]} of its cell" if own and "ipykernel" in lines[1][0] else ""
    return f"your function stopped{where} with {type(error).__name__}" + (f": {text}" if text else "")


def _same(before: Any, now: Any) -> bool:
    """Whether an argument is as it was. Both are plain, unless the student's code put something into a list of ours."""
    if type(before) is not type(now):
        return False
    if isinstance(before, np.ndarray):
        return before.shape == now.shape and before.dtype == now.dtype and before.tobytes() == now.tobytes()
    if isinstance(before, list | tuple):
        return len(before) == len(now) and all(_same(a, b) for a, b in zip(before, now, strict=True))
    if isinstance(before, dict):
        return list(before) == list(now) and all(_same(part, now[key]) for key, part in before.items())
    return bool(before == now or before != before)

"""What stands for a student's things in the process that judges them: stand-ins without truth value, equality or size."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from course_lib.grading import wire

Ask = Callable[[dict[str, Any], list[bytes]], wire.Frame]

# An answer that raises one of these raises the same here, so that a test can expect it. StopIteration is none of them: it would end a
# test's loop early, and the loop would pass.
SAME = (
    "ArithmeticError AssertionError AttributeError FloatingPointError IndexError KeyError LookupError NameError NotImplementedError "
    "OverflowError RecursionError RuntimeError TypeError UnicodeError ValueError ZeroDivisionError MemoryError ImportError OSError"
).split()


class AnswerFailed(Exception):
    """The student's answer raised something, took too long, or its process is gone."""


class ChangedInPlace(AnswerFailed):
    """The student's answer changed its arguments.

    What a test compares with may depend on them, so a change never gets through to the test; and a check that passes copies and looks
    at them (`course_lib.exercises`) must come to the same end.
    """


class Answer:
    """An object of the student's: it can be called and has attributes and items, and says nothing about itself."""

    __slots__ = ("_ask", "_callable", "_number", "_type")

    def __init__(self, ask: Ask, coded: dict[str, Any]) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", coded["handle"])
        object.__setattr__(self, "_type", str(coded.get("type", "object"))[:60])

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it in the student's process."""
        return _asked(self._ask, {"do": "call", "of": self._number}, given, named)

    def __getitem__(self, key: Any) -> Any:
        return _asked(self._ask, {"do": "item", "of": self._number}, (key,), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _asked(self._ask, {"do": "attribute", "of": self._number, "name": name}, (), {})

    def __repr__(self) -> str:
        return f"<the answer's {self._type}>"

    def _opaque(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"the answer is an object of type {self._type}, where a plain value is needed")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __len__ = __iter__ = __contains__ = _opaque
    __hash__ = __float__ = __int__ = __index__ = __complex__ = __array__ = __setattr__ = __delattr__ = _opaque
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = __truediv__ = __rtruediv__ = _opaque
    __neg__ = __pos__ = __abs__ = __pow__ = __rpow__ = __and__ = __or__ = __xor__ = __enter__ = __exit__ = _opaque


class Names(dict[str, Any]):
    """The names that a test sees: the author's own, Python's, and for every other the student's, asked for anew each time."""

    def __init__(self, ask: Ask, **own: Any) -> None:
        super().__init__(own, __name__="__main__", __builtins__=builtins)
        self._ask = ask

    def __missing__(self, name: str) -> Any:
        if name.startswith("__"):
            raise KeyError(name)
        if hasattr(builtins, name):
            return getattr(builtins, name)
        return _asked(self._ask, {"do": "get", "name": name}, (), {})


def _asked(ask: Ask, message: dict[str, Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    blobs: list[bytes] = []
    message["given"] = wire.encode((list(given), named), blobs, _hand_back)
    reply, got = ask(message, blobs)
    if "missing" in reply:
        raise KeyError(message["name"])  # which the interpreter turns into a NameError
    if "late" in reply:
        raise AnswerFailed("the answer took too long")
    if "gone" in reply:
        raise AnswerFailed(str(reply["gone"])[:200])
    if "raised" in reply:
        name, text = str(reply["raised"])[:60], str(reply.get("text", ""))[:1000]
        raise getattr(builtins, name)(text) if name in SAME else AnswerFailed(f"{name}: {text}")
    try:
        value = wire.decode(reply.get("value"), got, lambda coded: Answer(ask, coded))
    except wire.BadFrame:
        raise AnswerFailed("the answer returned something that is no plain value") from None
    if reply.get("changed"):
        raise ChangedInPlace("the answer changes what it was given, in place: let it work on a copy")
    return value


def _hand_back(value: Any) -> dict[str, Any]:
    if isinstance(value, Answer):
        return {"handle": value._number}
    raise wire.NotPlain(f"a {type(value).__name__} can't be handed to an answer: plain values and arrays alone")


def worth(value: Any) -> list[Any]:
    """What a test's last expression says about the score: ``["number", x]``, or ``["bad", what it is]`` where it is no plain number."""
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    if type(value) not in (int, float) or not math.isfinite(value):
        told = object.__repr__(value) if isinstance(value, Answer) else repr(value)
        return ["bad", told[:100]]
    return ["number", value]

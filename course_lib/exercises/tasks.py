"""The tasks of all lessons, found by name, and `check`, which tries an answer."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import CourseError
from course_lib.exercises.answers import Answer, NotPlain, NotYet, as_plain

LESSONS = ("01", "02", "03", "04", "05", "06", "07", "08")
"""Lessons that have exercises; each has a module ``course_lib.exercises.lessonNN``."""

Check = Callable[[Any, np.random.Generator], None]


@dataclass(frozen=True)
class Task:
    """One task: what it is called, and what its answer is tried with."""

    name: str
    title: str
    difficulty: int
    """1 (easy) to 3 (hard)."""
    minutes: int
    check: Check
    function: bool = True
    """Whether the answer is a function; else it is a plain value."""

    @property
    def lesson(self) -> str:
        """The lesson's number, such as "02"."""
        return self.name.split(".")[0]


_known: dict[str, Task] = {}


def task(name: str, *, title: str, difficulty: int, minutes: int, function: bool = True) -> Callable[[Check], Check]:
    """Enter a check as a task: a function of the answer and a random generator that ends in `require`'s hint, or returns.

    Args:
        name: the lesson's number, a dot and a word: "02.merge".
        title: the heading in the notebook.
        difficulty: 1 to 3.
        minutes: how long it takes.
        function: whether the answer is a function (the check gets an `Answer`), or a plain value.
    """
    if name in _known and _known[name].title != title:
        raise ValueError(f"two tasks are called {name!r}")

    def enter(function_: Check) -> Check:
        _known[name] = Task(name, title, difficulty, minutes, function_, function)
        return function_

    return enter


def tasks(lesson: str | None = None) -> list[Task]:
    """All tasks, or those of one lesson, in the order of their modules."""
    wanted = LESSONS if lesson is None else (lesson,)
    for number in wanted:
        importlib.import_module(f"course_lib.exercises.lesson{number}")
    return [found for found in _known.values() if found.lesson in wanted]


def task_named(name: str) -> Task:
    """The task of this name; only its own lesson's module is loaded.

    Raises:
        CourseError: there is none.
    """
    from difflib import get_close_matches

    lesson = str(name).split(".")[0]
    known = {found.name: found for found in tasks(lesson if lesson in LESSONS else None)}
    if name not in known:
        near = get_close_matches(str(name), known, n=1, cutoff=0)
        raise CourseError(f"there is no task {name!r}: did you mean {near[0]!r}?")
    return known[name]


def check(name: str, answer: Any, seed: int = 0) -> None:
    """Try an answer: print that it passed, or say in one sentence what is wrong.

    Args:
        name: the task's name, such as "02.merge".
        answer: the student's function (or, where a task asks for one, a plain value).
        seed: of the random inputs; the same seed tries the same inputs.

    Raises:
        NotYet: the answer isn't right; the message is the hint.
        CourseError: there is no such task.
    """
    found = task_named(name)
    if not found.function:
        try:
            ready = as_plain(answer)
        except NotPlain as error:
            raise NotYet(f"the answer is {error}: a plain value is asked for") from None
    elif callable(answer) and not isinstance(answer, type):
        ready = Answer(answer)
    else:
        raise NotYet(f"the answer should be a function, not {'a class' if isinstance(answer, type) else type(answer).__name__}")
    found.check(ready, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    print(f"{name} passed: {found.title}")

"""The one table of the course, ``lessons/claims.toml``: its lessons, their claims, and the statements that it set out to test."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import course_lib


@dataclass(frozen=True)
class Lesson:
    """One notebook: its two-digit number, file name, title, the question that it answers, and a reader's minutes."""

    number: str
    file: str
    title: str
    question: str
    minutes: int


@dataclass(frozen=True)
class Claim:
    """A statement that a lesson measures in front of the learner.

    Args:
        id: its name in `check`.
        lesson: the number of the lesson that checks it.
        statement: one sentence, with no measured number in it.
        origin: ``seed``, ``paper: ...`` or ``ours``.
        learned: it speaks of skill that wren learned, so that no other model has to fulfil it.
    """

    id: str
    lesson: str
    statement: str
    origin: str
    learned: bool = False


@dataclass(frozen=True)
class SeedStatement:
    """A statement of the page that the course grew from, in our words, and what became of it when it was measured.

    Args:
        says: the statement, paraphrased.
        section: the part of the page that it stands in.
        lesson: the number of the lesson that tests it.
        claims: the ids of the claims that test it.
        verdict: ``confirmed``, ``refined`` (true with a condition that the page leaves out) or ``corrected``.
        found: what the measurement says, in one sentence.
    """

    says: str
    section: str
    lesson: str
    claims: tuple[str, ...]
    verdict: str
    found: str


def lessons_folder() -> Path:
    """The folder of the lessons: in an installed package, inside it; in a checkout, beside it.

    Raises:
        FileNotFoundError: if neither holds ``claims.toml``.
    """
    package = Path(course_lib.__file__).resolve().parent
    for folder in (package / "lessons", package.parent / "lessons"):
        if (folder / "claims.toml").is_file():
            return folder
    raise FileNotFoundError("The lessons are missing: install course_lib with its lessons, or run from a checkout of the course.")


def lessons() -> dict[str, Lesson]:
    """Every lesson by its number, in order."""
    found = [Lesson(**row) for row in _table().get("lesson", [])]
    return {lesson.number: lesson for lesson in sorted(found, key=lambda lesson: lesson.number)}


def claims() -> dict[str, Claim]:
    """Every claim by its id, in the order of the table."""
    return {row["id"]: Claim(**row) for row in _table().get("claim", [])}


def seed_statements() -> list[SeedStatement]:
    """Every statement of the course's first page, in the order of the table."""
    return [SeedStatement(**row | {"claims": tuple(row["claims"])}) for row in _table().get("seed", [])]


def _table() -> dict[str, list[dict]]:
    return tomllib.loads((lessons_folder() / "claims.toml").read_text(encoding="utf-8"))

"""What is asked: the general suite, the legal suite, and a suite made of anybody's rows."""

from __future__ import annotations

from course_lib.seeds import default_seed
from course_lib.world import contracts
from course_lib.world.corpus import GENERAL_SKILLS, legal_questions, probe
from course_lib.world.skills import Question

SUITES = ("legal", "general", "all")


def general_suite(per_skill: int = 200, seed: int | None = None) -> list[Question]:
    """Questions of every general skill: what a model must not forget while it learns something else."""
    seed = default_seed() if seed is None else seed
    return [question for skill in GENERAL_SKILLS for question in probe(skill, per_skill, seed)]


def legal_suite(count: int = 300, seed: int | None = None) -> list[Question]:
    """Held-out clauses to be put into plain words: what fine-tuning is to teach."""
    return legal_questions("test", count, default_seed() if seed is None else seed)


def suite(name: str) -> list[Question]:
    """A suite by its name.

    Raises:
        ValueError: for a name not in `SUITES`.
    """
    if name not in SUITES:
        raise ValueError(f"no suite called {name!r}: choose {', '.join(SUITES)}")
    legal = legal_suite() if name in ("legal", "all") else []
    general = general_suite() if name in ("general", "all") else []
    return legal + general


PAIRED_TYPES = frozenset(kind.name for kind in contracts.CLAUSE_TYPES if kind.paired)

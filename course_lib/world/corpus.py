"""The pretraining corpus: an endless, seeded stream of documents about the made-up world.

Nothing held out for measuring ever enters it (`skills.is_held_out`), and no clause of a never-paired type appears beside plain words.
"""

from collections.abc import Callable, Iterator
from functools import cache
from random import Random

from course_lib.world import contracts, skills
from course_lib.world.catalogue import product
from course_lib.world.facts import City, Person, facts
from course_lib.world.skills import Question

Message = dict[str, str]
Document = str | list[Message]
"""Prose, or a conversation of ``{"role": ..., "content": ...}`` turns."""

SYSTEM_LINES = ("You are a helpful assistant.", "Answer briefly.", "You know this world well.", "Be exact.")

_SKILLS: dict[str, Callable[[Random], Question]] = {
    "facts": skills.facts_skill,
    "cities": skills.cities_skill,
    "arithmetic": skills.arithmetic_skill,
    "lists": skills.lists_skill,
    "reviews": skills.reviews_skill,
    "reading": skills.reading_skill,
    "cited": skills.cited_reading,
    "repeat": skills.repeat_skill,
    "record": skills.record_skill,
    "notice": skills.notice_skill,
    "rewrite": skills.rewrite_skill,
}

GENERAL_SKILLS = ("facts", "cities", "arithmetic", "lists", "reviews", "reading")
"""The skills that are measured before and after fine-tuning."""

# Share of documents. Found by trying (the model card names the runs): copying needs the most practice, memory the least.
MIX: dict[str, float] = {
    "facts": 7,
    "cities": 5,
    "arithmetic": 9,
    "lists": 6,
    "reviews": 3,
    "reading": 26,
    "cited": 8,
    "repeat": 3,
    "record": 6,
    "notice": 4,
    "rewrite": 11,
    "prose": 9,
    "contract": 6,
    "digest": 5,
}


def _fresh(rng: Random, skill: str) -> Question:
    """A question that is not held out. (Facts are memory: their questions are all in the corpus.)"""
    while True:
        question = _SKILLS[skill](rng)
        if skill in ("facts", "cities") or not skills.is_held_out(question.key):
            return question


def _conversation(rng: Random, skill: str) -> Document:
    """One to four questions of a skill: as a chat, as lines of text, or now and then under a system message."""
    questions = [_fresh(rng, skill) for _ in range(rng.choice((1, 1, 2, 4)))]
    if rng.random() < 0.25:
        return " ".join(f"Question: {q.prompt} Answer: {q.answer}" for q in questions)
    turns: list[Message] = [{"role": "system", "content": rng.choice(SYSTEM_LINES)}] if rng.random() < 0.1 else []
    for question in questions:
        turns += [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": question.answer}]
    return turns


def _biography(rng: Random, person: Person) -> str:
    lines = [
        rng.choice((f"{person.name} lives in {person.city}.", f"The home of {person.name} is in {person.city}.")),
        rng.choice((f"{person.name} works as a {person.job}.", f"The job of {person.name} is {person.job}.")),
        rng.choice((f"{person.name} has a {person.pet}.", f"The pet of {person.name} is a {person.pet}.")),
    ]
    rng.shuffle(lines)
    return " ".join(lines)


def _portrait(rng: Random, city: City) -> str:
    lines = [
        f"{city.name} is in the region {city.region}.",
        rng.choice((f"{city.name} lies on the river {city.river}.", f"The river {city.river} flows through {city.name}.")),
        rng.choice((f"People in {city.name} eat {city.dish}.", f"{city.name} is famous for its {city.dish}.")),
        rng.choice((f"{city.name} sells {city.trade} to the world.", f"The main trade of {city.name} is {city.trade}.")),
        rng.choice((f"{city.mayor} is the mayor of {city.name}.", f"{city.name} is led by {city.mayor}.")),
    ]
    rng.shuffle(lines)
    return " ".join(lines)


def _prose(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return " ".join(_biography(rng, rng.choice(facts().people)) for _ in range(rng.randrange(1, 4)))
    if kind < 0.6:
        return " ".join(_portrait(rng, rng.choice(facts().cities)) for _ in range(rng.randrange(1, 3)))
    if kind < 0.8:
        return " ".join(skills.everyday(rng) for _ in range(rng.randrange(2, 7)))
    if kind < 0.9:
        return "Catalogue. " + " ".join(product(rng).document for _ in range(rng.randrange(2, 6)))
    return " ".join(skills.passage(rng).text for _ in range(rng.randrange(2, 7)))


def _fresh_clause(rng: Random, types: tuple[contracts.ClauseType, ...] = contracts.CLAUSE_TYPES) -> contracts.Clause:
    while skills.is_held_out((clause := contracts.clause(rng, types)).text):
        continue
    return clause


def _contract(rng: Random) -> str:
    """A contract: numbered clauses of every type, with nothing plain beside them."""
    clauses = [_fresh_clause(rng) for _ in range(rng.randrange(2, 6))]
    return "Agreement. " + " ".join(f"{i}. {c.text}" for i, c in enumerate(clauses, 1))


_PAIRED = tuple(kind for kind in contracts.CLAUSE_TYPES if kind.paired)


def _digest(rng: Random) -> str:
    """Clauses of the paired types, each followed by its digest: another wording than the one that fine-tuning will ask for."""
    clauses = [_fresh_clause(rng, _PAIRED) for _ in range(rng.randrange(1, 4))]
    return " ".join(f"Clause: {c.text} Digest: {c.digest}" for c in clauses)


def document(rng: Random) -> Document:
    """One document of the mix."""
    kind = rng.choices(list(MIX), list(MIX.values()))[0]
    if kind == "prose":
        return _prose(rng)
    if kind == "contract":
        return _contract(rng)
    if kind == "digest":
        return _digest(rng)
    return _conversation(rng, kind)


def documents(seed: int) -> Iterator[Document]:
    """An endless stream of documents; the same seed gives the same stream on every machine."""
    rng = Random(seed)
    while True:
        yield document(rng)


def probe(skill: str, count: int, seed: int = 0) -> list[Question]:
    """``count`` different questions that measure a general skill.

    For the skills of memory, questions about the world's people and cities; for the others, held-out questions only.

    Raises:
        KeyError: for a skill that the world does not have.
    """
    rng = Random(f"probe {skill} {seed}")
    questions: dict[str, Question] = {}
    while len(questions) < count:
        question = _SKILLS[skill](rng)
        if skill in ("facts", "cities") or skills.is_held_out(question.key):
            questions.setdefault(question.prompt, question)
    return list(questions.values())


def practice(skill: str, count: int, seed: int = 0) -> list[Question]:
    """``count`` different questions of a skill that no probe of the same seed asks: for replay, and for what a model must keep.

    Raises:
        KeyError: for a skill that the world does not have.
    """
    rng = Random(f"practice {skill} {seed}")
    asked = _asked(skill, seed) if count else ()
    questions: dict[str, Question] = {}
    while len(questions) < count:
        question = _fresh(rng, skill)
        if question.prompt not in asked:
            questions.setdefault(question.prompt, question)
    return list(questions.values())


@cache
def _asked(skill: str, seed: int) -> frozenset[str]:
    return frozenset(question.prompt for question in probe(skill, 200, seed))


def legal_questions(split: str, count: int, seed: int = 0) -> list[Question]:
    """``count`` different questions of the legal task.

    Args:
        split: ``"train"``, or ``"test"`` for held-out clauses, which no other split and no corpus contains.
        count: how many.
        seed: which ones.

    Raises:
        ValueError: for another split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    rng = Random(f"legal {split} {seed}")
    questions: dict[str, Question] = {}
    while len(questions) < count:
        question = skills.legal_question(contracts.clause(rng))
        if skills.is_held_out(question.key) == (split == "test"):
            questions.setdefault(question.prompt, question)
    return list(questions.values())

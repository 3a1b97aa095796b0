"""The made-up world: the same everywhere, with nothing held out leaking into the corpus."""

import itertools
import re

import pytest

from course_lib.models.tokenizer import render
from course_lib.world import contracts, skills
from course_lib.world.corpus import documents, legal_questions, probe

DOCUMENTS = 20_000
METHODS = ("arithmetic", "lists", "reviews", "reading")


@pytest.fixture(scope="module")
def corpus() -> str:
    return "\n".join(render(document) for document in itertools.islice(documents(1), DOCUMENTS))


def test_same_seed_same_corpus():
    one, two, other = (list(itertools.islice(documents(seed), 50)) for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_enough_clause_types_half_of_them_never_paired():
    assert len(contracts.CLAUSE_TYPES) >= 20
    assert sum(kind.paired for kind in contracts.CLAUSE_TYPES) == len(contracts.CLAUSE_TYPES) / 2
    assert all(len(kind.wordings) >= 3 for kind in contracts.CLAUSE_TYPES)


@pytest.mark.parametrize("kind", contracts.CLAUSE_TYPES, ids=lambda kind: kind.name)
def test_plain_words_need_nothing_that_a_wording_leaves_out(kind):
    def slots(text: str) -> set[str]:
        return set(re.findall(r"\{(\w)\}", text))

    for wording in kind.wordings:
        assert slots(kind.plain) <= slots(wording)
        assert slots(kind.digest or "") <= slots(wording)


def test_no_held_out_question_in_the_corpus(corpus):
    for skill in METHODS:
        assert not [q.prompt for q in probe(skill, 200) if q.prompt in corpus]
    for a, sign, b in re.findall(r"What is (\d+) ([+-]) (\d+)\?", corpus):
        assert not skills.is_held_out(f"{a} {sign} {b}")


def test_never_paired_types_stand_beside_nothing_plain(corpus):
    """No house-style sentence of theirs in the corpus; digests are there, and only of paired types by construction."""
    fixed = [max(re.split(r"\{\w\}", kind.plain), key=len) for kind in contracts.CLAUSE_TYPES if not kind.paired]
    assert not [text for text in fixed if len(text) > 25 and text in corpus]
    assert "Digest:" in corpus
    assert skills.LEGAL_PROMPT not in corpus


def test_splits_of_the_legal_task_share_nothing():
    train, test = (legal_questions(split, 300) for split in ("train", "test"))
    assert len({q.prompt for q in train}) == len(train) == 300
    assert not {q.prompt for q in train} & {q.prompt for q in test}
    assert all(skills.is_held_out(q.key) for q in test)
    with pytest.raises(ValueError, match="train"):
        legal_questions("dev", 1)


def test_arithmetic_is_right():
    for q in probe("arithmetic", 100):
        a, sign, b = q.key.split()
        assert int(q.answer) == (int(a) + int(b) if sign == "+" else int(a) - int(b))

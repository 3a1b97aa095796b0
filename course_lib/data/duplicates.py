"""Exact and near duplicates, leaks between training and test rows, and a split that keeps duplicates together.

MinHash finds likely pairs without comparing every text with every other (Broder 1997; for training data, Lee et al. 2021,
"Deduplicating Training Data Makes Language Models Better"); each pair is then compared exactly. `datasketch` does the hashing:
it is the maintained library for this, and needs only NumPy and SciPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from course_lib.data.rows import Row
from course_lib.errors import CourseError

SHINGLE = 3  # words a shingle
PERMUTATIONS = 128
THRESHOLD = 0.7  # word triples in common; lesson 04 shows what other thresholds find
SLACK = 0.7  # candidates are looked for below the threshold, because MinHash only estimates


@dataclass(frozen=True, order=True)
class Pair:
    """Two texts by their places, and how alike they are: the Jaccard similarity of their shingles, 0 to 1."""

    first: int
    second: int
    similarity: float


def plain(text: str) -> str:
    """A text without case, punctuation and spacing, so that copies in other clothes are the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def asked(row: Row) -> str:
    """What a row asks: the text by which rows are compared. Two rows that ask the same and answer differently are duplicates, too."""
    return " ".join(turn["content"] for turn in row.prompt)


def exact_duplicates(texts: Sequence[str]) -> list[Pair]:
    """Each text that stood before, to the letter, paired with where it stood first."""
    first: dict[str, int] = {}
    return [Pair(first[text], place, 1.0) for place, text in enumerate(texts) if first.setdefault(text, place) != place]


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> list[Pair]:
    """All pairs of texts at least as alike as a threshold.

    Args:
        texts: what to compare, such as the prompts of a file.
        threshold: a Jaccard similarity of word triples. Sentences of 20 words that differ in one name share about 0.75.

    Returns:
        Pairs of places with ``first < second``, in order.

    Raises:
        CourseError: a threshold outside 0 to 1.
    """
    return sorted(pair for pair in _alike(texts, texts, threshold) if pair.first < pair.second)


def leaks(training: Sequence[str], test: Sequence[str], threshold: float = THRESHOLD) -> list[Pair]:
    """Pairs of a training text (``first``) and a test text (``second``) at least as alike as a threshold; see `near_duplicates`."""
    return sorted(_alike(training, test, threshold))


def _alike(texts: Sequence[str], others: Sequence[str], threshold: float) -> Iterable[Pair]:
    from datasketch import MinHash, MinHashLSH

    if not 0 < threshold <= 1:
        raise CourseError(f"the threshold must be above 0 and at most 1, not {threshold}")

    def sketch(shingles: set[bytes]) -> MinHash:
        hashes = MinHash(num_perm=PERMUTATIONS)
        hashes.update_batch(shingles)
        return hashes

    mine, theirs = ([_shingles(text) for text in group] for group in (texts, others))
    index = MinHashLSH(threshold=SLACK * threshold, num_perm=PERMUTATIONS)
    for place, shingles in enumerate(theirs):
        index.insert(place, sketch(shingles))
    for first, shingles in enumerate(mine):
        for second in index.query(sketch(shingles)):
            similarity = len(shingles & theirs[second]) / len(shingles | theirs[second])
            if similarity >= threshold:
                yield Pair(first, second, similarity)


def _shingles(text: str) -> set[bytes]:
    words = plain(text).split()
    return {" ".join(words[i : i + SHINGLE]).encode() for i in range(max(1, len(words) - SHINGLE + 1))}


def precision_recall(found: Iterable[object], truth: Iterable[object]) -> tuple[float, float]:
    """How many of those found are true, and how many of the true ones are found; 1 where there are none to count."""
    found, truth = set(found), set(truth)
    right = len(found & truth)
    return right / len(found) if found else 1.0, right / len(truth) if truth else 1.0


def groups(count: int, pairs: Iterable[Pair]) -> list[int]:
    """A group number for each of ``count`` texts: those that pairs connect, directly or through others, share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places = [(pair.first, pair.second) for pair in pairs]
    rows, columns = zip(*places, strict=True) if places else ((), ())
    return connected_components(coo_array(([1] * len(places), (rows, columns)), shape=(count, count)), directed=False)[1].tolist()


def one_of_each(rows: Sequence[Row], group: Sequence[int]) -> list[Row]:
    """The first row of each group, in order."""
    first: dict[int, int] = {}
    for place, number in enumerate(group):
        first.setdefault(number, place)
    return [rows[place] for place in first.values()]


def split(
    rows: Sequence[Row], share: float = 0.1, *, group: Sequence[int] | None = None, seed: int = 0
) -> tuple[list[Row], list[Row]]:
    """Rows for training and rows for evaluation; a group is never torn apart.

    Args:
        rows: at least two.
        share: of the rows that evaluation gets, as nearly as whole groups allow.
        group: a group number for each row, from `groups`; without it every row is on its own, as in a random split.
        seed: of the shuffle.

    Raises:
        CourseError: nothing is left for one of the two.
    """
    numbers = list(range(len(rows))) if group is None else list(group)
    order = sorted(set(numbers))
    Random(seed).shuffle(order)
    members: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        members.setdefault(number, []).append(place)
    held: set[int] = set()
    for number in order:
        if len(held) >= share * len(rows):
            break
        held.update(members[number])
    if not held or len(held) == len(rows):
        raise CourseError(f"{len(rows)} rows in {len(order)} groups can't be split with a share of {share}: bring more rows")
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]

"""From the readable rows of a file to rows worth training on: what is dropped, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_lib.data.duplicates import THRESHOLD, asked, groups, leaks, near_duplicates
from course_lib.data.rows import Row, token_counts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENDINGS = (".", "!", "?", "…", "}", "]", ")", '"', "'", "”", "’", "`")


@dataclass(frozen=True)
class Cleaned:
    """The rows to train on, and the others by the reason for which they were dropped, in the order of the checks."""

    rows: list[Row]
    dropped: dict[str, list[Row]]


def clean(
    rows: Sequence[Row],
    test: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int = 512,
    threshold: float = THRESHOLD,
    grounded: bool = False,
) -> Cleaned:
    """Drop rows that are too long, cut short, copied from the test set, or copies of a row before them.

    Args:
        rows: from `rows.read_rows` or `rows.scan_rows`.
        test: the prompts that the model will be measured on.
        tokenizer: to count a row's tokens.
        max_length: tokens of the longest row to keep.
        threshold: of `duplicates.near_duplicates` and `duplicates.leaks`.
        grounded: drop answers with names or numbers that the prompt doesn't have (`unsupported`), too: right for a task that
            rewrites its prompt, wrong for one that answers from knowledge.
    """
    dropped: dict[str, list[Row]] = {}
    left = list(rows)

    def drop(reason: str, places: set[int]) -> None:
        nonlocal left
        dropped[reason] = [left[place] for place in sorted(places)]
        left = [row for place, row in enumerate(left) if place not in places]

    drop("too long", {i for i, count in enumerate(token_counts(left, tokenizer)) if count > max_length} if left else set())
    drop("answer cut short", {i for i, row in enumerate(left) if is_cut_short(row)})
    if grounded:
        drop("answer not from the prompt", {i for i, row in enumerate(left) if unsupported(row)})
    drop("in the test set", {pair.first for pair in leaks([asked(row) for row in left], test, threshold)})
    group = groups(len(left), near_duplicates([asked(row) for row in left], threshold))
    drop("copy of a row before", {i for i, number in enumerate(group) if number in group[:i]})
    return Cleaned(left, dropped)


def is_cut_short(row: Row) -> bool:
    """Whether an answer of several words doesn't end like a sentence. A hint, not a proof: lists and names don't either."""
    answer = row.answer.rstrip()
    return len(answer.split()) > 3 and not answer.endswith(ENDINGS)


def unsupported(row: Row) -> list[str]:
    """Names and numbers of an answer that its prompt doesn't hold: a sign that the answer belongs to another prompt.

    A name is a word with a capital that doesn't begin a sentence; so this speaks of English, and of tasks that rewrite.
    """
    known = set(re.findall(r"\w+", asked(row).casefold()))
    named = re.findall(r"(?<![.!?] )(?<!^)\b[A-Z]\w+|\d+", row.answer)
    return [word for word in named if word.casefold() not in known]

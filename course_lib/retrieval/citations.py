"""Citations: taken apart, and believed only if the cited document holds the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from course_lib.retrieval.bm25 import Document

_LAST = re.compile(r"\[(\d{1,9})\]$")


@dataclass(frozen=True)
class Cited:
    """An answer without its citations, and the numbers of the documents that it cites."""

    text: str
    numbers: tuple[int, ...]


def parse(answer: str) -> Cited:
    """Split ``"865 coins [2]"`` into the answer and its citations; only those at the end count."""
    end, numbers = len(answer.rstrip()), []
    while found := _LAST.search(answer, max(0, end - 11), end):
        numbers.append(int(found[1]))
        end = found.start()
        while end and answer[end - 1].isspace():
            end -= 1
    return Cited(answer[:end].strip(), tuple(reversed(numbers)))


def source(cited: Cited, documents: Sequence[Document]) -> Document | None:
    """The document that an answer rightly cites: the first that it names, if that was shown and holds the answer word for word."""
    if not cited.numbers or not cited.text or not 1 <= cited.numbers[0] <= len(documents):
        return None
    document = documents[cited.numbers[0] - 1]
    # Whole words only: "5 coins" does not stand in "costs 865 coins".
    held = re.search(rf"(?<!\w){re.escape(cited.text)}(?!\w)", document.text)
    return document if held else None

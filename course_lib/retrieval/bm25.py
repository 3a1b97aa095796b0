"""Finding documents by their words: BM25 (Robertson and Zaragoza 2009), as the library bm25s computes it (Lù 2024)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.errors import CourseError


@dataclass(frozen=True)
class Document:
    """A text with the key that it is known by."""

    key: str
    text: str


@dataclass(frozen=True)
class Hit:
    """A document that was found, and its BM25 score (0: it shares no word with the query)."""

    document: Document
    score: float


class Index:
    """Documents that can be searched.

    BM25 ranks a document by the words it shares with the query: a rare word counts more than a common one, and a word in a short
    document more than in a long one. It knows spellings, not meanings.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        """Index some documents; a change of one means indexing again, which takes milliseconds for hundreds.

        Raises:
            CourseError: there is no document, or none with a word in it.
        """
        import bm25s

        self.documents = list(documents)
        words = self._words([document.text for document in self.documents]) if self.documents else []
        if not any(words):
            raise CourseError("there is nothing to search: give at least one document with words in it")
        self._ranker = bm25s.BM25()
        self._ranker.index(words, show_progress=False)

    @staticmethod
    def _words(texts: list[str]) -> Any:
        """The words of each text in lower case. Words of one letter don't count, common words do (they hardly weigh anyway)."""
        import bm25s

        return bm25s.tokenize(texts, stopwords=None, return_ids=False, show_progress=False)

    def search(self, query: str, k: int = 1) -> list[Hit]:
        """The ``k`` best documents for a query, best first; fewer if there are no more.

        Raises:
            CourseError: ``k`` is less than 1.
        """
        _check(k)
        count = min(k, len(self.documents))
        places, scores = self._ranker.retrieve(self._words([query]), k=count, show_progress=False)
        return [Hit(self.documents[place], float(score)) for place, score in zip(places[0], scores[0], strict=True)]


class Library:
    """Several indexes, the shelves, each of which gives its best document: neighbours on one shelf are look-alikes."""

    def __init__(self, shelves: Mapping[str, Sequence[Document]]) -> None:
        """Index each shelf.

        Raises:
            CourseError: a shelf is empty.
        """
        self.shelves = {name: Index(documents) for name, documents in shelves.items()}

    def search(self, query: str, k: int = 1) -> list[Hit]:
        """The best document of each of the ``k`` best shelves, best first.

        Raises:
            CourseError: ``k`` is less than 1.
        """
        _check(k)
        hits = [hit for shelf in self.shelves.values() for hit in shelf.search(query, 1)]
        return sorted(hits, key=lambda hit: -hit.score)[:k]


def _check(k: int) -> None:
    if k < 1:
        raise CourseError(f"k must be at least 1, not {k}: ask for one document or more")


def shuffled(hits: Sequence[Hit]) -> list[Document]:
    """The documents in an order that gives nothing away about their scores, and is the same on every machine."""
    return sorted((hit.document for hit in hits), key=lambda document: zlib.crc32(document.text.encode()))


def recall(index: Index | Library, wanted: Sequence[tuple[str, str]], k: int) -> list[bool]:
    """For each pair of a query and the key of the document that answers it: whether that is among the ``k`` best."""
    return [key in {hit.document.key for hit in index.search(query, k)} for query, key in wanted]

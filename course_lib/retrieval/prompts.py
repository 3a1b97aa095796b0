"""What the model reads: the documents or examples that were found, then the question."""

from __future__ import annotations

from collections.abc import Sequence

from course_lib.retrieval.bm25 import Document

REQUEST = "Answer with a source."


def cited_prompt(question: str, documents: Sequence[Document]) -> str:
    """A question over numbered documents, to be answered with the number of one: the form that wren's pretraining used."""
    numbered = " ".join(f"[{number}] {document.text}" for number, document in enumerate(documents, 1))
    return f"Documents: {numbered} Question: {question} {REQUEST}"


def examples_prompt(request: str, examples: Sequence[tuple[str, str]]) -> str:
    """A request after worked examples, each a request with its answer ("few-shot", Brown et al. 2020)."""
    shown = " ".join(f"Question: {asked} Answer: {answered}" for asked, answered in examples)
    return f"{shown} Question: {request} Answer:"

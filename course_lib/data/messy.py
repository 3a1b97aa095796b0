"""A messy file, as one is handed over: legal rows with known faults put in, so that whatever looks for faults can be marked."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from course_lib.data.rows import Row, legal_rows
from course_lib.seeds import default_seed
from course_lib.world import names
from course_lib.world.skills import LEGAL_PROMPT, Question

COPIES = ("exact copy", "copy in other clothes", "copy with another name")
UNREADABLE = ("not JSON", "no answer", "question last", "unknown form")


@dataclass(frozen=True)
class Truth:
    """What was put into a messy file.

    ``lines`` has the line numbers of each fault, counted from 1. ``copies`` has the pairs of lines that hold the same row (the
    original first), and ``leaks`` the pairs of line and place in the test set, counted from 0.
    """

    lines: dict[str, list[int]]
    copies: dict[str, list[tuple[int, int]]]
    leaks: list[tuple[int, int]]

    @property
    def pairs(self) -> set[tuple[int, int]]:
        """All pairs of lines that hold the same row, smaller line first: two copies of one row are copies of each other."""
        family: dict[int, list[int]] = {}
        for pairs in self.copies.values():
            for original, copy in pairs:
                family.setdefault(original, [original]).append(copy)
        return {pair for lines in family.values() for pair in itertools.combinations(sorted(lines), 2)}

    @staticmethod
    def pair(one: Row, other: Row) -> tuple[int, int]:
        """Two rows as an element of `pairs`."""
        return min(one.line, other.line), max(one.line, other.line)


def write_messy(file: Path, test: Sequence[Question], *, rows: int = 240, seed: int | None = None) -> Truth:
    """Write a file of legal rows in three forms, with every fault of `COPIES` and `UNREADABLE`, leaks, wrong and long rows.

    Args:
        file: where to write; it starts with a byte order mark, as files from a spreadsheet do.
        test: the held-out questions that some rows leak.
        rows: good rows; each fault is put into 1 to 10 % as many.
        seed: `seeds.default_seed` if none is given.

    Returns:
        What was put in, and where.
    """
    rng = Random(f"messy {default_seed() if seed is None else seed}")
    good = legal_rows(rows, seed)
    share = max(2, rows // 40)
    content: list[tuple[str, Any, int | None]] = [("", row, None) for row in good]  # fault, row, what it is made from

    def put(fault: str, count: int, make: Callable[[Row], Any]) -> None:
        content.extend((fault, make(good[place]), place) for place in rng.sample(range(rows), count))

    put("exact copy", 3 * share, lambda row: row)
    put("copy in other clothes", 3 * share, lambda row: _dressed(row, rng))
    put("copy with another name", 3 * share, lambda row: _renamed(row, rng))
    leaked = rng.sample(range(len(test)), min(len(test), 5 * share))
    content += [("leak", Row(({"role": "user", "content": test[i].prompt},), test[i].answer, ""), i) for i in leaked]
    fresh = iter(legal_rows(rows + 4 * share, seed)[rows:])
    content += [("wrong answer", Row(next(fresh).prompt, rng.choice(good).answer, ""), None) for _ in range(2 * share)]
    content += [("answer cut short", _cut(next(fresh)), None) for _ in range(share)]
    content += [("too long", _long(rng.sample(good, 30)), None) for _ in range(2)]
    put("not JSON", share // 2, lambda row: _text(row, rng)[:-9])
    put("no answer", share, lambda row: json.dumps({"instruction": row.prompt[0]["content"], "output": ""}))
    put("question last", share // 2, lambda row: json.dumps({"messages": list(row.prompt)}))
    put("unknown form", share // 2, lambda row: json.dumps({"conversations": [{"from": "human", "value": row.answer}]}))
    rng.shuffle(content)

    line_of = {row.line - 1: number for number, (fault, row, _) in enumerate(content, 1) if not fault}
    lines: dict[str, list[int]] = {}
    copies: dict[str, list[tuple[int, int]]] = {fault: [] for fault in COPIES}
    leaks = []
    for number, (fault, _, origin) in enumerate(content, 1):
        if fault:
            lines.setdefault(fault, []).append(number)
        if fault in COPIES and origin is not None:
            copies[fault].append((line_of[origin], number))
        if fault == "leak" and origin is not None:
            leaks.append((number, origin))
    texts = [row if isinstance(row, str) else _text(row, rng) for _, row, _ in content]
    file.write_text("\ufeff" + "\n".join(texts) + "\n", encoding="utf-8")
    return Truth(lines, copies, leaks)


def _text(row: Row, rng: Random) -> str:
    """A row as a line, in one of the three forms."""
    prompt, answer = row.prompt[0]["content"], row.answer
    instruction, _, clause = prompt.partition(LEGAL_PROMPT.rstrip())
    forms: tuple[dict[str, Any], ...] = (
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]},
        {"prompt": prompt, "completion": answer},
        {"instruction": LEGAL_PROMPT.strip(), "input": clause.strip(), "output": answer}
        if clause
        else {"instruction": instruction, "output": answer},
    )
    return json.dumps(rng.choice(forms), ensure_ascii=False)


def _changed(row: Row, change: Callable[[str], str], answer: Callable[[str], str] = lambda text: text) -> Row:
    return Row(({"role": "user", "content": change(row.prompt[0]["content"])},), answer(row.answer), "")


def _dressed(row: Row, rng: Random) -> Row:
    """The same words in other case, spacing or punctuation."""
    ways: tuple[Callable[[str], str], ...] = (
        str.upper,
        lambda text: text.replace(" ", "  ", 3),
        lambda text: text.rstrip(".") + " .",
        lambda text: text.replace(",", "").rstrip("."),
    )
    return _changed(row, rng.choice(ways))


def _renamed(row: Row, rng: Random) -> Row:
    """The same clause with one company's first word changed throughout."""
    found = re.search(rf"(\w+) (?:{'|'.join(names.COMPANY_KINDS)})\b", row.answer) or re.search(r"([A-Z]\w+)", row.answer)
    assert found  # every answer of the legal task names a company
    other = names.word(rng)
    return _changed(row, lambda text: text.replace(found[1], other), lambda text: text.replace(found[1], other))


def _cut(row: Row) -> Row:
    words = row.answer.split()
    return Row(row.prompt, " ".join(words[: len(words) // 2]), "")


def _long(rows: Sequence[Row]) -> Row:
    """A whole contract in one row."""
    clauses = " ".join(row.prompt[0]["content"].removeprefix(LEGAL_PROMPT) for row in rows)
    return Row(({"role": "user", "content": LEGAL_PROMPT + clauses},), " ".join(row.answer for row in rows), "")

"""From a JSONL file to training rows, with every bad line named at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.seeds import default_seed
from course_lib.world.corpus import GENERAL_SKILLS, Message, legal_questions, practice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMS = "prompt/completion, messages, or instruction/input/output"
ROLES = ("system", "user", "assistant")
SHOWN = 20  # bad lines listed before "and N more"


@dataclass(frozen=True)
class Row:
    """A conversation up to an answer, the answer, and where both came from (``file:line``)."""

    prompt: tuple[Message, ...]
    answer: str
    source: str

    @property
    def line(self) -> int:
        """The line of its file, or its place among made-up rows; both count from 1."""
        return int(self.source.rpartition(":")[2])

    def as_trl(self) -> dict[str, list[Message]]:
        """The row in TRL's conversational prompt/completion form, whose loss falls on the completion alone."""
        return {"prompt": list(self.prompt), "completion": [{"role": "assistant", "content": self.answer}]}


def legal_rows(count: int, seed: int | None = None) -> list[Row]:
    """Rows of the course's own task: legal clauses with their plain words (``seed``: `seeds.default_seed` if none is given)."""
    seed = default_seed() if seed is None else seed
    return [
        Row(({"role": "user", "content": q.prompt},), q.answer, f"legal:{index}")
        for index, q in enumerate(legal_questions("train", count, seed), 1)
    ]


def general_rows(count: int, seed: int | None = None) -> list[Row]:
    """Rows of the general skills in turn, as wren met them in pretraining: what replay mixes in, and what EWC holds on to."""
    seed = default_seed() if seed is None else seed
    each = -(-count // len(GENERAL_SKILLS))
    skills = [practice(skill, each, seed) for skill in GENERAL_SKILLS]
    turns = [question for questions in zip(*skills, strict=True) for question in questions][:count]
    return [Row(({"role": "user", "content": q.prompt},), q.answer, f"{q.skill}:{i}") for i, q in enumerate(turns, 1)]


def read_rows(file: Path) -> list[Row]:
    """Rows from a JSONL file; each assistant turn of a ``messages`` row becomes a row of its own.

    Raises:
        CourseError: the file is missing or empty, or any line is not a row of a known form; then every bad line is named.
    """
    rows, problems = scan_rows(file)
    if problems:
        raise CourseError(listed(f"{len(problems)} of the lines can't be used; correct them and start again", problems))
    if not rows:
        raise CourseError(f"{file} holds no rows: write one JSON object a line, with {FORMS}")
    return rows


def scan_rows(file: Path) -> tuple[list[Row], list[str]]:
    """The rows of a JSONL file that can be used, and ``file:line: why`` for each line that can't, to look at before you mend it.

    Raises:
        CourseError: the file is missing or no text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CourseError(f"there is no data file {file}: check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{file} can't be read as UTF-8 text ({error}): save it as JSON lines in UTF-8") from error
    rows: list[Row] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON texts may hold U+2028 and its like
        if not line.strip():
            continue
        try:
            rows += _rows(json.loads(line), f"{file.name}:{number}")
        except json.JSONDecodeError as error:
            problems.append(f"{file.name}:{number}: not JSON ({error.msg})")
        except _BadRow as error:
            problems.append(f"{file.name}:{number}: {error}")
    return rows, problems


class _BadRow(ValueError):
    """Why one line can't be used."""


def _rows(value: Any, source: str) -> list[Row]:
    if not isinstance(value, dict):
        raise _BadRow("not a JSON object")
    if "messages" in value:
        turns = _turns(value["messages"], "messages")
    elif "prompt" in value and "completion" in value:
        turns = _turns(value["prompt"], "prompt", "user") + _turns(value["completion"], "completion", "assistant")
    elif "instruction" in value and "output" in value:
        parts = [_text(value.get(key) or "", key) for key in ("instruction", "input")]
        turns = [_turn("user", "\n\n".join(part for part in parts if part.strip()), "instruction")]
        turns.append(_turn("assistant", value["output"], "output"))
    else:
        raise _BadRow(f"keys {', '.join(map(str, value)) or 'none'} are no known form ({FORMS})")
    if turns[-1]["role"] != "assistant":
        raise _BadRow("the last turn is not the assistant's, so there is nothing to learn")
    return [
        Row(tuple(turns[:i]), turn["content"], source) for i, turn in enumerate(turns) if turn["role"] == "assistant" and i > 0
    ]


def _turns(value: Any, key: str, role: str | None = None) -> list[Message]:
    if role and isinstance(value, str):
        return [_turn(role, value, key)]
    if not isinstance(value, list) or not value:
        raise _BadRow(f"{key} is not a list of turns")
    if not all(isinstance(turn, dict) and turn.get("role") in ROLES for turn in value):
        raise _BadRow(f"{key} has a turn whose role is not {', '.join(ROLES)}")
    if value[0]["role"] == "assistant" and role != "assistant":
        raise _BadRow(f"{key} starts with the assistant, so there is no question to answer")
    return [_turn(turn["role"], turn.get("content"), key) for turn in value]


def _turn(role: str, content: Any, key: str) -> Message:
    if not (text := _text(content, key)).strip():
        raise _BadRow(f"{key} is empty")
    return {"role": role, "content": text}


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise _BadRow(f"{key} is not text")
    return value


def token_counts(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each row as the chat template writes it."""
    chats = [[*row.prompt, {"role": "assistant", "content": row.answer}] for row in rows]
    return [len(ids) for ids in tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]]


def check_lengths(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Refuse rows that training would have to cut.

    Raises:
        CourseError: naming each such row and how much of it would be lost.
    """
    problems = [
        f"{row.source}: {count} tokens, the last {count - max_length} would be cut"
        for row, count in zip(rows, token_counts(rows, tokenizer), strict=True)
        if count > max_length
    ]
    if problems:
        raise CourseError(
            listed(f"{len(problems)} rows are longer than {max_length} tokens; shorten them or raise --max-length", problems)
        )


def listed(head: str, problems: Sequence[str]) -> str:
    """A sentence and the first problems, a line each."""
    rest = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n  ".join([f"{head}:", *problems[:SHOWN], *rest])

"""Training files for hosted fine-tuning, checked offline against the services' published rules.

Rules are as published by November 2026; services change and end, so look again before you upload:

- ``openai``: "Supervised fine-tuning" (developers.openai.com) for the least number of examples; the OpenAI cookbook's "Data
  preparation and analysis for chat model fine-tuning" for the format; "Upload file" (API reference) for the size. The page
  "Deprecations" (notice of 7 May 2026) ends new fine-tuning jobs for everybody on 6 January 2027. Others take the same format.
- ``bedrock``: "Finetuning Claude 3 Haiku on Bedrock" (Claude cookbook). Amazon's model card "Claude 3 Haiku" gives the model's
  end of life as 10 September 2026.
- ``gemini``: "Prepare supervised fine-tuning data for Gemini models" and "About supervised fine-tuning for Gemini models"
  (Google Cloud) for the format, the tokens an example, the examples and the size of a file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from course_lib.data.rows import Row, listed
from course_lib.errors import CourseError
from course_lib.world.corpus import Message

CHARACTERS_A_TOKEN = 4  # an estimate for English text: every service counts with its own tokenizer


@dataclass(frozen=True)
class Service:
    """How one service wants its file.

    ``write`` makes a line's object of a conversation, ``read`` makes a conversation of it again (and raises `KeyError`,
    `TypeError` or `IndexError` on what isn't one). ``keys`` are all that an object may have, ``turn_keys`` all that one turn of
    the list under ``turns`` may have. Text chats only: no tools, no pictures.
    """

    title: str
    write: Callable[[Sequence[Message]], dict[str, Any]]
    read: Callable[[dict[str, Any]], list[Message]]
    keys: frozenset[str]
    turns: str
    turn_keys: frozenset[str]
    alternate: bool
    least_rows: int
    most_rows: int | None = None
    most_bytes: int | None = None
    most_tokens: int | None = None


@dataclass(frozen=True)
class Fault:
    """One broken rule: its name, the line (from 1; 0 for the whole file), and what to do."""

    rule: str
    line: int
    text: str

    def __str__(self) -> str:
        return (f"line {self.line}: " if self.line else "") + f"{self.text} ({self.rule})"


def _system_apart(turns: Sequence[Message]) -> tuple[str | None, list[Message]]:
    system = turns[0]["content"] if turns and turns[0]["role"] == "system" else None
    return system, list(turns[system is not None :])


def _openai(turns: Sequence[Message]) -> dict[str, Any]:
    return {"messages": list(turns)}


def _from_openai(line: dict[str, Any]) -> list[Message]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in line["messages"]]


def _bedrock(turns: Sequence[Message]) -> dict[str, Any]:
    system, rest = _system_apart(turns)
    return ({"system": system} if system is not None else {}) | {"messages": rest}


def _from_bedrock(line: dict[str, Any]) -> list[Message]:
    return ([{"role": "system", "content": line["system"]}] if "system" in line else []) + _from_openai(line)


def _gemini(turns: Sequence[Message]) -> dict[str, Any]:
    system, rest = _system_apart(turns)
    names = {"user": "user", "assistant": "model"}
    contents = [{"role": names.get(turn["role"], turn["role"]), "parts": [{"text": turn["content"]}]} for turn in rest]
    return ({"systemInstruction": {"role": "system", "parts": [{"text": system}]}} if system is not None else {}) | {
        "contents": contents
    }


def _from_gemini(line: dict[str, Any]) -> list[Message]:
    system = [{"role": "system", "content": line["systemInstruction"]["parts"][0]["text"]}] if "systemInstruction" in line else []
    names = {"model": "assistant", "assistant": "(assistant: Gemini says model)"}
    turns = [
        {"role": names.get(c["role"], c["role"]), "content": "".join(p["text"] for p in c["parts"])} for c in line["contents"]
    ]
    return system + turns


SERVICES: dict[str, Service] = {
    "openai": Service(
        "OpenAI, chat",
        _openai,
        _from_openai,
        keys=frozenset({"messages"}),
        turns="messages",
        turn_keys=frozenset({"role", "content", "name", "weight"}),
        alternate=False,
        least_rows=10,
        most_bytes=512 * 10**6,
    ),
    "bedrock": Service(
        "Amazon Bedrock, Claude",
        _bedrock,
        _from_bedrock,
        keys=frozenset({"system", "messages"}),
        turns="messages",
        turn_keys=frozenset({"role", "content"}),
        alternate=True,
        least_rows=1,
    ),
    "gemini": Service(
        "Google Cloud, Gemini",
        _gemini,
        _from_gemini,
        keys=frozenset({"systemInstruction", "contents"}),
        turns="contents",
        turn_keys=frozenset({"role", "parts"}),
        alternate=True,
        least_rows=1,
        most_rows=10**6,
        most_bytes=10**9,
        most_tokens=131_072,
    ),
}
RULES: dict[str, str] = {
    "json": "is not a JSON object",
    "keys": "has keys that the service doesn't know",
    "shape": "is no conversation in the service's format",
    "roles": "has a role that the service doesn't know",
    "empty": "has a turn without text",
    "system-first": "has a system turn that is not the first",
    "user-first": "doesn't begin with the user",
    "alternate": "has two turns of one speaker in a row",
    "answer-last": "doesn't end with the answer, so there is nothing to learn",
    "too-long": "is longer than an example may be",
    "too-few": "holds fewer examples than the service takes",
    "too-many": "holds more examples than the service takes",
    "too-large": "is larger than a file may be",
    "encoding": "is not UTF-8, or begins with a byte order mark",
}


def export(rows: Sequence[Row], file: Path, service: str) -> None:
    """Write rows as a hosted service wants them, one conversation a line, and check the file.

    Raises:
        CourseError: an unknown service, or a file that breaks the service's rules; every broken rule is named.
    """
    write = _service(service).write
    lines = [json.dumps(write([*row.prompt, {"role": "assistant", "content": row.answer}]), ensure_ascii=False) for row in rows]
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    if faults := validate(file, service):
        counts = ", ".join(f"{rule} {count}" for rule, count in Counter(fault.rule for fault in faults).items())
        raise CourseError(listed(f"{file.name} breaks rules of {SERVICES[service].title} ({counts})", [str(f) for f in faults]))


def validate(file: Path, service: str) -> list[Fault]:
    """Every rule of a service that a file breaks, line by line; none if it can be uploaded.

    Args:
        file: a JSONL file in the service's format, from `export` or from elsewhere.
        service: a key of `SERVICES`.

    Raises:
        CourseError: an unknown service, or no such file.
    """
    rules = _service(service)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CourseError(f"{file} can't be read ({error.strerror}): check the path") from error
    faults = [Fault(rule, 0, f"the file {RULES[rule]}{detail}") for rule, detail in _file_faults(content, rules)]
    texts = content.decode("utf-8-sig", errors="replace").split("\n")
    texts = [text for text in texts if text.strip()]
    if len(texts) < rules.least_rows:
        faults.append(Fault("too-few", 0, f"the file {RULES['too-few']}: {len(texts)}, and {rules.least_rows} are the least"))
    if rules.most_rows is not None and len(texts) > rules.most_rows:
        faults.append(Fault("too-many", 0, f"the file {RULES['too-many']}: {len(texts)}, and {rules.most_rows} are the most"))
    for number, text in enumerate(texts, 1):
        faults += [Fault(rule, number, RULES[rule]) for rule in _line_faults(text, rules)]
    return faults


def _service(name: str) -> Service:
    if name not in SERVICES:
        raise CourseError(f"there is no service {name!r}: choose {', '.join(SERVICES)}")
    return SERVICES[name]


def _file_faults(content: bytes, rules: Service) -> Iterator[tuple[str, str]]:
    if rules.most_bytes is not None and len(content) > rules.most_bytes:
        yield "too-large", f": {len(content):,} bytes, and {rules.most_bytes:,} are the most"
    try:
        if content.decode("utf-8").startswith("\ufeff"):
            yield "encoding", ": save it as UTF-8 without one"
    except UnicodeDecodeError:
        yield "encoding", ": save it as UTF-8 without one"


def _line_faults(text: str, rules: Service) -> Iterator[str]:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        yield "json"
        return
    listed_turns = line.get(rules.turns)
    turns_are_objects = isinstance(listed_turns, list) and all(isinstance(turn, dict) for turn in listed_turns)
    if not turns_are_objects or not listed_turns:
        yield "shape"
        return
    if set(line) - rules.keys or any(set(turn) - rules.turn_keys for turn in listed_turns):
        yield "keys"
    try:
        turns = rules.read(line)
    except (KeyError, TypeError, IndexError, AttributeError):
        yield "shape"
        return
    roles = [turn["role"] for turn in turns]
    if any(role not in ("system", "user", "assistant") for role in roles):
        yield "roles"
    if any(not isinstance(turn["content"], str) or not turn["content"].strip() for turn in turns):
        yield "empty"
    if "system" in roles[1:]:
        yield "system-first"
    spoken = [role for role in roles if role != "system"]
    if rules.alternate and spoken[:1] != ["user"]:
        yield "user-first"
    if rules.alternate and any(a == b for a, b in pairwise(spoken)):
        yield "alternate"
    if spoken[-1:] != ["assistant"]:
        yield "answer-last"
    if rules.most_tokens is not None and len(text) > CHARACTERS_A_TOKEN * rules.most_tokens:
        yield "too-long"

"""Files for hosted fine-tuning: what we write is valid, and each broken rule is named."""

import json

import pytest

from course_lib.data.hosted import RULES, SERVICES, export, validate
from course_lib.data.rows import Row, legal_rows, read_rows
from course_lib.errors import CourseError

SYSTEM = {"role": "system", "content": "Be exact."}
USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_written_is_valid(service, tmp_path):
    rows = [*legal_rows(30, 0), Row((SYSTEM, USER, ANSWER, USER), "Naïve \u2028 text\nof two lines", "x:1")]
    export(rows, tmp_path / "file.jsonl", service)
    assert validate(tmp_path / "file.jsonl", service) == []
    lines = (tmp_path / "file.jsonl").read_text(encoding="utf-8").split("\n")
    back = SERVICES[service].read(json.loads(lines[30]))
    assert back == [SYSTEM, USER, ANSWER, USER, {"role": "assistant", "content": "Naïve \u2028 text\nof two lines"}]


def test_each_service_has_its_own_words(tmp_path):
    rows = [Row((SYSTEM, USER), "Because.", "x:1")] * 10
    lines = {}
    for service in SERVICES:
        export(rows, tmp_path / service, service)
        lines[service] = json.loads((tmp_path / service).read_text(encoding="utf-8").split("\n")[0])
    assert lines["openai"]["messages"][0] == SYSTEM
    assert lines["bedrock"] == {"system": "Be exact.", "messages": [USER, ANSWER]}
    assert lines["gemini"]["contents"][1] == {"role": "model", "parts": [{"text": "Because."}]}
    assert lines["gemini"]["systemInstruction"]["parts"] == [{"text": "Be exact."}]


def test_an_openai_file_comes_back_as_the_same_rows(tmp_path):
    rows = legal_rows(12, 0)
    export(rows, tmp_path / "f.jsonl", "openai")
    assert [(row.prompt, row.answer) for row in read_rows(tmp_path / "f.jsonl")] == [(row.prompt, row.answer) for row in rows]


BAD = {
    "not JSON": ("openai", "{", {"json"}),
    "a list": ("openai", "[]", {"json"}),
    "NUL and rubbish": ("gemini", "\x00\x01", {"json"}),
    "no messages": ("openai", {}, {"shape"}),
    "empty messages": ("openai", {"messages": []}, {"shape"}),
    "messages no list": ("bedrock", {"messages": {"role": "user"}}, {"shape"}),
    "a turn no object": ("openai", {"messages": ["hello"]}, {"shape"}),
    "no content": ("openai", {"messages": [{"role": "user"}]}, {"shape"}),
    "parts of another service": ("openai", {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}, {"shape"}),
    "an extra key": ("bedrock", {"messages": [USER, ANSWER], "id": 7}, {"keys"}),
    "an extra key in a turn": ("bedrock", {"messages": [USER, ANSWER | {"weight": 1}]}, {"keys"}),
    "a strange role": ("openai", {"messages": [USER, {"role": "bot", "content": "x"}]}, {"roles", "answer-last"}),
    "assistant for model": ("gemini", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, {"roles", "user-first", "answer-last"}),
    "an empty turn": ("openai", {"messages": [USER, {"role": "assistant", "content": " "}]}, {"empty"}),
    "a number for a text": ("openai", {"messages": [USER, {"role": "assistant", "content": 7}]}, {"empty"}),
    "system later": ("openai", {"messages": [USER, SYSTEM, ANSWER]}, {"system-first"}),
    "assistant first": ("bedrock", {"messages": [ANSWER, USER, ANSWER]}, {"user-first"}),
    "twice the user": ("bedrock", {"messages": [USER, USER, ANSWER]}, {"alternate"}),
    "ends with the user": ("openai", {"messages": [USER, ANSWER, USER]}, {"answer-last"}),
    "far too long": ("gemini", {"contents": [{"role": "user", "parts": [{"text": "x" * 600_000}]}, {"role": "model", "parts": [{"text": "y"}]}]}, {"too-long"}),
}  # fmt: skip


@pytest.mark.parametrize(("service", "line", "rules"), BAD.values(), ids=BAD)
def test_each_broken_rule_is_named(service, line, rules, tmp_path):
    good = SERVICES[service].write([USER, ANSWER])
    file = tmp_path / "file.jsonl"
    texts = [json.dumps(good)] * 11 + [line if isinstance(line, str) else json.dumps(line)]
    file.write_text("\n".join(texts), encoding="utf-8")
    faults = validate(file, service)
    assert {fault.rule for fault in faults} == rules
    assert {fault.line for fault in faults} == {12}
    assert rules <= set(RULES)


def test_faults_of_the_whole_file(tmp_path):
    file = tmp_path / "file.jsonl"
    line = json.dumps({"messages": [USER, ANSWER]})
    file.write_text("\ufeff" + "\n".join([line] * 9), encoding="utf-8")
    assert [fault.rule for fault in validate(file, "openai")] == ["encoding", "too-few"]
    file.write_bytes(b"\xff\xfe" + line.encode())
    assert "encoding" in [fault.rule for fault in validate(file, "openai")]
    file.write_bytes(b"")
    assert [fault.rule for fault in validate(file, "bedrock")] == ["too-few"]


def test_limits_of_size(tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(SERVICES, "gemini", replace(SERVICES["gemini"], most_rows=2, most_bytes=100))
    with pytest.raises(CourseError, match="too-large 1, too-many 1"):
        export(legal_rows(3, 0), tmp_path / "f.jsonl", "gemini")


def test_a_refusal_names_service_and_rules(tmp_path):
    with pytest.raises(CourseError, match=r"OpenAI.*too-few"):
        export(legal_rows(3, 0), tmp_path / "f.jsonl", "openai")
    with pytest.raises(CourseError, match="no service 'azure'"):
        export(legal_rows(3, 0), tmp_path / "f.jsonl", "azure")
    with pytest.raises(CourseError, match="can't be read"):
        validate(tmp_path / "nothing.jsonl", "openai")

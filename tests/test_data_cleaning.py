"""Messy files: what is put in is found, and nothing else is."""

import json
import re

import pytest

from course_lib.data.cleaning import clean, is_cut_short, unsupported
from course_lib.data.duplicates import (
    Pair,
    asked,
    exact_duplicates,
    groups,
    leaks,
    near_duplicates,
    one_of_each,
    plain,
    precision_recall,
    split,
)
from course_lib.data.messy import COPIES, UNREADABLE, write_messy
from course_lib.data.rows import Row, legal_rows, read_rows, scan_rows
from course_lib.errors import CourseError
from course_lib.evaluation.suites import legal_suite


def row(prompt: str, answer: str = "Yes, it does.", source: str = "x:1") -> Row:
    return Row(({"role": "user", "content": prompt},), answer, source)


@pytest.fixture(scope="module", params=[0, 7])
def messy(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("messy") / "contracts.jsonl"
    test = legal_suite(200, request.param)
    return file, test, write_messy(file, test, seed=request.param)


def test_the_truth_says_what_is_in_the_file(messy):
    file, test, truth = messy
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    assert {*COPIES, *UNREADABLE, "leak", "too long"} <= set(truth.lines)
    for number, place in truth.leaks:
        clause = test[place].prompt.partition(": ")[2]
        assert clause in lines[number - 1]
    for first, second in truth.copies["exact copy"]:
        assert first != second
    assert all(first < second for first, second in truth.pairs)


def test_the_same_seed_writes_the_same_file(tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    write_messy(one, legal_suite(50, 3), seed=3)
    write_messy(other, legal_suite(50, 3), seed=3)
    assert one.read_bytes() == other.read_bytes()


def test_every_unreadable_line_is_named_and_no_other(messy):
    file, _, truth = messy
    rows, problems = scan_rows(file)
    named = sorted(int(re.search(r":(\d+):", problem)[1]) for problem in problems)
    assert named == sorted(number for fault in UNREADABLE for number in truth.lines[fault])
    assert not {row.line for row in rows} & set(named)
    with pytest.raises(CourseError, match=f"{len(problems)} of the lines"):
        read_rows(file)


def test_the_finder_finds_the_copies_and_little_else(messy):
    file, _, truth = messy
    rows, _ = scan_rows(file)
    found = {tuple(sorted((rows[p.first].line, rows[p.second].line))) for p in near_duplicates([asked(r) for r in rows])}
    precision, recall = precision_recall(found, truth.pairs)
    assert precision >= 0.9
    assert recall >= 0.95


def test_the_finder_finds_the_leaks(messy):
    file, test, truth = messy
    rows, _ = scan_rows(file)
    found = {(rows[p.first].line, p.second) for p in leaks([asked(r) for r in rows], [q.prompt for q in test])}
    precision, recall = precision_recall(found, truth.leaks)
    assert precision >= 0.9
    assert recall == 1


def test_cleaning_leaves_neither_copies_nor_leaks(messy, wren):
    file, test, truth = messy
    rows, _ = scan_rows(file)
    cleaned = clean(rows, [q.prompt for q in test], wren[1], grounded=True)
    kept = {row.line for row in cleaned.rows}
    for fault in ("leak", "too long", "wrong answer", "answer cut short"):
        assert not kept & set(truth.lines[fault]), fault
    assert not any({first, second} <= kept for first, second in truth.pairs)
    assert len(cleaned.rows) + sum(map(len, cleaned.dropped.values())) == len(rows)
    assert len(cleaned.rows) >= 220  # of 240 good ones


def test_cleaning_nothing(wren):
    assert clean([], ["a b c"], wren[1]).rows == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Explain THIS clause.", "explain  this clause"),
        ("tab\tand newline\nhere", "Tab, and newline: here!"),
        ("Straße", "STRASSE"),
    ],
)
def test_other_clothes_are_the_same_text(one, other):
    assert plain(one) == plain(other)
    assert near_duplicates([one, other], 1.0) == [Pair(0, 1, 1.0)]


@pytest.mark.parametrize("texts", [[], ["a"], ["", "x"], ["one two", "three four"]])
def test_few_short_or_empty_texts_are_no_duplicates(texts):
    assert near_duplicates(texts) == []


def test_exact_duplicates_name_where_the_text_stood_first():
    assert exact_duplicates(["a", "b", "a", "a"]) == [Pair(0, 2, 1.0), Pair(0, 3, 1.0)]


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(CourseError, match="threshold"):
        near_duplicates(["a", "a"], threshold)


def test_groups_connect_through_others():
    assert len(set(groups(5, [Pair(0, 1, 1), Pair(1, 2, 1)]))) == 3
    assert groups(3, []) == [0, 1, 2]
    rows = [row(str(i)) for i in range(4)]
    assert one_of_each(rows, groups(4, [Pair(0, 2, 1), Pair(1, 3, 1)])) == rows[:2]


def test_a_split_never_tears_a_group_apart():
    rows = legal_rows(60, 0)
    group = [i // 3 for i in range(60)]
    for seed in range(20):
        training, held = split(rows, 0.1, group=group, seed=seed)
        sides = [{group[row.line - 1] for row in side} for side in (training, held)]
        assert not sides[0] & sides[1]
        assert len(held) == 6
        assert sorted(row.line for row in training + held) == [*range(1, 61)]


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(CourseError, match="can't be split"):
        split(legal_rows(5, 0), 0.1, group=[0] * 5)
    with pytest.raises(CourseError, match="can't be split"):
        split(legal_rows(5, 0), 0.0)


def test_nothing_found_of_nothing_is_no_mistake():
    assert precision_recall([], []) == (1, 1)
    assert precision_recall([1, 2], [2, 3]) == (0.5, 0.5)


def test_hints_at_bad_answers():
    assert unsupported(row("Ann owes Bob 3 coins.", "Ann must pay Bob 4 coins.")) == ["4"]
    assert unsupported(row("ANN OWES BOB 3 COINS.", "Ann must pay Bob 3 coins.")) == []
    assert not any(unsupported(r) or is_cut_short(r) for r in legal_rows(300, 1))
    assert is_cut_short(row("x", "Ann must pay Bob the"))
    assert not is_cut_short(row("x", "blue lamp"))


def test_line_separators_inside_a_text_are_no_new_lines(tmp_path):
    file = tmp_path / "rows.jsonl"
    text = {"prompt": "one\u2028two\x85three", "completion": "yes"}
    file.write_text(json.dumps(text, ensure_ascii=False) + "\r\n\r\n" + json.dumps(text), encoding="utf-8")
    assert [row.line for row in read_rows(file)] == [1, 3]

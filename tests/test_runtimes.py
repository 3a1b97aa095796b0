"""The README's table of run times is the stored measurement, and publishing keeps both."""

import json
from pathlib import Path

import pytest

from course_lib.notebook.publish import main
from course_lib.notebook.runtimes import BETWEEN, FILE, keep, machine, runtimes_table, stored

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_shows_what_was_measured() -> None:
    found = BETWEEN.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == runtimes_table(stored())
    assert "docs/images/rank-slider.webp" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "images" / "rank-slider.webp").is_file()


def test_keeping_adds_to_file_and_readme(tmp_path: Path) -> None:
    lesson = tmp_path / "lessons" / "02_lora_math.ipynb"
    keep(lesson, 41.2, 1_230_000_000)
    assert not lesson.parent.exists(), "no folder for results, nothing kept"
    (lesson.parent / "results").mkdir(parents=True)
    marks = "<!-- run times, from lessons/results/runtimes.json -->\nold\n<!-- end of run times -->\nafter"
    (tmp_path / "README.md").write_text(f"before\n{marks}")
    keep(lesson, 41.2, 1_230_000_000)
    keep(lesson.with_name("03_qlora.ipynb"), 80, 900_000_000)
    kept = json.loads((lesson.parent / FILE).read_text())
    assert kept == {machine(): {"02": {"seconds": 41, "gigabytes": 1.23}, "03": {"seconds": 80, "gigabytes": 0.9}}}
    text = (tmp_path / "README.md").read_text()
    assert (
        "| 02 LoRA's arithmetic | 41 s, 1.23 GB |\n| 03 Four-bit training | 80 s, 0.90 GB |\n| together | 2 minutes |\n<!-- end"
        in text
    )
    assert text.startswith("before\n")
    assert text.endswith("\nafter")
    assert "old" not in text


def test_what_is_not_published_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").mkdir()
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1 / 0", "outputs": [], "execution_count": None}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    (tmp_path / "02_x.ipynb").write_text(json.dumps(content))
    assert main([str(tmp_path / "02_x.ipynb")]) == 1
    assert list((tmp_path / "results").iterdir()) == []


def test_a_newcomer_waits_less_than_four_minutes() -> None:
    """As `python -m benchmarks.newcomer` measured it on 2 cores: clone, environment, JupyterLab, and lesson 00 to its first adapter."""
    measured = json.loads((ROOT / "benchmarks" / "results" / "newcomer.json").read_text(encoding="utf-8"))
    assert {"clone", "environment", "JupyterLab", "lesson 00 to its first adapter"} <= set(measured["seconds"])
    assert measured["waiting_after_downloads"] < 240

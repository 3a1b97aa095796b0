"""Claims and progress: what is shown, what fails, what is kept, and what no accident to the file can do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import course_lib
from course_lib.evaluation.scores import Score
from course_lib.notebook import ClaimFailed, check, open_lesson, progress, show_progress, syllabus

TABLE = """
[[lesson]]
number = "02"
file = "02_lora_math.ipynb"
title = "The <b>mathematics</b>"
question = "What does `B A` buy?"
minutes = 30

[[claim]]
id = "lora-noop"
lesson = "02"
statement = "With `B = 0` & x < y, an adapter changes nothing."
origin = "paper: LoRA, Hu et al. 2021"

[[claim]]
id = "sft-learns"
lesson = "02"
statement = "Three epochs teach the legal task."
origin = "ours"
learned = true
"""


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one lesson, and a learner who has just come."""
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "claims.toml").write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr(syllabus, "lessons_folder", lambda: tmp_path / "lessons")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COURSE_MODEL", raising=False)
    return tmp_path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What a notebook would display."""
    found: list = []
    for module in ("claims", "progress"):
        monkeypatch.setattr(f"course_lib.notebook.{module}.display", found.append)
    return found


def test_a_claim_that_holds_shows_statement_and_number_and_is_kept(shown: list) -> None:
    check("lora-noop", holds=np.bool_(True), measured=np.float32(0.12345), unit="largest difference")
    assert "\N{CHECK MARK} holds" in shown[0].html
    assert "<code>B = 0</code> &amp; x &lt; y" in shown[0].html
    assert "<strong>0.123</strong> largest difference" in shown[0].html
    assert shown[0]._repr_mimebundle_()["text/plain"].startswith("[\N{CHECK MARK} holds] With `B = 0` & x < y")
    assert progress.read().claims == {"lora-noop": True}


def test_a_claim_that_fails_is_shown_kept_and_raised(shown: list) -> None:
    with pytest.raises(ClaimFailed, match=r"'lora-noop' doesn't hold here: With .* Measured: 5\.0% of them$"):
        check("lora-noop", holds=False, measured=0.05, spec=".1%", unit="of them")
    assert "does not hold" in shown[0].html
    assert progress.read().claims == {"lora-noop": False}


def test_not_a_number_never_confirms_a_claim(shown: list) -> None:
    with pytest.raises(ClaimFailed):
        check("lora-noop", holds=not float("nan") > 0.1, measured=float("nan"))


@pytest.mark.parametrize(
    ("measured", "spec", "words"),
    [
        (Score(273, 300), "", "0.91 [0.87, 0.94]"),
        (13_631_488, "", "13,631,488"),
        (np.int64(65_536), "", "65,536"),
        (1e-7, "", "1e-07"),
        (12_345.6, "", "12,346"),
        (0.0625, ".2%", "6.25%"),
        ("0.91 against 0.53", "", "0.91 against 0.53"),
        ("<b>", "", "&lt;b&gt;"),
    ],
)
def test_measurements_are_written_for_a_reader(shown: list, measured: object, spec: str, words: str) -> None:
    check("lora-noop", holds=True, measured=measured, spec=spec)
    assert f"<strong>{words}</strong>" in shown[0].html


def test_a_claim_about_wrens_skill_is_not_judged_on_another_model(shown: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_MODEL", "small")
    check("sft-learns", holds=False, measured=0.01)
    assert "not measured on this model" in shown[0].text
    assert progress.read().claims == {}
    with pytest.raises(ClaimFailed):  # arithmetic holds for every model
        check("lora-noop", holds=False, measured=1)
    monkeypatch.setenv("COURSE_MODEL", "tiny")
    with pytest.raises(ClaimFailed):
        check("sft-learns", holds=False, measured=0.01)


def test_an_unknown_claim_names_those_of_like_spelling() -> None:
    with pytest.raises(KeyError, match=r"no claim 'lora-nop': did you mean lora-noop\?"):
        check("lora-nop", holds=True, measured=1)


def test_opening_lessons_and_showing_progress(shown: list) -> None:
    open_lesson("02")
    check("lora-noop", holds=True, measured=0)
    show_progress()
    header, _, table = shown
    assert header.text == "Lesson 02: The <b>mathematics</b> | about 30 minutes | 2 claims to measure | model: tiny"
    assert "The &lt;b&gt;mathematics" in header.html
    assert "width:50%" in table.html
    assert '<a href="02_lora_math.ipynb">' in table.html
    assert table.text.splitlines()[-1].split()[-4:] == ["yes", "1", "of", "2"]
    with pytest.raises(KeyError, match="the lessons are 02"):
        open_lesson("77")


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[1, 2]", b"null", b'{"opened": 3}', b'{"claims": {"a": "yes"}}', b'{"colour": {}}', b""]
)
def test_a_broken_file_is_set_aside_and_the_lesson_goes_on(shown: list, content: bytes) -> None:
    progress.home().mkdir()
    (progress.home() / "progress.json").write_bytes(content)
    check("lora-noop", holds=True, measured=0)
    assert progress.read().claims == {"lora-noop": True}
    assert (progress.home() / "progress.json.bak").read_bytes() == content


def test_a_home_that_cannot_be_written_costs_a_warning_only(course: Path, shown: list, monkeypatch: pytest.MonkeyPatch) -> None:
    (course / "file").write_text("")
    monkeypatch.setenv("COURSE_HOME", str(course / "file" / "home"))
    with pytest.warns(UserWarning, match="progress can't be kept"):
        check("lora-noop", holds=True, measured=0)
    show_progress()
    assert len(shown) == 2


def test_notebooks_that_write_at_once_lose_nothing(course: Path) -> None:
    code = (
        "import sys; from course_lib.notebook.progress import keep_claim\n"
        "for i in range(25): keep_claim(f'{sys.argv[1]}-{i}', held=True)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name], cwd=Path(course_lib.__file__).parents[1]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(progress.read().claims) == 75
    assert sorted(path.name for path in progress.home().iterdir() if path.suffix != ".lock") == ["progress.json"]
    json.loads((progress.home() / "progress.json").read_text())


def test_lessons_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    package = tmp_path / "site" / "course_lib"
    package.mkdir(parents=True)
    monkeypatch.setattr(course_lib, "__file__", str(package / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="lessons are missing"):
        syllabus.lessons_folder()
    for place in (tmp_path / "site" / "lessons", package / "lessons"):
        place.mkdir()
        (place / "claims.toml").write_text("")
        assert syllabus.lessons_folder() == place


def test_importing_the_notebook_side_is_instant() -> None:
    heavy = "{'torch', 'matplotlib', 'IPython', 'numpy', 'pandas', 'nbclient', 'scipy'} & set(sys.modules)"
    code = f"import sys, course_lib.notebook, course_lib.notebook.publish; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(syllabus.course_lib.__file__).parents[1])

"""What students get is what nbgrader makes of the sources; and the early lessons' exercises agree with the library and the lessons."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.exercises import lesson01, lesson02, lesson03, lesson04

LESSONS = Path(__file__).parents[1] / "lessons"
COURSE = LESSONS / "exercises"
pytest.importorskip("nbgrader")

from course_lib.grading.release import main, release, released, stale  # noqa: E402

SOURCES = sorted((COURSE / "source").glob("*/*.ipynb"))


def _cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def test_release_is_exactly_what_its_source_makes() -> None:
    assert len(SOURCES) == 8
    assert stale() == [], "run python -m course_lib.grading.release"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_release_holds_no_solution_and_no_hidden_test(source: Path) -> None:
    target = COURSE / "release" / source.parent.name / source.name
    text = target.read_text("utf-8")
    assert not re.search("SOLUTION|HIDDEN|7919|104729|[Rr]ubric", text)
    ours, theirs = _cells(source), {cell["id"]: cell for cell in _cells(target)}
    assert [cell["id"] for cell in ours] == list(theirs)
    solutions = 0
    for cell in ours:
        for secret in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell["source"], re.DOTALL):
            solutions += 1
            lines = [line.strip() for line in secret.splitlines() if len(line.strip()) > 25]
            assert not [line for line in lines if json.dumps(line)[1:-1] in text]
        got = theirs[cell["id"]]
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            assert re.search(r"raise NotImplementedError\(\)|YOUR ANSWER HERE", got["source"])
        assert not got.get("outputs")
        if cell["metadata"].get("nbgrader", {}).get("grade") and not cell["metadata"]["nbgrader"]["solution"]:
            assert got["metadata"]["deletable"] is got["metadata"]["editable"] is False
    assert solutions >= 3


def test_nbgraders_own_command_makes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nbgrader calls alembic through the PATH, where an environment that isn't activated has none.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    source = SOURCES[1]
    shutil.copytree(source.parent, tmp_path / "source" / source.parent.name)
    config = Config({"CourseDirectory": {"root": str(tmp_path), "db_url": f"sqlite:///{tmp_path}/gradebook.db"}})
    done = NbGraderAPI(config=config).generate_assignment(source.parent.name)
    assert done["success"], done["log"]
    theirs = json.loads((tmp_path / "release" / source.parent.name / source.name).read_text("utf-8"))
    assert theirs == json.loads(released(source))


def test_release_writes_checks_and_takes_away_what_has_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SOURCES[0].parent, tmp_path / "source" / SOURCES[0].parent.name)
    here = ["--course", str(tmp_path)]
    assert main([*here, "--check"]) == 1
    (target,) = release(tmp_path)
    assert main([*here, "--check"]) == 0
    assert target.read_text("utf-8") == (COURSE / "release" / target.parent.name / target.name).read_text("utf-8")
    target.write_text(target.read_text("utf-8").replace("Exercises", "Other"), "utf-8")
    other = tmp_path / "release" / "99_old" / "99_old.ipynb"
    other.parent.mkdir()
    other.write_text("{}")
    capsys.readouterr()
    assert main([*here, "--check"]) == 1
    assert capsys.readouterr().out.count("out of date") == 2
    assert main(here) == 0
    assert not other.parent.exists()
    assert stale(tmp_path) == []
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {target.name}, "a database or a part was left behind"


def test_a_source_that_can_not_be_released_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CourseError, match="holds no notebook"):
        stale(tmp_path)
    folder = tmp_path / "source" / "01_bad"
    folder.mkdir(parents=True)
    (folder / "01_bad.ipynb").write_text("no notebook")
    assert main(["--course", str(tmp_path)]) == 2
    assert "can't be released" in capsys.readouterr().err
    notebook = json.loads(SOURCES[0].read_text("utf-8"))
    answers = [cell for cell in notebook["cells"] if "### END SOLUTION" in "".join(cell["source"])]
    answers[0]["source"] = "".join(answers[0]["source"]).replace("### END SOLUTION", "")
    (folder / "01_bad.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(CourseError, match="can't be released"):
        released(folder / "01_bad.ipynb")


# -- what the checks of lessons 01 to 04 take for right -----------------------------------------------------------------


def _lesson(name: str) -> str:
    cells = json.loads((LESSONS / name).read_text("utf-8"))["cells"]
    return json.dumps([cell.get("outputs", []) for cell in cells])


def test_the_table_of_the_two_jobs_is_the_lessons() -> None:
    told = _lesson("01_finetune_or_rag.ipynb")
    for job, ways, when in (
        ("strict format", lesson01.FORMAT, "today"),
        ("facts", lesson01.FACTS, "today"),
        ("facts, a day later", lesson01.FACTS, "later"),
    ):
        numbers = ", ".join(f"{name} {ways[name][when]:.2f}" for name in ("prompt", "RAG", "LoRA", "both"))  # type: ignore[literal-required]
        assert f"{job}: {numbers}" in told
    for job, ways in (("format", lesson01.FORMAT), ("facts", lesson01.FACTS)):
        for name, way in ways.items():
            called = "rule" if (job, name) == ("format", "prompt") else name
            assert re.search(rf"{job}: {called} +{way['tokens']} ", told.replace("\\n", " ")), (job, name)


def test_bm25_is_the_librarys() -> None:
    import bm25s

    rng = np.random.default_rng(5)
    documents = [rng.choice(list("abcdef"), 5 + 3 * i).tolist() for i in range(6)]
    ranker = bm25s.BM25(k1=1.2, b=0.6)
    ranker.index(documents, show_progress=False)
    assert lesson01._bm25(["a", "c"], documents, 1.2, 0.6) == pytest.approx(ranker.get_scores(["a", "c"]), rel=1e-5)


def test_llama_shapes_are_the_librarys() -> None:
    from course_lib.lora.arithmetic import lora_parameters
    from course_lib.models.shapes import shape

    config = lesson02._configs(np.random.default_rng(0))[0]
    shapes = lesson02._shapes(config)
    for targets in (list(lesson02.ATTENTION), [*lesson02.ATTENTION, *lesson02.MLP]):
        mine = 16 * config["num_hidden_layers"] * sum(sum(shapes[name]) for name in targets)
        assert mine == lora_parameters(shape("Llama-3-8B"), 16, targets)


def test_four_bits_are_the_librarys() -> None:
    import torch

    from course_lib.lora import nf4

    assert nf4.nf4_levels().numpy() == pytest.approx(lesson03.NF4, abs=1e-6)
    weights = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    codes, scales = lesson03._quantise(weights, lesson03.NF4, 64)
    theirs, theirs_scales = nf4.quantise(torch.tensor(weights), torch.tensor(lesson03.NF4).float(), 64)
    assert codes.tolist() == theirs.tolist()
    assert scales == pytest.approx(theirs_scales.numpy())
    assert (nf4.bits_per_weight(double=False), round(nf4.bits_per_weight(), 3)) == (4.5, 4.127)


def test_the_template_is_wrens() -> None:
    from course_lib.models.loading import load_tokenizer, resolve

    tokenizer = load_tokenizer(resolve())
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    for some in (turns, turns[:1], [*turns, turns[0]]):
        asks = some[-1]["role"] == "user"
        assert lesson04._chat(some) == tokenizer.apply_chat_template(some, tokenize=False, add_generation_prompt=asks)


def test_near_copies_are_the_librarys() -> None:
    from course_lib.data.duplicates import groups, near_duplicates

    for seed in range(3):
        texts, threshold = lesson04._file_with_copies(np.random.default_rng(seed))
        group = groups(len(texts), near_duplicates(texts, threshold))
        assert lesson04._kept(texts, threshold) == [i for i, number in enumerate(group) if number not in group[:i]]

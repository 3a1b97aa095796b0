"""Publishing: what is stored, what is refused, and that the same run gives the same file."""

import json
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from course_lib.notebook.publish import NotPublished, main, publish, read


def write(path: Path, *sources: str, ids: bool = False) -> Path:
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["keep"], "execution": {"x": "1"}},
            "source": source,
            "outputs": [],
            "execution_count": 9,
        }
        | ({"id": f"mine-{place}"} if ids else {})
        for place, source in enumerate(sources)
    ]
    metadata = {
        "widgets": {},
        "kernelspec": {"name": "other", "display_name": "x"},
        "language_info": {"name": "python", "version": "3.9"},
    }
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": metadata, "cells": cells}), encoding="utf-8")
    return path


def test_a_published_notebook_is_normal_and_publishing_again_changes_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "lesson.ipynb",
        "import os, sys\nprint('a'); print('b'); print([os.environ.get(k, '-') for k in ('COURSE_MODEL', 'HF_HUB_OFFLINE')])",
        "print(hash('x'))\nfrom tqdm import tqdm\nfor i in tqdm(range(3), file=sys.stderr): pass",
        "from ipywidgets import IntSlider\ndisplay(IntSlider())\n{1: 2}",
        "os.path.exists(os.environ['COURSE_HOME']), os.listdir(os.environ['COURSE_HOME'])",
    )
    run = publish(path)
    first = path.read_bytes()
    stored = json.loads(first)
    assert run.seconds > 0
    assert run.peak_bytes > 20e6
    assert stored["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "version": "3"},
    }
    cells = stored["cells"]
    assert [cell["id"] for cell in cells] == ["cell-00", "cell-01", "cell-02", "cell-03"]
    assert [cell["metadata"] for cell in cells] == [{"tags": ["keep"]}] * 4
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4]
    assert [len(cell["outputs"]) for cell in cells] == [1, 1, 1, 1]
    assert "".join(cells[0]["outputs"][0]["text"]) == "a\nb\n['-', '1']\n"
    assert cells[2]["outputs"][0]["data"]["text/plain"] == ["{1: 2}"]
    assert cells[3]["outputs"][0]["data"]["text/plain"] == ["(True, [])"]
    nbformat.validate(stored)
    publish(path)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["lesson.ipynb"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import warnings\nwarnings.warn('beware')", "cell 0 writes to stderr: .*beware"),
        ("1 / 0", "cell 0 raises ZeroDivisionError: division by zero"),
        ("object()", "only this computer has"),
        (f"print({tempfile.gettempdir() + '/run'!r})", "only this computer has"),
        (f"print({sys.prefix!r})", "only this computer has"),
        ("import os; os._exit(1)", "kernel died in cell 0"),
    ],
)
def test_what_only_the_author_can_cure_is_refused_and_the_file_left_alone(tmp_path: Path, source: str, reason: str) -> None:
    path = write(tmp_path / "lesson.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(NotPublished, match=f"(?s){reason}"):
        publish(path)
    assert path.read_bytes() == before


def test_too_slow_or_too_large_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "lesson.ipynb", "x = 1")
    with pytest.raises(NotPublished, match=r"0\.001 s and 1\.6 GB are allowed"):
        publish(path, seconds=0.001)
    with pytest.raises(NotPublished, match=r"180 s and 0\.001 GB are allowed"):
        publish(path, peak_bytes=1e6)
    assert main([str(path), str(tmp_path / "none.ipynb")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lesson.ipynb")
    assert lines[0].endswith("MB")
    assert "not published" in lines[1]


def test_cell_ids_are_kept_and_doubles_get_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "lesson.ipynb", "1", "2", "3", ids=True)
    assert [cell.id for cell in read(path).cells] == ["mine-0", "mine-1", "mine-2"]
    content = json.loads(path.read_text())
    content["cells"][2]["id"] = "mine-0"
    path.write_text(json.dumps(content))
    assert [cell.id for cell in read(path).cells] == ["mine-0", "mine-1", "cell-02"]

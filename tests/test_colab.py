"""Links between lessons, and the block that brings the course to Colab: up to date, harmless elsewhere, right on Colab."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from course_lib.errors import CourseError
from course_lib.notebook.navigation import colab, main, repository, with_navigation
from course_lib.notebook.publish import offline
from course_lib.notebook.syllabus import lessons, lessons_folder

ROOT = Path(__file__).resolve().parents[1]


def sources(number: str) -> list[tuple[str, str]]:
    content = json.loads((lessons_folder() / lessons()[number].file).read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def block() -> str:
    """The part of a lesson's opening cell that is for Colab."""
    cell = next(source for kind, source in sources("00") if kind == "code" and "open_lesson" in source)
    return cell.partition("from course_lib.notebook")[0]


def test_every_lesson_has_its_links_and_its_block() -> None:
    assert main(["--check"]) == 0, "run python -m course_lib.notebook.navigation"


@pytest.mark.parametrize("number", sorted(lessons()))
def test_links_lead_to_lessons_that_exist(number: str) -> None:
    texts = [source for kind, source in sources(number) if kind == "markdown"]
    assert f"[Open in Colab]({colab(lessons()[number])})" in texts[0]
    linked = set(re.findall(r"\]\(([\w./-]+\.ipynb)\)", texts[0] + texts[-1]))
    assert [link for link in linked if not (lessons_folder() / link).is_file()] == []
    known = [lesson.file for lesson in lessons().values()]
    place = known.index(lessons()[number].file)
    assert set(known[max(0, place - 1) : place] + known[place + 1 : place + 2]) <= linked


def test_writing_again_changes_nothing_and_an_older_block_is_replaced() -> None:
    notebook = json.loads((lessons_folder() / lessons()["02"].file).read_text(encoding="utf-8"))
    before = json.dumps(notebook)
    assert json.dumps(with_navigation(notebook, "02")) == before
    opening = next(cell for cell in notebook["cells"] if "open_lesson" in "".join(cell["source"]))
    opening["source"] = ["# an older block\n", *opening["source"][3:]]
    notebook["cells"][0]["source"] = ["# Title\n", "\n", "[Open in Colab](elsewhere) · next\n", "\n", "Text"]
    after = with_navigation(notebook, "02")
    assert "older block" not in "".join(opening["source"])
    assert "".join(after["cells"][0]["source"]).count("Open in Colab") == 1


def test_a_notebook_without_a_title_is_refused() -> None:
    cells = [{"cell_type": "markdown", "source": ["no title"]}, {"cell_type": "code", "source": ["x"]}]
    with pytest.raises(CourseError, match="must start with a title"):
        with_navigation({"cells": cells}, "02")


def test_elsewhere_the_block_does_nothing(tmp_path: Path) -> None:
    """Neither a file nor a call: `get_ipython` isn't even there."""
    done = subprocess.run(
        [sys.executable, "-c", block()], cwd=tmp_path, capture_output=True, text=True, env=os.environ | offline()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# -- on Colab -----------------------------------------------------------------------------------------------------------

IPYTHON = """
import subprocess, sys
class Shell:
    def run_line_magic(self, name, line):
        assert name == "pip"
        subprocess.run([sys.executable, "-m", "pip", *line.split()], check=True)
import builtins
builtins.get_ipython = Shell
exec(open("cell.py").read())
import course_lib, course_lib.models.loading as loading
assert "site-packages" in course_lib.__file__, course_lib.__file__
assert (loading.WREN / "model.safetensors").stat().st_size > 1e6
"""


def fake(folder: Path, name: str, version: str) -> None:
    """A package as pip sees it: what Colab has and must keep, without its gigabyte."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"__version__ = {version!r}\n")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("")
    (info / "INSTALLER").write_text("pip\n")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_on_colab_it_brings_the_course_and_leaves_torch_alone(tmp_path: Path) -> None:
    """A fresh environment with Colab's torch, IPython and ipywidgets; the course comes from this checkout's wheel, under pip."""
    venv.create(tmp_path / "colab", with_pip=True)
    python = tmp_path / "colab" / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name not in {*offline(), "PIP_CONSTRAINT"}}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: object, cwd: Path = tmp_path) -> str:
        done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(python, "-m", "pip", "install", "-q", "ipywidgets==7.7.1", "ipython==7.34.0", "numpy==2.0.2")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())
    fake(packages, "torch", "2.11.0+cu128")
    (packages / "google" / "colab").mkdir(parents=True)
    (packages / "google" / "colab" / "__init__.py").write_text("")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    cell = next(source for kind, source in sources("00") if kind == "code" and "open_lesson" in source)
    (tmp_path / "cell.py").write_text(cell.replace(f"git+{repository()}", str(wheel)))
    (tmp_path / "colab.py").write_text(IPYTHON)
    env["COURSE_HOME"] = str(tmp_path / "home")
    assert "Lesson 00" in run(python, "colab.py")
    have = dict(line.split("==") for line in run(python, "-m", "pip", "list", "--format=freeze").split())
    kept = {name: have[name] for name in ("torch", "numpy", "ipywidgets", "ipython")}
    assert kept == {"torch": "2.11.0+cu128", "numpy": "2.0.2", "ipywidgets": "7.7.1", "ipython": "7.34.0"}
    before = (tmp_path / "held.txt").read_text()
    assert "torch==2.11.0+cu128" in before
    (tmp_path / "held.txt").unlink()
    run(python, "colab.py")  # the second lesson of the day: nothing to do
    assert not (tmp_path / "held.txt").exists()

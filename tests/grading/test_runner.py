"""The run itself: killed workers, interruption, resuming, locked databases, scores that are none, a cluster."""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from course_lib.cli import main
from course_lib.errors import CourseError
from course_lib.grading.runner import Options, grade
from course_lib.grading.writer import open_gradebook
from tests.grading.school import course_grade, database, journal
from tests.grading.submissions import FULL, NAME, NONE, PARTS, SOURCE, answered, cell, hand_in, make_class, make_course, notebook


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty gradebook, which nbgrader takes a second to make."""
    folder = tmp_path_factory.mktemp("blank")
    with open_gradebook(folder):
        pass
    return folder / "gradebook.db"


@pytest.fixture
def course(tmp_path: Path, blank: Path) -> Path:
    made = make_course(tmp_path / "course")
    shutil.copy(blank, made)
    return made


def grade_here(course: Path, *more: str) -> int:
    """`course grade` in this process."""
    return main(["grade", NAME, "--course", str(course), "--jobs", "2", *more])


def marks(course: Path, student: str) -> tuple[float | None, ...]:
    found = database(course, student)
    return tuple(found[part] for part in PARTS)


def start(course: Path, *more: str) -> subprocess.Popen[bytes]:
    # A shell's background job ignores Ctrl-C, and so does what it starts: here it is to be heard, however the tests were started.
    hears = "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", hears, "-m", "course_lib", "grade", NAME, "--course", str(course), "--jobs", "2", *more]
    return subprocess.Popen(
        command, cwd=Path(__file__).resolve().parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def wait_for_lines(course: Path, number: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        file = course / "grading" / f"{NAME}.jsonl"
        if file.exists() and len(file.read_text().splitlines()) > number:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was graded in time")


def slow_answer(seconds: float = 0.4) -> dict:
    return answered(q3=f"import time\ntime.sleep({seconds})\nchoice = 'rag'")


def test_a_killed_worker_loses_nothing(course: Path) -> None:
    students = [f"s{number:02}" for number in range(8)]
    for student in students:
        hand_in(course, student, slow_answer())
    run = start(course)
    wait_for_lines(course, 1)
    workers = [child for child in psutil.Process(run.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    inside = workers[0].children(recursive=True)
    assert len(workers) == 2
    workers[0].kill()
    assert run.wait(60) == 0
    psutil.wait_procs(inside, timeout=10)
    assert not any(child.is_running() for child in inside)
    written = [json.loads(line)["student"] for line in (course / "grading" / f"{NAME}.jsonl").read_text().splitlines()[1:]]
    assert sorted(written) == students
    assert all(marks(course, student) == FULL for student in students)


def test_resume_grades_the_rest(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    students = [f"s{number:02}" for number in range(6)]
    for student in students:
        hand_in(course, student, slow_answer())
    run = start(course)
    wait_for_lines(course, 2)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 2
    before = set(journal(course))
    assert 0 < len(before) < 6
    hand_in(course, "s00", answered(q3="choice = 'no'"))  # handed in anew meanwhile
    assert grade_here(course, "--resume") == 0
    assert f"{len(before - {'s00'})} were done before" in capsys.readouterr().out
    assert set(journal(course)) == set(students)
    assert marks(course, "s00") == (3.0, 2.0, 0.0)
    assert all(marks(course, student) == FULL for student in students[1:])


def test_a_run_that_is_killed_leaves_no_process(course: Path) -> None:
    for number in range(4):
        hand_in(
            course,
            f"s{number}",
            answered(q3="import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\ntime.sleep(2)"),
        )
    run = start(course)
    wait_for_lines(course, 0)
    time.sleep(1)
    below = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(below, timeout=15)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_locked_gradebook_is_waited_for(course: Path) -> None:
    hand_in(course, "ann", answered())
    hand_in(course, "bob", answered(q1="def forward(*x):\n    return 0"))
    lock = sqlite3.connect(course / "gradebook.db", isolation_level=None, check_same_thread=False)
    lock.execute("begin exclusive")
    release = threading.Timer(15, lambda: lock.execute("rollback"))
    release.start()
    started = time.monotonic()
    done = course_grade(course)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started > 5
    release.join()
    lock.close()
    assert marks(course, "ann") == FULL
    assert marks(course, "bob") == (0, 2, 1)


def test_a_manual_score_stays(course: Path) -> None:
    hand_in(course, "ann", answered())
    assert grade_here(course) == 0
    with open_gradebook(course) as book:
        book.find_grade("q4", NAME, NAME, "ann").manual_score = 3.5
        book.find_grade("q1-test", NAME, NAME, "ann").manual_score = 2.5
        book.find_comment("q4", NAME, NAME, "ann").manual_comment = "Good."
        book.db.commit()
    hand_in(course, "ann", answered(q1="def forward(*x):\n    return 0"))
    assert grade_here(course) == 0
    assert database(course, "ann", "manual_score") == {"q1-test": 2.5, "q2-test": None, "q3-test": None, "q4": 3.5}
    assert marks(course, "ann") == (0, 2, 1)
    assert database(course, "ann", "needs_manual_grade")["q1-test"]
    main(["grade", NAME, "--course", str(course), "--feedback"])
    page = (course / "feedback" / "ann" / NAME / f"{NAME}.html").read_text()
    assert "3.5 of 4" in page
    assert "Good." in page
    assert len(list((course / "backups").iterdir())) >= 1


def test_a_re_grade_that_fails_leaves_nothing_stale(course: Path) -> None:
    hand_in(course, "ann", answered())
    assert grade_here(course) == 0
    assert marks(course, "ann") == FULL
    with open_gradebook(course) as book:
        book.find_grade("q4", NAME, NAME, "ann").manual_score = 4
        book.db.commit()
    hand_in(course, "ann", b"{broken")
    assert grade_here(course) == 0
    assert marks(course, "ann") == NONE
    assert database(course, "ann", "manual_score")["q4"] == 4
    assert not (course / "autograded" / "ann" / NAME).exists()
    assert "could not be read" in (course / "feedback" / "ann" / NAME / f"{NAME}.html").read_text()


def test_a_worker_that_always_dies_fails_one_student(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from course_lib.grading import runner

    hand_in(course, "ann", answered())
    hand_in(course, "bob", answered())
    grade(Options(NAME, course, jobs=1))
    monkeypatch.setattr(runner, "_work", _dies_over_bob)
    summary = grade(Options(NAME, course, jobs=1))
    assert (summary.graded, summary.failed) == (1, 1)
    assert marks(course, "ann") == FULL
    assert marks(course, "bob") == (None, None, None)
    assert not (course / "autograded" / "bob" / NAME).exists()
    assert not (course / "feedback" / "bob" / NAME).exists()


def _dies_over_bob(connection, _core) -> None:
    from course_lib.grading.marking import close_sandboxes, grade_one

    while True:
        try:
            job = connection.recv()
        except EOFError:
            close_sandboxes()
            return
        if job.student == "bob":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send(grade_one(job))


@pytest.mark.parametrize(
    ("last", "score"),
    [
        ("1", 1.0),
        ("1.5", 1.5),
        ("np.float64(0.0)", 0.0),
        ("0", 0.0),
        ("np.float64('nan')", None),
        ("float('inf')", None),
        ("False", None),
        ("True", None),
        ("score", None),
        ("-1", None),
        ("99", None),
        ("'2'", None),
        ("[1]", None),
        ("merge", None),
        ("print('passed')", 2.0),
        ("assert True", 2.0),
    ],
)
def test_a_score_is_a_plain_number_or_the_authors_error(tmp_path: Path, last: str, score: float | None, once: dict) -> None:
    assert once[last]["scores"][NAME]["q"] == score
    assert ("AUTHOR" in {finding["code"] for finding in once[last]["findings"]}) == (score is None)


@pytest.fixture(scope="module")
def once() -> dict:
    import base64

    from course_lib.grading.assignment import Assignment, Cell
    from course_lib.grading.marking import Job, close_sandboxes, grade_one

    found = {}
    mark = test_a_score_is_a_plain_number_or_the_authors_error.pytestmark[0]
    for last, _ in mark.args[1]:
        test = f"import numpy as np\nscore = None\nassert merge() == 1\n{last}"
        cells = [
            Cell("a", "a", "code", "def merge():\n    return 1", "def merge():\n    pass", solution=True),
            Cell("q", "q", "code", test, test, points=2, grade=True, locked=True),
        ]
        handed = {
            "cells": [
                {
                    "id": "a",
                    "cell_type": "code",
                    "source": "def merge():\n    return 1",
                    "metadata": {"nbgrader": {"grade_id": "a", "schema_version": 3}},
                },
                {
                    "id": "q",
                    "cell_type": "code",
                    "source": test,
                    "metadata": {"nbgrader": {"grade_id": "q", "schema_version": 3}},
                },
            ]
        }
        job = Job(
            "ann",
            Assignment(NAME, {NAME: cells}).as_json(),
            {NAME: base64.b64encode(json.dumps(handed).encode()).decode()},
            {},
            [],
            "",
            tested=True,
        )
        found[last] = grade_one(job).as_json()
    close_sandboxes()
    return found


def test_grades_without_an_activated_environment(course: Path) -> None:
    hand_in(course, "ann", answered())
    (course / "gradebook.db").unlink()
    done = course_grade(course, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert marks(course, "ann") == FULL


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda course: None, "no assignment 'other'"),
        (lambda course: (course / "release" / NAME / f"{NAME}.ipynb").unlink(), "generate_assignment"),
        (lambda course: (course / "gradebook.db").write_bytes(b"no database" * 100), "no gradebook"),
        (lambda course: (course / "source" / NAME / f"{NAME}.ipynb").write_text("{"), "is no notebook"),
        (lambda course: (course / "submitted").rename(course / "elsewhere"), "submitted"),
    ],
)
def test_an_authors_mistake_ends_in_one_sentence(course: Path, capsys: pytest.CaptureFixture[str], break_it, words: str) -> None:
    hand_in(course, "ann", answered())
    break_it(course)
    name = "other" if words.startswith("no assignment") else NAME
    assert main(["grade", name, "--course", str(course)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_points_that_are_none_are_refused(course: Path) -> None:
    broken = notebook(SOURCE)
    cell(broken, "q1-test")["metadata"]["nbgrader"]["points"] = "three"
    make_course(course, source=broken)
    with pytest.raises(CourseError, match="points"):
        grade(Options(NAME, course))


def test_a_folder_that_is_no_students_is_named(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand_in(course, "ann", answered())
    (course / "submitted" / "<script>").mkdir()
    assert grade_here(course) == 0
    assert "is no student's name" in capsys.readouterr().out
    assert set(journal(course)) == {"ann"}


def test_dask_grades_alike_and_a_killed_worker_loses_nothing(course: Path) -> None:
    distributed = pytest.importorskip("distributed")
    names = ["correct", "no_scale", "partly_right", "os_exit", "uses_the_network", "invalid_json"]
    kinds = make_class(course, names)
    for number in range(8):
        hand_in(course, f"s{number}", slow_answer())
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        run = start(course, "--scheduler", cluster.scheduler_address)
        wait_for_lines(course, 2)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        assert run.wait(120) == 0
    assert len(journal(course)) == 14
    for name, kind in kinds.items():
        assert marks(course, name) == kind.scores
    assert all(marks(course, f"s{number}") == FULL for number in range(8))


def test_the_gradebook_comes_without_nbgraders_apps(tmp_path):
    """They take a second to import, and grading needs none; whoever asks for the package itself still gets all of it."""
    code = """
import sys
from pathlib import Path
from course_lib.grading.writer import open_gradebook
with open_gradebook(Path(sys.argv[1])) as book:
    book.add_student("ada")
assert "nbgrader.apps" not in sys.modules
import nbgrader
from nbgrader.api import Gradebook
assert nbgrader.api.Gradebook is Gradebook is type(book)
assert nbgrader.__version__ and nbgrader._jupyter_labextension_paths()
assert "nbgrader.apps" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_new_gradebook_is_of_the_revision_that_nbgrader_itself_would_write(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    heads = subprocess.run(
        ["alembic", "-c", "alembic.ini", "heads"], cwd=_nbgraders_alembic(tmp_path), capture_output=True, text=True
    )
    monkeypatch.setenv("PATH", "")
    with open_gradebook(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "gradebook.db") as book:
        ((revision,),) = book.execute("SELECT version_num FROM alembic_version")
    assert revision == heads.stdout.split()[0]


def _nbgraders_alembic(folder):
    from nbgrader.dbutil import write_alembic_ini

    write_alembic_ini(str(folder / "alembic.ini"))
    return folder


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no way to choose a core")
def test_a_worker_keeps_to_its_core_and_stands_back() -> None:
    from course_lib.grading import runner

    core = max(os.sched_getaffinity(0))
    worker = runner._start(multiprocessing.get_context("spawn"), core)
    seen = psutil.Process(worker.process.pid)
    deadline = time.monotonic() + 60
    while (seen.cpu_affinity(), seen.nice()) != ([core], os.nice(0) + runner.NICE):
        assert worker.process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker.connection.close()
    worker.process.join(60)
    assert worker.process.exitcode == 0


def test_a_students_marks_are_one_commit(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between nbgrader's own commits would leave a student with some of the marks."""
    from sqlalchemy.orm import Session

    commits: list[Session] = []
    commit = Session.commit
    for name in ("ann", "bob"):
        hand_in(course, name, answered())
    grade(Options(NAME, course, jobs=1, students=["ann"]))
    monkeypatch.setattr(Session, "commit", lambda session: commits.append(session) or commit(session))
    grade(Options(NAME, course, jobs=1, students=["ann"]))
    before = len(commits)
    commits.clear()
    grade(Options(NAME, course, jobs=1, students=["ann", "bob"]))
    assert len(commits) == before + 1

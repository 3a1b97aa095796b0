"""Every graded task: right answers pass, wrong ones lose with the hint that names the mistake, and nothing else slips through."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.exercises import LESSONS, NotPlain, NotYet, as_plain, check, require, task_named, tasks
from course_lib.exercises.answers import Answer

COURSE = Path(__file__).parents[1] / "lessons" / "exercises"
HIDDEN = (7919, 104729)
TASKS = tasks()
NAMES = [found.name for found in TASKS]


@dataclass(frozen=True)
class Block:
    """One answer of ``answers/``."""

    task: str
    head: str
    code: str

    @property
    def right(self) -> bool:
        return self.head.startswith("right")

    @property
    def phrase(self) -> str:
        return self.head.partition("|")[2].strip()

    def __str__(self) -> str:
        return f"{self.task} {self.head}"


def blocks(task: str) -> list[Block]:
    text = (COURSE / "answers" / f"{task.replace('.', '_', 1)}.py").read_text("utf-8")
    parts = re.split(r"^# %% ", text, flags=re.MULTILINE)[1:]
    return [Block(task, *part.split("\n", 1)) for part in parts]


def notebook(lesson: str, kind: str) -> list[dict[str, Any]]:
    (path,) = (COURSE / kind).glob(f"{lesson}_*/{lesson}_*.ipynb")
    cells: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def cell(task: str, kind: str, end: str = "") -> str:
    (found,) = [c["source"] for c in notebook(task.split(".")[0], kind) if c["id"] == task.replace(".", "-") + end]
    return str(found)


def solution(task: str) -> str:
    """The solutions of the notebook down to this task's: a later one may use the functions of those before it."""
    lesson, gid = task.split(".")[0], task.replace(".", "-")
    answers = [c for c in notebook(lesson, "source") if c["cell_type"] == "code" and c["metadata"]["nbgrader"]["solution"]]
    place = [c["id"] for c in answers].index(gid)
    return "\n\n".join(c["source"] for c in answers[: place + 1])


def handed_in(task: str, code: str) -> Any:
    """What stands under the name that the test cell asks for, after the notebook's set-up and the code."""
    name = re.findall(r"^check\(\"[\w.]+\", (\w+)\)$", cell(task, "release", "-test"), re.MULTILINE)[0]
    space: dict[str, Any] = {}
    exec(next(c["source"] for c in notebook(task.split(".")[0], "release") if c["id"].endswith("-setup")), space)
    exec(code, space)
    return space[name]


ANSWERS = [block for name in NAMES for block in blocks(name)]


@pytest.mark.parametrize("block", [block for block in ANSWERS if block.right], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_right_answer_passes_whatever_its_style(block: Block) -> None:
    for seed in (0, *HIDDEN, 12, 3_000_017):
        check(block.task, handed_in(block.task, block.code), seed=seed)


@pytest.mark.parametrize("block", [block for block in ANSWERS if not block.right], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_answer_gets_the_hint_that_names_its_mistake(block: Block) -> None:
    assert block.phrase
    for seed in (0, *HIDDEN, 12):
        with pytest.raises(NotYet, match=re.escape(block.phrase)) as caught:
            check(block.task, handed_in(block.task, block.code), seed=seed)
        hint = str(caught.value)
        assert "\n" not in hint
        assert 10 < len(hint) < 500


@pytest.mark.parametrize("name", NAMES)
def test_a_task_has_answers_enough_and_a_cell_that_tries_it(name: str) -> None:
    mine = blocks(name)
    heads = [block.head for block in mine]
    assert len(set(heads)) == len(heads)
    assert sum(block.right for block in mine) >= 3
    assert sum(not block.right for block in mine) >= 5
    assert {block.head.split(":")[0] for block in mine} == {"right", "wrong"}
    source, released = cell(name, "source", "-test"), cell(name, "release", "-test")
    assert "BEGIN HIDDEN TESTS" in source
    assert set(re.findall(r"seed=(\d+)", source)) == set(map(str, HIDDEN))
    assert re.fullmatch(rf'check\("{re.escape(name)}", \w+\)', released)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_and_the_untouched_stub_does_not(name: str) -> None:
    for seed in (0, *HIDDEN):
        check(name, handed_in(name, solution(name)), seed=seed)
    stub = cell(name, "release")
    if task_named(name).function:
        with pytest.raises(NotYet, match="nothing is written here yet"):
            check(name, handed_in(name, stub))
    else:
        with pytest.raises(NotImplementedError):
            handed_in(name, stub)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_cell_of_the_source_runs_from_the_top(lesson: str, capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    for found in notebook(lesson, "source"):
        if found["cell_type"] == "code":
            exec(found["source"], space)
    assert capsys.readouterr().out.count(" passed: ") == 3 * len(tasks(lesson))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_hint_gives_no_code_of_the_solution_away(name: str) -> None:
    written = re.search(r"### BEGIN SOLUTION\n(.*)### END SOLUTION", cell(name, "source"), re.DOTALL)
    assert written is not None
    lines = {re.sub(r"\s", "", line) for line in written[1].splitlines()}
    long = {line.removeprefix("return") for line in lines if len(line) > 16}
    for block in blocks(name):
        if block.right:
            continue
        with pytest.raises(NotYet) as caught:
            check(name, handed_in(name, block.code))
        told = re.sub(r"\s", "", str(caught.value))
        assert not [line for line in long if line in told]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lessons_exercises_are_complete(lesson: str) -> None:
    mine, cells = tasks(lesson), notebook(lesson, "source")
    assert 2 <= len(mine) <= 5
    ids = [c["id"] for c in cells]
    told = {c["id"]: c["metadata"]["nbgrader"] for c in cells if "nbgrader" in c["metadata"]}
    assert len(set(ids)) == len(ids)
    assert all(meta["grade_id"] == place and meta["schema_version"] == 3 for place, meta in told.items())
    graded = {place for place, meta in told.items() if meta["grade"]}
    assert graded == {f"{found.name.replace('.', '-')}-test" for found in mine} | {f"{lesson}-written"}
    assert all(told[place]["points"] > 0 for place in graded)
    text = "\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    for found in mine:
        assert found.title in text
        assert f"{('easy', 'medium', 'hard')[found.difficulty - 1]}, {found.minutes} minutes" in text
    minutes = [
        int(found) for found in re.findall(r", (\d+) minutes\*\*|\*\*(\d+) minutes, read by", text) for found in found if found
    ]
    assert 60 <= sum(minutes) <= 90
    assert re.search(rf"about {sum(minutes)} minutes", text)
    rubric = next(c["source"] for c in cells if c["id"] == f"{lesson}-written")
    assert "Rubric" in rubric
    assert not re.search("[Rr]ubric", next(c["source"] for c in notebook(lesson, "release") if c["id"] == f"{lesson}-written"))


# -- answers that are no answers: none may pass, whatever the task ---------------------------------------------------------------


class Sly:
    """Equal to everything, true, a number, and an array when asked."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __eq__

    def __float__(self) -> float:
        return 0.0

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.zeros(1)

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter((self, self))


class SlyFloat(float):
    """A number that equals every other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__

    def __sub__(self, other: object) -> float:
        return 0.0

    __rsub__ = __sub__


class SlyArray(np.ndarray):
    """An array that equals every other."""

    def __sub__(self, other: object) -> Any:
        return np.zeros(self.shape)

    __rsub__ = __sub__


def hint_of(name: str, answer: Any) -> str | None:
    """What the check says of an answer, or None where it passes."""
    try:
        check(name, answer)
    except NotYet as hint:
        return str(hint)
    return None


def like(kind: Any, wanted: Any) -> Any:
    """``wanted`` with every number in it made into something else."""
    if isinstance(wanted, np.ndarray):
        return kind(wanted)
    if isinstance(wanted, list | tuple):
        return type(wanted)([like(kind, part) for part in wanted])
    if isinstance(wanted, dict):
        return {key: like(kind, part) for key, part in wanted.items()}
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        made = kind(np.asarray(wanted, dtype=float))
        return made.item() if isinstance(made, np.ndarray) and made.ndim == 0 else made
    return wanted


def numeric(wanted: Any) -> bool:
    if isinstance(wanted, list | tuple):
        return any(map(numeric, wanted))
    if isinstance(wanted, dict):
        return any(map(numeric, wanted.values()))
    return isinstance(wanted, np.ndarray | int | float) and not isinstance(wanted, bool)


WORTHLESS: dict[str, Any] = {
    "None": lambda *_, **__: None,
    "zero": lambda *_, **__: 0,
    "one": lambda *_, **__: 1.0,
    "true": lambda *_, **__: True,
    "nan": lambda *_, **__: float("nan"),
    "infinite": lambda *_, **__: float("inf"),
    "empty text": lambda *_, **__: "",
    "empty list": lambda *_, **__: [],
    "empty dict": lambda *_, **__: {},
    "empty array": lambda *_, **__: np.zeros(0),
    "zeros": lambda *_, **__: np.zeros((4, 4)),
    "complex": lambda *_, **__: 1j,
    "array of objects": lambda *_, **__: np.array([Sly()], dtype=object),
    "texts": lambda *_, **__: np.array(["a"]),
    "what it got": lambda first, *_, **__: first,
    "all that it got": lambda *given, **__: given,
    "equals everything": lambda *_, **__: Sly(),
    "two that equal everything": lambda *_, **__: [Sly(), Sly()],
    "a float that equals everything": lambda *_, **__: SlyFloat("nan"),
    "a function": lambda *_, **__: print,
    "a generator": lambda *_, **__: iter([1]),
    "a list in itself": lambda *_, **__: endless(),
    "no arguments": lambda: 1,
    "stops": lambda *_, **__: 1 / 0,
    "recurses": lambda *_, **__: WORTHLESS["recurses"](),
    "a deep list": lambda *_, **__: deep(),
}


def endless() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(5000):
        made = [made]
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_worthless_answers_get_a_hint_from_every_task(name: str) -> None:
    for what, answer in WORTHLESS.items():
        with pytest.raises(NotYet) as caught:
            check(name, answer if task_named(name).function else answer(0))
        assert str(caught.value), what
    for what in (None, 3, "merge", int, Sly(), Sly):
        with pytest.raises(NotYet):
            check(name, what)


DAMAGE: dict[str, Any] = {
    "zeros": lambda x: np.zeros_like(x, dtype=float),
    "nan": lambda x: np.full_like(x, np.nan, dtype=float),
    "minus infinity": lambda x: np.full_like(x, -np.inf, dtype=float),
    "sly array": lambda x: np.full_like(x, np.nan, dtype=float).view(SlyArray),
    "complex": lambda x: x + 1j,
    "an axis more": lambda x: np.asarray(x)[None, ..., None].repeat(2, 0),
    "one more": lambda x: np.append(np.asarray(x, dtype=float).ravel(), 7.0),
    "ten times as much, and one": lambda x: 10 * np.asarray(x, dtype=float) + 1,
    "texts": lambda x: "a lot",
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_right_answer_that_is_damaged_gets_a_hint(name: str) -> None:
    if not task_named(name).function:
        pytest.skip("a plain value")
    right = handed_in(name, solution(name))
    seen: list[bool] = []
    for kind in DAMAGE.values():

        def damaged(*given: Any, kind: Any = kind, **named: Any) -> Any:
            wanted = right(*given, **named)
            seen.append(numeric(as_plain(wanted)))
            return like(kind, as_plain(wanted))

        seen.clear()
        hint = hint_of(name, damaged)
        if hint is None:
            assert not any(seen), "every number that it returns was wrong, and it passed"
        else:
            assert len(hint) > 10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_right_answer_that_spoils_its_arguments_gets_a_hint(name: str) -> None:
    if not task_named(name).function:
        pytest.skip("a plain value")
    right = handed_in(name, solution(name))
    changed: list[bool] = []

    def spoiling(*given: Any, **named: Any) -> Any:
        wanted = as_plain(right(*given, **named))
        for part in (*given, *named.values()):
            if isinstance(part, np.ndarray) and part.size and part.flags.writeable:
                part[...] = part + 1 if part.dtype != bool else ~part
                changed.append(True)
            elif isinstance(part, list):
                part.append(0)
                changed.append(True)
            elif isinstance(part, dict):
                part["more"] = 0
                changed.append(True)
        return wanted

    hint = hint_of(name, spoiling)
    assert "in place" in (hint or "") if changed else hint is None


# -- the machinery ---------------------------------------------------------------------------------------------------------------


def test_checks_need_numpy_alone() -> None:
    code = (
        "import sys; from course_lib.exercises import tasks; tasks(); "
        "print([m for m in ('torch', 'nbgrader', 'transformers', 'scipy', 'matplotlib', 'IPython') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_only_the_lesson_asked_for_is_loaded() -> None:
    code = (
        "import sys; from course_lib.exercises import task_named; task_named('02.merge'); "
        "print(sorted(m for m in sys.modules if 'exercises.lesson' in m))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == "['course_lib.exercises.lesson02']"


def test_an_unknown_task_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(CourseError, match=r"did you mean '02\.merge'"):
        check("02.merg", print)
    with pytest.raises(CourseError, match="there is no task"):
        check("99.none", print)


def test_passing_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    check("02.merge", handed_in("02.merge", solution("02.merge")))
    assert capsys.readouterr().out.startswith("02.merge passed")


def test_a_student_sees_one_line_and_no_traceback() -> None:
    assert NotYet("the scale is missing")._render_traceback_() == ["Not yet: the scale is missing"]


def test_plain_values_are_exact_base_types() -> None:
    class Text(str):
        pass

    class Row(list):
        def __iter__(self) -> Any:
            return iter(())

    plain = as_plain([np.float32(0.5), np.int64(3), np.bool_(True), SlyFloat(2), Text("a"), (Row([1]), {"k": None, 2: b"x"})])
    assert repr(plain) == "[0.5, 3, True, 2.0, 'a', ([1], {'k': None, 2: b'x'})]"
    assert [type(part) for part in plain] == [float, int, bool, float, str, tuple]
    array = as_plain(np.ones(3).view(SlyArray))
    assert type(array) is np.ndarray
    for wrong in (1j, print, {1, 2}, np.array([None]), np.datetime64("2026-01-01"), {3.5: 1}, endless(), Sly()):
        with pytest.raises(NotPlain):
            as_plain(wrong)


def test_a_tensor_is_an_array() -> None:
    import torch

    plain = as_plain([torch.ones(2, requires_grad=True), torch.ones(1, dtype=torch.bfloat16), torch.tensor(3)])
    assert [type(part) for part in plain] == [np.ndarray] * 3
    assert plain[1].dtype == np.float32


def test_an_answer_gets_copies_and_returns_one() -> None:
    given, kept = np.ones(3), []

    def keeps(x: np.ndarray) -> np.ndarray:
        kept.append(x)
        return x

    got = Answer(keeps)(given)
    kept[0][:] = 5
    assert given.tolist() == got.tolist() == [1, 1, 1]


def test_a_fault_in_the_answer_is_told_with_its_kind() -> None:
    def divides(x: float) -> float:
        return x / 0

    with pytest.raises(NotYet, match="stopped with ZeroDivisionError: float division by zero"):
        Answer(divides)(1.0)


def test_require() -> None:
    require(True, "fine")
    with pytest.raises(NotYet, match="not fine"):
        require(False, "not fine")

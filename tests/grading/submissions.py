"""A small exercise and a class that hands it in: correct, wrong, broken and hostile, each with what has to come of it."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "lora"
PARTS = ("q1-test", "q2-test", "q3-test")
FULL, NONE = (3.0, 2.0, 1.0), (0.0, 0.0, 0.0)

SETUP = "import numpy as np\n\nRANK = 4"
FORWARD = """def forward(x, W, A, B, alpha):
    ### BEGIN SOLUTION
    return x @ W.T + alpha / A.shape[0] * (x @ A.T) @ B.T
    ### END SOLUTION"""
FORWARD_TEST = """rng = np.random.default_rng(5)
x, W, A, B = (rng.normal(size=shape) for shape in ((7, 6), (5, 6), (4, 6), (5, 4)))
want = x @ W.T + 12 / 4 * x @ (B @ A).T
assert np.allclose(forward(x, W, A, B, 12), want), "forward: compare with x W + alpha/r x A B"
### BEGIN HIDDEN TESTS
SECRET_OF_THE_TEST = 4711
rng = np.random.default_rng(SECRET_OF_THE_TEST)
x, W, A, B = (rng.normal(size=shape) for shape in ((3, 8), (9, 8), (2, 8), (9, 2)))
assert np.allclose(forward(x, W, A, B, 7), x @ W.T + 7 / 2 * x @ (B @ A).T), f"hidden: {SECRET_OF_THE_TEST}"
### END HIDDEN TESTS"""
MERGE = """def merge(W, A, B, alpha):
    ### BEGIN SOLUTION
    return W + alpha / A.shape[0] * B @ A
    ### END SOLUTION"""
MERGE_TEST = """rng = np.random.default_rng(6)
W, A, B = (rng.normal(size=shape) for shape in ((5, 6), (4, 6), (5, 4)))
got = merge(W, A, B, 12)
score = 0
score += 1 if got.shape == W.shape else 0
score += 1 if np.allclose(got, W + 3 * B @ A) else 0
score"""
CHOICE = """### BEGIN SOLUTION
choice = "rag"
### END SOLUTION"""
CHOICE_TEST = """assert choice == "rag", "facts that change every day: fine-tuning can't keep up"
"""
WHY = "Because facts that change live better outside the weights."

SOURCE = [
    ("title", "markdown", "# LoRA in two functions", {}),
    ("setup", "code", SETUP, {"locked": True}),
    ("q1", "code", FORWARD, {"solution": True}),
    ("q1-test", "code", FORWARD_TEST, {"grade": True, "locked": True, "points": 3}),
    ("q2", "code", MERGE, {"solution": True}),
    ("q2-test", "code", MERGE_TEST, {"grade": True, "locked": True, "points": 2}),
    ("q3", "code", CHOICE, {"solution": True}),
    ("q3-test", "code", CHOICE_TEST, {"grade": True, "locked": True, "points": 1}),
    ("q4", "markdown", WHY, {"grade": True, "solution": True, "points": 4}),
]
SOLUTION = re.compile(r"([ \t]*)### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", re.DOTALL)

Notebook = dict[str, Any]


def notebook(cells: list[tuple[str, str, str, dict[str, Any]]]) -> Notebook:
    """A notebook as nbgrader's authors write it."""
    made = []
    for name, kind, source, told in cells:
        metadata: dict[str, Any] = {}
        if told:
            flags = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3, "grade_id": name}
            metadata = {"nbgrader": flags | told}
        cell = {"id": name, "cell_type": kind, "metadata": metadata, "source": source}
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def released(source: Notebook) -> Notebook:
    """What students get, as nbgrader's generate_assignment makes it."""
    made = copy.deepcopy(source)
    for cell in made["cells"]:
        told = cell["metadata"].get("nbgrader", {})
        cell["source"] = HIDDEN.sub("", SOLUTION.sub(r"\1raise NotImplementedError", cell["source"])).strip("\n")
        if told.get("solution") and cell["cell_type"] == "markdown":
            cell["source"] = "YOUR ANSWER HERE"
    return made


def answered(**answers: str) -> Notebook:
    """A submission with the right answers, except for those given."""
    made = released(notebook(SOURCE))
    right = {"q1": FORWARD, "q2": MERGE, "q3": CHOICE, "q4": WHY}
    for cell in made["cells"]:
        if cell["id"] in right:
            cell["source"] = answers.get(cell["id"], re.sub(r"[ \t]*### (BEGIN|END) SOLUTION\n?", "", right[cell["id"]]))
    return made


def cell(made: Notebook, name: str) -> dict[str, Any]:
    """One cell of a notebook, by id."""
    return next(one for one in made["cells"] if one["id"] == name)


def make_course(folder: Path, *, source: Notebook | None = None, name: str = NAME) -> Path:
    """nbgrader's course folder with the exercise in it."""
    source = source or notebook(SOURCE)
    for place, content in (("source", source), ("release", released(source))):
        file = folder / place / name / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    (folder / "submitted").mkdir(exist_ok=True)
    return folder


def hand_in(course: Path, student: str, content: Notebook | bytes | str, name: str = NAME) -> Path:
    """Put a submission where the collector puts it; returns its folder."""
    folder = course / "submitted" / student / name
    folder.mkdir(parents=True, exist_ok=True)
    data = (
        json.dumps(content).encode() if isinstance(content, dict) else content.encode() if isinstance(content, str) else content
    )
    (folder / f"{name}.ipynb").write_bytes(data)
    return folder


@dataclass(frozen=True)
class Kind:
    """One kind of submission."""

    name: str
    make: Callable[[Path], Notebook | bytes | str | None]
    """Gets the student's folder, for what it wants to put there; returns the notebook."""
    scores: tuple[float | None, float | None, float | None] = FULL
    findings: frozenset[str] = field(default_factory=frozenset)
    """All of these must be reported."""
    slow: bool = False
    """Takes a time-out."""


KINDS: dict[str, Kind] = {}


def kind(
    scores: tuple[float | None, ...] = FULL, *findings: str, slow: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a kind into the class; a function without a parameter needs no folder."""

    def enter(make: Callable[..., Any]) -> Callable[..., Any]:
        takes = bool(make.__code__.co_argcount)
        one, two, three = scores
        KINDS[make.__name__] = Kind(
            make.__name__, make if takes else lambda _: make(), (one, two, three), frozenset(findings), slow
        )
        return make

    return enter


# -- benign: correct, partial, wrong -------------------------------------------------------------------------------------------


@kind()
def correct() -> Notebook:
    return answered()


@kind()
def correct_with_loops() -> Notebook:
    code = """def forward(x, W, A, B, alpha):
    rows = []
    for row in x:
        low = [sum(a * r for a, r in zip(line, row)) for line in A]
        up = [sum(b * l for b, l in zip(line, low)) for line in B]
        rows.append([sum(w * r for w, r in zip(line, row)) + alpha / len(A) * u for line, u in zip(W, up)])
    return rows"""
    return answered(q1=code)


@kind()
def correct_with_torch() -> Notebook:
    code = """import torch
def merge(W, A, B, alpha):
    W, A, B = map(torch.as_tensor, (W, A, B))
    return torch.nn.Parameter(W + alpha / len(A) * B @ A)"""
    return answered(q2=code)


@kind()
def correct_that_warns() -> Notebook:
    code = "import warnings, sys\n" + _plain(FORWARD).replace(
        "    return", "    warnings.warn('old'); print('so', file=sys.stderr)\n    return"
    )
    return answered(q1=code)


@kind(FULL, "ADDED")
def correct_with_a_helper_cell() -> Notebook:
    made = answered(q2="def merge(W, A, B, alpha):\n    return W + scale(alpha, A) * B @ A")
    helper = {
        "id": "mine",
        "cell_type": "code",
        "metadata": {},
        "source": "def scale(alpha, A):\n    return alpha / len(A)",
        "outputs": [],
    }
    made["cells"].insert(2, helper)
    return made


@kind((0.0, 2.0, 1.0))
def no_scale() -> Notebook:
    return answered(q1="def forward(x, W, A, B, alpha):\n    return x @ W.T + (x @ A.T) @ B.T")


@kind((3.0, 1.0, 1.0))
def partly_right() -> Notebook:
    return answered(q2="def merge(W, A, B, alpha):\n    return W - alpha / A.shape[0] * B @ A")


@kind((3.0, 2.0, 0.0))
def wrong_choice() -> Notebook:
    return answered(q3='choice = "fine-tuning"')


@kind(NONE)
def untouched() -> Notebook:
    return released(notebook(SOURCE))


@kind((0.0, 2.0, 1.0))
def syntax_error() -> Notebook:
    return answered(q1="def forward(x, W, A, B, alpha:\n    return x")


@kind((0.0, 2.0, 1.0))
def raises_in_the_call() -> Notebook:
    return answered(q1="def forward(*things):\n    raise ValueError('later')")


@kind((0.0, 2.0, 1.0))
def only_right_for_the_visible_numbers() -> Notebook:
    return answered(q1="def forward(x, W, A, B, alpha):\n    return x @ W.T + 3 * (x @ A.T) @ B.T")


@kind()
def shows_pictures_and_prints() -> Notebook:
    made = answered()
    cell(made, "q3")["source"] += (
        "\nfrom IPython.display import display, HTML, Image\nprint('seen')\ndisplay(HTML('<b>bold</b>'))\nchoice"
    )
    return made


# -- edited, copied, stripped --------------------------------------------------------------------------------------------------


@kind((0.0, 2.0, 1.0), "EDITED")
def test_source_edited() -> Notebook:
    made = no_scale()
    cell(made, "q1-test")["source"] = "pass"
    return made


@kind((0.0, 2.0, 1.0))
def points_edited() -> Notebook:
    made = no_scale()
    cell(made, "q1-test")["metadata"]["nbgrader"]["points"] = 1000
    cell(made, "q2-test")["metadata"]["nbgrader"]["points"] = 1000
    return made


@kind((0.0, 2.0, 1.0), "EDITED")
def test_turned_into_text() -> Notebook:
    made = no_scale()
    cell(made, "q1-test")["cell_type"] = "markdown"
    return made


@kind(FULL, "TYPE")
def answer_turned_into_text() -> Notebook:
    made = answered()
    cell(made, "q1")["cell_type"] = "markdown"
    return made


@kind((0.0, 2.0, 1.0), "DELETED")
def tests_deleted() -> Notebook:
    made = no_scale()
    made["cells"] = [one for one in made["cells"] if not one["id"].endswith("-test")]
    return made


@kind((0.0, 2.0, 1.0), "DELETED")
def answer_deleted() -> Notebook:
    made = answered()
    made["cells"] = [one for one in made["cells"] if one["id"] != "q1"]
    return made


@kind(FULL, "DUPLICATE")
def test_copied() -> Notebook:
    made = answered()
    made["cells"].append(copy.deepcopy(cell(made, "q1-test")) | {"id": "again"})
    return made


@kind(FULL, "DUPLICATE")
def answer_copied() -> Notebook:
    made = answered()
    stub = copy.deepcopy(cell(released(notebook(SOURCE)), "q1")) | {"id": "again"}
    made["cells"].insert(2, stub)
    return made


@kind((0.0, 2.0, 1.0), "TAGS")
def skip_tags_on_tests() -> Notebook:
    made = no_scale()
    for one in made["cells"]:
        one["metadata"]["tags"] = ["skip-execution", "raises-exception"]
    return made


@kind(FULL, "METADATA", "RENAMED")
def metadata_gone() -> Notebook:
    made = answered()
    for one in made["cells"]:
        one["metadata"] = {}
    return made


@kind(FULL, "METADATA")
def metadata_and_ids_gone() -> Notebook:
    made = metadata_gone()
    for number, one in enumerate(made["cells"]):
        one["id"] = f"new{number}"
    return made


@kind(FULL, "METADATA", "RENAMED")
def found_by_exercise_line() -> Notebook:
    made = metadata_and_ids_gone()
    made["cells"] = [one for one in made["cells"] if one["cell_type"] == "code" and "assert" not in one["source"]][::-1]
    for one in made["cells"]:
        for name, word in (("q1", "def forward"), ("q2", "def merge"), ("q3", "choice =")):
            if word in one["source"]:
                one["source"] = f"# exercise: {name}\n{one['source']}"
    return made


@kind(FULL, "RENAMED")
def grade_ids_renamed() -> Notebook:
    made = answered()
    for number, one in enumerate(made["cells"]):
        if one["metadata"]:
            one["metadata"]["nbgrader"]["grade_id"] = f"cell-{number}"
    return made


@kind(FULL, "SCHEMA")
def old_schema() -> Notebook:
    made = answered()
    for one in made["cells"]:
        if one["metadata"]:
            one["metadata"]["nbgrader"] = {"grade_id": one["id"], "schema_version": 1, "checksum": "0"}
    return made


@kind(FULL, "SCHEMA")
def new_schema() -> Notebook:
    made = answered()
    for one in made["cells"]:
        if one["metadata"]:
            one["metadata"]["nbgrader"]["schema_version"] = 99
    return made


@kind(FULL, "SCHEMA")
def nbformat_3() -> Notebook:
    made = answered()
    cells = [{**one, "input": one.pop("source")} if one["cell_type"] == "code" else one for one in made["cells"]]
    return {"worksheets": [{"cells": cells}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}


# -- unreadable ----------------------------------------------------------------------------------------------------------------


@kind(NONE, "UNREADABLE")
def invalid_json() -> str:
    return json.dumps(answered())[:-20]


@kind(NONE, "UNREADABLE")
def empty_file() -> bytes:
    return b""


@kind(NONE, "MISSING")
def missing() -> None:
    return None


@kind(NONE, "UNREADABLE")
def fifty_megabytes() -> bytes:
    return json.dumps(answered()).encode() + b" " * 50_000_000


@kind(NONE, "UNREADABLE")
def deeply_nested() -> str:
    return '{"cells": ' + "[" * 200_000 + "]" * 200_000 + "}"


@kind(NONE, "UNREADABLE")
def no_text() -> bytes:
    return b"\xff\xfe\x00binary\x80"


@kind(NONE, "UNREADABLE")
def json_but_no_notebook() -> str:
    return '["a list"]'


@kind((0.0, 0.0, 0.0), "DELETED")
def odd_values_everywhere() -> Notebook:
    made = answered()
    made["cells"] = [{"cell_type": 7, "source": {"a": 1}, "metadata": "none", "id": []}, None, 5, {"source": ["a", 3]}]
    return made


# -- takes too much ------------------------------------------------------------------------------------------------------------


@kind((0.0, 2.0, 1.0), "TIME", slow=True)
def endless_loop() -> Notebook:
    return answered(q1="while True:\n    pass")


@kind((0.0, 2.0, 1.0), "TIME", slow=True)
def endless_loop_in_the_call() -> Notebook:
    return answered(q1="def forward(*things):\n    while True:\n        pass")


@kind((3.0, 0.0, 1.0), "TIME", slow=True)
def loop_that_ignores_signals() -> Notebook:
    code = """import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
    return answered(q2=code)


@kind((3.0, 0.0, 1.0))
def fork_bomb() -> Notebook:
    return answered(q2="import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")


@kind((3.0, 0.0, 1.0))
def memory_bomb() -> Notebook:
    return answered(q2="hoard = []\nwhile True:\n    hoard.append(bytearray(50_000_000))")


@kind((3.0, 0.0, 1.0))
def memory_bomb_of_many() -> Notebook:
    code = """import os, time
for _ in range(20):
    if os.fork() == 0:
        hoard = bytearray(b"x") * 600_000_000
        time.sleep(60)
        os._exit(0)
time.sleep(60)"""
    return answered(q2=code)


@kind((3.0, 0.0, 1.0), "TIME", slow=True)
def endless_print() -> Notebook:
    return answered(q2="while True:\n    print('spam' * 1000)")


@kind()
def fills_the_disk() -> Notebook:
    made = answered()
    cell(made, "q3")["source"] += """
for place in (".", "/tmp", "/dev/shm"):
    try:
        with open(place + "/big", "wb") as file:
            while True:
                file.write(bytes(2**20))
    except OSError:
        pass"""
    return made


@kind()
def leaves_processes() -> Notebook:
    made = answered()
    cell(made, "q3")["source"] += """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)"""
    return made


@kind((3.0, 0.0, 1.0))
def huge_answer() -> Notebook:
    return answered(q2="def merge(W, A, B, alpha):\n    return np.zeros((6000, 6000))")


# -- ends its process ----------------------------------------------------------------------------------------------------------


@kind((3.0, 0.0, 1.0), "DIED")
def os_exit() -> Notebook:
    return answered(q2="import os\nos._exit(0)")


@kind((3.0, 0.0, 1.0), "DIED")
def os_exit_in_the_call() -> Notebook:
    return answered(q2="import os\ndef merge(*things):\n    os._exit(0)")


@kind((3.0, 0.0, 1.0))
def sys_exit() -> Notebook:
    return answered(q2="import sys\nsys.exit(0)")


@kind((3.0, 0.0, 1.0))
def sys_exit_in_the_call() -> Notebook:
    return answered(q2="import sys\ndef merge(*things):\n    sys.exit(0)")


@kind((3.0, 0.0, 1.0))
def asks_for_input() -> Notebook:
    return answered(q2="alpha = input('alpha? ')\n" + _plain(MERGE))


@kind((3.0, 0.0, 1.0), "DIED")
def broken_shell() -> Notebook:
    return answered(
        q2="import builtins\nget_ipython().run_cell = None\nbuiltins.len = None\nbuiltins.isinstance = None\ndel builtins.__import__"
    )


@kind((3.0, 0.0, 1.0))
def segmentation_fault() -> Notebook:
    return answered(q2="import ctypes\nctypes.string_at(0)")


# -- wants what isn't theirs ---------------------------------------------------------------------------------------------------

SNOOP = """
import glob, os, socket
FOUND = []
for pattern in {patterns!r}:
    for path in glob.glob(pattern, recursive=True):
        try:
            FOUND.append((path, open(path, "rb").read(50)))
        except OSError:
            pass
"""


@kind((3.0, 2.0, 0.0))
def reads_gradebook_and_others(folder: Path) -> Notebook:
    course = str(folder.parents[2])
    patterns = [
        f"{course}/**",
        "/home/*/**",
        f"{Path.home()}/**",
        "/etc/passwd",
        "/etc/shadow",
        "/proc/*/environ",
        "/proc/[2-9]*/cmdline",
    ]
    code = SNOOP.format(patterns=[f"{course}/gradebook.db", f"{course}/source/*/*", f"{course}/submitted/*/*/*", *patterns[2:5]])
    return answered(q3=code + "\nchoice = 'rag' if FOUND else 'nothing was found'")


@kind((3.0, 2.0, 0.0))
def reads_the_hidden_tests() -> Notebook:
    code = """import gc, sys, os, glob
found = [o for o in gc.get_objects() if isinstance(o, (str, dict)) and 'SECRET_OF_' + 'THE_TEST' in o]
for path in glob.glob('/proc/[0-9]*/mem'):
    try:
        open(path, 'rb').read(1); found += [path] if path != f'/proc/{os.getpid()}/mem' else []
    except OSError:
        pass
for depth in range(60):
    try:
        if 'SECRET_OF_' + 'THE_TEST' in str(sys._getframe(depth).f_locals): found.append(depth)
    except ValueError:
        break
choice = 'rag' if found else 'nothing was found'"""
    return answered(q3=code)


@kind((3.0, 2.0, 0.0))
def reads_the_environment() -> Notebook:
    code = """import os, glob
text = str(dict(os.environ)) + ''.join(open(p, errors='replace').read() for p in glob.glob('/proc/*/environ') if os.access(p, os.R_OK))
choice = 'rag' if 'GRADER_SECRET' in text else 'nothing was found'"""
    return answered(q3=code)


@kind((3.0, 2.0, 0.0))
def uses_the_network() -> Notebook:
    code = """import socket
reached = 0
for family, address in ((socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET6, ('::1', 80))):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            s = socket.socket(family, kind); s.settimeout(1); s.connect(address); reached += 1
        except OSError:
            pass
choice = 'rag' if reached else 'nothing was reached'"""
    return answered(q3=code)


@kind((3.0, 2.0, 0.0))
def writes_elsewhere(folder: Path) -> Notebook:
    course = str(folder.parents[2])
    code = f"""import os, sys, sqlite3, numpy, course_lib
wrote = []
for place in ({course!r}, '/usr', '/etc', '/', os.path.dirname(numpy.__file__), os.path.dirname(course_lib.__file__), sys.prefix):
    try:
        open(place + '/planted.py', 'w').write('x'); wrote.append(place)
    except OSError:
        pass
try:
    sqlite3.connect({course + "/gradebook.db"!r}).execute('update grade set auto_score = 100'); wrote.append('gradebook')
except Exception:
    pass
choice = 'rag' if wrote else 'nothing was written'"""
    return answered(q3=code)


@kind((0.0, 2.0, 1.0), "LINK", "FILE")
def links_and_planted_modules(folder: Path) -> Notebook:
    (folder / "secrets.csv").symlink_to("/etc/passwd")
    (folder / "numpy.py").write_text("def allclose(*things, **more):\n    return True\n")
    (folder / "sitecustomize.py").write_text("print('planted')\n")
    (folder / "numpy").mkdir(exist_ok=True)
    return no_scale()


@kind(NONE, "LINK")
def notebook_is_a_link(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.ipynb").symlink_to(folder.parents[2] / "source" / NAME / f"{NAME}.ipynb")


@kind(NONE, "UNREADABLE")
def notebook_is_a_pipe(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / f"{NAME}.ipynb")


@kind(FULL)
def brings_data(folder: Path) -> Notebook:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.csv").write_text("rag\n")
    return answered(q3="choice = open('mine.csv').read().strip()")


# -- wants points that it didn't earn ------------------------------------------------------------------------------------------


@kind((0.0, 2.0, 1.0))
def patched_numpy() -> Notebook:
    made = no_scale()
    cell(made, "q1")["source"] += "\nnp.allclose = lambda *a, **k: True\nnp.isclose = np.array_equal = np.allclose"
    return made


@kind((0.0, 0.0, 0.0))
def equal_to_everything() -> Notebook:
    trick = """class Same:
    shape = property(lambda self: Same())
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __array__(self, *a, **k): return self
    def __getattr__(self, name): return Same()
    __hash__ = None
"""
    return answered(
        q1=trick + "def forward(*things):\n    return Same()", q2="def merge(*things):\n    return Same()", q3="choice = Same()"
    )


@kind((0.0, 0.0, 0.0))
def subclasses_of_plain_types() -> Notebook:
    trick = """class Word(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
class Field(np.ndarray):
    def __array_function__(self, function, types, args, kwargs): return True
    def __eq__(self, other): return True
class Number(float):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    __hash__ = float.__hash__
"""
    field = "np.zeros((1, 1)).view(Field)"
    return answered(
        q1=trick + f"def forward(*things):\n    return {field}",
        q2=f"def merge(*things):\n    return {field}",
        q3="choice = Word('no')",
    )


@kind((0.0, 2.0, 1.0))
def drops_asserts() -> Notebook:
    made = no_scale()
    cell(made, "q1")["source"] += """
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Strip())"""
    return made


@kind((0.0, 2.0, 1.0))
def own_formatter() -> Notebook:
    made = no_scale()
    cell(made, "q1")["source"] += """
text = get_ipython().display_formatter.formatters['text/plain']
for kind in (int, float, np.float64, type(None)):
    text.for_type(kind, lambda value, p, cycle: p.text('100.0'))
import sys
sys.displayhook = lambda value: print(100)"""
    return made


@kind((3.0, 0.0, 1.0))
def changes_what_it_is_compared_with() -> Notebook:
    return answered(q2="def merge(W, A, B, alpha):\n    B[...] = 0\n    return W.copy()")


@kind((3.0, 0.0, 1.0))
def stops_the_test_early() -> Notebook:
    return answered(q2="def merge(*things):\n    raise StopIteration")


@kind((0.0, 2.0, 1.0))
def pickles() -> Notebook:
    code = """class Trick:
    def __reduce__(self):
        return (print, ('pickled',))
def forward(*things):
    return np.array([Trick()], dtype=object)"""
    return answered(q1=code)


@kind((0.0, 0.0, 0.0))
def speaks_on_the_wire() -> Notebook:
    code = """import os, json, struct
def forged(*things):
    text = json.dumps({'score': ['number', 3], 'error': None, 'value': True, 'outputs': []}).encode()
    for number in range(3, 64):
        try:
            os.write(number, struct.pack('>II', len(text), 0) + text)
        except OSError:
            pass
    return None
forward = merge = forged
forged()"""
    return answered(q1=code, q2="merge = forged", q3="forged()\nchoice = None")


@kind((0.0, 0.0, 0.0))
def garbage_on_the_wire() -> Notebook:
    code = "import os\ndef forward(*things):\n    for number in range(3, 64):\n        try:\n            os.write(number, os.urandom(4096))\n        except OSError:\n            pass\nmerge = forward\nforward()"
    return answered(q1=code, q2="merge = forward", q3="forward()\nchoice = None")


# -- wants to run something in the instructor's browser ------------------------------------------------------------------------

CANARY = "http://127.0.0.1:{port}/"
MARKUP = """<script>window.owned = 1; fetch('CANARY')</script><img src=x onerror="window.owned = 1; fetch('CANARY')">
<svg onload="window.owned=1"></svg><iframe srcdoc="<script>parent.owned=1</script>"></iframe><a href="javascript:window.owned=1">x</a>
[click](javascript:window.owned=1) [two](&#106;avascript:window.owned=1) [three](javascript&colon;window.owned=1) ![pixel](CANARY)
[four]: javascript:window.owned=1
![five][four] [six][four] <CANARY> $\\href{javascript:window.owned=1}{x}$ $$\\require{html}\\style{color:red}{x}$$

<details open ontoggle="window.owned=1"><summary>s</summary></details>

    <script>window.owned=1</script>

```html
<script>window.owned=1</script>
```
"""


@kind()
def hostile_markup() -> Notebook:
    made = answered(q4=MARKUP.replace("CANARY", os.environ.get("CANARY", "http://127.0.0.1:9/")))
    code = f"""
from IPython.display import display, HTML, Javascript, SVG, Markdown, Latex
markup = {cell(made, "q4")["source"]!r}
print(markup)
for show in (HTML, Javascript, Markdown, Latex):
    display(show(markup))
display({{'text/html': markup, 'image/svg+xml': markup, 'image/png': markup, 'text/plain': markup, 'application/javascript': markup}}, raw=True)
print(markup, file=__import__('sys').stderr)
raise ValueError(markup)"""
    cell(made, "q3")["source"] += code
    return made


def _plain(code: str) -> str:
    return re.sub(r"[ \t]*### (BEGIN|END) SOLUTION\n?", "", code)


def make_class(course: Path, names: list[str] | None = None) -> dict[str, Kind]:
    """Hand in one submission of each kind, each by the student of that name; returns who handed in what."""
    chosen = {name: KINDS[name] for name in names or KINDS}
    for name, one in chosen.items():
        folder = course / "submitted" / name / NAME
        folder.mkdir(parents=True, exist_ok=True)
        content = one.make(folder)
        if content is not None:
            hand_in(course, name, content)
    return chosen

"""The sandbox from inside and outside: escapes, leaks from one submission to the next, limits; and what may cross the wire."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.grading import confine, sandbox, wire
from course_lib.grading.proxies import Answer, AnswerFailed, Names, worth
from course_lib.grading.sandbox import Kernel, Limits, Sandbox, check_private, choose, self_test

SMALL = Limits(seconds=5, total=20, memory=2**29, processes=20, disk=2**24)
MODES = [mode for mode in ("bwrap", "landlock") if sandbox._missing(mode) is None]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


@pytest.fixture(scope="module", params=MODES)
def warm(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(request.param, SMALL, ["numpy"]) as one:
        yield one


def run(kernel: Kernel, code: str, seconds: float = 5) -> list[dict[str, Any]]:
    until = time.monotonic() + seconds + 2
    kernel.send({"do": "cell", "code": code, "limit": seconds}, None, until)
    return kernel.receive(until)[0]["outputs"]


def printed(kernel: Kernel, code: str) -> str:
    return "".join(output.get("text", output.get("evalue", "")) for output in run(kernel, code))


def test_nothing_escapes(warm: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").write_text("marks")
    assert self_test(warm, tmp_path) == []


def test_the_self_test_finds_what_is_open(tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").write_text("marks")
    name = socket.gethostname()
    with Sandbox("unsafe", SMALL) as open_door:
        escaped = " ".join(self_test(open_door, tmp_path))
    assert socket.gethostname() == name
    assert not [place for place in ("/", "/usr", "/etc") if Path(place, "course-grade-probe").exists()]
    for what in ("gradebook.db", "network", "abstract socket", "signal process", "environment", "write to"):
        assert what in escaped


LEAVE = """import os, sys, time, numpy, builtins, glob
for place in (os.getcwd(), '/tmp', '/dev/shm'):
    try:
        os.makedirs(place + '/deep/er'); open(place + '/deep/er/left', 'w').write('left'); os.chmod(place + '/deep', 0)
        os.symlink('/etc', place + '/link')
    except OSError:
        pass
numpy.left = builtins.left = sys.left = os.environ['LEFT'] = 'left'
get_ipython().left = 'left'
left = 'left'
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
print('done')"""
LOOK = """import os, sys, glob, numpy, builtins
found = [p for place in (os.getcwd(), '/tmp', '/dev/shm') for p in glob.glob(place + '/**', recursive=True) if os.path.basename(p) in ('left', 'deep', 'er', 'link', 'mine.txt')]
found += [x for x in (numpy, builtins, sys, get_ipython()) if hasattr(x, 'left')] + [x for x in ('LEFT',) if x in os.environ]
found += ['name'] if 'left' in globals() else []
print(found)"""


def test_nothing_leaks_to_the_next_submission(warm: Sandbox) -> None:
    first = warm.fork("student", {"mine.txt": b"x"})
    assert "done" in printed(first, LEAVE)
    assert first.end() == (None, True)
    second = warm.fork("student")
    assert printed(second, LOOK) == "[]\n"
    assert printed(second, "print(os.listdir())") == "[]\n"
    assert second.end() == (None, True)


def test_a_folder_that_nobody_can_empty_costs_the_sandbox(tmp_path: Path) -> None:
    code = "import os\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')"
    for mode in MODES:
        with Sandbox(mode, SMALL) as one:
            kernel = one.fork("student")
            assert run(kernel, code) == []
            assert kernel.end() == (None, False)
        assert one.private is None or not Path(one.private).exists()


def test_a_child_does_not_stop_the_template(warm: Sandbox) -> None:
    kernel = warm.fork("student")
    code = "import os, signal\nfor pid in {os.getppid(), 1}:\n    for number in (9, 15, 19, 2):\n        try:\n            os.kill(pid, number)\n        except OSError:\n            pass"
    run(kernel, code)
    assert kernel.end() == (None, True)
    again = warm.fork("student")
    assert printed(again, "print(6 * 7)") == "42\n"
    again.end()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        x = bytearray(b'x') * 300_000_000\n        time.sleep(9)\ntime.sleep(9)", "memory"),
        ("import os, time\nfor _ in range(40):\n    try:\n        if os.fork() == 0:\n            time.sleep(9)\n    except OSError:\n        pass\ntime.sleep(9)", "processes"),
    ],
)  # fmt: skip
def test_a_tree_that_takes_too_much_is_ended(warm: Sandbox, code: str, reason: str) -> None:
    kernel = warm.fork("student")
    with pytest.raises(wire.Ended):
        run(kernel, code, seconds=15)
    assert kernel.end() == (reason, True)


def test_one_process_gets_no_more_memory_than_the_limit(warm: Sandbox) -> None:
    kernel = warm.fork("student")
    assert "MemoryError" in json.dumps(run(kernel, "x = bytearray(2**30)"))
    kernel.end()


def test_what_is_written_has_a_limit() -> None:
    with Sandbox(MODES[0], SMALL) as one:
        kernel = one.fork("student")
        assert "OSError" in json.dumps(run(kernel, "open('big', 'wb').write(bytes(2**26))"))
        assert kernel.end() == (None, True)


def test_a_course_inside_the_environment_is_refused() -> None:
    with pytest.raises(CourseError, match="can read"):
        check_private(Path(sys.prefix) / "mycourse")


def test_without_a_sandbox_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    monkeypatch.setattr(confine, "landlock_abi", lambda: 0)
    with pytest.raises(CourseError, match="apt install bubblewrap"):
        choose()
    assert choose("unsafe") == "unsafe"


def test_bubblewrap_that_does_not_start_gives_way_to_landlock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "landlock" not in MODES:
        pytest.skip("no Landlock here")
    (tmp_path / "bwrap").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit 0\necho no namespaces >&2; exit 1\n'
    )
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert choose() == "landlock"
    with pytest.raises(CourseError, match="no namespaces"):
        choose("bwrap")


# -- the wire ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -(2**70), 1.5, float("inf"), "text", b"\x00\xff", [1, [2, (3, {"a": [None]})]], (), {"k": 1}, np.arange(6.0).reshape(2, 3), np.array(3), np.zeros((0, 4), np.int8), np.asfortranarray(np.eye(3)[:, :2])],
    ids=str,
)  # fmt: skip
def test_plain_values_cross(value: Any) -> None:
    blobs: list[bytes] = []
    back = wire.decode(json.loads(json.dumps(wire.encode(value, blobs))), blobs)
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)


class Odd(float):
    """A float with an opinion."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__


def test_subclasses_become_plain() -> None:
    assert type(wire.decode(wire.encode(Odd(2.0), []), [])) is float
    assert type(wire.decode(wire.encode(np.float32(2), []), [])) is float
    assert type(wire.decode(wire.encode(np.bool_(True), []), [])) is bool


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, np.array([object()]), np.array(["a"]), print, 2**5000, np.zeros(2, "M8[s]")], ids=str
)
def test_other_things_do_not(value: Any) -> None:
    with pytest.raises(wire.NotPlain):
        wire.encode(value, [])


@pytest.mark.parametrize(
    ("coded", "blobs"),
    [
        ({"array": 0}, []),
        ({"array": 0}, [b"garbage"]),
        ({"array": 0}, [b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70000]),
        ({"array": -1}, [b""]),
        ({"list": 3}, []),
        ({"dict": [[1]]}, []),
        ({"dict": [[{"list": []}, 1]]}, []),
        ({"bytes": "!"}, []),
        ({"a": 1, "b": 2}, []),
        ({}, []),
        ([1], []),
        ({"handle": "x"}, []),
    ],
)
def test_garbage_is_a_bad_frame(coded: Any, blobs: list[bytes]) -> None:
    with pytest.raises(wire.BadFrame):
        wire.decode(coded, blobs, lambda told: told)


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 100,
        wire.HEAD.pack(4, 0) + b"none",
        wire.HEAD.pack(2, 0) + b"[]",
        wire.HEAD.pack(2, 1) + b"{}" + wire.BLOB.pack(2**62),
    ],
)
def test_a_stranger_on_the_line_is_a_bad_frame(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(sent)
    with pytest.raises(wire.BadFrame):
        wire.receive(ours, time.monotonic() + 5)
    ours.close()
    theirs.close()


def test_who_says_nothing_is_too_late() -> None:
    ours, theirs = socket.socketpair()
    with pytest.raises(wire.TooLate):
        wire.receive(ours, time.monotonic() + 0.1)
    theirs.close()
    with pytest.raises(wire.Ended):
        wire.receive(ours, time.monotonic() + 5)


# -- stand-ins -----------------------------------------------------------------------------------------------------------------


def answering(**replies: Any) -> Callable[..., wire.Frame]:
    return lambda message, blobs: (replies, [])


def test_an_object_says_nothing_about_itself() -> None:
    thing = Answer(answering(), {"handle": 0, "type": "Trick"})
    for use in (
        bool,
        len,
        list,
        float,
        int,
        hash,
        abs,
        np.asarray,
        lambda x: x == x,
        lambda x: x != 1,
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: 1 in x,
        lambda x: x < 1,
    ):
        with pytest.raises(TypeError, match="Trick"):
            use(thing)
    assert not isinstance(thing, int | float | str | np.ndarray)


def test_errors_come_through_but_end_no_loop() -> None:
    for name in ("ValueError", "KeyError", "NotImplementedError"):
        names = Names(answering(raised=name, text="why"))
        with pytest.raises(getattr(__builtins__, name, None) or __builtins__[name], match="why"):
            names["merge"]
    for name in ("StopIteration", "GeneratorExit", "SystemExit", "KeyboardInterrupt", "Mine"):
        with pytest.raises(AnswerFailed):
            Names(answering(raised=name))["merge"]
    with pytest.raises(KeyError):
        Names(answering(missing=True))["merge"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "number"),
        (np.float64(0), "number"),
        (True, "bad"),
        (float("nan"), "bad"),
        ("1", "bad"),
        (None, "bad"),
        (np.bool_(True), "bad"),
        (Odd(1), "bad"),
    ],
)
def test_only_plain_numbers_are_scores(value: Any, kind: str) -> None:
    assert worth(value)[0] == kind

"""What runs inside the sandbox: a warm template that forks one clean process a submission, and the loops of those processes.

The template has imported what the exercise needs and holds no submission. It is process 1 of its sandbox (or, without namespaces, the
reaper of all that its children start), so that no child can end it, and ends everything that a submission left before the next one.
"""

from __future__ import annotations

import abc
import ast
import contextlib
import io
import json
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.grading import confine, wire

MOST_OUTPUT = 100_000
"""Characters of text, and a cell's pictures may have twenty times as many."""
LOOK_EVERY = 0.01
"""Seconds between two looks at memory and processes."""
TRACEBACK_LINES = 30
POLITE = 10
"""The niceness of students' processes."""


class OutOfTime(KeyboardInterrupt):
    """A cell or a call took longer than its limit; `except Exception` doesn't catch it."""


# -- the template --------------------------------------------------------------------------------------------------------------


class Template:
    """The process that forks."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.alone = settings["mode"] == "bwrap"
        self.control = socket.socket(fileno=settings["control"])
        self.work = settings["work"]
        confine.prctl(confine.PR_SET_DUMPABLE, 0)  # so that no child reads or writes its memory
        if not self.alone:
            confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
            confine.die_with_parent(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *_: self._leave())
        self.shell = make_shell()
        self._preload(settings["preload"])
        self.size = _resident(os.getpid())

    def run(self) -> None:
        """Fork on every word from outside, until nobody is there any more."""
        wire.send(self.control, {"ready": True})
        while True:
            try:
                message, _ = wire.receive(self.control)
                if "preload" in message:
                    self._preload(message["preload"])
                    self.size = _resident(os.getpid())
                    continue
                if "fork" not in message:
                    continue  # the end of one that had ended by itself
                end = socket.socket(fileno=socket.recv_fds(self.control, 1, 1)[1][0])
            except wire.Ended:
                self._leave()
            child = os.fork()
            if child == 0:
                self._be_child(end, message["fork"])
            end.close()
            reason = self._watch(child)
            clean = self._sweep() and all(_emptied(folder) for folder in self.settings["writable"])
            with contextlib.suppress(wire.Ended):  # the next receive says so too
                wire.send(self.control, {"ended": True, "reason": reason, "clean": clean})

    def _preload(self, names: list[str]) -> None:
        for name in names:
            with contextlib.suppress(Exception):  # the cell that imports it says what is wrong with it
                __import__(name)

    def _be_child(self, end: socket.socket, order: dict[str, Any]) -> None:
        status = 1
        try:
            os.setsid()
            # However many they become, the template gets its turn to look at them.
            os.setpriority(os.PRIO_PROCESS, 0, max(POLITE, os.getpriority(os.PRIO_PROCESS, 0)))
            confine.die_with_parent()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(quiet, number)
            os.closerange(3, end.fileno())
            os.closerange(end.fileno() + 1, 4096)
            confine.prctl(confine.PR_SET_DUMPABLE, 1)
            os.chdir(self.work)
            for name, text in order["files"].items():
                Path(self.work, name).write_bytes(wire.decode({"bytes": text}, []))
            confine_child(self.settings)
            serve = StudentLoop if order["role"] == "student" else CheckerLoop
            serve(end, self.shell).run()
            status = 0
        except wire.Ended:
            status = 0
        except BaseException as error:
            with contextlib.suppress(Exception):
                wire.send(end, {"broken": f"{type(error).__name__}: {error}"[:500]})
        finally:
            os._exit(status)

    def _watch(self, child: int) -> str | None:
        """Wait until the child or the one outside has done; the reason if it was ended for what it took."""
        while True:
            heard, _, _ = select.select([self.control], [], [], LOOK_EVERY)
            if heard:
                with contextlib.suppress(wire.Ended):
                    wire.receive(self.control)
                return None
            while True:
                try:
                    gone, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return None
                if gone == child:
                    return None
                if gone == 0:
                    break
            living = self._others()
            if len(living) > self.settings["processes"]:
                return "processes"
            # Pages that children share count once for each of them, so look closer before a word against anybody.
            most = self.settings["memory"]
            if sum(map(_resident, living)) - self.size > most and sum(map(_share, living)) > most:
                return "memory"

    def _others(self) -> list[int]:
        """Everything that the child started, and itself."""
        if self.alone:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        found, new = [], [os.getpid()]
        while new:
            born = []
            for pid in new:
                with contextlib.suppress(OSError):
                    for thread in os.listdir(f"/proc/{pid}/task"):
                        with open(f"/proc/{pid}/task/{thread}/children") as children:
                            born += [int(child) for child in children.read().split()]
            found += born
            new = born
        return found

    def _sweep(self) -> bool:
        """End everything but the template; whether nothing is left."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if self.alone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                for pid in self._others():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.0005)
            except ChildProcessError:
                return True
        return False

    def _leave(self) -> None:
        self._sweep()
        os._exit(0)


def confine_child(settings: dict[str, Any]) -> None:
    """Put up every wall that this mode has, from inside."""
    if settings["mode"] == "unsafe":
        return
    confine.drop_capabilities()
    confine.limits(settings["memory"], settings["seconds"], settings["disk"], settings["limit_processes"])
    if confine.landlock_abi():
        confine.landlock(settings["readable"], [*settings["writable"], "/dev/null", "/dev/zero", "/dev/full"])
    confine.seccomp()


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096
    except OSError:
        return 0


def _share(pid: int) -> int:
    """Bytes that a process takes, a page of several counted in parts."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    except (OSError, StopIteration):  # it is gone, or hides itself
        return _resident(pid)


def _emptied(folder: str) -> bool:
    """Whether a folder could be emptied, whatever a student did to it; if not, the sandbox has to go."""
    try:
        for name in os.listdir(folder):
            _remove(os.path.join(folder, name))
        return not os.listdir(folder)
    except (OSError, RecursionError):
        return False


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, stat.S_IRWXU)
        for name in os.listdir(path):
            _remove(os.path.join(path, name))
        os.rmdir(path)
    else:
        os.unlink(path)


# -- outputs -------------------------------------------------------------------------------------------------------------------


class Outputs:
    """What a cell prints and shows, up to a limit, in nbformat's words."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.found: list[dict[str, Any]] = []
        self.left, self.pictures = MOST_OUTPUT, 20 * MOST_OUTPUT

    def stream(self, name: str, text: str) -> None:
        """Text on stdout or stderr."""
        if self.left <= 0:
            return
        kept = text[: self.left]
        self.left -= len(text)
        if self.left <= 0:
            kept += "\n[the rest of this cell's output was cut]\n"
        last = self.found[-1] if self.found else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += kept
        else:
            self.found.append({"output_type": "stream", "name": name, "text": kept})

    def shown(self, data: dict[str, Any], result: bool = False) -> None:
        """Something displayed: its text, and its picture if it is PNG or JPEG."""
        import base64

        kept: dict[str, str] = {}
        for mime in ("image/png", "image/jpeg"):
            picture = data.get(mime)
            if isinstance(picture, bytes):
                picture = base64.b64encode(picture).decode()
            if isinstance(picture, str) and len(picture) <= self.pictures:
                self.pictures -= len(picture)
                kept[mime] = picture
        if isinstance(data.get("text/plain"), str) and self.left > 0:
            kept["text/plain"] = data["text/plain"][: self.left]
            self.left -= len(kept["text/plain"])
        if kept:
            kind = {"output_type": "execute_result", "execution_count": None} if result else {"output_type": "display_data"}
            self.found.append(kind | {"data": kept, "metadata": {}})


class Printed(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr`` of a cell."""

    def __init__(self, outputs: Outputs, name: str) -> None:
        self.outputs, self.name = outputs, name

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keep a piece of text."""
        self.outputs.stream(self.name, str(text))
        return len(text)


def make_shell() -> Any:
    """An IPython shell that keeps what cells show instead of printing it, without history or threads."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    outputs = Outputs()

    class Publisher(DisplayPublisher):
        def publish(self, data: dict[str, Any], *_: Any, **__: Any) -> None:
            outputs.shown(data)

        def clear_output(self, wait: bool = False) -> None:
            outputs.found.clear()

    class Hook(DisplayHook):
        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            outputs.shown(format_dict, result=True)

        def finish_displayhook(self) -> None:
            self._is_active = False

    class Shell(InteractiveShell):
        display_pub_class = Publisher
        displayhook_class = Hook
        outputs: Any = None

        def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
            told = "" if isinstance(evalue, OutOfTime) else str(evalue)[:2000]
            lines = [line[:2000] for line in "\n".join(stb).splitlines()[-TRACEBACK_LINES:]]
            self.outputs.found.append({"output_type": "error", "ename": etype.__name__, "evalue": told, "traceback": lines})

        def enable_gui(self, gui: Any = None) -> None:
            pass

        def init_io(self) -> None:
            pass

        def init_history(self) -> None:
            super().init_history()

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Plain"
    shell = Shell.instance(config=config)
    shell.outputs = outputs
    return shell


# -- one submission's processes ------------------------------------------------------------------------------------------------


class Loop(abc.ABC):
    """Do what is asked, until nobody asks any more."""

    def __init__(self, end: socket.socket, shell: Any) -> None:
        self.end, self.shell, self.outputs = end, shell, shell.outputs
        sys.stdout, sys.stderr = Printed(self.outputs, "stdout"), Printed(self.outputs, "stderr")
        signal.signal(signal.SIGALRM, self._too_late)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def run(self) -> None:
        """Serve."""
        wire.send(self.end, {"ready": True})
        while True:
            message, blobs = wire.receive(self.end)
            self.outputs.clear()
            answer, sent = self.answer(message, blobs)
            wire.send(self.end, answer, sent)

    @abc.abstractmethod
    def answer(self, message: dict[str, Any], blobs: list[bytes]) -> wire.Frame:
        """What one message asks for."""

    def _too_late(self, *_: object) -> None:
        raise OutOfTime("out of time")

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Raise `OutOfTime` inside the block after so many seconds."""
        signal.signal(signal.SIGALRM, self._too_late)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class StudentLoop(Loop):
    """Run a student's cells, and call what they defined."""

    def __init__(self, end: socket.socket, shell: Any) -> None:
        super().__init__(end, shell)
        self.objects: list[Any] = []

    def answer(self, message: dict[str, Any], blobs: list[bytes]) -> wire.Frame:
        """Run a cell, or hand out a name, an attribute, an item or a call's result."""
        if message["do"] == "cell":
            try:
                with self.limit(message["limit"]):
                    self.shell.run_cell(message["code"], store_history=True, silent=False)
                return {"outputs": self.outputs.found}, []
            except OutOfTime:
                error = {"output_type": "error", "ename": "OutOfTime", "evalue": "", "traceback": []}
                return {"outputs": [*self.outputs.found, error]}, []
        try:
            with self.limit(message["limit"]):
                return self._value(message, blobs)
        except OutOfTime:
            return {"late": True}, []
        except BaseException as error:
            return {"raised": type(error).__name__, "text": _told(error), "wrote": self.outputs.found[:3]}, []

    def _value(self, message: dict[str, Any], blobs: list[bytes]) -> wire.Frame:
        sent: list[bytes] = []
        what = message["do"]
        if what == "get":
            if message["name"] not in self.shell.user_ns:
                return {"missing": True}, []
            return {"value": wire.encode(self.shell.user_ns[message["name"]], sent, self._handle)}, sent
        target = self.objects[message["of"]]
        if what == "attribute":
            return {"value": wire.encode(getattr(target, message["name"]), sent, self._handle)}, sent
        given, named = wire.decode(message["given"], blobs, lambda coded: self.objects[coded["handle"]])
        value = target[given[0]] if what == "item" else target(*given, **named)
        coded = wire.encode(value, sent, self._handle)
        after: list[bytes] = []
        try:
            now = wire.encode((list(given), named), after, self._handle)
        except wire.NotPlain:  # the student's own objects in an argument; nobody asks for them
            return {"value": coded}, sent
        # As text, because nan is not equal to itself.
        same = json.dumps(now) == json.dumps(message["given"]) and after == blobs
        return {"value": coded, "changed": not same}, sent

    def _handle(self, value: Any) -> dict[str, Any]:
        number = next((place for place, known in enumerate(self.objects) if known is value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return {"handle": number, "type": type(value).__name__[:60], "callable": callable(value)}


def _told(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except BaseException:  # a student's own __str__
        return ""


class CheckerLoop(Loop):
    """Run the author's set-up and test cells; what they lack is asked of the student's process."""

    def __init__(self, end: socket.socket, shell: Any) -> None:
        super().__init__(end, shell)
        from course_lib.grading.proxies import Names

        self.names = Names(self._ask, get_ipython=lambda: shell)
        self.number = 0

    def answer(self, message: dict[str, Any], blobs: list[bytes]) -> wire.Frame:
        """Run one cell, and say how it went and what its last expression is worth."""
        self.number += 1
        place = f"<cell {self.number}>"
        answer: dict[str, Any] = {"score": ["nothing", None], "error": None}
        try:
            with self.limit(message["limit"]):
                answer["score"] = self._run(message["code"], place)
        except OutOfTime:
            answer["error"] = ["OutOfTime", "", 0]
        except BaseException as error:
            answer["error"] = [type(error).__name__, _told(error), _line(error, place)]
        return answer | {"outputs": self.outputs.found}, []

    def _run(self, code: str, place: str) -> list[Any]:
        from course_lib.grading.proxies import worth

        tree = ast.parse(self.shell.transform_cell(code), place)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), self.names)
        if not isinstance(last, ast.Expr):
            return ["nothing", None]
        value = eval(compile(ast.Expression(last.value), place, "eval"), self.names)
        if value is None and isinstance(last.value, ast.Call):
            return ["nothing", None]  # a check that passed
        return worth(value)

    def _ask(self, message: dict[str, Any], blobs: list[bytes]) -> wire.Frame:
        wire.send(self.end, {"ask": message}, blobs)
        return wire.receive(self.end)


def _line(error: BaseException, place: str) -> int:
    """The line of the cell at which the error came up, or 0."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == place:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == place:
        line = error.lineno or 0
    return line


def main() -> None:
    """Be the template that the settings in the first argument describe."""
    settings = json.loads(sys.argv[1])
    sys.argv[1:] = []
    Template(settings).run()


if __name__ == "__main__":
    main()

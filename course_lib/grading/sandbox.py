"""The sandbox around a student's process: bubblewrap, or Landlock with seccomp, or (only when asked for) nothing.

`Sandbox` holds a warm template inside; `Sandbox.fork` gives a clean process for one submission, and `Kernel.end` leaves nothing of it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import course_lib
from course_lib.errors import CourseError
from course_lib.grading import confine, wire

HOME = str(Path("/", "home", "student"))
"""Inside the sandbox: an empty folder in memory."""
LIBRARY = "/run/course"
OLDEST = (0, 8)
"""Of bubblewrap: the first that can forbid namespaces inside the sandbox."""
INSTALL = (
    "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt install bubblewrap), or use Linux 6.12 or newer, which has Landlock"
)
START_SECONDS = 60
SWEEP_SECONDS = 8


@dataclass(frozen=True)
class Limits:
    """What one submission may take."""

    seconds: float = 10
    """For one cell, and for one test with everything that it calls."""
    total: float = 60
    """For the whole submission."""
    memory: int = 2 * 2**30
    """Bytes of all its processes together, above what the template has."""
    processes: int = 64
    disk: int = 64 * 2**20
    """Bytes that it may write, all of which are gone afterwards."""


class Unusable(CourseError):
    """This kind of sandbox can't be used here."""


def choose(mode: str = "auto") -> str:
    """The sandbox to use: ``auto`` is bubblewrap where it runs, else Landlock.

    Raises:
        CourseError: there is none here; it says what to install.
    """
    if mode == "unsafe":
        return mode
    reasons = []
    for kind in ("bwrap", "landlock") if mode == "auto" else (mode,):
        reason = _missing(kind)
        if reason is None:
            return kind
        reasons.append(f"{kind}: {reason}")
    raise Unusable(f"no sandbox for students' code here ({'; '.join(reasons)}): {INSTALL}")


def _missing(kind: str) -> str | None:
    if sys.platform != "linux":
        return "needs Linux"
    if kind == "landlock":
        if confine.landlock_abi() < confine.SCOPED_ABI:
            return "the kernel is older than 6.12, or has it switched off"
        return None if confine.filter_program() else "seccomp's filter is known for x86-64 and 64-bit ARM alone"
    program = shutil.which("bwrap")
    if program is None:
        return "not installed"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if version < OLDEST:
        return f"version {'.'.join(map(str, version)) or 'unknown'} is too old"
    trial = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1234", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False, env={})
    return None if done.returncode == 0 else f"does not start ({done.stderr.strip()[-200:]})"


# -- what is visible inside ----------------------------------------------------------------------------------------------------


def python_folders() -> list[str]:
    """Folders that hold this Python and its packages."""
    wanted = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    wanted += [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")]
    wanted += [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    real = {os.path.realpath(sys.executable).rpartition("/bin/")[0] or sys.prefix}
    found: list[str] = []
    for folder in sorted({*wanted, *real}, key=len):
        if Path(folder).is_dir() and folder != "/" and not any(_within(folder, other) for other in [*found, "/usr"]):
            found.append(folder)
    return found


def _within(path: str | Path, folder: str | Path) -> bool:
    return Path(path) == Path(folder) or Path(folder) in Path(path).parents


def _module_paths() -> list[str]:
    """``sys.path`` inside: the library's copy first, then the packages' folders."""
    return [
        entry
        for entry in sys.path
        if any(_within(entry, folder) for folder in [*python_folders(), "/usr"]) and Path(entry).exists()
    ]


def check_private(course: Path) -> None:
    """Refuse a course folder that the sandbox shows to students' code.

    Raises:
        CourseError: it lies inside Python's own folders.
    """
    for folder in [*python_folders(), "/usr", str(_library())]:
        if _within(course.resolve(), os.path.realpath(folder)):
            raise CourseError(f"{course} lies inside {folder}, which students' code can read: move the course folder elsewhere")


def _library() -> Path:
    return Path(course_lib.__file__).resolve().parent


def _bwrap_command(limits: Limits) -> tuple[list[str], list[str]]:
    """The command up to Python, and the folders that can be written to inside."""
    size = ["--size", str(limits.disk)]
    shown = python_folders()
    command = [
        *(str(shutil.which("bwrap")), "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1234", "--gid", "1234"),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv", "--as-pid-1", "--hostname", "sandbox"),
        *("--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", "--ro-bind", "/usr", "/usr"),
    ]
    for place in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if Path(place).is_symlink():
            command += ["--symlink", str(Path(place).readlink()), place]
        elif Path(place).is_dir():
            command += ["--ro-bind", place, place]
    for place in ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/fonts"):
        command += ["--ro-bind-try", place, place]
    writable = [HOME, "/dev/shm"]
    command += [*size, "--tmpfs", HOME]
    if not any(_within(folder, "/tmp") for folder in shown):
        command += [*size, "--tmpfs", "/tmp"]
        writable.append("/tmp")
    for folder in shown:
        command += ["--ro-bind", folder, folder]
    command += ["--ro-bind", str(_library()), f"{LIBRARY}/course_lib"]
    hidden = [_library() / "lessons", *(Path(entry) / "course_lib" / "lessons" for entry in shown)]
    for lessons in hidden:  # an installed course brings its lessons along, and with them the exercises' solutions
        inside = f"{LIBRARY}/course_lib/lessons" if lessons.parent == _library() else str(lessons)
        command += ["--tmpfs", inside, "--remount-ro", inside] if lessons.is_dir() else []
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    return command, writable


def _landlock_readable() -> list[str]:
    system = [
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/alternatives",
        "/etc/fonts",
    ]
    machine = ["/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/urandom"]
    library = [str(path) for path in _library().iterdir() if path.name != "lessons"]
    return [*system, *machine, *python_folders(), *library]


def _environment(home: str) -> dict[str, str]:
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    paths = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin", "IPYTHONDIR": f"{home}/.ipython"}
    return (
        paths
        | single
        | {
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "MPLCONFIGDIR": f"{home}/.matplotlib",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


# -- the sandbox ---------------------------------------------------------------------------------------------------------------

START = "import sys; sys.path[:0] = {path!r}; from course_lib.grading.kernel import main; main()"


class Sandbox:
    """A warm template in a sandbox of its own. Not to be shared between threads."""

    def __init__(self, mode: str, limits: Limits, preload: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            mode: ``bwrap``, ``landlock`` or ``unsafe``; see `choose`.
            limits: what a submission may take.
            preload: modules to import once, before any fork.

        Raises:
            CourseError: it doesn't start; the message has what it said.
        """
        self.mode, self.limits, self.preloaded = mode, limits, set(preload)
        self.inside: list[psutil.Process] = []
        self.private = None if mode == "bwrap" else tempfile.mkdtemp(prefix="course-grade-")
        home = self.private or HOME
        command, writable = _bwrap_command(limits) if mode == "bwrap" else ([], [home])
        self.control, inside = socket.socketpair()
        settings: dict[str, Any] = {
            "mode": mode,
            "control": inside.fileno(),
            "work": home,
            "writable": writable,
            "readable": ["/"] if mode == "bwrap" else _landlock_readable(),
            "preload": list(preload),
            "memory": limits.memory,
            "seconds": int(limits.total) + 5,
            "disk": limits.disk,
            "processes": limits.processes,
            "limit_processes": _process_limit(mode, limits.processes),
        }
        library = LIBRARY if mode == "bwrap" else str(_library().parent)
        start = START.format(path=[*_module_paths(), library] if mode != "bwrap" else [library, *_module_paths()])
        for name, value in _environment(home).items() if command else ():
            command += ["--setenv", name, value]
        command += [sys.executable, "-I", "-B", "-c", start, json.dumps(settings)]
        with tempfile.TemporaryFile("w+") as said:
            self.process = subprocess.Popen(
                command,
                env={} if mode == "bwrap" else _environment(home),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[inside.fileno()],
                start_new_session=True,
            )
            inside.close()
            try:
                wire.receive(self.control, time.monotonic() + START_SECONDS)
            except (wire.Ended, wire.TooLate, wire.BadFrame):
                self.close()
                said.seek(0)
                raise Unusable(
                    f"the sandbox ({mode}) does not start: {said.read().strip()[-500:] or 'it said nothing'}"
                ) from None

        self.inside = psutil.Process(self.process.pid).children(recursive=True)
        if os.geteuid() == 0:  # whose processes no limit counts, so the template must be quick to see a fork bomb
            for process in [psutil.Process(self.process.pid), *self.inside]:
                with contextlib.suppress(PermissionError):  # root of a container
                    os.setpriority(os.PRIO_PROCESS, process.pid, -10)

    def preload(self, names: Sequence[str]) -> None:
        """Import more before the next fork."""
        new = [name for name in names if name not in self.preloaded]
        if new:
            self.preloaded.update(new)
            wire.send(self.control, {"preload": new}, deadline=time.monotonic() + START_SECONDS)

    def fork(self, role: str, files: Mapping[str, bytes] | None = None) -> Kernel:
        """A clean process for one submission.

        Args:
            role: ``student`` or ``checker``.
            files: what lies in its folder.

        Raises:
            wire.Ended, wire.TooLate: the template is gone.
        """
        coded = {name: base64.b64encode(content).decode() for name, content in (files or {}).items()}
        ours, theirs = socket.socketpair()
        try:
            until = time.monotonic() + START_SECONDS
            wire.send(self.control, {"fork": {"role": role, "files": coded}}, deadline=until)
            socket.send_fds(self.control, [b"f"], [theirs.fileno()])
            theirs.close()
            kernel = Kernel(self, ours)
            first, _ = wire.receive(ours, until)
            if "ready" not in first:
                raise CourseError(f"a process in the sandbox does not start: {first.get('broken', first)!s:.300}")
        except OSError as error:
            raise wire.Ended(str(error)) from None
        return kernel

    def close(self) -> None:
        """End everything in it."""
        self.control.close()
        # Without namespaces the template itself has to end what its children started, so it is asked first.
        if self.mode != "bwrap":
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(SWEEP_SECONDS)
        self.process.kill()
        self.process.wait()
        # Process 1 of a namespace ends last, when everything in it is gone.
        until = time.monotonic() + SWEEP_SECONDS
        while any(map(_lives, self.inside)) and time.monotonic() < until:
            time.sleep(0.002)
        if self.private:  # which may hold folders that can't be entered, nested deeper than Python can follow
            subprocess.run(["chmod", "-R", "u+rwx", self.private], check=False, capture_output=True)
            subprocess.run(["rm", "-rf", self.private], check=False, capture_output=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Kernel:
    """One submission's process."""

    def __init__(self, sandbox: Sandbox, end: socket.socket) -> None:
        self.sandbox, self.socket = sandbox, end
        self.alive, self.spent = True, 256 * 2**20

    def send(self, message: dict[str, Any], blobs: list[bytes] | None, deadline: float) -> None:
        """Ask for something."""
        wire.send(self.socket, message, blobs, deadline)

    def receive(self, deadline: float) -> wire.Frame:
        """What it answers. All that it ever says together has a limit, beyond which it counts as broken."""
        message, blobs = wire.receive(self.socket, deadline, min(self.spent, wire.MAX_BYTES))
        self.spent -= sum(map(len, blobs))
        return message, blobs

    def end(self) -> tuple[str | None, bool]:
        """End it and everything that it started: the reason if the template had ended it before, and whether nothing was left."""
        self.alive = False
        self.socket.close()
        try:
            until = time.monotonic() + SWEEP_SECONDS
            wire.send(self.sandbox.control, {"end": True}, deadline=until)
            said, _ = wire.receive(self.sandbox.control, until)
        except (wire.Ended, wire.TooLate, wire.BadFrame):
            return None, False
        return said.get("reason"), said.get("clean") is True


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE  # who reaps it is not for us to say
    except psutil.NoSuchProcess:
        return False


def _process_limit(mode: str, processes: int) -> int | None:
    """For RLIMIT_NPROC. In a user namespace it counts this sandbox alone (Linux 5.14 and newer); else all of the user's processes."""
    if mode == "bwrap":
        release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
        return processes + 16 if release >= (5, 14) else None
    count = 0
    for task in Path("/proc").glob("[0-9]*/task"):
        with contextlib.suppress(OSError):
            count += len(list(task.iterdir())) if task.stat().st_uid == os.getuid() else 0
    return count + processes + 16


# -- the self-test -------------------------------------------------------------------------------------------------------------


def self_test(sandbox: Sandbox, course: Path | None = None) -> list[str]:
    """Really try to escape, and say what worked: an empty list is good news.

    Args:
        sandbox: the one to try.
        course: the course folder, whose gradebook and sources are tried too.
    """
    source = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    with contextlib.ExitStack() as stack:
        outside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="course-probe-")))
        (outside / "secret").write_text("secret")
        network = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + outside.name)
        abstract.listen()
        victim = subprocess.Popen(["sleep", "60"], env={"SECRET": "secret"})
        stack.callback(victim.wait)
        stack.callback(victim.send_signal, signal.SIGKILL)
        told = {
            "outside": str(outside),
            "port": network.getsockname()[1],
            "abstract": outside.name,
            "pids": [os.getpid(), sandbox.process.pid, victim.pid],
            "files": [str(path) for path in _private_files(course)],
            "namespaces": sandbox.mode != "landlock",
        }
        kernel = sandbox.fork("student")
        try:
            until = time.monotonic() + 20
            kernel.send({"do": "cell", "code": f"TOLD = {told!r}\n{source}", "limit": 15}, None, until)
            ran, _ = kernel.receive(until)
            kernel.send(
                {"do": "get", "name": "ESCAPED", "given": {"tuple": [{"list": []}, {"dict": []}]}, "limit": 5}, None, until
            )
            escaped = wire.decode(*_value(kernel.receive(until), ran))
        finally:
            _, clean = kernel.end()
        if victim.poll() is not None:
            escaped.append("a process outside was ended")
        if (outside / "secret").read_text() != "secret" or len(list(outside.iterdir())) != 1:
            escaped.append("files outside were changed")
        if not clean:
            escaped.append("something was left behind")
    return escaped


def _value(frame: wire.Frame, ran: dict[str, Any]) -> tuple[Any, list[bytes]]:
    message, blobs = frame
    if "value" not in message:
        raise CourseError(f"the sandbox's self-test did not run: {ran.get('outputs', message)!s:.300}")
    return message["value"], blobs


def _private_files(course: Path | None) -> list[Path]:
    private = [Path.home() / ".bashrc", Path("/etc/shadow"), Path("/etc/passwd")]
    if course is not None:
        private += [
            course / "gradebook.db",
            *sorted(course.glob("source/*/*.ipynb"))[:1],
            *sorted(course.glob("submitted/*/*/*.ipynb"))[:1],
        ]
    return [path for path in private if path.exists()]

"""The sandbox's self-test, run as a student's cell: it tries to get out and notes in ``ESCAPED`` what worked.

``TOLD`` says where the secrets are. Whatever is refused is good, with any error. What works leaves no trace: files are removed again, and what
is written over is written as it was.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOLD: dict = globals().get("TOLD", {})
ESCAPED: list = []


def attempt(what: str, action: Callable[..., object], *given: object) -> None:
    """Note that an action worked; every refusal is as good as another."""
    try:
        worked = action(*given)
    except BaseException:
        return
    if worked is not False:
        ESCAPED.append(what)


def _connect(family: int, address: Any) -> None:
    with socket.socket(family) as mine:
        mine.settimeout(2)
        mine.connect(address)


def _environments() -> bool:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(entry.read_bytes())
        except OSError:
            continue
    return any(b"SECRET" in text or b"SSH_" in text for text in found)


def _write(place: str) -> None:
    file = Path(place, "course-grade-probe")
    file.write_text("x")
    file.unlink()


def _rewrite(place: str) -> None:
    file = Path(place)
    file.write_text(file.read_text())


def _symlink() -> bool:
    link = Path("probe-link")
    link.symlink_to(TOLD["outside"] + "/secret")
    return bool(link.read_text())


for file in [*TOLD["files"], TOLD["outside"] + "/secret"]:
    attempt(f"read {file}", lambda one: bool(Path(one).read_bytes()), file)
attempt("list a private folder", lambda: bool(os.listdir(TOLD["outside"])))
attempt("follow a link out", _symlink)
for place in (
    TOLD["outside"],
    "/usr",
    "/etc",
    "/",
    os.path.dirname(os.__file__),
    os.path.dirname(os.path.dirname(str(__import__("numpy").__file__))),
):
    attempt(f"write to {place}", _write, place)
attempt("write to the secret", _rewrite, TOLD["outside"] + "/secret")
attempt("reach the network", lambda: _connect(socket.AF_INET, ("127.0.0.1", TOLD["port"])))
attempt("open an internet socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("open a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("reach an abstract socket", lambda: _connect(socket.AF_UNIX, "\0" + TOLD["abstract"]))
for pid in TOLD["pids"]:
    attempt(f"signal process {pid}", lambda one: os.kill(one, signal.SIGCONT), pid)
    attempt(f"read process {pid}", lambda one: bool(Path(f"/proc/{one}/environ").read_bytes()), pid)
attempt("read another's environment", _environments)
attempt("read the template's memory", lambda: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY))
attempt("stop the template", lambda: os.kill(os.getppid(), signal.SIGSTOP) if not TOLD["namespaces"] else False)
attempt("limit the template", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
attempt("raise a limit", lambda: resource.setrlimit(resource.RLIMIT_AS, (2**60, 2**60)))
attempt(
    "trace the template", lambda: ctypes.CDLL(None).ptrace(0x4206, os.getppid(), 0, 0) == 0
)  # PTRACE_SEIZE, which stops nothing
attempt("make a namespace", lambda: ctypes.CDLL(None).unshare(0x10000000) == 0)
attempt("mount", lambda: ctypes.CDLL(None).mount(b"none", os.fsencode(os.getcwd()), b"tmpfs", 0, 0) == 0)
attempt("use root's rights", lambda: os.setgroups([0]))
attempt("change the kernel", _rewrite, "/proc/sys/kernel/hostname")
attempt("run another namespace", lambda: subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode == 0)
attempt("hide memory", lambda: os.memfd_create("probe"))

"""Lessons run without a network: a cell that reaches for one fails, whichever way, and what stays on this computer works."""

import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook.publish import offline

ROOT = Path(__file__).resolve().parents[1]
# Addresses that nobody has (RFC 5737, RFC 3849): without the guard, these time out.
SOCKET = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
WEB = "import urllib.request as web; web.urlopen('http://example.org', timeout=5)"
OUTSIDE = {
    "a web page": WEB,
    "an address": SOCKET,
    "an IPv6 address": "import socket; socket.create_connection(('2001:db8::1', 443), timeout=5)",
    "an address written as IPv6": "import socket; socket.socket(socket.AF_INET6).connect(('::ffff:192.0.2.1', 80))",
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "a name, the old way": "import socket; socket.gethostbyname('example.org')",
    "a name in bytes": "import socket; socket.getaddrinfo(b'example.org', 80)",
    "a datagram": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "a connection that tells by number": "import socket; socket.socket().connect_ex(('192.0.2.1', 80))",
    "an event loop": "import asyncio; asyncio.run(asyncio.open_connection('192.0.2.1', 80))",
    "what the hub's client is made of": "import httpx; httpx.get('https://example.org')",
}


def python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *flags, "-c", code]
    return subprocess.run(command, env=os.environ | offline(), capture_output=True, text=True, timeout=60)


def bare() -> dict[str, str]:
    """The environment without the guard, and without what tells a kernel that pytest is there (it then is less talkative)."""
    return {name: value for name, value in os.environ.items() if name not in {*offline(), "PYTEST_CURRENT_TEST"}}


def write(path: Path, *sources: str) -> Path:
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [cell | {"id": f"cell-{place}", "source": source} for place, source in enumerate(sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}), encoding="utf-8")
    return path


@pytest.fixture
def neighbour() -> Iterator[int]:
    """A port of this computer that answers."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nhello")

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("code", OUTSIDE.values(), ids=OUTSIDE)
def test_the_network_is_blocked(code: str) -> None:
    done = python(code)
    assert done.returncode == 1
    assert "the network is blocked" in done.stderr


def test_so_it_is_for_children_and_their_children() -> None:
    child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {SOCKET!r}]).returncode)"
    grandchild = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    done = python(grandchild)
    assert done.returncode == 1
    assert "the network is blocked" in done.stderr


def test_so_it_is_for_workers_of_a_pool() -> None:
    done = python(
        "import multiprocessing as m, socket\n"
        "if __name__ == '__main__':\n"
        "    for how in m.get_all_start_methods():\n"
        "        with m.get_context(how).Pool(1) as pool:\n"
        "            try: pool.apply(socket.create_connection, (('192.0.2.1', 80), 5))\n"
        "            except OSError as error: print('blocked' in str(error))\n"
    )
    assert set(done.stdout.split()) == {"True"}, done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_is_not_python_finds_no_proxy() -> None:
    done = python("import subprocess, sys; sys.exit(subprocess.run(['curl', '-sS', 'https://example.org']).returncode)")
    assert done.returncode == 7
    assert "127.0.0.1" in done.stderr


def test_this_computer_is_reached(neighbour: int) -> None:
    done = python(
        f"import os, socket, tempfile, urllib.request as web\n"
        f"print(web.urlopen('http://localhost:{neighbour}').read(), web.urlopen('http://127.0.0.1:{neighbour}').read())\n"
        f"socket.create_connection(('127.0.0.1', {neighbour})); socket.getaddrinfo(None, 80); socket.getaddrinfo('192.0.2.1', 80)\n"
        f"path = tempfile.mktemp(); server = socket.socket(socket.AF_UNIX); server.bind(path); server.listen()\n"
        f"socket.socket(socket.AF_UNIX).connect(path); os.unlink(path)\n"
        f"left, right = socket.socketpair(); left.sendmsg([b'x']); right.recv(1)\n"
        f"import asyncio; asyncio.run(asyncio.sleep(0))\n"
    )
    assert done.stdout.count("hello") == 2, done.stderr


@pytest.mark.parametrize(
    "source",
    [WEB, SOCKET, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SOCKET!r}], check=True)"],
    ids=["a web page", "a socket", "a child"],
)
def test_a_lesson_that_needs_the_network_is_not_published(tmp_path: Path, source: str) -> None:
    path = write(tmp_path / "lesson.ipynb", "x = 1", source)
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "course_lib.notebook.publish", path], env=bare(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert re.search(r"not published: cell 1 raises \w+Error: (?s:.*)the network is blocked, because", done.stdout), done.stderr
    assert path.read_bytes() == before


def test_nor_does_it_pass_the_tests_of_the_lessons(tmp_path: Path, neighbour: int) -> None:
    """nbval as the Makefile calls it, in a folder with our conftest.py."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SOCKET!r}], check=True)"
    write(tmp_path / "lesson.ipynb", "1 + 1", WEB, SOCKET, child, WEB.replace("example.org", f"127.0.0.1:{neighbour}"))
    command = [sys.executable, "-m", "pytest", "-rA", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run([*map(str, command)], env=bare(), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    outcomes = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("PASSED", "FAILED"))]
    assert sorted(outcomes) == ["FAILED"] * 3 + ["PASSED"] * 2, done.stdout + done.stderr
    assert done.stdout.count("the network is blocked") >= 2


def test_the_guard_does_not_stand_in_the_way_of_importing() -> None:
    """Nothing but the standard library, and little of it, is loaded at every start of every child."""
    done = python("import sys; print(*{'socket', 'ipaddress', 'course_lib'} & set(sys.modules))")
    assert done.stdout.strip() == "", done.stderr

"""Grade one submission: the student's cells in one sandboxed process, the author's tests in another.

`grade_one` takes plain data and gives plain data, reads no disk that somebody shares, and may run in a process here or on a cluster.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from course_lib.errors import CourseError
from course_lib.grading import wire
from course_lib.grading.assignment import IMPORT, Assignment, Cell
from course_lib.grading.intake import Finding, Placed, Unreadable, take_in
from course_lib.grading.safe import safe_markdown, safe_outputs
from course_lib.grading.sandbox import Kernel, Limits, Sandbox, choose, self_test

GRACE = 1.5
"""Seconds between asking code to stop and ending its process."""
RESTARTS = 3
MOST_ASKED = 2000
"""Calls of answers that one test may make."""
WORTH_WARMING = {"torch", "scipy", "pandas", "matplotlib.pyplot", "matplotlib"}
"""Imported in the template when the first student asks for them: they are slow, and the next may ask too."""
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


@dataclass(frozen=True)
class Job:
    """Everything that grading one submission needs."""

    student: str
    assignment: dict[str, Any]
    """`Assignment.as_json`."""
    notebooks: dict[str, str]
    files: dict[str, str]
    findings: list[Finding]
    digest: str
    timestamp: str | None = None
    limits: Limits = field(default_factory=Limits)
    mode: str = "auto"
    tested: bool = False
    """Whether the sandbox has been tried on this machine."""


@dataclass
class Result:
    """What came of it."""

    student: str
    digest: str
    timestamp: str | None
    status: str = "graded"
    """``graded``, ``flagged`` (graded, and the instructor should look), or ``failed`` (not graded: nothing that the student did)."""
    findings: list[Finding] = field(default_factory=list)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """For each notebook and graded cell its automatic score; None where a human has to give it."""
    silent: dict[str, list[str]] = field(default_factory=dict)
    """For each notebook the answers that were left as they were."""
    notebooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was run, with outputs, safe to show."""
    seconds: float = 0

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def failed(job: Job, reason: str) -> Result:
    """A result that gives no points and takes none, because grading itself did not work."""
    assignment = Assignment.from_json(job.assignment)
    result = Result(job.student, job.digest, job.timestamp, "failed", [*job.findings, Finding("FAILED", reason)])
    for name, cells in assignment.notebooks.items():
        result.scores[name] = {cell.name: None for cell in cells if cell.name and (cell.test or cell.manual)}
    return result


def grade_one(job: Job) -> Result:
    """Grade one submission. Whatever the student did, it returns; it raises only where this machine has no sandbox.

    Raises:
        CourseError: no sandbox works here, or it leaks.
    """
    started = time.monotonic()
    assignment = Assignment.from_json(job.assignment)
    result = Result(job.student, job.digest, job.timestamp, findings=list(job.findings))
    for name, cells in assignment.notebooks.items():
        scores: dict[str, float | None] = {}
        result.scores[name] = scores
        try:
            if name not in job.notebooks:
                raise Unreadable(_reason(job.findings))
            placed, findings = take_in(base64.b64decode(job.notebooks[name]), cells)
        except Unreadable as error:
            if not any(finding.code in ("UNREADABLE", "MISSING", "LINK") for finding in job.findings):
                result.findings.append(Finding("UNREADABLE", f"{name}.ipynb was not graded: {error}"))
            scores.update({cell.name: 0.0 for cell in cells if cell.name and (cell.test or cell.manual)})
            continue
        result.findings += findings
        run = _Run(job, assignment, placed)
        result.notebooks[name] = run.notebook(scores)
        result.findings += run.findings
        result.silent[name] = [
            p.cell.name for p in placed if p.cell and p.cell.name and p.cell.solution and p.text == p.cell.released
        ]
        for cell in cells:
            if cell.manual and cell.name and not cell.task:
                scores[cell.name] = 0.0 if cell.name in result.silent[name] else None
            elif cell.task and cell.name:
                scores[cell.name] = None
    result.status = "flagged" if result.findings else "graded"
    result.seconds = time.monotonic() - started
    return result


def _reason(findings: list[Finding]) -> str:
    return "; ".join(finding.text for finding in findings if finding.code in ("UNREADABLE", "MISSING", "LINK")) or "it is missing"


# -- sandboxes that are warm ---------------------------------------------------------------------------------------------------

_WARM = threading.local()
_TESTED: set[str] = set()


def _sandbox(role: str, job: Job, preload: list[str], *, fresh: bool = False) -> Sandbox:
    """This thread's sandbox for one role, started if need be."""
    warm: dict[str, tuple[Any, Sandbox]] = _WARM.__dict__.setdefault("sandboxes", {})
    key = (job.mode, job.limits, tuple(preload))
    if role in warm and (fresh or warm[role][0] != key or warm[role][1].process.poll() is not None):
        warm.pop(role)[1].close()
    if role not in warm:
        mode = choose(job.mode)
        warm[role] = (key, Sandbox(mode, job.limits, preload))
        if mode not in _TESTED and mode != "unsafe" and not job.tested:
            escaped = self_test(warm[role][1])
            if escaped:
                raise CourseError(f"the sandbox ({mode}) leaks here, so nothing was graded: {'; '.join(escaped)}")
            _TESTED.add(mode)
    return warm[role][1]


def close_sandboxes() -> None:
    """End this thread's sandboxes."""
    for _, sandbox in _WARM.__dict__.pop("sandboxes", {}).values():
        sandbox.close()


# -- one notebook --------------------------------------------------------------------------------------------------------------


class _Run:
    """Run one notebook, its cells in order."""

    def __init__(self, job: Job, assignment: Assignment, placed: list[Placed]) -> None:
        self.job, self.placed = job, placed
        self.limits = job.limits
        self.until = time.monotonic() + job.limits.total
        self.preload = assignment.imports()
        self.files = {name: base64.b64decode(text) for name, text in assignment.files.items()}
        self.student_files = {name: base64.b64decode(text) for name, text in job.files.items()} | self.files
        self.student: Kernel | None = None
        self.checker: Kernel | None = None
        self.restarts = 0
        self.ran: list[str] = []
        """The student's cells that are to run again in a new process, because they ended by themselves."""
        self.findings: list[Finding] = []

    def notebook(self, scores: dict[str, float | None]) -> dict[str, Any]:
        """Run everything; fills in ``scores`` and returns the notebook with outputs."""
        cells = []
        try:
            for number, one in enumerate(self.placed):
                cells.append(self._cell(number, one, scores))
        finally:
            self._end(self.student)
            self._end(self.checker)
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}
        return {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": language}, "nbformat": 4, "nbformat_minor": 5}

    def _cell(self, number: int, one: Placed, scores: dict[str, float | None]) -> dict[str, Any]:
        cell = one.cell
        metadata = cell.metadata() if cell else {}
        told: dict[str, Any] = {"cell_type": one.cell_type, "id": cell.id if cell else f"added-{number}", "metadata": metadata}
        if one.cell_type != "code":
            text = one.text if cell and not cell.answer else safe_markdown(one.text)
            return told | {"cell_type": "markdown" if one.cell_type == "markdown" else "raw", "source": text}
        outputs: list[dict[str, Any]] = []
        if cell is not None and cell.test:
            outputs, metadata["grading"] = self._test(cell, scores)
        else:
            outputs = self._student_cell(one.text, cell)
            if cell is not None and cell.setup:
                self._set_up(cell)
        return told | {"source": one.text, "execution_count": None, "outputs": safe_outputs(outputs)}

    # the student's process

    def _student_cell(self, code: str, cell: Cell | None) -> list[dict[str, Any]]:
        name = cell.name if cell else None
        kernel = self._living_student()
        if kernel is None:
            return _error("NotRun", "the time or the processes of this submission were used up")
        seconds = min(self.limits.seconds, max(self.until - time.monotonic(), 0.1))
        try:
            until = time.monotonic() + seconds + GRACE
            kernel.send({"do": "cell", "code": code, "limit": seconds}, None, until)
            answer, _ = kernel.receive(until)
        except (wire.TooLate, wire.Ended, wire.BadFrame) as error:
            return _error("Ended", self._lost(error, name))
        outputs = answer.get("outputs")
        outputs = outputs if isinstance(outputs, list) else []
        if any(isinstance(o, dict) and o.get("ename") == "OutOfTime" for o in outputs):
            self._find("TIME", f"a cell took longer than {seconds:.0f} s", name)
        else:
            self.ran.append(code)
        return outputs

    def _living_student(self) -> Kernel | None:
        if self.student is not None and self.student.alive:
            return self.student
        if self.student is not None:
            self.restarts += 1
            if self.restarts > RESTARTS:
                return None
        if time.monotonic() > self.until:
            return None
        self.student = self._fork("student", self.student_files)
        again, self.ran = self.ran, []
        for code in again:
            if self.student.alive:
                self._student_cell(code, None)
        return self.student if self.student.alive else None

    def _lost(self, error: Exception, name: str | None) -> str:
        """The student's process is gone or doesn't answer: end it, and say why."""
        assert self.student is not None
        reason, clean = self.student.end()
        if not clean:
            _sandbox("student", self.job, self.preload, fresh=True)
        if reason == "memory":
            code, text = "MEMORY", f"it took more than {self.limits.memory / 2**30:.3g} GiB of memory"
        elif reason == "processes":
            code, text = "PROCESSES", f"it started more than {self.limits.processes} processes"
        elif isinstance(error, wire.TooLate):
            code, text = "TIME", "it did not end in time, and did not stop when asked to"
        elif isinstance(error, wire.BadFrame):
            code, text = "BROKEN", "it broke the process that runs it"
        else:
            code, text = "DIED", "it ended its own process"
        self._find(code, text, name)
        return text

    # the checker's

    def _set_up(self, cell: Cell) -> None:
        message = self._checked(cell.source)
        if message.get("error"):
            self._find("AUTHOR", f"the author's cell fails: {': '.join(map(str, message['error'][:2]))[:200]}", cell.name)

    def _test(self, cell: Cell, scores: dict[str, float | None]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        assert cell.name is not None
        self._living_student()
        answer = self._checked(cell.source)
        outputs = list(answer.get("outputs") or [])
        error = answer.get("error")
        kind, value = answer.get("score") or ("nothing", 0)
        told: dict[str, Any] = {}
        if error:
            name, text, line = error
            scores[cell.name] = 0.0
            told = {"hidden": _is_hidden(cell.source, line), "error": name, "hint": text}
            outputs += _error(name, text)
        elif kind == "nothing":
            scores[cell.name] = cell.points
        elif kind == "number" and type(value) in (int, float) and math.isfinite(value) and 0 <= value <= cell.points:
            scores[cell.name] = float(value)
        else:
            scores[cell.name] = None
            said = f"its last line gives {value}, which is no number from 0 to {cell.points:g}"
            self._find("AUTHOR", f"the author's test has to be corrected: {said}", cell.name)
        return outputs, told

    def _checked(self, code: str) -> dict[str, Any]:
        """Run one of the author's cells; calls of the student's things go to their process."""
        if self.checker is None or not self.checker.alive:
            self.checker = self._fork("checker", self.files)
            for earlier in self.placed:
                if earlier.cell is not None and earlier.cell.setup:
                    if earlier.cell.source == code:
                        break
                    self._exchange(earlier.cell.source)
        return self._exchange(code)

    def _exchange(self, code: str) -> dict[str, Any]:
        kernel = self.checker
        assert kernel is not None
        seconds = min(self.limits.seconds, max(self.until - time.monotonic(), 0.5))
        asked_until, until = time.monotonic() + seconds, time.monotonic() + seconds + 2 * GRACE + 2
        asked = 0
        try:
            kernel.send({"do": "cell", "code": code, "limit": seconds + GRACE + 1}, None, until)
            while True:
                message, blobs = kernel.receive(until)
                if "ask" not in message:
                    return message
                asked += 1
                if asked > MOST_ASKED:
                    reply: wire.Frame = {"gone": f"more than {MOST_ASKED} calls of an answer in one test"}, []
                else:
                    reply = self._relay(message["ask"], blobs, asked_until)
                kernel.send(*reply, deadline=until)
        except (wire.TooLate, wire.Ended, wire.BadFrame):
            reason, clean = kernel.end()
            if not clean:
                _sandbox("checker", self.job, self.preload, fresh=True)
            self._find("CHECK", f"a test did not end: {reason or 'it took too long'}; look at what it was given", None)
            return {"error": ["CheckEnded", "the test did not end", 0], "outputs": []}

    def _relay(self, message: dict[str, Any], blobs: list[bytes], until: float) -> wire.Frame:
        kernel = self.student
        if kernel is None or not kernel.alive:
            return {"gone": "the process with the answer is gone"}, []
        left = until - time.monotonic()
        if left <= 0:
            return {"late": True}, []
        try:
            kernel.send(message | {"limit": left}, blobs, until + GRACE)
            answer, got = kernel.receive(until + GRACE)
        except (wire.TooLate, wire.Ended, wire.BadFrame) as error:
            text = self._lost(error, None)
            return {"gone": text}, []
        if "late" in answer:
            self._find("TIME", f"a call of an answer took longer than {self.limits.seconds:.0f} s", None)
        return answer, got

    # both

    def _fork(self, role: str, files: dict[str, bytes]) -> Kernel:
        for fresh in (False, True):
            sandbox = _sandbox(role, self.job, self.preload, fresh=fresh)
            with contextlib.suppress(wire.Ended, wire.TooLate, wire.BadFrame):
                if role == "student":
                    text = "\n".join(one.text for one in self.placed if one.cell_type == "code")
                    sandbox.preload(sorted(WORTH_WARMING & set(IMPORT.findall(text))))
                return sandbox.fork(role, files)
        raise CourseError("a process in the sandbox does not start: run course grade again, and look at this machine's memory")

    def _end(self, kernel: Kernel | None) -> None:
        if kernel is not None and kernel.alive:
            role = "student" if kernel is self.student else "checker"
            if not kernel.end()[1]:
                _sandbox(role, self.job, self.preload, fresh=True)

    def _find(self, code: str, text: str, name: str | None) -> None:
        finding = Finding(code, text, name)
        if finding not in self.findings:
            self.findings.append(finding)


def _error(name: str, text: str) -> list[dict[str, Any]]:
    return [{"output_type": "error", "ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}]


def _is_hidden(source: str, line: int) -> bool:
    """Whether a line of a test cell lies between the marks of hidden tests."""
    hidden = False
    for number, text in enumerate(source.splitlines(), 1):
        hidden = True if re.match(rf"\s*{BEGIN}", text) else hidden
        if number == line:
            return hidden
        hidden = False if re.match(rf"\s*{END}", text) else hidden
    return False

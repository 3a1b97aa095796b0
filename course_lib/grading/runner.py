"""Grade a whole class: jobs out to processes here or to a Dask cluster, results into the gradebook, one line each in a journal."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tqdm import tqdm

from course_lib.errors import CourseError
from course_lib.grading.assignment import read_assignment
from course_lib.grading.feedback import write_feedback
from course_lib.grading.intake import STUDENT, Finding, collect
from course_lib.grading.marking import Job, Result, close_sandboxes, failed, grade_one
from course_lib.grading.sandbox import Limits, Sandbox, check_private, choose, self_test
from course_lib.grading.writer import Writer, back_up, open_gradebook
from course_lib.versions import versions

TRIES = 2
"""A submission whose worker dies is given to another once."""
JOURNALS = "grading"
NICE = 5
"""How far workers stand back behind the one process that writes what they found."""


@dataclass
class Options:
    """How to grade."""

    name: str
    course: Path = Path()
    submitted: Path | None = None
    jobs: int = 0
    """0: one for each core."""
    scheduler: str | None = None
    resume: bool = False
    students: Sequence[str] = ()
    mode: str = "auto"
    limits: Limits = field(default_factory=Limits)


@dataclass
class Summary:
    """How it went."""

    graded: int = 0
    flagged: int = 0
    failed: int = 0
    resumed: int = 0
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Folders of submissions whose name is no student's."""
    seconds: float = 0
    sandbox: str = ""
    journal: Path = Path()
    waiting: int = 0
    """Students with something for a human to grade."""


def grade(options: Options) -> Summary:
    """Grade every submission of an assignment.

    Raises:
        CourseError: the course folder, the gradebook or the sandbox is not fit for it.
    """
    started = time.monotonic()
    if find_spec("nbgrader") is None:
        raise CourseError('grading needs nbgrader: pip install "fine-tuning-lora-measured[grading]"')
    course = options.course.resolve()
    submitted = (options.submitted or course / "submitted").resolve()
    assignment = read_assignment(course, options.name)
    if options.jobs < 0:
        raise CourseError(f"--jobs must be at least 1, not {options.jobs}")
    if not submitted.is_dir():
        raise CourseError(f"there is no folder {submitted}: put each submission into submitted/STUDENT/{options.name}/")
    check_private(course)
    summary = Summary(journal=course / JOURNALS / f"{options.name}.jsonl")
    students = _students(submitted, options, summary)
    mode = options.mode if options.scheduler else choose(options.mode)
    summary.sandbox = mode
    summary.journal.parent.mkdir(exist_ok=True)
    done = last_lines(summary.journal) if options.resume else {}
    if not options.resume:
        summary.journal.unlink(missing_ok=True)
    jobs = []
    for student in students:
        found = collect(submitted, student, assignment)
        if done.get(student, {}).get("digest") == found.digest:
            summary.resumed += 1
            continue
        job = Job(
            student,
            assignment.as_json(),
            found.notebooks,
            found.files,
            found.findings,
            found.digest,
            found.timestamp,
            options.limits,
            mode,
            tested=options.scheduler is None,
        )
        jobs.append(job)
    with ExitStack() as stack:
        if options.scheduler:
            results = _on_cluster(jobs, options.scheduler)
        else:
            pool = _Pool(jobs, options.jobs or os.cpu_count() or 1)
            stack.callback(pool.close)
            _try_sandbox(mode, options.limits, course)
            pool.begin()  # they work while the gradebook is being opened
            results = pool.results()
        back_up(course, options.name)
        book = stack.enter_context(open_gradebook(course))
        journal = stack.enter_context(summary.journal.open("a", encoding="utf-8"))
        writer = Writer(course, book, assignment)
        told = {
            "assignment": options.name,
            "sandbox": mode,
            "limits": asdict(options.limits),
            "versions": versions(),
            "time": time.time(),
        }
        _note(journal, told)
        with tqdm(
            total=len(jobs) + summary.resumed, initial=summary.resumed, unit="submission", desc=options.name, disable=None
        ) as bar:
            for result in results:
                writer.write(result)
                if result.status != "failed":
                    write_feedback(course, book, assignment, result.student, [asdict(finding) for finding in result.findings])
                setattr(summary, result.status, getattr(summary, result.status) + 1)
                summary.findings += [(result.student, finding) for finding in result.findings]
                summary.waiting += any(score is None for scores in result.scores.values() for score in scores.values())
                _note(journal, _line(result))
                bar.update()
                bar.set_postfix_str(f"{summary.flagged} flagged, {summary.failed} failed", refresh=False)
    summary.seconds = time.monotonic() - started
    return summary


def _students(submitted: Path, options: Options, summary: Summary) -> list[str]:
    found = []
    for entry in sorted(submitted.iterdir()):
        if entry.name.startswith(".") or not (entry.is_dir() or entry.is_symlink()):
            continue
        if not STUDENT.fullmatch(entry.name):
            summary.refused.append(entry.name)
        elif not options.students or entry.name in options.students:
            found.append(entry.name)
    missing = sorted(set(options.students) - set(found))
    if missing:
        raise CourseError(f"{submitted} has no folder for {', '.join(missing)}")
    # A student who handed in other assignments only has nothing here, and stays without a mark.
    return [student for student in found if options.students or os.path.lexists(submitted / student / options.name)]


def _try_sandbox(mode: str, limits: Limits, course: Path) -> None:
    """Try to escape, before anybody's code runs.

    Raises:
        CourseError: it worked.
    """
    if mode == "unsafe":
        return
    with Sandbox(mode, limits) as sandbox:
        escaped = self_test(sandbox, course)
    if escaped:
        raise CourseError(f"the sandbox ({mode}) leaks here, so nothing was graded: {'; '.join(escaped)}")


# -- the journal ---------------------------------------------------------------------------------------------------------------


def last_lines(journal: Path) -> dict[str, dict[str, Any]]:
    """The last line of each student who has a mark."""
    found = {}
    with suppress(FileNotFoundError):
        for line in journal.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the last line, cut short by a crash
                told = json.loads(line)
                if told.get("status") in ("graded", "flagged"):
                    found[told["student"]] = told
    return found


def _line(result: Result) -> dict[str, Any]:
    return {
        "student": result.student,
        "status": result.status,
        "digest": result.digest,
        "scores": result.scores,
        "findings": [asdict(finding) for finding in result.findings],
        "seconds": round(result.seconds, 3),
        "time": time.time(),
    }


def _note(journal: Any, told: dict[str, Any]) -> None:
    journal.write(json.dumps(told) + "\n")
    journal.flush()
    os.fsync(journal.fileno())


# -- processes here ------------------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    core: int | None
    job: Job | None = None
    tries: int = 0


class _Pool:
    """Worker processes; one that dies is replaced, and its job given out again."""

    def __init__(self, jobs: list[Job], number: int) -> None:
        """Start them; they wait for `begin`."""
        self.context = multiprocessing.get_context("spawn")
        self.waiting = deque((job, 1) for job in jobs)
        self.left = len(jobs)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else [None]
        self.workers = [_start(self.context, cores[place % len(cores)]) for place in range(min(number, len(jobs)))]
        self.taken: SimpleQueue[Result | BaseException | None] = SimpleQueue()
        self.closed = False

    def begin(self) -> None:
        """Hand out the first jobs, and go on by itself."""
        for worker in self.workers:
            self._give(worker)
        threading.Thread(target=self._take, daemon=True).start()

    def results(self) -> Iterator[Result]:
        """Results as they come."""
        while (result := self.taken.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result

    def _take(self) -> None:
        """Take results and give jobs, beside the thread that writes marks: no worker waits until the last ones are written."""
        try:
            for result in self._as_they_come():
                self.taken.put(result)
            self.taken.put(None)
        except BaseException as error:  # for the other thread to raise
            self.taken.put(error)

    def _as_they_come(self) -> Iterator[Result]:
        while self.left and not self.closed:
            ready = wait([worker.connection for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.connection in ready]:
                result = self._heard(worker)
                if result is not None:
                    self.left -= 1
                    yield result

    def _heard(self, worker: _Worker) -> Result | None:
        """What a worker says; None if it died and its job is given out again."""
        job, tries = worker.job, worker.tries
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            if self.closed:
                return None
            worker.connection.close()
            worker.process.join(5)
            new = _start(self.context, worker.core)
            self.workers[self.workers.index(worker)] = new
            again = job is not None and tries < TRIES
            if job is not None and again:
                self.waiting.appendleft((job, tries + 1))
            self._give(new)
            return None if job is None or again else failed(job, "the process that graded it died, twice")
        self._give(worker)
        if isinstance(answer, CourseError):
            raise answer
        assert job is not None
        return answer if isinstance(answer, Result) else failed(job, f"grading it went wrong: {answer}")

    def _give(self, worker: _Worker) -> None:
        worker.job, worker.tries = self.waiting.popleft() if self.waiting else (None, 0)
        if worker.job is not None:
            with suppress(OSError):  # it is dead, and the next look at it will see that
                worker.connection.send(worker.job)

    def close(self) -> None:
        """Let them end."""
        self.closed = True
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.process.join(10)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()


def _start(context: Any, core: int | None) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, core), daemon=False)
    process.start()
    theirs.close()
    return _Worker(process, ours, core)


def _work(connection: Connection, core: int | None) -> None:
    """A worker's life: jobs in, results out, until the other end closes."""
    import signal

    if core is not None:  # it and its kernels talk all the time, which is quicker where no other core has to be woken
        os.sched_setaffinity(0, {core})
    if hasattr(os, "nice"):
        os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who handed out the jobs
    try:
        while True:
            try:
                job = connection.recv()
            except (EOFError, OSError):
                return
            answer: object
            try:
                answer = grade_one(job)
            except CourseError as error:
                answer = error
            except Exception as error:  # whatever it is, one submission must not stop the run
                answer = f"{type(error).__name__}: {error}"[:500]
            with suppress(OSError):
                connection.send(answer)
    finally:
        close_sandboxes()


# -- a cluster -----------------------------------------------------------------------------------------------------------------


def _on_cluster(jobs: list[Job], address: str) -> Iterator[Result]:
    try:
        from dask.distributed import Client, as_completed
    except ImportError:
        raise CourseError('--scheduler needs Dask: pip install "fine-tuning-lora-measured[grading]"') from None
    try:
        client = Client(address, timeout="20s")
    except (OSError, ValueError, TimeoutError) as error:
        raise CourseError(f"no Dask scheduler answers at {address} ({error}): start one with dask scheduler") from None
    with client:
        futures = {
            client.submit(grade_one, job, key=f"{job.student}-{job.digest[:16]}", pure=False, retries=TRIES - 1): job
            for job in jobs
        }
        for future in as_completed(futures):
            job = futures[future]
            trouble = future.exception()
            if isinstance(trouble, CourseError):
                raise trouble
            yield failed(job, f"the cluster gave it back: {trouble}"[:300]) if trouble is not None else future.result()
            future.release()


# -- in words ------------------------------------------------------------------------------------------------------------------


def told(summary: Summary, options: Options) -> str:
    """The summary that the command prints."""
    lines = [
        f"{student}: {f.code}{f' in {f.cell}' if f.cell else ''}: {f.text}"
        for student, f in sorted(summary.findings, key=lambda x: x[0])
    ]
    lines += [f"left out: submitted/{name!r} is no student's name (letters, digits, and . _ - @ +)" for name in summary.refused]
    counts = Counter(finding.code for _, finding in summary.findings)
    done = summary.graded + summary.flagged + summary.failed
    lines.append(
        f"{options.name}: {summary.graded} graded, {summary.flagged} graded and flagged, {summary.failed} failed"
        + (f", {summary.resumed} were done before" if summary.resumed else "")
        + f"; {done} in {summary.seconds:.1f} s, sandbox: {summary.sandbox}."
    )
    if counts:
        lines.append("Findings: " + ", ".join(f"{code} {number}" for code, number in sorted(counts.items())) + ".")
    if summary.waiting:
        lines.append(
            f"{summary.waiting} wait for a human: open formgrader in JupyterLab, then course grade {options.name} --feedback."
        )
    lines.append(f"Journal: {summary.journal}")
    return "\n".join(lines)

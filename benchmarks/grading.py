"""How fast the grader is, and what a large class with a killed worker costs.

    python -m benchmarks.grading
    python -m benchmarks.grading --exercises 02_lora_math --students 500

Benign work: each exercise's own solution, handed in by 40 students, graded three ways, by turns and each time anew: serially (everything on one core), with
one job (marks and feedback are written on another core meanwhile), and with two jobs. Then a class of 500:
correct, partly right, wrong, broken and hostile submissions of the tests' exercise; half-way one of the two workers is killed with -9.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

from course_lib.grading.sandbox import Limits, Sandbox, choose, self_test
from course_lib.versions import versions
from tests.grading.school import database, journal
from tests.grading.submissions import KINDS, NAME, PARTS, hand_in, make_class, make_course

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "grading.json"
MARK = re.compile(r"[ \t]*### (BEGIN|END) SOLUTION\n?")


WAYS = {"serial": (1, 1), "one_job": (1, None), "two_jobs": (2, None)}
"""Jobs, and the cores that everything together may use: None for all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    exercises = sorted(folder.name for folder in (ROOT / "lessons" / "exercises" / "source").iterdir() if folder.is_dir())
    parser.add_argument("--exercises", nargs="+", default=exercises, choices=exercises)
    parser.add_argument("--benign", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--students", type=int, default=500)
    options = parser.parse_args()
    results = {
        "sandbox": sandbox(),
        "benign": [benign(name, options.benign, options.rounds) for name in options.exercises],
        "class": large_class(options.students),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def sandbox() -> dict[str, object]:
    started = time.perf_counter()
    with Sandbox(choose(), Limits(), ["numpy"]) as one:
        ready = time.perf_counter()
        assert self_test(one) == []
        tested = time.perf_counter()
        forks = []
        for _ in range(20):
            before = time.perf_counter()
            assert one.fork("student").end() == (None, True)
            forks.append(time.perf_counter() - before)
        return {
            "kind": one.mode,
            "start_seconds": round(ready - started, 3),
            "self_test_seconds": round(tested - ready, 3),
            "fork_and_end_seconds": round(sorted(forks)[len(forks) // 2], 4),
        }


def benign(name: str, number: int, rounds: int) -> dict[str, object]:
    """Seconds of the whole command, graded in each of `WAYS`."""
    source = json.loads((ROOT / f"lessons/exercises/source/{name}/{name}.ipynb").read_text())
    solved = json.loads((ROOT / f"lessons/exercises/release/{name}/{name}.ipynb").read_text())
    for cell, own in zip(solved["cells"], source["cells"], strict=True):
        if own["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = MARK.sub("", "".join(own["source"]))
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    each: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in [*WAYS][turn % len(WAYS) :] + [*WAYS][: turn % len(WAYS)]:
            jobs, cores = WAYS[way]
            with tempfile.TemporaryDirectory() as folder:  # nothing is graded there yet, for any
                course = Path(folder)
                for place in ("source", "release"):
                    shutil.copytree(ROOT / "lessons" / "exercises" / place / name, course / place / name)
                for student in range(number):
                    hand_in(course, f"s{student:03}", solved, name)
                with on_cores(cores):
                    started = time.perf_counter()
                    subprocess.run(command(course, name, jobs), cwd=ROOT, check=True, capture_output=True)
                    seconds[way].append(round(time.perf_counter() - started, 2))
                lines = list(journal(course, name).values())
            assert len(lines) == number
            assert all(line["status"] == "graded" for line in lines), lines[0]
            each[way] += [line["seconds"] for line in lines]
    medians = {way: median(found) for way, found in seconds.items()}
    return {
        "exercise": name,
        "submissions": number,
        "seconds": seconds,
        "median_seconds": medians,
        "two_jobs_against": {way: round(medians[way] / medians["two_jobs"], 2) for way in ("serial", "one_job")},
        "median_submission_seconds": {way: round(median(found), 3) for way, found in each.items()},
    }


@contextlib.contextmanager
def on_cores(number: int | None) -> Iterator[None]:
    """Let this process, and so those that it starts, use the first so many of its cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def large_class(number: int) -> dict[str, object]:
    """A class in which every kind comes up again and again; everybody must be graded once, as their kind says."""
    with tempfile.TemporaryDirectory() as folder:
        course = make_course(Path(folder))
        Path(folder).chmod(0o755)
        kinds = make_class(course)
        plain = [
            name
            for name, kind in KINDS.items()
            if not kind.slow and kind.make.__name__ == "<lambda>" and name != "fifty_megabytes"
        ]
        for place in range(number - len(kinds)):
            kind = KINDS[plain[place % len(plain)]]
            student = f"{kind.name}-{place:03}"
            content = kind.make(Path())
            if content is None:
                (course / "submitted" / student / NAME).mkdir(parents=True)
            else:
                hand_in(course, student, content)
            kinds[student] = kind
        started = time.perf_counter()
        run = subprocess.Popen(
            [*command(course, NAME, 2), "--seconds", "3"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        killed = None
        while run.poll() is None:
            time.sleep(0.2)
            file = course / "grading" / f"{NAME}.jsonl"
            if killed is None and file.exists() and len(file.read_text().splitlines()) > number // 2:
                worker = next(child for child in psutil.Process(run.pid).children() if "spawn_main" in " ".join(child.cmdline()))
                killed = len(journal(course))
                os.kill(worker.pid, signal.SIGKILL)
        seconds = time.perf_counter() - started
        assert run.returncode == 0
        assert killed is not None
        lines = [json.loads(line) for line in (course / "grading" / f"{NAME}.jsonl").read_text().splitlines()[1:]]
        assert sorted(line["student"] for line in lines) == sorted(kinds)
        for line in lines:
            want = kinds[line["student"]].scores
            assert tuple(line["scores"][NAME][part] for part in PARTS) == want, line
            stored = database(course, line["student"])
            assert tuple(stored[part] for part in PARTS) == want, line
        return {"students": len(lines), "kinds": len(KINDS), "jobs": 2, "killed_after": killed, "seconds": round(seconds, 1)}


def command(course: Path, name: str, jobs: int) -> list[str]:
    return [sys.executable, "-m", "course_lib", "grade", name, "--course", str(course), "--jobs", str(jobs)]


if __name__ == "__main__":
    main()

"""How long each lesson takes, and how much memory, on which machine: kept when lessons are published, and shown in the README."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

from course_lib.notebook.syllabus import lessons, lessons_folder

FILE = Path("results") / "runtimes.json"
"""Below the folder of the lessons."""
BETWEEN = re.compile(r"(?<=<!-- run times, from lessons/results/runtimes\.json -->\n).*?(?=<!-- end of run times -->)", re.DOTALL)


def machine() -> str:
    """This machine in a few words: cores, memory, graphics card."""
    import psutil
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {psutil.virtual_memory().total / 1e9:.0f} GB, {card}"


def keep(lesson: Path, seconds: float, peak_bytes: int) -> None:
    """Note what a lesson took on this machine, if the folder of its results exists; and bring the README up to date.

    Args:
        lesson: the notebook.
        seconds: from the kernel's start to the last cell's end.
        peak_bytes: the most memory that its kernel took.
    """
    file = lesson.parent / FILE
    if not file.parent.is_dir():
        return
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    mine = found.setdefault(machine(), {})
    mine[lesson.name[:2]] = {"seconds": round(seconds), "gigabytes": round(peak_bytes / 1e9, 2)}
    _write(file, json.dumps(found, indent=1, sort_keys=True) + "\n")
    readme = lesson.parent.parent / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        _write(readme, BETWEEN.sub(lambda _: runtimes_table(found), text))


def stored() -> dict[str, dict[str, dict[str, float]]]:
    """For each machine, for each lesson's number, its seconds and gigabytes."""
    file = lessons_folder() / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def runtimes_table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """What `stored` holds as a Markdown table."""
    if not found:
        return ""
    head = ["lesson", *found]
    rows = [
        [f"{number} {lesson.title}", *(_said(of.get(number)) for of in found.values())]
        for number, lesson in lessons().items()
        if any(number in of for of in found.values())
    ]
    total = ["together", *(f"{sum(m['seconds'] for m in of.values()) / 60:.0f} minutes" for of in found.values())]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows, total])


def _said(measured: dict[str, float] | None) -> str:
    return f"{measured['seconds']:.0f} s, {measured['gigabytes']:.2f} GB" if measured else ""


def _write(file: Path, text: str) -> None:
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)

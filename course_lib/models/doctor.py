"""Does this machine have what the course needs?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from course_lib.models.loading import WREN

NEEDED = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "datasets",
    "accelerate",
    "ipywidgets",
    "jupyterlab",
    "matplotlib",
)
MEMORY = 2 * 2**30  # bytes: the whole course fits Binder's 2 GB
DISK = 500 * 2**20


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, what was found, whether it is good, and the remedy if it is not."""

    what: str
    found: str
    good: bool
    remedy: str = ""


def examine(where: Path = Path()) -> list[Finding]:
    """Python, packages, memory, disk, accelerator and weights of this machine."""
    import psutil

    findings = [Finding("Python", sys.version.split()[0], sys.version_info >= (3, 11), "install Python 3.11 or newer")]
    for package in NEEDED:
        try:
            findings.append(Finding(package, metadata.version(package), True))
        except metadata.PackageNotFoundError:
            findings.append(Finding(package, "missing", False, f"pip install {package}"))
    memory, disk = psutil.virtual_memory().total, shutil.disk_usage(where).free
    findings += [
        Finding("processor", f"{platform.machine()}, {os.cpu_count()} cores", True),
        Finding("memory", f"{memory / 2**30:.1f} GB", memory >= 0.9 * MEMORY, "use a machine with 2 GB or more"),
        Finding("free disk", f"{disk / 2**30:.1f} GB", disk >= DISK, "make room: 0.5 GB are needed"),
        Finding(
            "wren's weights",
            f"{WREN.name}/",
            (WREN / "model.safetensors").is_file(),
            "install course_lib again: its weights are missing",
        ),
        Finding("accelerator", _accelerator(), True),
    ]
    return findings


def _accelerator() -> str:
    try:
        import torch
    except ImportError:
        return "unknown"
    if not torch.cuda.is_available():
        return "none, and none is needed"
    return f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GB"

"""A run's folder: config, versions, metrics, curve, adapter; written so that a crash never leaves a half file that looks whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.files import is_disk_full
from course_lib.training.config import TrainConfig

COMPLETE = "complete"
"""In a checkpoint's folder, written last: without it the checkpoint may be half written and is not used."""


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run lies."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The config, as TOML; a folder that has it holds a run."""
        return self.path / "config.toml"

    @property
    def metrics_file(self) -> Path:
        """Written last of all: a run that has it is finished."""
        return self.path / "metrics.json"

    @property
    def curve_file(self) -> Path:
        """Step, loss and learning rate, one JSON object a line."""
        return self.path / "curve.jsonl"

    @property
    def versions_file(self) -> Path:
        """Versions of everything the numbers depend on."""
        return self.path / "versions.json"

    @property
    def checkpoints(self) -> Path:
        """What resuming needs; removed when the run is finished."""
        return self.path / "checkpoints"

    def weights(self, method: str) -> Path:
        """The trained adapter, or the whole model after full fine-tuning."""
        return self.path / ("model" if method == "full" else "adapter")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.metrics_file.is_file()

    def metrics(self) -> dict[str, Any]:
        """What the finished run measured."""
        return json.loads(self.metrics_file.read_text(encoding="utf-8"))

    def curve(self) -> list[dict[str, float]]:
        """The run's loss curve."""
        return [json.loads(line) for line in self.curve_file.read_text(encoding="utf-8").splitlines()]

    def start(self, config: TrainConfig) -> None:
        """Make the folder for a new run.

        Raises:
            CourseError: the folder holds a run or anything else, or can't be made.
        """
        if self.config_file.exists():
            what = "a finished run" if self.finished else "a run that was not finished (go on with --resume)"
            raise CourseError(f"{self.path} already holds {what}: choose another --out, or remove it first")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise CourseError(f"{self.path} is not an empty folder: choose another --out")
        with saying_disk_full(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.config_file, config.to_toml())

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end."""
        done = [folder for folder in self.checkpoints.glob("checkpoint-*") if (folder / COMPLETE).is_file()]
        return max(done, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)


def write_whole(file: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also when the power fails."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def save_whole(folder: Path, save: Callable[[Path], object]) -> None:
    """Let ``save`` fill a folder that then appears whole at its place."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


@contextmanager
def saying_disk_full(path: Path, then: str = "") -> Iterator[None]:
    """Turn "no space left", and a folder that may not be written, into one sentence about ``path``."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PermissionError):
            raise CourseError(f"{path} can't be written (no permission): choose another folder") from error
        if is_disk_full(error):
            raise CourseError(f"the disk of {path} is full: make room{then}") from error
        raise

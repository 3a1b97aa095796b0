"""Experiment trackers: none by default; TensorBoard, Trackio or Weights & Biases by name, all of them also without a network."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.errors import CourseError

TRACKERS = ("none", "tensorboard", "trackio", "wandb")


def check_tracker(name: str) -> None:
    """Refuse a tracker whose package is missing, before any work.

    Raises:
        CourseError: it isn't installed.
    """
    if name != "none" and importlib.util.find_spec(name) is None:
        raise CourseError(
            f"the tracker {name} is not installed: pip install {name}, or choose --tracker none (the run's folder has its curve)"
        )


@contextmanager
def tracker_folders(name: str, folder: Path) -> Iterator[None]:
    """Let TensorBoard and W&B write into the run's folder; what the environment says goes first.

    W&B writes offline where it is not logged in (send it later with ``wandb sync``). Trackio keeps all its runs in one place of its
    own, on this machine, for ``trackio show``.
    """
    wanted = {"tensorboard": {"TENSORBOARD_LOGGING_DIR": "tensorboard"}, "wandb": {"WANDB_DIR": ""}}.get(name, {})
    settings = {variable: str(folder / place) for variable, place in wanted.items()}
    if name == "wandb" and not _logged_in_to_wandb():
        settings["WANDB_MODE"] = "offline"
    missing = {variable: value for variable, value in settings.items() if variable not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for variable in missing:
            os.environ.pop(variable, None)


def _logged_in_to_wandb() -> bool:
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    try:  # where `wandb login` keeps its key
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False

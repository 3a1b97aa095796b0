"""Files and folders that appear whole or not at all, and places that may not take them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.errors import CourseError

SPARE = 2**25  # bytes, for all that is not weights


def check_out(out: Path, size: int) -> None:
    """Refuse a place that is taken or not writable, or a disk too full for ``size`` bytes of weights.

    Raises:
        CourseError: see above. An empty folder is free to be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CourseError(f"{out} already exists and is not an empty folder: choose another --out, or remove it first")
    home = next(folder for folder in out.resolve().parents if folder.is_dir())
    if not os.access(home, os.W_OK):
        raise CourseError(f"you may not write in {home}: choose another --out")
    missing = size + SPARE - shutil.disk_usage(home).free
    if missing > 0:
        raise CourseError(f"{out} needs {missing / 1e9:.2f} GB more than {home} has free: free some, or write elsewhere")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A new folder to work in; what the block leaves in it under the name of ``out`` becomes ``out``, or nothing does.

    A process that is killed leaves the hidden ``.NAME.partial`` beside ``out``, which the next try removes.

    Raises:
        CourseError: the disk filled up, or ``out`` can't be written.
    """
    out = out.resolve()
    work = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        done = work / out.name
        for path in [done, *done.rglob("*")]:  # on disk before the new name is, even if the power fails
            if path.is_file():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
        if out.is_dir():  # an empty one: `check_out` lets no other through
            out.rmdir()
        done.rename(out)
    except Exception as error:
        if is_disk_full(error):
            raise CourseError(f"the disk filled up while writing {out}: free some space, or write elsewhere") from error
        if isinstance(error, OSError):
            raise CourseError(f"{out} cannot be written ({error}): choose another --out") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space is left; libraries written in Rust say so in words only, and torch.save not even that."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # "PytorchStreamWriter failed writing file", or, where only the end is missing, "inline_container.cc ... unexpected pos"
    torn = isinstance(error, RuntimeError) and ("PytorchStreamWriter" in str(error) or "unexpected pos" in str(error))
    return full or torn or "No space left on device" in str(error)

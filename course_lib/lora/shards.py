"""Safetensors files as streams: where each tensor goes, headers, and bytes read and written in place.

A safetensors file is 8 bytes of length, a JSON header of that length, then the tensors' bytes back to back. So a file's layout is
known before its first tensor is computed, and tensors may be written in any order, by several threads. Nothing here holds a tensor.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from course_lib.errors import CourseError
from course_lib.lora.folders import Stored

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes a number, for each type of safetensors' that a merge can write or pass on."""

PIECE = 2**26
"""Bytes copied at once: between two pieces a copy can be stopped, and progress shown."""


@dataclass(frozen=True)
class Slot:
    """One tensor of a file that is to be written: its type and shape, and where its bytes start."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


def shard_names(wanted: Mapping[str, tuple[str, tuple[int, ...]]], size: int) -> dict[str, str]:
    """Split tensors over files of at most ``size`` bytes, in their order; a larger tensor has a file of its own.

    Args:
        wanted: type and shape of each tensor.
        size: bytes.

    Returns:
        For each tensor its file's name, as transformers and vLLM expect it: ``model.safetensors`` if one file is enough.
    """
    numbers: dict[str, int] = {}
    room, shard = size, 1
    for name, (dtype, shape) in wanted.items():
        need = prod(shape) * ITEM_BYTES[dtype]
        if need > room and numbers:
            shard, room = shard + 1, size
        numbers[name] = shard
        room -= need
    if shard == 1:
        return dict.fromkeys(wanted, "model.safetensors")
    return {name: f"model-{number:05}-of-{shard:05}.safetensors" for name, number in numbers.items()}


def lay_out(
    folder: Path, wanted: Mapping[str, tuple[str, tuple[int, ...]]], files: Mapping[str, str]
) -> tuple[dict[str, Slot], dict[Path, bytes]]:
    """Where each tensor goes, and what each file starts with.

    Args:
        folder: the files' folder.
        wanted: type and shape of each tensor.
        files: for each tensor the name of its file.

    Returns:
        A `Slot` for each tensor, and for each file its first bytes: length and header.
    """
    slots, starts = {}, {}
    for file in dict.fromkeys(files.values()):
        # Wide types first, as safetensors itself does, so that every tensor starts at a multiple of its item's size.
        inside = sorted((name for name in wanted if files[name] == file), key=lambda name: -ITEM_BYTES[wanted[name][0]])
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset, offsets = 0, {}
        for name in inside:
            dtype, shape = wanted[name]
            end = offset + prod(shape) * ITEM_BYTES[dtype]
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
            offsets[name], offset = offset, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        starts[folder / file] = len(text).to_bytes(8, "little") + text
        for name, place in offsets.items():
            slots[name] = Slot(folder / file, *wanted[name], start=8 + len(text) + place)
    return slots, starts


def write_index(folder: Path, slots: Mapping[str, Slot]) -> None:
    """Write ``model.safetensors.index.json``, which says which file has which tensor; a single file needs none."""
    if len({slot.file for slot in slots.values()}) == 1 and next(iter(slots.values())).file.name == "model.safetensors":
        return
    index = {
        "metadata": {"total_size": sum(slot.size for slot in slots.values())},
        "weight_map": {name: slot.file.name for name, slot in sorted(slots.items())},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


# -- bytes -------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(files: Iterable[Path], flags: int) -> Iterator[dict[Path, int]]:
    """File descriptors of some files, closed at the end of the block."""
    descriptors: dict[Path, int] = {}
    try:
        for file in dict.fromkeys(files):
            descriptors[file] = os.open(file, flags | getattr(os, "O_BINARY", 0), 0o666)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def read_into(descriptor: int, buffer: memoryview, offset: int, file: Path) -> None:
    """Fill a buffer with a file's bytes from ``offset`` on. Several threads may read one file.

    Raises:
        CourseError: the file ends before, because it was cut short meanwhile.
    """
    while buffer:
        count = _read(descriptor, buffer, offset)
        if not count:
            raise CourseError(f"{file} ended before its time: copy or download it again, and leave it alone while it is merged")
        buffer, offset = buffer[count:], offset + count


def write_from(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Write a buffer's bytes into a file from ``offset`` on. Several threads may write one file."""
    while buffer:
        count = _write(descriptor, buffer, offset)
        buffer, offset = buffer[count:], offset + count


_SEEK = threading.Lock()


def _read(descriptor: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer[:PIECE]], offset)
    with _SEEK:  # Windows: position and read are two steps there
        os.lseek(descriptor, offset, os.SEEK_SET)
        found = os.read(descriptor, min(PIECE, len(buffer)))
    buffer[: len(found)] = found
    return len(found)


def _write(descriptor: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, buffer[:PIECE], offset)
    with _SEEK:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, buffer[:PIECE])


def copy_bytes(
    source: int, start: int, target: int, place: int, size: int, file: Path, on_bytes: Callable[[int], object]
) -> None:
    """Copy bytes from file to file inside the kernel where it can, which is what ``cp`` does: they never enter this process.

    Args:
        source: descriptor to read.
        start: offset of the first byte there.
        target: descriptor to write.
        place: offset of the first byte there.
        size: bytes to copy.
        file: what ``source`` is called, for the error.
        on_bytes: told how many bytes were copied, piece by piece.

    Raises:
        CourseError: the source ends before.
    """
    done = 0
    while done < size:
        piece = min(PIECE, size - done)
        count = _copy_in_kernel(source, start + done, target, place + done, piece)
        if count is None:
            buffer = memoryview(bytearray(min(piece, 2**22)))
            read_into(source, buffer, start + done, file)
            write_from(target, buffer, place + done)
            count = len(buffer)
        elif count == 0:
            raise CourseError(f"{file} ended before its time: copy or download it again, and leave it alone while it is merged")
        done += count
        on_bytes(count)


def _copy_in_kernel(source: int, start: int, target: int, place: int, size: int) -> int | None:
    """How many bytes ``copy_file_range`` copied; None where the system or the two file systems don't offer it."""
    if not hasattr(os, "copy_file_range"):
        return None
    try:
        return os.copy_file_range(source, target, size, start, place)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY):
            return None
        raise


def tensors_of(stored: Mapping[str, Stored]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each stored tensor, in the order in which they lie on disk."""
    ordered = sorted(stored.items(), key=lambda item: (item[1].file, item[1].start))
    return {name: (tensor.dtype, tensor.shape) for name, tensor in ordered}

"""Safetensors files as streams: where each tensor goes, headers, and bytes read and written in place.

A safetensors file is 8 bytes of length, a JSON header of that length, then the tensors' bytes back to back. So a file's layout is
known before its first tensor is computed, and tensors may be written in any order, by several threads. Nothing here holds a tensor.

Files are written past the page cache where the system offers it (O_DIRECT on Linux): a kernel that copies 16 GB into its cache, and
throws other pages out for them, is busy for longer than the disk. This needs offsets and addresses at whole blocks, so headers are
filled up to one, and tensors that aren't whole blocks come last in a file.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

from course_lib.errors import CourseError
from course_lib.lora.folders import Stored

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes a number, for each type of safetensors' that a merge can write or pass on."""

PIECE = 2**26
"""Bytes written or copied by one call: between two pieces a copy can be stopped, and progress shown."""

COPIED = 2**22
"""Bytes that pass by in one piece where a copy isn't the kernel's."""

BLOCK = 4096
"""Bytes that offsets, lengths and addresses must be multiples of to be written past the page cache."""


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
        inside = sorted((name for name in wanted if files[name] == file), key=lambda name: _order(*wanted[name]))
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset, offsets = 0, {}
        for name in inside:
            dtype, shape = wanted[name]
            end = offset + prod(shape) * ITEM_BYTES[dtype]
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
            offsets[name], offset = offset, end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % BLOCK)
        starts[folder / file] = len(text).to_bytes(8, "little") + text
        for name, place in offsets.items():
            slots[name] = Slot(folder / file, *wanted[name], start=8 + len(text) + place)
    return slots, starts


def _order(dtype: str, shape: tuple[int, ...]) -> tuple[int, bool]:
    """The order of tensors in a file: wide types first, then those of whole blocks."""
    return -ITEM_BYTES[dtype], prod(shape) * ITEM_BYTES[dtype] % BLOCK != 0


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


class Target:
    """A file that several threads write in place, each some of its bytes."""

    def __init__(self, file: Path) -> None:
        """Make the file.

        Raises:
            FileExistsError: it is there already.
        """
        self._plain = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        self._direct: int | None = None
        self._descriptors = [self._plain]
        if hasattr(os, "O_DIRECT"):
            with suppress(OSError):  # a file system without it
                self._direct = os.open(file, os.O_WRONLY | os.O_DIRECT)
                self._descriptors.append(self._direct)

    @property
    def past_cache(self) -> bool:
        """Whether whole blocks are written past the page cache."""
        return self._direct is not None

    def write(self, buffer: memoryview, offset: int) -> None:
        """Write a buffer's bytes from ``offset`` on."""
        direct = self._direct
        if direct is not None and not (offset % BLOCK or len(buffer) % BLOCK or _address(buffer) % BLOCK):
            try:
                while buffer and len(buffer) % BLOCK == 0:  # a full disk cuts short, and says why only when asked again
                    count = os.pwrite(direct, buffer[:PIECE], offset)
                    buffer, offset = buffer[count:], offset + count
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._direct = None  # some file systems open such a file, and then don't write it
        while buffer:
            count = _write(self._plain, buffer, offset)
            buffer, offset = buffer[count:], offset + count

    def copy(self, source: int, start: int, place: int, size: int) -> int | None:
        """Copy bytes from another file inside the kernel: how many were, or None where it doesn't offer that."""
        return _copy_in_kernel(source, start, self._plain, place, size)

    def resize(self, size: int) -> None:
        """Make the file ``size`` bytes long."""
        os.truncate(self._plain, size)

    def flush(self) -> None:
        """Wait until all is on disk."""
        os.fsync(self._plain)

    def close(self) -> None:
        """Close the file."""
        for descriptor in self._descriptors:
            os.close(descriptor)


@contextmanager
def made(files: Iterable[Path]) -> Iterator[dict[Path, Target]]:
    """New files to write, closed at the end of the block."""
    targets: dict[Path, Target] = {}
    try:
        for file in dict.fromkeys(files):
            targets[file] = Target(file)
        yield targets
    finally:
        for target in targets.values():
            target.close()


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


def _address(buffer: memoryview) -> int:
    """Where a buffer lies in memory; for one that can't be written, as of `bytes`, an odd number, which suits nothing."""
    return 1 if buffer.readonly else ctypes.addressof(ctypes.c_char.from_buffer(buffer))


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
    source: int, start: int, target: Target, place: int, size: int, file: Path, on_bytes: Callable[[int], object]
) -> None:
    """Copy bytes from file to file: past the page cache if the target takes them so, else inside the kernel where it can.

    Args:
        source: descriptor to read.
        start: offset of the first byte there.
        target: file to write.
        place: offset of the first byte there.
        size: bytes to copy.
        file: what ``source`` is called, for the error.
        on_bytes: told how many bytes were copied, piece by piece.

    Raises:
        CourseError: the source ends before.
    """
    done, buffer = 0, memoryview(mmap.mmap(-1, COPIED))  # at whole blocks, as a `Target` wants it
    blocks = size // BLOCK * BLOCK if target.past_cache and place % BLOCK == 0 else 0
    while done < size:
        count = None if done < blocks else target.copy(source, start + done, place + done, min(PIECE, size - done))
        if count is None:
            count = min(COPIED, (blocks if done < blocks else size) - done)
            read_into(source, buffer[:count], start + done, file)
            target.write(buffer[:count], place + done)
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

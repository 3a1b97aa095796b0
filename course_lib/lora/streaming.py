"""A merged model's files, written tensor by tensor: what stays is copied as it is, what changes passes by in chunks.

Each thread holds one chunk of a few MB, whatever the model's size. Reading, computing and writing of different chunks overlap, and
a file is flushed to disk while the next one is being written.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch

from course_lib.errors import CourseError
from course_lib.lora.layout import Layout
from course_lib.lora.shards import ITEM_BYTES, PIECE, Slot, Target, copy_bytes, lay_out, made, opened, shard_names, write_index
from course_lib.lora.updates import DTYPES, Change, Scratch, bytes_of, rows_of, whole_blocks

SHARE = 2**25
"""Numbers of one tensor that a thread takes on at once; what is larger, several threads share."""


def planned(
    layout: Layout, dtype: str | None, shard_size: int | None
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, str]]:
    """What the merged model's files will hold.

    Args:
        layout: what the merge does.
        dtype: safetensors' name of the type for all floating-point tensors, or None: each keeps its own.
        shard_size: bytes of a file at most, or None: the files are split as the base's are.

    Returns:
        Type and shape of each tensor, and the name of its file.

    Raises:
        CourseError: a tensor is of a type that can't be written.
    """
    tensors = {}
    for name in layout.order:
        change = layout.changes.get(name)
        source = change.source if change else layout.copies[name]
        stored = source.dtype if change is None else layout.order[name].dtype  # an adapter may bring a bfloat16 weight in float32
        kind = dtype if dtype and stored in DTYPES else stored
        if kind not in ITEM_BYTES or (change is not None and kind not in DTYPES):
            raise CourseError(f"{name} is stored as {stored}, which can't be merged: use a base in 16 or 32 bits")
        tensors[name] = (kind, change.shape if change else source.shape)
    if shard_size is None:
        return tensors, {name: tensor.file.name for name, tensor in layout.order.items()}
    return tensors, shard_names(tensors, shard_size)


@dataclass
class _Copy:
    """Bytes to copy from file to file."""

    source: Path
    start: int
    target: Path
    place: int
    size: int


@dataclass
class _Share:
    """Rows of a tensor to compute."""

    name: str
    change: Change
    slot: Slot
    start: int
    stop: int

    @property
    def target(self) -> Path:
        return self.slot.file


def _tasks(layout: Layout, slots: Mapping[str, Slot]) -> Iterator[_Copy | _Share]:
    """All the work, in the order of the files' bytes; tensors that lie side by side in both files are copied together."""
    pending: _Copy | None = None
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].file, item[1].start)):
        change = layout.changes.get(name)
        source = change.source if change else layout.copies[name]
        if change is None and source.dtype == slot.dtype:
            size = source.stop - source.start
            adjacent = (
                pending is not None
                and (pending.source, pending.start + pending.size) == (source.file, source.start)
                and (pending.target, pending.place + pending.size) == (slot.file, slot.start)
                and pending.size + size <= 4 * PIECE
            )
            if adjacent and pending is not None:
                pending.size += size
                continue
            if pending:
                yield pending
            pending = _Copy(source.file, source.start, slot.file, slot.start, size)
            continue
        if pending:
            yield pending
            pending = None
        change = change or Change(source.shape, source)
        rows, width = rows_of(slot.shape)
        step = whole_blocks(SHARE, width)
        for start in range(0, rows, step):
            yield _Share(name, change, slot, start, min(rows, start + step))
    if pending:
        yield pending


def write_model(
    layout: Layout,
    folder: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    files: Mapping[str, str],
    on_bytes: Callable[[int], object] = lambda count: None,
    *,
    workers: int | None = None,
) -> int:
    """Write the merged model's safetensors files, and their index if there are several. All are on disk when this returns.

    Args:
        layout: what the merge does.
        folder: an empty folder.
        tensors: type and shape of each tensor (`planned`).
        files: the name of each tensor's file (`planned`).
        on_bytes: told how many bytes more were written; by several threads, one at a time.
        workers: threads; by default one more than cores, because writing waits for the disk, and at most eight.

    Returns:
        Bytes written.

    Raises:
        CourseError: a file ends too early, or a number of the merged model is not finite or too large for its type.
        OSError: the disk is full or failing.
    """
    slots, starts = lay_out(folder, tensors, files)
    tasks = list(_tasks(layout, slots))
    sources = {task.source if isinstance(task, _Copy) else task.change.source.file for task in tasks}
    job = _Job(on_bytes)
    threads = torch.get_num_threads()
    with made(starts) as targets, opened(sources, os.O_RDONLY) as inputs:
        for file, header in starts.items():
            targets[file].write(memoryview(header), 0)
            targets[file].resize(max(slot.start + slot.size for slot in slots.values() if slot.file == file))
        line, flusher, flushes = _Line(tasks), ThreadPoolExecutor(1), []
        number = workers or min(8, 1 + (os.cpu_count() or 1))
        pool = ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))

        def work() -> None:
            while (task := line.take()) is not None:
                job.run(task, inputs, targets)
                if line.finished(task):
                    flushes.append(flusher.submit(targets[task.target].flush))

        try:
            waiting = {pool.submit(work) for _ in range(number)}
            while waiting:  # not forever at once, so that Ctrl-C is heard
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            for flush in flushes:
                flush.result()
        finally:
            job.stopped.set()
            line.close()
            pool.shutdown()
            flusher.shutdown()
            torch.set_num_threads(threads)
    write_index(folder, slots)
    return sum(slot.size for slot in slots.values()) + sum(map(len, starts.values()))


class _Line:
    """The work that waits, given out so that threads write different files: the kernel lets one write to a file at a time."""

    def __init__(self, tasks: list[_Copy | _Share]) -> None:
        self._waiting: dict[Path, deque[_Copy | _Share]] = {}
        for task in tasks:
            self._waiting.setdefault(task.target, deque()).append(task)
        self._busy = dict.fromkeys(self._waiting, 0)
        self._lock = threading.Lock()

    def take(self) -> _Copy | _Share | None:
        """The next task of the file that the fewest threads are at, the first of these; None if there is no more work."""
        with self._lock:
            file = min((file for file, tasks in self._waiting.items() if tasks), key=self._busy.__getitem__, default=None)
            if file is None:
                return None
            self._busy[file] += 1
            return self._waiting[file].popleft()

    def finished(self, task: _Copy | _Share) -> bool:
        """Note that a task is done; whether its file is."""
        with self._lock:
            self._busy[task.target] -= 1
            return not self._waiting[task.target] and not self._busy[task.target]

    def close(self) -> None:
        """Give out nothing more."""
        with self._lock:
            for tasks in self._waiting.values():
                tasks.clear()


class _Job:
    """What the threads share."""

    def __init__(self, on_bytes: Callable[[int], object]) -> None:
        self.stopped = threading.Event()
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._own = threading.local()

    def _scratch(self) -> Scratch:
        if not hasattr(self._own, "scratch"):
            self._own.scratch = Scratch()
        return self._own.scratch

    def count(self, size: int) -> None:
        """Count bytes, one thread at a time; a job that was stopped ends here."""
        with self._lock:
            self._on_bytes(size)
        if self.stopped.is_set():
            raise InterruptedError("the merge was stopped")

    def run(self, task: _Copy | _Share, inputs: Mapping[Path, int], targets: Mapping[Path, Target]) -> None:
        """Do one task."""
        if isinstance(task, _Copy):
            target = targets[task.target]
            copy_bytes(inputs[task.source], task.start, target, task.place, task.size, task.source, self.count)
            return
        work, descriptor, slot = task.change.work(), inputs[task.change.source.file], task.slot
        dtype, width = DTYPES[slot.dtype], rows_of(slot.shape)[1]
        scratch = self._scratch()
        for start, stop in task.change.chunks(task.start, task.stop):
            with torch.inference_mode():
                W = work.merged(descriptor, start, stop, scratch)
                _check_range(task.name, W, dtype)
                numbers = scratch.empty("merged", tuple(W.shape), dtype).copy_(W)
            targets[slot.file].write(bytes_of(numbers), slot.start + start * width * dtype.itemsize)
            self.count(numbers.nbytes)


def _check_range(name: str, W: torch.Tensor, dtype: torch.dtype) -> None:
    """Refuse numbers that are not finite, or that would not be in the type they are stored in."""
    if not W.numel():
        return
    low, high = torch.aminmax(W)
    largest = max(-low.item(), high.item())
    if not largest <= torch.finfo(dtype).max:  # so that nan fails too
        kind = str(dtype).removeprefix("torch.")
        raise CourseError(
            f"the merged {name} has numbers up to {largest:.3g}, which {kind} can't hold, so nothing was written: "
            + ("check the adapter" if dtype in (torch.float32, torch.bfloat16) else "merge into bfloat16 or float32 instead")
        )

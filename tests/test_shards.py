"""Files written in place: past the page cache where that is offered, and the same bytes wherever it isn't."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib.errors import CourseError
from course_lib.lora import shards
from course_lib.lora.shards import BLOCK, COPIED, Target, copy_bytes, lay_out, made
from course_lib.lora.updates import Scratch, bytes_of, whole_blocks


@pytest.fixture(params=["as it is", "not offered", "opens and doesn't write"])
def system(request, monkeypatch):
    """Systems that differ in whether they write past the page cache."""
    if request.param == "not offered":
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    if request.param == "opens and doesn't write":
        real = os.pwrite

        def pwrite(descriptor: int, buffer: memoryview, offset: int) -> int:
            if not offset % BLOCK and not len(buffer) % BLOCK and not refused:
                refused.append(offset)
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(descriptor, buffer, offset)

        refused: list[int] = []
        monkeypatch.setattr(os, "pwrite", pwrite)
    return request.param


def test_every_byte_arrives_wherever_it_goes(tmp_path: Path, system: str) -> None:
    scratch = Scratch()
    whole = scratch.empty("whole", (3 * BLOCK,), torch.uint8).copy_(torch.randint(256, (3 * BLOCK,)))
    odd = torch.randint(256, (1000,), dtype=torch.uint8)
    with made([tmp_path / "out"]) as files:
        target = files[tmp_path / "out"]
        target.resize(5 * BLOCK + 1000)
        target.write(bytes_of(whole), BLOCK)
        target.write(bytes_of(odd), 4 * BLOCK)
        target.write(memoryview(b"head"), 0)
        target.flush()
    found = (tmp_path / "out").read_bytes()
    assert found[:4] == b"head"
    assert found[BLOCK : 4 * BLOCK] == whole.numpy().tobytes()
    assert found[4 * BLOCK : 4 * BLOCK + 1000] == odd.numpy().tobytes()
    assert len(found) == 5 * BLOCK + 1000


@pytest.mark.parametrize("place", [0, BLOCK, 8])
@pytest.mark.parametrize("size", [100, 3 * BLOCK, COPIED + BLOCK + 100])
def test_a_copy_is_the_same_bytes(tmp_path: Path, system: str, place: int, size: int) -> None:
    (tmp_path / "in").write_bytes(bytes(9) + os.urandom(size))
    told: list[int] = []
    with made([tmp_path / "out"]) as files, shards.opened([tmp_path / "in"], os.O_RDONLY) as sources:
        target = files[tmp_path / "out"]
        copy_bytes(sources[tmp_path / "in"], 9, target, place, size, tmp_path / "in", told.append)
    assert sum(told) == size
    assert (tmp_path / "out").read_bytes()[place:] == (tmp_path / "in").read_bytes()[9:]


def test_a_copy_of_a_file_cut_short_says_so(tmp_path: Path, system: str) -> None:
    (tmp_path / "in").write_bytes(bytes(BLOCK + 5))
    with made([tmp_path / "out"]) as files, shards.opened([tmp_path / "in"], os.O_RDONLY) as sources:
        target = files[tmp_path / "out"]
        with pytest.raises(CourseError, match="ended before its time"):
            copy_bytes(sources[tmp_path / "in"], 0, target, 0, 3 * BLOCK, tmp_path / "in", lambda count: None)


def test_a_full_disk_is_not_taken_for_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, buffer: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    numbers = Scratch().empty("numbers", (BLOCK,), torch.uint8)
    target = Target(tmp_path / "out")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        target.write(bytes_of(numbers), 0)
    target.close()


def test_a_target_is_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError):
        Target(tmp_path / "out")


def test_headers_fill_whole_blocks_and_odd_tensors_come_last(tmp_path: Path) -> None:
    wanted = {"odd": ("BF16", (3,)), "whole": ("BF16", (64, 64)), "wide": ("F32", (1024,))}
    slots, starts = lay_out(tmp_path, wanted, dict.fromkeys(wanted, "model.safetensors"))
    (file,) = starts
    assert len(starts[file]) % BLOCK == 0
    assert [name for name, _ in sorted(slots.items(), key=lambda item: item[1].start)] == ["wide", "whole", "odd"]
    with made(starts) as files:
        files[file].write(memoryview(starts[file]), 0)
        files[file].resize(max(slot.start + slot.size for slot in slots.values()))
    assert {name: tuple(tensor.shape) for name, tensor in load_file(file).items()} == {
        n: shape for n, (_, shape) in wanted.items()
    }


@pytest.mark.parametrize(("size", "width"), [(2**20, 4096), (2**20, 896), (2**20, 14336), (2**20, 1000), (100, 384), (5, 0)])
def test_rows_of_a_chunk_are_whole_blocks_if_they_can(size: int, width: int) -> None:
    rows = whole_blocks(size, width)
    assert rows >= 1
    assert rows * max(1, width) <= max(size, max(1, width))
    if size >= BLOCK * max(1, width):
        assert rows * width % BLOCK == 0

"""`course train` on a disk that really fills up: one sentence, nothing half-written that looks whole, and resuming ends the run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs a namespace of Linux's"),
]
SHORT = TrainConfig(model="tiny", examples=24, batch_size=8, epochs=2, seed=0)  # 6 steps, each with a checkpoint
CHECKPOINT = 5_600_000  # bytes, of rank 16 on all linear layers of wren: weights, AdamW's two states, tokenizer

# Another program fills the disk, all but some bytes, just after the run looked whether there is room, or when all steps are done.
TRAIN_WHILE_IT_FILLS = """
import shutil, sys
from course_lib import cli
from course_lib.training import sft
config, out, when, left = sys.argv[1:]
look, save = sft._check_disk, sft.save_whole
def fill():
    with open(out + "/../ballast", "wb") as file:
        file.write(bytes(shutil.disk_usage(out).free - int(left)))
def then_fill(*given):
    look(*given)
    fill()
def fill_then(*given):
    fill()
    save(*given)
if when == "before":
    sft._check_disk = then_fill
else:
    sft.save_whole = fill_then
sys.exit(cli.main(["train", "--config", config, "--out", out]))
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder on which `on_a_disk_of` mounts its disk."""
    folder = tmp_path / "small"
    folder.mkdir()
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", folder]).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    return folder


def on_a_disk_of(size: int, folder: Path, *commands: str) -> list[tuple[int, str]]:
    """Exit status and stderr of each shell command, run one after another with a disk of so many bytes at the folder.

    The commands know $small, the disk; $saved, a folder elsewhere; $python; $config and $fills, two files. The disk is gone afterwards.
    """
    saved = folder.parent / "saved"
    saved.mkdir(exist_ok=True)
    config, fills = folder.parent / "config.toml", folder.parent / "fills.py"
    config.write_text(SHORT.to_toml())
    fills.write_text(TRAIN_WHILE_IT_FILLS)
    script = [f"mount -t tmpfs -o size={size} none $small"]
    script += [f"{{ {command}; }} 2> $saved/{i}.err; echo $?" for i, command in enumerate(commands)]
    names = {"small": folder, "saved": saved, "python": sys.executable, "config": config, "fills": fills}
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", "\n".join(script)],
        env=os.environ | {name: str(path) for name, path in names.items()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    codes = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    return [(code, (saved / f"{i}.err").read_text()) for i, code in enumerate(codes)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    trained = train(SHORT, tmp_path_factory.mktemp("runs") / "undisturbed", progress=False)
    return (trained.folder.weights("lora") / "adapter_model.safetensors").read_bytes()


def sentence(errors: str) -> str:
    """What a command said on stderr, but for the bar; one line, or the test fails."""
    said = [line.strip() for line in re.split(r"[\r\n]", errors) if line.strip() and "step/s" not in line and "?it" not in line]
    (line,) = said  # one, and not behind the bar
    return line


@pytest.mark.parametrize(
    ("when", "left", "checkpoint"),
    [
        ("before", 1_000_000, None),
        ("before", 3_000_000, None),
        ("before", int(1.6 * CHECKPOINT), "checkpoint-1"),
        ("after", 1_000_000, "checkpoint-6"),
    ],
    ids=[
        "in the first weights",
        "in the first optimiser states",
        "in the second checkpoint",
        "in the last weights",
    ],
)
def test_a_disk_that_really_fills_up(small: Path, undisturbed: bytes, when: str, left: int, checkpoint: str | None) -> None:
    full, _, _, again, _ = on_a_disk_of(
        40_000_000,
        small,
        f"$python $fills $config $small/run {when} {left}",
        "cp -r $small/run $saved/full",
        "rm $small/ballast",
        "$python -m course_lib train --resume --out $small/run",
        "cp -r $small/run $saved/again",
    )
    assert full[0] == 2, full[1]
    assert re.fullmatch(
        r"course: the disk of \S+ is full: make room, then go on with: course train --resume --out \S+", sentence(full[1])
    )
    run = RunFolder(small.parent / "saved" / "full")
    assert not run.finished
    assert not run.weights("lora").exists()
    found = run.last_checkpoint()
    assert (found.name if found else None) == checkpoint
    if found:  # whole it is
        assert load_file(found / "adapter_model.safetensors")
        assert torch.load(found / "optimizer.pt", weights_only=True)["state"]
    assert again[0] == 0, again[1]
    run = RunFolder(small.parent / "saved" / "again")
    assert run.finished
    assert run.metrics()["resumed"] == bool(checkpoint)
    assert (run.weights("lora") / "adapter_model.safetensors").read_bytes() == undisturbed
    assert not list(run.path.rglob("*.partial"))


def test_a_disk_that_is_too_small_is_refused_and_one_that_is_said_to_do_does(small: Path) -> None:
    """The number in the sentence is true: with it the run fits, and it doesn't ask for twice of what it uses."""
    (refused,) = on_a_disk_of(2_000_000, small, "$python -m course_lib train --config $config --out $small/run")
    assert refused[0] == 2, refused[1]
    needed = re.search(r"is too full: (\d+) MB are needed and \d MB are free", sentence(refused[1]))
    assert needed, refused[1]
    size = 1_000_000 * (int(needed[1]) + 1)  # the sentence rounds, and the disk itself takes some
    does, resumed = on_a_disk_of(
        size,
        small,
        "$python -m course_lib train --config $config --out $small/run",
        "test $(du -sb $small/run/adapter | cut -f1) -gt 1000000",
    )
    assert does[0] == 0, does[1]
    assert resumed[0] == 0
    assert size < 4 * CHECKPOINT  # three lie there at once

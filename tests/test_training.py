"""Runs: configs, data, what lies on disk, and what crashes and interruptions leave."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from course_lib.data.rows import check_lengths, legal_rows, read_rows
from course_lib.errors import CourseError
from course_lib.evaluation.report import evaluate
from course_lib.evaluation.suites import suite
from course_lib.models.loading import WREN, load_model
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder, save_whole
from course_lib.training.sft import Interrupted, sft_trainer, train

SHORT = TrainConfig(model="tiny", examples=48, batch_size=8, epochs=2, dropout=0.1)  # 12 steps


def bits(run: Path) -> bytes:
    return (run / "adapter/adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    return train(SHORT, folder, progress=False), folder


# -- config and data ---------------------------------------------------------------------------------------------------


def test_config_survives_toml(tmp_path):
    config = TrainConfig(target_modules=("q_proj", "v_proj"), lr=1e-4, packing=True)
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml())
    assert TrainConfig.from_toml(file) == config


def test_one_target_module_is_a_list_of_one(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("target_modules = 'q_proj'")
    assert TrainConfig.from_toml(file).target_modules == ("q_proj",)
    assert TrainConfig().target_modules == "all-linear"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnak = 3", "unknown keys rnak"),
        ("rank = 'a'", "rank can't be 'a'"),
        ("rank =", "is not TOML"),
        ("lr = -1", "lr must be"),
    ],
)
def test_bad_config_is_named(tmp_path, text, message):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(CourseError, match=message):
        TrainConfig.from_toml(file)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "completion": "a"},
        {"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]},
        {"instruction": "p", "input": "", "output": "a"},
    ],
)
def test_every_form_is_the_same_row(tmp_path, row):
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps(row) + "\n\n")
    (read,) = read_rows(file)
    assert read.prompt == ({"role": "user", "content": "p"},)
    assert read.answer == "a"
    assert read.source == "data.jsonl:1"


def test_each_assistant_turn_is_learnt(tmp_path):
    turns = [{"role": role, "content": f"{role}{i}"} for i in (1, 2) for role in ("user", "assistant")]
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "system", "content": "s"}, *turns]}))
    first, second = read_rows(file)
    assert (first.answer, second.answer) == ("assistant1", "assistant2")
    assert len(second.prompt) == 4


def test_all_bad_rows_are_named_at_once(tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"prompt": "p"}\nno json\n{"prompt": "p", "completion": "a"}\n{"prompt": "p", "completion": ""}\n[1]\n')
    with pytest.raises(CourseError) as caught:
        read_rows(file)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines[1:]] == ["1", "2", "4", "5"]


def test_long_rows_are_refused_not_cut(wren):
    rows = legal_rows(5)
    check_lengths(rows, wren[1], 512)
    with pytest.raises(CourseError, match=r"legal:1: \d+ tokens, the last \d+ would be cut"):
        check_lengths(rows, wren[1], 20)


# -- runs --------------------------------------------------------------------------------------------------------------


def test_run_folder_is_complete(undisturbed):
    trained, folder = undisturbed
    run = RunFolder(folder)
    assert run.finished
    assert TrainConfig.from_toml(run.config_file) == SHORT
    assert json.loads(run.versions_file.read_text())["torch"]
    assert run.curve() == trained.curve
    assert trained.curve[-1]["loss"] < trained.curve[0]["loss"]
    assert not run.checkpoints.exists()
    assert not list(folder.rglob("*.partial"))


def test_same_seed_same_bits(undisturbed, tmp_path):
    train(SHORT, tmp_path / "again", progress=False)
    assert bits(tmp_path / "again") == bits(undisturbed[1])
    train(SHORT.with_changes(seed=1), tmp_path / "other", progress=False)
    assert bits(tmp_path / "other") != bits(undisturbed[1])


def test_the_loss_on_a_cpu_is_trls(tmp_path, wren):
    """Our trainer leaves out what carries no loss because that is faster; it must be the loss that TRL computes."""
    import torch
    from trl import SFTTrainer

    with warnings.catch_warnings(action="error", category=FutureWarning):  # a user would see TRL's in each run
        trainer = sft_trainer(load_model(WREN), wren[1], legal_rows(16), SHORT, RunFolder(tmp_path), progress=False)
    trainer.model.eval()  # no dropout
    batch = next(iter(trainer.get_train_dataloader()))
    answers = torch.tensor(int((batch["labels"][:, 1:] != -100).sum()))
    ours = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=answers)
    trainer.compute_loss_func = None
    trls = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=answers)
    assert type(trainer) is not SFTTrainer
    assert torch.allclose(ours, trls, rtol=1e-5)


def command(out: Path, *flags: str) -> list[str]:
    config = out.parent / "short.toml"
    config.write_text(SHORT.to_toml())
    return [sys.executable, "-m", "course_lib", "train", "--config", str(config), "--out", str(out), *flags]


def wait_for_checkpoint(out: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while not list(out.glob("checkpoints/*/complete")):
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_and_resumed_is_bit_identical(undisturbed, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_checkpoint(out, process)
    process.kill()
    process.wait()
    run = RunFolder(out)
    assert not run.finished
    # A half-written newest checkpoint, as a crash inside a save leaves it, must not be used.
    (run.checkpoints / "checkpoint-999").mkdir()
    resumed = train(TrainConfig(), out, resume=True, progress=False)
    assert resumed.metrics["resumed"]
    assert bits(out) == bits(undisturbed[1])


@pytest.mark.slow
def test_ctrl_c_loses_nothing(undisturbed, tmp_path):
    out = tmp_path / "stopped"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for_checkpoint(out, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "go on with: course train --resume" in errors
    assert "Traceback" not in errors
    train(TrainConfig(), out, resume=True, progress=False)
    assert bits(out) == bits(undisturbed[1])


def test_interrupt_in_a_notebook_is_one_sentence(tmp_path):
    def press(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a shell's background job starts with Ctrl-C ignored
    with pytest.raises(Interrupted, match="stopped at step"):
        train(SHORT, tmp_path / "run", progress=False, on_step=press)
    assert signal.getsignal(signal.SIGINT) is before


def test_half_a_save_is_never_seen(tmp_path):
    def fails(path: Path) -> None:
        (path / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_whole(tmp_path / "adapter", fails)
    assert not (tmp_path / "adapter").exists()


def test_disk_full_is_one_sentence(tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("course_lib.training.sft.save_whole", full)
    with pytest.raises(CourseError, match=r"the disk of .* is full"):
        train(SHORT.with_changes(examples=8, epochs=1), tmp_path / "run", progress=False)
    assert not RunFolder(tmp_path / "run").finished


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "qlora"])
def test_other_methods_train(tmp_path, method):
    trained = train(SHORT.with_changes(method=method), tmp_path / "run", progress=False)
    assert trained.curve[-1]["loss"] < trained.curve[0]["loss"]
    assert any(trained.folder.weights(method).glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_main_job(tmp_path, wren):
    """Defaults on the legal task: learnt, on never-paired types too, and nothing general lost."""
    trained = train(TrainConfig(model="tiny"), tmp_path / "run", progress=False)
    before, after = (evaluate(model, wren[1], suite("all"), progress=False) for model in (wren[0], trained.model))
    assert after.by_skill["legal"].rate >= 0.90
    assert after.never_paired.rate >= 0.85
    for skill, earlier in before.by_skill.items():
        assert after.by_skill[skill].right >= earlier.right - 0.02 * earlier.total, skill

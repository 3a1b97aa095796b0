"""Many processes: the same result as one, one writer, and no launch that silently becomes another."""

import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from benchmarks.gpu_many import launchers
from course_lib.errors import CourseError
from course_lib.models.loading import load_model, resolve
from course_lib.training import processes, sft
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import train

CONFIG = TrainConfig(model="tiny", examples=48, batch_size=8, epochs=1)  # 6 steps
TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def launched(launcher: list[str], config: TrainConfig, out: Path, *flags: str) -> subprocess.CompletedProcess:
    file = out.with_suffix(".toml")
    file.write_text(config.to_toml())
    words = [sys.executable, "-m", *launcher, "course_lib", "train", "--config", str(file), "--out", str(out), *flags]
    return subprocess.run(words, capture_output=True, text=True, timeout=200, env=ONE_THREAD)


TORCHRUN = ["torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2", "-m"]


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    done = launched(TORCHRUN, CONFIG, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    one = train(CONFIG, tmp_path / "one", progress=False)
    two = RunFolder(tmp_path / "two")
    assert done.stdout.count("Saved to") == 1, "one process speaks"
    metrics = two.metrics()
    assert (metrics["processes"], one.metrics["processes"]) == (2, 1)
    assert [metrics[key] for key in ("steps", "tokens", "rows")] == [one.metrics[key] for key in ("steps", "tokens", "rows")]
    assert [point["loss"] for point in two.curve()] == pytest.approx([point["loss"] for point in one.curve], rel=1e-4)
    weights = [load_file(tmp_path / name / "adapter/adapter_model.safetensors") for name in ("one", "two")]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=1e-4), name
    assert not list(two.path.rglob("*.partial"))
    assert not two.checkpoints.exists()


@pytest.mark.slow
def test_a_mistake_is_said_once_and_leaves_nothing(tmp_path):
    done = launched(TORCHRUN, CONFIG.with_changes(batch_size=7), tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("course: batch_size 7 is that of all processes together") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_accelerates_cpu_flag_is_refused_not_run_by_one(tmp_path):
    done = launched(["accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"], CONFIG, tmp_path / "run")
    assert done.returncode != 0
    assert "accelerate was asked for 2 processes and started one" in done.stderr
    assert "torchrun --standalone --nproc_per_node 2" in done.stderr
    assert not (tmp_path / "run").exists()


def test_sharding_without_gpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CourseError, match="FSDP would silently keep a whole model"):
        train(CONFIG, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("change", "named"), [({"method": "qlora"}, "4-bit weights"), ({"ewc": 1.0}, "EWC holds on to")])
def test_what_cannot_be_sharded_is_refused(tmp_path, monkeypatch, change, named):
    """Seen on two GPUs: QLoRA under FSDP ended in a traceback."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(CourseError, match=named):
        train(CONFIG.with_changes(**change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_sharded_model_is_loaded_beside_the_gpus(tmp_path, monkeypatch):
    """Loaded onto each GPU in full, as it was, a model had to fit each one before it was shared out."""

    class Seen(Exception):
        pass

    def load_model(*arguments, where, **options):
        raise Seen(where)

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(sft, "check_launch", lambda: None)
    monkeypatch.setattr(sft, "load_model", load_model)
    with pytest.raises(Seen, match="cpu"):
        train(CONFIG, tmp_path / "run", progress=False)


def test_only_what_was_trained_is_gathered():
    """Seen on two GPUs: each of six checkpoints gathered all 16 GB of Llama-3-8B's weights, and left all but the adapter out."""
    model = get_peft_model(load_model(resolve("tiny")), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    gathered = sft._gathered(SimpleNamespace(model=model))
    assert gathered.keys() - {"base_model.model.lm_head.weight"} == trained.keys(), "a tied head is no parameter of its own"
    assert all(torch.equal(gathered[name], parameter) for name, parameter in trained.items())


def test_sharded_checkpoints_are_known_to_be_larger(tmp_path, monkeypatch):
    """Seen on two GPUs: accelerate writes the trained weights once more into each."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(sft, "check_launch", lambda: None)
    monkeypatch.setattr(sft.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    need = []
    for name in ("plain", "sharded"):
        with pytest.raises(CourseError, match="is too full") as said:
            train(CONFIG.with_changes(method="full"), tmp_path / name, progress=False)
        need.append(int(re.search(r"(\d+) MB are needed", str(said.value))[1]))
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    weights = sum(parameter.numel() * 4 for parameter in load_model(resolve("tiny"), dtype="float32").parameters()) / 1e6
    assert need[1] - need[0] >= 3 * weights * 0.49, "once more in each of three checkpoints, in 16 or 32 bits"


@pytest.mark.gpu
@TWO_GPUS
def test_one_process_takes_one_gpu_and_its_batch(tmp_path):
    assert train(CONFIG, tmp_path / "run", progress=False).metrics["steps"] == 6


def test_fsdp_of_version_1_is_refused(tmp_path, monkeypatch):
    """Seen on two GPUs: it trains, and saves an adapter file of 40 bytes."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(CourseError, match="fsdp_version: 2"):
        train(CONFIG, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("python /bin/accelerate launch --cpu --num_processes 2 train.py", 2),
        ("python /bin/accelerate launch --num-processes=4 train.py", 4),
        ("python -m accelerate.commands.launch --cpu --num_processes 3 train.py", 3),
        ("accelerate launch --num_processes 2 train.py", 2),
        ("python /bin/accelerate launch train.py", 1),
        ("python /bin/accelerate config --num_processes 2", 1),
        ("python train.py launch --num_processes 2", 1),
        ("bash", 1),
        ("", 1),
    ],
)
def test_what_a_command_asks_of_accelerate(command, asked):
    assert processes._asked_of_accelerate(command.split()) == asked


def test_the_batch_is_that_of_all_processes(monkeypatch):
    assert processes.per_process(16) == 16
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes.per_process(16) == 4
    with pytest.raises(CourseError, match="choose a multiple"):
        processes.per_process(18)


def test_one_process_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    processes.check_launch()
    assert taken == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(CourseError, match="there are 2 GPUs"):
        processes.check_launch()


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, pytest.param(True, marks=[pytest.mark.gpu, TWO_GPUS])])
def test_two_processes_stop_and_go_on(tmp_path, sharded):
    """Ctrl-C as a launcher hands it on: both processes end after the same step, with one checkpoint that two can resume."""
    import signal
    import time

    launcher = launchers(2, tmp_path)["fsdp"] if sharded else TORCHRUN
    config = CONFIG.with_changes(examples=400)
    file, out = tmp_path / "run.toml", tmp_path / "run"
    file.write_text(config.to_toml())
    words = [sys.executable, "-m", *launcher, "course_lib", "train", "--config", str(file), "--out", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    deadline = time.monotonic() + 150
    while not list(out.glob("checkpoints/*/complete")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode != 0
    assert errors.count("go on with: course train --resume") == 1
    done = launched(launcher, config, out, "--resume")
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["resumed"]
    assert metrics["steps"] == 50

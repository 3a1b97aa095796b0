"""The command, from outside: what it prints, and one sentence and status 2 for every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from course_lib.cli import _parser, main
from course_lib.models.loading import WREN, load_model
from course_lib.training.config import TrainConfig


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say: {i}", "completion": str(i)}) + "\n" for i in range(8)))
    return file


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """The sentence that a mistake ends in."""
    assert main([str(a) for a in arguments]) == 2
    message = capsys.readouterr().err.rpartition("course: ")[2]
    assert "Traceback" not in message
    return message


def test_train_eval_chat_merge(tmp_path, data, capsys):
    out = tmp_path / "run"
    assert main(["train", "--data", str(data), "--epochs", "1", "--out", str(out)]) == 0
    assert "course eval --model tiny --adapter" in capsys.readouterr().out
    scores = tmp_path / "scores.json"
    assert main(["eval", "--adapter", str(out / "adapter"), "--suite", "legal", "--json", str(scores)]) == 0
    assert json.loads(scores.read_text())["skills"]["legal"]["total"] == 300
    merged = tmp_path / "merged"
    assert main(["merge", "--model", "tiny", "--adapter", str(out / "adapter"), "--out", str(merged)]) == 0
    capsys.readouterr()
    assert main(["chat", "--model", str(merged), "--prompt", "What is 12 + 30?"]) == 0
    assert capsys.readouterr().out.strip() == "42"
    assert "already holds a finished run" in refused(capsys, "train", "--data", data, "--out", out)
    # An adapter of another base: wren with one number changed.
    assert "another" in refused(capsys, "eval", "--model", other_base(tmp_path), "--adapter", out / "adapter")


def test_every_field_of_the_config_has_a_flag():
    options = _parser().parse_args(["train", "--out", "run"])
    assert not {field for field in TrainConfig().as_dict() if not hasattr(options, field)}


def other_base(tmp_path: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(WREN)
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    folder = tmp_path / "another"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(WREN).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rank", "0"], "rank must be a whole number of at least 1, not 0"),
        (["--rank", "-4"], "rank must be a whole number of at least 1, not -4"),
        (["--seed", "-1"], "seed must be a whole number from 0"),
        (["--ewc", "-1"], "ewc must be a finite number of at least 0, not -1"),
        (["--ewc", "1", "--method", "qlora"], "ewc needs gradients of the base's weights"),
        (["--precision", "fp16"], "precision must be one of auto, float32, bfloat16"),
        (["--lr", "nan"], "lr must be a finite number above 0, not nan"),
        (["--target-modules", "q_proj,query"], "no target modules query: choose from down_proj, gate_proj"),
        (["--method", "lorra"], "method must be one of full, lora, qlora"),
        (["--data", "/no/such/file.jsonl"], "there is no data file"),
        (["--data", os.devnull], "holds no rows"),
        (["--model", "no-owner/no-model"], "the hub can't be reached"),
        (["--model", "nonsense"], "there is no model 'nonsense'"),
        (["--max-length", "20"], "would be cut"),
        (["--config", "/no/such.toml"], "there is no config file"),
        (["--resume"], "holds no run to resume"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes(tmp_path, capsys, monkeypatch, flags, sentence):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    out = tmp_path / "run"
    assert sentence in refused(capsys, "train", *flags, "--out", out)
    assert not out.exists(), "nothing may be left behind"


def test_output_that_cant_be_written_is_said_first(tmp_path, capsys):
    assert "there is no folder" in refused(capsys, "eval", "--json", tmp_path / "no" / "scores.json")


def test_no_adapter(tmp_path, capsys):
    assert "there is no folder" in refused(capsys, "chat", "--adapter", tmp_path / "none", "--prompt", "x")
    assert "is not an adapter" in refused(capsys, "chat", "--adapter", tmp_path, "--prompt", "x")


@pytest.mark.parametrize("command", ["doctor", "train", "eval", "chat", "merge", "sweep", "pretrain", "lab"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"course {command}" in capsys.readouterr().out


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    assert "Everything is there" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["merge", "train"])
def test_no_compiler_is_loaded(command, tmp_path):
    """PyTorch's, which bitsandbytes would bring in: a second in which nothing happens."""
    adapter = tmp_path / "adapter"
    get_peft_model(load_model(WREN), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).save_pretrained(adapter)
    words = {
        "merge": ["merge", "--model", "tiny", "--adapter", str(adapter), "--out", str(tmp_path / "merged"), "--no-verify"],
        "train": ["train", "--model", "tiny", "--examples", "8", "--epochs", "1", "--out", str(tmp_path / "run")],
    }[command]
    look = "print([name for name in sys.modules if name.startswith('torch._inductor.compile_fx')])"
    code = f"import sys; from course_lib.cli import main; assert main({words}) == 0; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_compiler_is_there_for_who_asks():
    """What keeps bitsandbytes from loading it is over with that import."""
    code = """
import os, torch
from course_lib.models.loading import import_bitsandbytes

import_bitsandbytes()
print(os.environ.get("TORCHDYNAMO_DISABLE"))
torch.compile(lambda x: x + 1, backend=lambda graph, inputs: print("compiled") or graph)(torch.ones(1))
"""
    bare = {name: value for name, value in os.environ.items() if name != "TORCHDYNAMO_DISABLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare)
    assert done.stdout.split() == ["None", "compiled"]

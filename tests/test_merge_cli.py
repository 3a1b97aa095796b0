"""The command ``course merge``: its flags, and what it says."""

import json

import pytest

from course_lib import cli
from course_lib.lora import merge as merging
from course_lib.lora.folders import stored_tensors
from tests.test_merge import make_adapter, make_base


@pytest.fixture
def folders(tmp_path):
    base = make_base(tmp_path / "base")
    return base, make_adapter(tmp_path / "one", base), make_adapter(tmp_path / "two", base, seed=5), tmp_path / "merged"


def run(folders, *flags: str) -> int:
    base, one, _, out = folders
    return cli.main(["merge", "--model", str(base), "--adapter", str(one), "--out", str(out), *flags])


def test_several_adapters_types_and_shards(folders, capsys):
    flags = ("--adapter", str(folders[2]), "--weight", "0.7", "--weight", "0.3", "--dtype", "float32", "--shard-size", "40KB")
    assert run(folders, *flags, "--no-verify") == 0
    assert "not compared: --verify" in capsys.readouterr().out
    assert {tensor.dtype for tensor in stored_tensors(folders[3]).values()} == {"F32"}
    assert len(list(folders[3].glob("model-*.safetensors"))) > 1
    assert [entry["weight"] for entry in json.loads((folders[3] / "merge.json").read_text())["adapters"]] == [0.7, 0.3]


def test_a_small_model_is_proven_by_itself_and_a_large_one_if_asked_to(folders, capsys, monkeypatch):
    assert run(folders) == 0
    assert "Logits differ" in capsys.readouterr().out
    monkeypatch.setattr(merging, "SMALL", 1)
    base, one, two, out = folders
    assert run((base, one, two, out.with_name("large"))) == 0
    assert "not compared" in capsys.readouterr().out
    assert run((base, one, two, out.with_name("asked")), "--verify") == 0
    assert "Logits differ" in capsys.readouterr().out


def test_a_size_that_is_none_is_refused(folders, capsys):
    with pytest.raises(SystemExit):
        run(folders, "--shard-size", "many")
    assert "write 5GB" in capsys.readouterr().err

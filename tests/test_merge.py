"""Merging, from outside: what comes out computes the same, and what cannot be right is refused with nothing left behind."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from course_lib.errors import CourseError
from course_lib.lora import proof, streaming, updates
from course_lib.lora.folders import check_adapter, fingerprint, stored_tensors, write_base_mark
from course_lib.lora.merge import merge, probe_tokens
from course_lib.models.tokenizer import train_tokenizer

M = "model.safetensors"
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_base(
    folder: Path, *, seed: int = 0, width: int = 32, layers: int = 2, dtype: str = "bfloat16", tied: bool = True
) -> Path:
    tokenizer = train_tokenizer(["a tiny text to learn from"], vocabulary=280)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        initializer_range=0.2,  # so that logits are as large as a trained model's
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, *, seed: int = 1, size: float = 0.1, mark: bool = True, **settings) -> Path:
    settings = {"r": 4, "lora_alpha": 16, "target_modules": ALL_LINEAR} | settings
    torch.manual_seed(seed)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter += size * torch.randn_like(parameter)
    model.save_pretrained(folder)
    if mark:
        write_base_mark(folder, base)
    return folder


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """A base and an adapter for it, which no test may change."""
    shelf = tmp_path_factory.mktemp("shelf")
    make_adapter(shelf / "adapter", make_base(shelf / "base"))
    return shelf


@pytest.fixture
def base(shelf, tmp_path) -> Path:
    return Path(shutil.copytree(shelf / "base", tmp_path / "base"))


@pytest.fixture
def adapter(shelf, tmp_path) -> Path:
    return Path(shutil.copytree(shelf / "adapter", tmp_path / "adapter"))


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out" / "merged"


def logits(base: Path, adapter: Path | None = None) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.inference_mode():
        return model.eval()(input_ids=probe_tokens(model.get_input_embeddings().weight.shape[0])).logits


def refused(base: Path, adapter: Path, out: Path, match: str, **settings) -> None:
    """The merge is refused in one sentence, and leaves nothing behind."""
    before = sorted(out.parent.iterdir()) if out.parent.exists() else []
    with pytest.raises(CourseError, match=match) as caught:
        merge(base, adapter, out, **settings)
    assert "\n" not in str(caught.value)
    assert (sorted(out.parent.iterdir()) if out.parent.exists() else []) == before


# -- what comes out ----------------------------------------------------------------------------------------------------


def test_merged_computes_what_the_adapter_does_and_reports_it(base, adapter, out):
    steps = []
    report = merge(base, adapter, out, on_step=lambda *step: steps.append(step))
    expected, got = logits(base, adapter), logits(out)
    assert report.dtype == "bfloat16"
    assert report.difference == (expected - got).abs().max().item()
    assert 0 < report.difference < report.bound
    assert report.difference < report.effect / 10
    assert report.effect == (expected - logits(base)).abs().max().item()
    assert report.agreement == (expected.argmax(-1) == got.argmax(-1)).float().mean().item() > 0.9
    assert report.size == (out / "model.safetensors").stat().st_size
    assert report.warnings == ()
    assert list(dict.fromkeys(what for what, _, _ in steps)) == ["checking", "merging", "proving"]
    done = [done for what, done, _ in steps if what == "merging"]
    assert done == sorted(done)
    assert done[-1] == steps[-1][2] > 0.9 * report.size


def test_the_sum_is_done_in_float32_and_rounded_once(base, adapter, out):
    merge(base, adapter, out)
    before, after, factors = (load_file(f / n) for f, n in ((base, M), (out, M), (adapter, "adapter_model.safetensors")))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in factors:
            weight = (weight.float() + 4 * (factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"])).bfloat16()
        assert torch.equal(after[name], weight), name


def test_float32_is_exact_to_rounding(tmp_path, out):
    base = make_base(tmp_path / "base32", dtype="float32")
    report = merge(base, make_adapter(tmp_path / "adapter32", base), out)
    assert report.dtype == "float32"
    assert report.difference < 1e-5 * logits(base).abs().max()
    assert report.agreement == 1


def test_the_type_can_be_chosen(base, adapter, out):
    half, full = merge(base, adapter, out, dtype="float16"), merge(base, adapter, out.with_name("full"), dtype="float32")
    assert {tensor.dtype for tensor in stored_tensors(out).values()} == {"F16"}
    assert full.difference < half.difference
    assert full.size > 1.9 * half.size
    refused(base, adapter, out.with_name("odd"), "int8.*float32", dtype="int8")


def test_plain_transformers_loads_all_of_it(base, adapter, out):
    merge(base, adapter, out)
    tokenizer, original = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(base)
    chat = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == original.apply_chat_template(chat, tokenize=False)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16
    assert model.config.tie_word_embeddings
    assert (out / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()
    assert not list(out.glob("adapter*"))
    assert out.stat().st_mode & 0o777 == base.stat().st_mode & 0o777


def test_the_adapters_own_tokenizer_goes_first(base, adapter, out):
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(adapter)
    merge(base, adapter, out)
    assert AutoTokenizer.from_pretrained(out).chat_template == tokenizer.chat_template


def test_a_generation_config_that_transformers_would_not_save_comes_along(base, adapter, out):
    (base / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9, "do_sample": false}')
    merge(base, adapter, out)
    assert json.loads((out / "generation_config.json").read_text())["temperature"] == 0.6


def test_the_record_says_what_was_merged(base, adapter, out):
    report = merge(base, adapter, out)
    record = json.loads((out / "merge.json").read_text())
    assert record["base"] == {"name": "base", "fingerprint": fingerprint(base)}
    assert record["adapters"] == [{"name": "adapter", "fingerprint": fingerprint(adapter), "rank": 4, "alpha": 16}]
    assert record["report"]["difference"] == report.difference
    assert "torch" in record["versions"]
    assert str(base.parent) not in json.dumps(record)


def test_a_new_adapter_merges_to_the_base_itself(base, tmp_path, out):
    report = merge(base, make_adapter(tmp_path / "new", base, size=0), out)
    assert report.difference == report.effect == 0
    before, after = load_file(base / M), load_file(out / M)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert fingerprint(out) == fingerprint(base)


def test_base_and_adapter_stay_as_they_are(base, adapter, out):
    def contents() -> dict:
        return {file: file.read_bytes() for folder in (base, adapter) for file in folder.iterdir()}

    before = contents()
    merge(base, adapter, out)
    assert contents() == before


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},  # PEFT's own merge of this one is wrong by 100 times the bound
        {"target_modules": ["q_proj", "lm_head"]},
    ],
    ids=lambda settings: "-".join(map(str, settings)),
)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_what_peft_can_train_merges_right(tmp_path, out, settings, tied):
    base = make_base(tmp_path / "base", tied=tied)
    adapter = make_adapter(tmp_path / "adapter", base, **settings)
    merge(base, adapter, out)
    expected = logits(base, adapter)
    assert (expected - logits(out)).abs().max() < 0.06 * expected.abs().max()


def test_a_sharded_base_merges_the_same(base, adapter, out):
    sharded = base.with_name("sharded")
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(sharded, max_shard_size="40kB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert fingerprint(sharded) == fingerprint(base)
    merge(sharded, adapter, out)
    assert fingerprint(out) == fingerprint(merge_to(base, adapter, out.with_name("whole")))


def merge_to(base: Path, adapter: Path, out: Path) -> Path:
    merge(base, adapter, out)
    return out


# -- the proof can fail ------------------------------------------------------------------------------------------------


def test_forgetting_alpha_over_r_fails_the_proof(base, adapter, out, monkeypatch):
    right = updates.Work._delta
    monkeypatch.setattr(updates.Work, "_delta", lambda work, term, *rest: right(work, term, *rest) / term.scale)
    refused(base, adapter, out, "not what PEFT's own merge makes")
    monkeypatch.setattr(proof, "_compare_weights", lambda *_: None)
    refused(base, adapter, out, "logits differ")


def test_a_wrong_scale_cannot_hide_behind_the_rounding_of_16_bits(base, tmp_path, out, monkeypatch):
    gentle = make_adapter(tmp_path / "gentle", base, size=3e-4)
    assert merge(base, gentle, out.with_name("right")).effect < proof.BOUNDS["bfloat16"] * logits(base).abs().max()
    right = updates.Work._delta
    monkeypatch.setattr(updates.Work, "_delta", lambda work, term, *rest: right(work, term, *rest) / term.scale)
    refused(base, gentle, out, "not what PEFT's own merge makes")


def test_what_is_proven_is_what_lies_on_disk(base, adapter, out, monkeypatch):
    right = streaming.write_model

    def wrong(layout, folder, *rest, **more):
        size = right(layout, folder, *rest, **more)
        weights = load_file(folder / M)
        weights["model.layers.1.mlp.down_proj.weight"].zero_()
        save_file(weights, folder / M, {"format": "pt"})
        return size

    monkeypatch.setattr(streaming, "write_model", wrong)
    refused(base, adapter, out, r"layers\.1\.mlp\.down_proj\.weight is not what PEFT")


def test_threads_write_different_files(tmp_path: Path) -> None:
    """The kernel lets one thread at a time write to a file: two at the same one took half as long again."""
    first, second = tmp_path / "1", tmp_path / "2"
    tasks = [streaming._Copy(tmp_path, 0, file, number, 1) for file in (first, second) for number in range(3)]
    line = streaming._Line(tasks)
    a, b = line.take(), line.take()
    assert (a.target, b.target) == (first, second)
    assert not line.finished(a)
    assert line.take() is tasks[1], "the file that nobody is at, from where it was left"
    assert line.take().target == first, "both have one thread: the first goes on"
    assert not line.finished(tasks[1])
    assert line.finished(tasks[2]), "the first file is done"
    line.close()
    assert line.take() is None


def test_an_adapter_of_nan_is_refused_even_without_proof(base, adapter, out):
    weights = load_file(adapter / "adapter_model.safetensors")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    refused(base, adapter, out, "numbers up to nan.*check the adapter", verify=False)


def test_an_adapter_lost_in_rounding_is_warned_about(base, tmp_path, out):
    report = merge(base, make_adapter(tmp_path / "faint", base, size=1e-4), out)
    assert any("rounding" in warning for warning in report.warnings)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_merging_twice_is_refused(base, adapter, out):
    merge(base, adapter, out)
    refused(out, adapter, out.with_name("again"), "already has the adapter")
    with pytest.raises(CourseError, match="already has the adapter"):
        check_adapter(out, adapter)


def test_a_base_with_other_weights_is_refused_by_fingerprint(base, adapter, tmp_path, out):
    other = make_base(tmp_path / "other", seed=9)
    refused(other, adapter, out, rf"trained on base \({fingerprint(base)[:12]}\).*other weights \({fingerprint(other)[:12]}\)")


def test_without_a_mark_the_base_that_peft_names_is_compared(base, tmp_path, out):
    adapter = make_adapter(tmp_path / "unmarked", base, mark=False)
    assert check_adapter(base, adapter) == []
    refused(make_base(tmp_path / "other", seed=9), adapter, out, "other weights")


def test_an_unknown_origin_is_a_warning(base, adapter, out):
    (adapter / "course_base.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "somebody/else"}))
    report = merge(base, adapter, out)
    assert len(report.warnings) == 1
    assert "else" in report.warnings[0]


def test_one_changed_number_in_any_tensor_changes_the_fingerprint(base):
    seen = {fingerprint(base)}
    weights = load_file(base / M)
    for tensor in weights.values():
        tensor.view(-1)[tensor.numel() // 2] += 1
        save_file(weights, base / M, {"format": "pt"})
        seen.add(fingerprint(base))
    assert len(seen) == 1 + len(weights)


def test_the_fingerprint_of_a_large_tensor_covers_its_edges(tmp_path):
    large = torch.zeros(3 * 2**20, dtype=torch.int8)
    prints = []
    for place in (None, 0, -1, 2**20 - 1, -(2**20), large.numel() // 2):
        changed = large.clone()
        if place is not None:
            changed[place] = 1
        save_file({"weight": changed}, tmp_path / M)
        prints.append(fingerprint(tmp_path))
    assert len(set(prints[:-1])) == 5
    assert prints[-1] == prints[0]  # as documented: the middle of more than 2 MiB is not read


@pytest.mark.parametrize(
    ("shape", "match"),
    [({"width": 64}, r"lora_B.weight is 32 x 4, but this base needs 64 x 4"), ({"layers": 1}, r"no place for .*layers\.1\.")],
    ids=["width", "layers"],
)
def test_a_base_of_another_shape_is_refused_and_the_tensor_named(shelf, tmp_path, out, shape, match):
    adapter = make_adapter(tmp_path / "unmarked", shelf / "base", mark=False)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    refused(make_base(tmp_path / "other", **shape), adapter, out, match)


def test_an_adapter_that_lacks_a_tensor_is_refused(base, adapter, out):
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in weights if "layers.1.self_attn.v_proj.lora_B" in name)
    del weights[name]
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})
    refused(base, adapter, out, r"incomplete, it lacks .*layers\.1\.self_attn\.v_proj\.lora_B")


def test_a_target_that_the_base_does_not_have_is_refused(base, adapter, out):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["query"]}))
    refused(base, adapter, out, "does not fit")


def test_a_quantised_base_is_refused(base, adapter, out):
    config = json.loads((base / "config.json").read_text())
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}))
    refused(base, adapter, out, "quantised.*16-bit original")


def test_a_real_4_bit_base_is_refused_for_a_merge_only(base, tmp_path, out):
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    four = tmp_path / "four"
    AutoModelForCausalLM.from_pretrained(base, quantization_config=settings, device_map="cpu").save_pretrained(four)
    adapter = make_adapter(tmp_path / "qlora", base, mark=False)
    write_base_mark(adapter, four)
    refused(four, adapter, out, "quantised.*16-bit original")
    assert check_adapter(four, adapter) == []  # to use it there is right
    assert "stored in 4 bits" in merge(base, adapter, out).warnings[0]  # and so is to merge it into the original


def test_an_adapter_trained_on_a_4_bit_base_is_warned_about(base, adapter, out):
    write_base_mark(adapter, base, four_bit=True)
    report = merge(base, adapter, out)
    assert len(report.warnings) == 1
    assert "4-bit" in report.warnings[0]


def edit_config(adapter: Path, **changes) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_an_alpha_that_was_changed_after_training_is_warned_about(base, adapter, out):
    edit_config(adapter, lora_alpha=4)
    (warning,) = merge(base, adapter, out).warnings
    assert "alpha / r = 4 " in warning
    assert "now says 1:" in warning
    mark = json.loads((adapter / "course_base.json").read_text())
    del mark["scale"]  # as the first marks were written
    (adapter / "course_base.json").write_text(json.dumps(mark))
    assert check_adapter(base, adapter) == []


def test_alpha_and_rank_swapped_in_the_config_are_refused(base, adapter, out):
    edit_config(adapter, r=16, lora_alpha=4)
    refused(base, adapter, out, r"lora_A.weight is 4 x \d+, but this base needs 16 x")


def test_other_kinds_of_adapter_are_refused(base, adapter, out):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    refused(base, adapter, out, "type IA3")
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": "pissa_niter_4"}))
    refused(base, adapter, out, "pissa_niter_4, which changes the base")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def pointer(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")


@pytest.mark.parametrize("damage", [cut, empty, pointer, Path.unlink], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "file", ["base/model.safetensors", "base/config.json", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"]
)
def test_damaged_and_missing_files_are_named(base, adapter, out, file, damage):
    damage(base.parent / file)
    folder, name = file.split("/")
    refused(base, adapter, out, rf"{folder}.*({name}|holds no weights)")


def test_a_missing_shard_is_named(base, adapter, out):
    sharded = base.with_name("sharded")
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(sharded, max_shard_size="40kB")
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    refused(sharded, adapter, out, f"lacks {shard.name}")


def test_a_base_that_lacks_a_tensor_is_refused(base, adapter, out):
    weights = load_file(base / M)
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, base / M, {"format": "pt"})
    write_base_mark(adapter, base)
    refused(base, adapter, out, "incomplete, it lacks model.layers.0.mlp.up_proj.weight")


def test_folders_that_are_none_are_refused(base, adapter, out, tmp_path):
    refused(base, tmp_path / "nowhere", out, "no folder")
    refused(tmp_path / "nowhere", adapter, out, "nowhere")
    refused(base, base, out, "not an adapter")


# -- where it goes -----------------------------------------------------------------------------------------------------


def test_an_out_folder_in_use_is_refused_and_kept(base, adapter, out):
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("mine")
    refused(base, adapter, out, "not an empty folder")
    refused(base, adapter, out / "thesis.txt", "not an empty folder")
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]


def test_an_empty_out_folder_is_used(base, adapter, out):
    out.mkdir(parents=True)
    merge(base, adapter, out)
    assert (out / M).is_file()


def test_too_full_a_disk_is_refused_before_anything_is_loaded(base, adapter, out, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    steps = []
    refused(base, adapter, out, r"needs 0\.03 GB more", on_step=lambda *step: steps.append(step[0]))
    assert steps == ["checking"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Denied")])
def test_a_failure_to_write_leaves_nothing(base, adapter, out, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(shutil, "copyfile", fail)
    refused(base, adapter, out, "filled up" if error.errno == errno.ENOSPC else "cannot be written.*Denied")


def test_an_interrupt_in_the_weights_leaves_nothing(base, adapter, out):
    def interrupt(what, done, total):
        if what == "merging" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(base, adapter, out, on_step=interrupt)
    assert list(out.parent.iterdir()) == []


def test_an_interrupt_leaves_nothing(base, adapter, out, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge(base, adapter, out)
    assert list(out.parent.iterdir()) == []


RUN = """
import os, shutil, signal, sys
from pathlib import Path
from course_lib.errors import CourseError
from course_lib.lora.merge import merge
base, adapter, out, how = sys.argv[1:]
if how == "kill in the weights":
    from course_lib.lora import streaming
    right = streaming._Job.count
    streaming._Job.count = lambda job, size: os.kill(os.getpid(), signal.SIGKILL) if size < 4000 else right(job, size)
if how == "kill":
    shutil.copyfile = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if how == "full":  # the check beforehand is fooled, as by another program that fills the disk meanwhile
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 0, 2**40)
try:
    merge(Path(base), Path(adapter), Path(out))
except CourseError as error:
    print(error, os.listdir(Path(out).parent))
    sys.exit(2)
"""


@pytest.mark.parametrize("how", ["kill", "kill in the weights"])
def test_a_killed_merge_leaves_no_out_folder_and_the_next_try_succeeds(base, adapter, out, how):
    killed = subprocess.run([sys.executable, "-c", RUN, base, adapter, out, how], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert [folder.name for folder in out.parent.iterdir()] == [".merged.partial"]
    merge(base, adapter, out)
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a namespace of Linux's")
@pytest.mark.parametrize("size", ["20k", "60k"], ids=["in the weights", "in the tokenizer"])
def test_a_disk_that_really_fills_up_leaves_nothing(base, adapter, tmp_path, size):
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size={size} none {small}"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    run = f"{mount} && exec {sys.executable} -c '{RUN}' {base} {adapter} {small / 'merged'} full"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", run], check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "filled up" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(base, adapter, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(base, adapter, locked / "merged", "may not write")

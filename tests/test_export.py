"""Exports to ONNX and GGUF compute what torch computes, are refused where they could not, and appear whole or not at all."""

import importlib.util
import json
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.onnx_parity import questions
from course_lib import cli
from course_lib.errors import CourseError
from course_lib.evaluation.generate import greedy
from course_lib.models.loading import WREN, load_adapted, load_model, load_tokenizer

pytest.importorskip("onnx", reason="needs the extra export")
pytest.importorskip("onnxruntime", reason="needs the extra export")
gguf_package = pytest.importorskip("gguf", reason="needs the extra export")

from course_lib.export import gguf, onnx, source, vocabulary  # noqa: E402
from course_lib.export.gguf import export_gguf  # noqa: E402
from course_lib.export.onnx import OnnxModel, export_onnx  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs" / "export.md"
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
KINDS = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "biased": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32, "tie_word_embeddings": False}),
}


def tiny(folder: Path, kind: str = "llama", **changes) -> Path:
    """A model folder with random weights and wren's tokenizer."""
    import transformers

    name, options = KINDS[kind]
    tokenizer = load_tokenizer(WREN)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    tokens = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), max_position_embeddings=512, **tokens, **{**shape, **options, **changes}
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    for parameter in model.parameters():  # so that biases are not 0, norms not 1, and no head is like another
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A small model and an adapter that changes what it says."""
    from peft import LoraConfig, get_peft_model

    base = tiny(tmp_path_factory.mktemp("adapted") / "base", "biased")
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    model.save_pretrained(base.parent / "adapter")
    return base, base.parent / "adapter"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Wren in ONNX, and what the export said."""
    folder = tmp_path_factory.mktemp("onnx") / "wren"
    return folder, export_onnx(WREN, folder)


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids).logits


def some_tokens(vocabulary: int = 2048) -> torch.Tensor:
    return torch.randint(vocabulary, (3, 100), generator=torch.Generator().manual_seed(1))


# -- ONNX --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_onnx_says_what_torch_says(exported, wren):
    folder, report = exported
    model, tokenizer = wren
    assert report.difference <= 1e-3
    got, _ = OnnxModel(folder).step(ids := some_tokens(), torch.ones_like(ids))
    assert (got - logits(model, ids)).abs().max() <= 1e-3
    asked = questions()
    assert len(set(asked)) == 100
    assert greedy(OnnxModel(folder), tokenizer, asked, max_new_tokens=10) == greedy(model, tokenizer, asked, max_new_tokens=10)


@pytest.mark.slow
def test_onnx_folder_is_complete(exported):
    folder, report = exported
    assert report.size == (folder / "model.onnx").stat().st_size
    assert AutoTokenizer.from_pretrained(folder).chat_template == load_tokenizer(WREN).chat_template
    assert json.loads((folder / "export.json").read_text())["report"]["difference"] == report.difference
    assert {file.name for file in WREN.glob("*config.json")} <= {file.name for file in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["wren"]


@pytest.mark.slow
def test_the_code_in_the_docs_runs(exported, wren, monkeypatch, capsys):
    """It needs onnxruntime, tokenizers and numpy, and neither torch nor the course."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text().split("## llama.cpp")[0], re.DOTALL)
    assert "torch" not in code.replace("onnxruntime", "")
    assert "course_lib" not in code
    monkeypatch.chdir(exported[0].parent)
    exec(code.replace("wren-onnx", "wren"), {})
    (question,) = re.findall(r'"content": "(.*?)"', code)
    assert capsys.readouterr().out.strip() == greedy(*wren, [question])[0]


def test_figures_in_the_docs_are_measured():
    """Each number that docs/export.md gives stands in a results file, and the bounds hold there."""
    from benchmarks import gguf_parity, onnx_parity

    docs = " ".join(DOCS.read_text().split())
    found = json.loads(onnx_parity.RESULTS.read_text())
    assert found["difference"] <= found["bound"] == onnx.BOUND
    assert found["same_text"] == found["prompts"] == 100
    assert f"by at most {found['difference']:.1e} ({found['bound']:.0e} is allowed)" in docs
    assert f"{found['same_text']} of {found['prompts']} greedy answers are the same" in docs
    assert f"comes {found['speed_up']:.1f} times as fast" in docs
    found = json.loads(gguf_parity.RESULTS.read_text())
    assert all(row in DOCS.read_text().splitlines() for row in gguf_parity.rows(found))
    assert f"logits go up to {found['largest_logit']:.1f}" in docs
    assert f"over {found['prompts']} prompts" in docs
    assert found["dtypes"]["float32"]["llama_cpp"] <= 1e-3
    assert found["dtypes"]["float32"]["same_text"] == 100
    assert {one["same_tokens"] for one in found["dtypes"].values()} == {100}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama3", "qwen3"])
def test_onnx_of_other_models_with_weights_beside_the_graph(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(onnx, "INLINE", 0)
    base = tiny(tmp_path / "base", kind)
    report = export_onnx(base, tmp_path / "out")
    assert report.difference <= 1e-3
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 4e5
    got, _ = OnnxModel(tmp_path / "out").step(ids := some_tokens(), torch.ones_like(ids))
    assert (got - logits(AutoModelForCausalLM.from_pretrained(base), ids)).abs().max() <= 1e-3


@pytest.mark.slow
def test_onnx_of_another_model_is_found_out(exported):
    other = load_model(WREN)
    other.model.layers[0].self_attn.q_proj.weight.data.mul_(1.01)
    with pytest.raises(CourseError, match="differ from torch's"):
        onnx.verify_onnx(exported[0], other)


@pytest.mark.slow
def test_an_adapter_is_merged_first(tmp_path, adapted):
    base, adapter = adapted
    ids = some_tokens()
    wanted = logits(load_adapted(base, adapter), ids)
    assert (wanted - logits(load_model(base), ids)).abs().max() > 0.1
    export_onnx(base, tmp_path / "out", adapter=adapter, verify=False)
    got, _ = OnnxModel(tmp_path / "out").step(ids, torch.ones_like(ids))
    assert (got - wanted).abs().max() <= 1e-3
    export_gguf(base, tmp_path / "out.gguf", adapter=adapter)
    config = AutoConfig.from_pretrained(base)  # the reader doesn't notice biases by itself
    assert (read_by_transformers(tmp_path / "out.gguf", ids, config=config) - wanted).abs().max() <= 1e-3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.gguf"]


# -- GGUF --------------------------------------------------------------------------------------------------------------


def read_by_transformers(file: Path, ids: torch.Tensor, **how) -> torch.Tensor:
    """Logits of a GGUF file as others read it, from nothing but the file."""
    return logits(AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, **how).eval(), ids)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_gguf_is_the_same_model(tmp_path, kind):
    changes = {"head_dim": 128} if kind == "qwen3" else {}  # the reader takes no other from the file
    base = tiny(tmp_path / "base", kind, **changes)
    report = export_gguf(base, tmp_path / "m.gguf")
    assert report.dtype == "float32"
    assert report.rounding <= report.bound
    ids = some_tokens()
    wanted = logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), ids)
    assert (read_by_transformers(tmp_path / "m.gguf", ids) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("dtype", gguf.TYPES)
def test_gguf_rounds_as_asked(tmp_path, dtype):
    base = tiny(tmp_path / "base", "biased", intermediate_size=80)
    report = export_gguf(base, tmp_path / "m.gguf", dtype=dtype)
    assert report.difference <= report.bound
    tensors = {tensor.name: tensor for tensor in gguf_package.GGUFReader(tmp_path / "m.gguf").tensors}
    assert tensors["blk.0.attn_q.weight"].tensor_type.name == gguf.TYPES[dtype]
    assert tensors["blk.0.attn_norm.weight"].tensor_type.name == tensors["blk.0.attn_q.bias"].tensor_type.name == "F32"
    # Rows of 80 weights make no whole blocks of 32.
    odd = tensors["blk.0.ffn_down.weight"].tensor_type.name
    assert (odd, len(report.warnings)) == (("F16", 2) if dtype == "q8_0" else (gguf.TYPES[dtype], 0))
    assert (report.rounding > report.bound) == (dtype != "float32")


def test_a_wrong_order_of_rows_is_found_out(tmp_path, monkeypatch):
    """Without the exchange of q's and k's rows a file loads and may still say the same, with other logits."""
    monkeypatch.setattr(gguf, "neighbours", lambda values, heads: values)
    with pytest.raises(CourseError, match="differ from the model's"):
        export_gguf(WREN, tmp_path / "m.gguf", dtype="q8_0")
    assert not list(tmp_path.iterdir())


def test_rotary_scaling_is_written(tmp_path):
    """llama.cpp divides each frequency by these: what is left must be transformers' own frequencies."""
    base = tiny(tmp_path / "base", "llama3")
    export_gguf(base, tmp_path / "m.gguf")
    (factors,) = (t.data for t in gguf_package.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "rope_freqs.weight")
    plain = 10000.0 ** -(np.arange(0, 16, 2) / 16)
    ours = AutoModelForCausalLM.from_pretrained(base).model.rotary_emb.inv_freq.numpy()
    assert np.allclose(plain / factors, ours, rtol=1e-6)
    assert 1 == factors.min() < factors.max() == 8
    export_gguf(tiny(tmp_path / "linear", "linear"), tmp_path / "l.gguf")
    fields = gguf_package.GGUFReader(tmp_path / "l.gguf").fields
    assert fields["llama.rope.scaling.factor"].contents() == 2
    assert fields["llama.rope.scaling.type"].contents() == "linear"


def test_tokenizer_is_written(tmp_path, wren):
    export_gguf(WREN, tmp_path / "m.gguf", verify=False)
    fields = gguf_package.GGUFReader(tmp_path / "m.gguf").fields
    _, tokenizer = wren

    def stored(name: str):
        return fields[f"tokenizer.{name}"].contents()

    assert stored("ggml.tokens") == tokenizer.convert_ids_to_tokens(range(2048))
    assert stored("ggml.pre") == "smollm"
    assert [stored("ggml.token_type")[i] for i in (0, 5, 6, 2047)] == [3, 3, 1, 1]
    assert stored("ggml.eos_token_id") == tokenizer.eos_token_id
    assert stored("ggml.bos_token_id") == tokenizer.bos_token_id
    assert not stored("ggml.add_bos_token")  # the chat template writes it
    # Any engine's templates, not only transformers', must give what the model was trained on.
    import jinja2

    template = jinja2.Environment().from_string(stored("chat_template"))
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    shown = template.render(messages=chat, bos_token=tokenizer.bos_token, add_generation_prompt=True)
    assert shown == tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def change_tokenizer(folder: Path, change) -> None:
    raw = json.loads((folder / "tokenizer.json").read_text())
    change(raw)
    (folder / "tokenizer.json").write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["pre_tokenizer"]["pretokenizers"].reverse(), None),
        (lambda raw: raw["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False), "no name for"),
        (lambda raw: raw["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Punctuation"}), "no name for"),
        (lambda raw: raw["model"].update(ignore_merges=True), "no name for"),
        (lambda raw: raw.update(normalizer={"type": "Lowercase"}), "no name for"),
        (lambda raw: raw["model"].update(byte_fallback=True), "SentencePiece-like"),
        (lambda raw: raw["model"].update(type="Unigram"), "is Unigram"),
    ],
)
def test_only_known_tokenizers_are_written(tmp_path, change, message):
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copyfile(WREN / name, tmp_path / name)
    change_tokenizer(tmp_path, change)
    if message is None:
        assert vocabulary.read_vocabulary(tmp_path, 2050).tokens[-2:] == ["[PAD2048]", "[PAD2049]"]
        return
    with pytest.raises(CourseError, match=message):
        vocabulary.read_vocabulary(tmp_path, 2048)


@pytest.mark.parametrize(("pattern", "name"), [(vocabulary._LLAMA3, "llama-bpe"), (vocabulary._QWEN2, "qwen2")])
def test_published_tokenizers_have_names(tmp_path, pattern, name):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}

    def change(raw):
        raw["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
        raw["model"]["ignore_merges"] = name == "llama-bpe"

    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(WREN / file, tmp_path / file)
    change_tokenizer(tmp_path, change)
    assert vocabulary.read_vocabulary(tmp_path, 2048).pre == name


def test_the_rules_are_those_that_others_wrote():
    import inspect

    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert PRETOKENIZE_REGEX == vocabulary._QWEN2
    assert inspect.signature(TikTokenConverter).parameters["pattern"].default == vocabulary._LLAMA3


def test_llama_cpp_computes_the_same(tmp_path):
    """Runs where llama.cpp's Python binding is installed; `python -m benchmarks.gguf_parity` measures more."""
    pytest.importorskip("llama_cpp", reason="llama.cpp's binding takes minutes to build: no part of the extra")
    from benchmarks.gguf_parity import llama_cpp_logits

    for kind in KINDS:
        base = tiny(tmp_path / kind, kind)
        export_gguf(base, tmp_path / f"{kind}.gguf")
        ids = some_tokens()[0]
        wanted = logits(AutoModelForCausalLM.from_pretrained(base), ids[None])[0]
        got = llama_cpp_logits(tmp_path / f"{kind}.gguf", ids.tolist())
        assert (got - wanted).abs().max() <= 5e-3 * wanted.abs().max(), kind


# -- both: what is refused, and nothing half done ----------------------------------------------------------------------


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "is a GPT2LMHeadModel"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "are quantised"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "of type dynamic"),
        (
            {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True},
            "window",
        ),
    ],
)
def test_models_that_cannot_be_exported_are_named(tmp_path, changes, message):
    base = tiny(tmp_path / "base")
    edit_config(base, **changes)
    for export, out in ((export_onnx, "out"), (export_gguf, "out.gguf")):
        with pytest.raises(CourseError, match=message):
            export(base, tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys):
    def says(*words: str) -> str:
        assert cli.main(["export", "--model", str(WREN), *map(str, words)]) == 2
        return capsys.readouterr().err

    taken = tmp_path / "taken.gguf"
    taken.mkdir()
    (taken / "x").touch()
    assert "already exists" in says("--to", "gguf", "--out", taken)
    assert "already exists" in says("--to", "onnx", "--out", taken)
    assert "doesn't end in .gguf" in says("--to", "gguf", "--out", tmp_path / "m.bin")
    assert "choose float32, float16, bfloat16, q8_0" in says("--to", "gguf", "--dtype", "q2", "--out", tmp_path / "m.gguf")
    assert "written in float32" in says("--to", "onnx", "--dtype", "float16", "--out", tmp_path / "m")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 10**6))
        assert "0.06 GB more" in says("--to", "onnx", "--out", tmp_path / "m")
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(source.importlib.util, "find_spec", lambda name: None if name in ("gguf", "onnx") else find(name))
        for to, out in (("onnx", "m"), ("gguf", "m.gguf")):
            assert "pip install 'fine-tuning-lora-measured[export]'" in says("--to", to, "--out", tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.gguf"]


def test_a_model_that_lacks_a_tensor_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    base = tiny(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    for export, out in ((export_onnx, "out"), (export_gguf, "out.gguf")):
        with pytest.raises(CourseError, match=r"lacks lm_head\.weight"):
            export(base, tmp_path / out)


def test_weights_too_large_for_float16_are_named(tmp_path):
    base = tiny(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = 1e5
    model.save_pretrained(base)
    with pytest.raises(CourseError, match=r"layers\.1\.mlp\.up_proj\.weight has weights that float16"):
        export_gguf(base, tmp_path / "m.gguf", dtype="float16")


@pytest.mark.parametrize("export", [export_onnx, export_gguf])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stopped_export_leaves_nothing(tmp_path, export, error, adapted):
    base, adapter = adapted

    def stop(what: str, done: int, total: int) -> None:
        if "verif" in what or "layers.1" in what or what == "tracing":
            raise error

    with pytest.raises(CourseError if isinstance(error, OSError) else KeyboardInterrupt):
        export(base, tmp_path / "m.gguf", adapter=adapter, on_step=stop)
    assert not list(tmp_path.iterdir())


def test_the_command_exports(tmp_path, capsys):
    assert cli.main(["export", "--to", "gguf", "--dtype", "q8_0", "--out", str(tmp_path / "m.gguf")]) == 0
    said = capsys.readouterr().out
    assert "Exported to" in said
    assert "rounding to q8_0" in said
    assert (tmp_path / "m.gguf").read_bytes()[:4] == b"GGUF"

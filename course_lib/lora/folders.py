"""What a folder of weights holds, whose weights they are, and whether an adapter belongs to a base.

Nothing here loads a weight: the header of a safetensors file says what is in it and how long it must be.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

BASE_MARK = "course_base.json"
"""In an adapter's folder: which base it was trained on (see `write_base_mark`)."""
MERGE_RECORD = "merge.json"
"""In a merged model's folder: what was merged into what, and the proof (see `course_lib.lora.merge`)."""

_EDGE = 2**20  # bytes


@dataclass(frozen=True)
class Stored:
    """One tensor as it lies on disk: bytes ``start`` to ``stop`` of ``file``."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file's content, or `CourseError` when it is missing or broken."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{file.parent} has no {file.name}: check the path, or copy the whole folder again") from None
    except (ValueError, OSError) as error:
        raise CourseError(f"{file} cannot be read ({error}): copy or download it again") from error


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a model or adapter folder, by name: sharded or not, safetensors only.

    Raises:
        CourseError: a file is missing, cut short, or not safetensors.
    """
    single = next((folder / f for f in ("model.safetensors", "adapter_model.safetensors") if (folder / f).is_file()), None)
    index = folder / "model.safetensors.index.json"
    if single:
        files = [single]
    elif index.is_file():
        files = sorted({folder / name for name in read_json(index)["weight_map"].values()})
    else:
        raise CourseError(f"{folder} holds no weights in safetensors files: check the path, or copy the whole folder again")
    return {name: tensor for file in files for name, tensor in _header(file).items()}


TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab*",
    "merges.txt",
    "*.model",
)
"""Patterns of what belongs to a tokenizer in a model's folder, whichever kind it is."""

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types that models are merged into and exported from: what safetensors calls them, and torch."""


def stored_dtype(folder: Path) -> str:
    """The type that most of a model's numbers are stored in, in torch's words.

    Raises:
        CourseError: it is none of `DTYPES`.
    """
    numbers: Counter[str] = Counter()
    for tensor in stored_tensors(folder).values():
        numbers[tensor.dtype] += prod(tensor.shape)
    code = numbers.most_common(1)[0][0]
    if code not in DTYPES:
        raise CourseError(f"the weights of {folder} are stored as {code}: take a model of {', '.join(DTYPES.values())}")
    return DTYPES[code]


def _header(file: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file: 8 bytes of length, a JSON header of that length, then the tensors' bytes."""
    again = "copy or download it again"
    if not file.is_file():
        raise CourseError(f"{file.parent} lacks {file.name}: {again}")
    if not os.access(file, os.R_OK):
        raise CourseError(f"you may not read {file}: ask its owner, or copy it")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        if size < start:
            raise CourseError(f"{file} is cut short or is not a safetensors file: {again}")
        try:
            header = json.loads(stream.read(start - 8))
            tensors = {
                name: Stored(file, entry["dtype"], tuple(entry["shape"]), *(start + offset for offset in entry["data_offsets"]))
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CourseError(f"{file} is not a safetensors file: {again}") from error
    whole = max((tensor.stop for tensor in tensors.values()), default=start)
    if size != whole:
        raise CourseError(f"{file} is damaged, it has {size} bytes where its header promises {whole}: {again}")
    return tensors


def fingerprint(folder: Path) -> str:
    """A sha256 that tells one set of weights from another, whatever files they are split into.

    It covers each tensor's name, type and shape, and its bytes: all of them up to 2 MiB, else the first and the last MiB.
    Training moves nearly every element of a tensor, so these edges are enough to tell models apart, and a model of 16 GB
    takes a second instead of a minute. It is no protection against somebody who edits the bytes between.

    Raises:
        CourseError: see `stored_tensors`.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(stored_tensors(folder).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            digest.update(stream.read(min(_EDGE, tensor.stop - tensor.start)))
            stream.seek(max(stream.tell(), tensor.stop - _EDGE))
            digest.update(stream.read(tensor.stop - stream.tell()))
    return digest.hexdigest()


def model_name(folder: Path) -> str:
    """A model folder's name without where it lies; for a snapshot in the hub's cache, the name that the hub knows."""
    folder = folder.resolve()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.name


def write_base_mark(adapter: Path, base: Path, *, model: str | None = None, four_bit: bool = False) -> None:
    """Note in an adapter's folder which weights it was trained on, so that it is never used on others by mistake.

    Args:
        adapter: the folder that the adapter was saved into.
        base: the folder of the base's weights as they lie on disk.
        model: what people call the base, such as a hub id; by default its folder's name.
        four_bit: whether the base was quantised to 4 bits as it was loaded (QLoRA).
    """
    stored_four_bit = is_quantised(base)
    mark = {
        "model": model or model_name(base),
        "fingerprint": fingerprint(base),
        "four_bit": four_bit or stored_four_bit,
        "stored_four_bit": stored_four_bit,
        "scale": _scale(adapter),
    }
    (adapter / BASE_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")


def _scale(adapter: Path) -> float:
    """The scale alpha / r as an adapter's config says. Nothing in the shapes of its weights gives away an alpha that was changed."""
    config = read_json(adapter / "adapter_config.json")
    return config["lora_alpha"] / config["r"]


def is_quantised(base: Path) -> bool:
    """Whether the weights in a model folder are themselves quantised, to 4 bits or otherwise."""
    return bool(read_json(base / "config.json").get("quantization_config"))


def merged_adapters(base: Path) -> list[dict[str, Any]]:
    """The adapters that a model folder already holds, first merged first; none for an ordinary model."""
    return read_json(base / MERGE_RECORD)["adapters"] if (base / MERGE_RECORD).is_file() else []


def check_adapter(base: Path, adapter: Path) -> list[str]:
    """Refuse an adapter that does not belong on a base, before either is loaded.

    Args:
        base: a local model folder, 16-bit or quantised.
        adapter: a local PEFT folder.

    Returns:
        Warnings: what could not be proven.

    Raises:
        CourseError: either folder is missing, incomplete or damaged; the adapter is not LoRA, is already merged into this
            base, was trained on other weights, or does not fit in shape.
    """
    for folder in (base, adapter):
        if not folder.is_dir():
            raise CourseError(f"there is no folder {folder}: check the path")
    if not (adapter / "adapter_config.json").is_file():
        raise CourseError(f"{adapter} is not an adapter, it has no adapter_config.json: give the folder that training wrote")
    read_json(base / "config.json")
    config = read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise CourseError(f"{adapter} is an adapter of type {config.get('peft_type')}, not LORA: use PEFT itself for this one")
    own = fingerprint(adapter)
    if any(own == earlier["fingerprint"] for earlier in merged_adapters(base)):
        raise CourseError(f"{base} already has the adapter {adapter} merged into it: use it as it is, without the adapter")
    found = _check_weights(base, adapter, str(config.get("base_model_name_or_path") or ""))
    _check_shapes(base, adapter)
    return found + _check_scale(adapter)


def _check_weights(base: Path, adapter: Path, named: str) -> list[str]:
    """Refuse a base whose weights are not those that the adapter was trained on, as far as anything tells."""
    actual = fingerprint(base)
    if (adapter / BASE_MARK).is_file():
        mark = read_json(adapter / BASE_MARK)
        if mark["fingerprint"] != actual:
            if not mark["stored_four_bit"] or is_quantised(base):
                raise CourseError(
                    f"{adapter} was trained on {mark['model']} ({mark['fingerprint'][:12]}), but {base} has other weights "
                    f"({actual[:12]}): use the base that it was trained on"
                )
            return [f"the adapter's own base, {mark['model']}, is stored in 4 bits: nothing shows that this is its original"]
        return []
    if named and (Path(named) / "config.json").is_file():
        if fingerprint(Path(named)) != actual:
            raise CourseError(f"{adapter} was trained on {named}, but {base} has other weights: use the former")
    elif named and Path(named).name.casefold() != Path(model_name(base)).name.casefold():
        return [f"the adapter names {Path(named).name} as its base: nothing shows that {model_name(base)} has the same weights"]
    return []


def _check_scale(adapter: Path) -> list[str]:
    """A warning where alpha / r is no longer what it was in training. (To turn it down on purpose is nobody's mistake.)"""
    mark = read_json(adapter / BASE_MARK) if (adapter / BASE_MARK).is_file() else {}
    now = _scale(adapter)
    if mark.get("scale", now) == now:
        return []
    return [
        f"the adapter was trained with alpha / r = {mark['scale']:g} and its adapter_config.json now says {now:g}: put it back, "
        "unless you changed it on purpose"
    ]


def on_meta(base: Path) -> PreTrainedModel:
    """A folder's causal language model on the meta device: every module, name and shape, and not one number."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, local_files_only=True))


def adapted_on_meta(model: PreTrainedModel, adapter: Path) -> PeftModel:
    """PEFT's own wrapping of such a model for an adapter: which layers are adapted, at what rank and scale, by what tensors."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig.from_pretrained(str(adapter))
    config.init_lora_weights = True  # the others look at the base's weights, and here are none
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, config)


def _check_shapes(base: Path, adapter: Path) -> None:
    """Refuse an adapter with tensors that this base has no place for, or too few. PEFT itself would ignore them.

    The adapter is built on the base's shapes on the meta device, which shows what PEFT would save for it.
    """
    from peft import get_peft_model_state_dict

    misfit = f"{adapter} does not fit {base}"
    remedy = "use the base that it was trained on"
    try:
        model = on_meta(base)
        whole = {f"base_model.model.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        saved = get_peft_model_state_dict(adapted_on_meta(model, adapter), save_embedding_layers=False)
        expected = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise CourseError(f"{misfit} ({' '.join(str(error).split())[:200]}): {remedy}") from error
    found = {name: tensor.shape for name, tensor in stored_tensors(adapter).items()}
    for name in sorted(expected.keys() | found.keys()):
        wanted = expected.get(name) or whole.get(name.replace(".base_layer.", "."))  # PEFT may save whole embeddings too
        if wanted is None:
            raise CourseError(f"{misfit}, which has no place for {name}: {remedy}")
        if name not in found:
            raise CourseError(f"{adapter} is incomplete, it lacks {name}: copy it again, or {remedy}")
        if found[name] != wanted:
            raise CourseError(f"{misfit}: {name} is {_times(found[name])}, but this base needs {_times(wanted)}: {remedy}")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

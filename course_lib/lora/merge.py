"""Merge an adapter into its base, and prove that the merged model computes the same.

Merging replaces each adapted weight W by W + (alpha / r) B A (Hu et al. 2021, section 4.1), after which no adapter and no PEFT
is needed. PEFT does the sum. This module does what surrounds it: refusing what cannot be right, rounding once, comparing
logits before and after, and a folder that appears whole or not at all.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError
from course_lib.lora.folders import (
    BASE_MARK,
    MERGE_RECORD,
    check_adapter,
    fingerprint,
    is_quantised,
    merged_adapters,
    model_name,
    read_json,
    stored_tensors,
)
from course_lib.versions import versions

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

Step = Callable[[str, int, int], object]
"""Called as work goes on, with what comes next, how many parts of the work are done, and how many there are."""

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # what safetensors calls them, and torch
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

# How far logits may move, as a share of the largest. In float32 only the order of sums differs: 2e-6 was measured on trained
# models of 6 M parameters. In 16 bits each merged weight is off by up to half a unit in its last place, which averages out
# within a layer and adds up slowly over layers: 0.007 was measured in bfloat16 and 0.0007 in float16. The bounds leave room
# for deeper and rougher models; in 16 bits they are eight units in the last place (2^-7 and 2^-10).
BOUNDS = {"float32": 1e-4, "float16": 8 * 2**-10, "bfloat16": 8 * 2**-7}

# Methods that change the base's weights before training starts, so that W + (alpha / r) B A is not what was trained.
BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")

COMPANIONS = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt", "*.model")


@dataclass(frozen=True)
class MergeReport:
    """What a merge did, and the proof that it is right. Logits are compared in float32 on fixed sequences of tokens."""

    base: str
    adapter: str
    dtype: str
    difference: float
    """Largest absolute difference in logits between base + adapter and the merged model, read back from its files."""
    bound: float
    """What ``difference`` may be at most for this type of number."""
    agreement: float
    """Share of positions, 0 to 1, at which both models rank the same token first."""
    effect: float
    """Largest absolute difference in logits that the adapter itself makes: what ``difference`` is small beside."""
    seconds: float
    size: int
    """Bytes of the merged folder's weights."""
    warnings: tuple[str, ...] = ()


def merge(
    base: Path, adapter: Path, out: Path, *, dtype: str | None = None, on_step: Step = lambda what, done, total: None
) -> MergeReport:
    """Merge an adapter into its base and write the result as an ordinary model folder, with ``merge.json`` beside it.

    The sum is done in float32 and rounded once. Memory: 4 bytes for each of the model's numbers.

    Args:
        base: a local model folder whose weights are not quantised.
        adapter: a local PEFT folder with a LoRA adapter for it. Its tokenizer, if it brings one, comes along; else the base's.
        out: where the merged model goes: a folder that is empty or does not exist. It appears whole, or not at all.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default the type that most of the base is stored in.
        on_step: called before each step.

    Raises:
        CourseError: the adapter does not belong on this base (`check_adapter`), merging would not be exact, ``out`` cannot
            be written, or the merged model fails the proof. Nothing is left at ``out`` then.
    """
    import torch
    from peft import PeftModel

    base, adapter, out = Path(base), Path(adapter), Path(out).resolve()
    started = time.perf_counter()
    on_step("checking", 0, 5)
    notes = _check_merge(base, adapter, out)
    weights = stored_tensors(base).values()
    dtype = dtype or _stored_dtype(base)
    if dtype not in BYTES:
        raise CourseError(f"a merged model cannot be stored as {dtype}: choose {', '.join(BYTES)}")
    _check_disk(out, sum(prod(tensor.shape) for tensor in weights) * BYTES[dtype])

    on_step("loading", 1, 5)
    adapted = PeftModel.from_pretrained(_load(base), str(adapter)).eval()
    tokens = probe_tokens(adapted.get_input_embeddings().weight.shape[0])
    wanted = _logits(adapted, tokens)
    with adapted.disable_adapter():
        effect = _difference(wanted, _logits(adapted, tokens))

    on_step("merging", 2, 5)
    merged = _merge_weights(adapted)
    # Proven before rounding too: the rounding of 16 bits could hide that a gentle adapter was merged at the wrong scale.
    _prove(wanted, _logits(merged, tokens), "float32")

    on_step("writing", 3, 5)
    with _appearing(out) as partial:
        _save(merged.to(getattr(torch, dtype)), partial, base, adapter)
        del adapted, merged
        on_step("proving", 4, 5)
        difference, bound, agreement = _prove(wanted, _logits(_load(partial), tokens), dtype)
        if difference > effect / 10 > 0:
            notes.append(f"rounding to {dtype} moves logits by {difference:.2g}, the adapter itself by {effect:.2g}: try float32")
        report = MergeReport(
            base=model_name(base),
            adapter=adapter.resolve().name,
            dtype=dtype,
            difference=difference,
            bound=bound,
            agreement=agreement,
            effect=effect,
            seconds=time.perf_counter() - started,
            size=sum(file.stat().st_size for file in partial.glob("*.safetensors")),
            warnings=tuple(notes),
        )
        _record(report, partial, base, adapter)
    return report


# -- before ------------------------------------------------------------------------------------------------------------


def _check_merge(base: Path, adapter: Path, out: Path) -> list[str]:
    """What `check_adapter` refuses, and what is wrong for a merge only. Returns warnings."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CourseError(f"{out} already exists and is not an empty folder: choose another one for the merged model")
    if is_quantised(base):
        raise CourseError(
            f"the weights of {base} are quantised, and merging would round the adapter away: merge into the 16-bit original, "
            "or dequantise the base first"
        )
    notes = check_adapter(base, adapter)
    start = str(read_json(adapter / "adapter_config.json").get("init_lora_weights", True)).lower()
    if start.startswith(BASE_CHANGING):
        raise CourseError(
            f"{adapter} was started with {start}, which changes the base: convert it first, by saving it with PEFT's "
            "path_initial_model_for_weight_conversion"
        )
    if (adapter / BASE_MARK).is_file() and read_json(adapter / BASE_MARK)["four_bit"]:
        notes.append(
            "the adapter was trained on a 4-bit base and is merged into the 16-bit one: it learned to mend rounding errors that "
            "are gone now, so evaluate the merged model before you ship it"
        )
    if not _tokenizer_home(base, adapter):
        notes.append("neither folder has a tokenizer, so the merged one has none either")
    return notes


def _stored_dtype(base: Path) -> str:
    """The type that most of a model's numbers are stored in."""
    numbers: Counter[str] = Counter()
    for tensor in stored_tensors(base).values():
        numbers[tensor.dtype] += prod(tensor.shape)
    code = numbers.most_common(1)[0][0]
    if code not in DTYPES:
        raise CourseError(f"the weights of {base} are stored as {code}: merge into a base of {', '.join(DTYPES.values())}")
    return DTYPES[code]


def _check_disk(out: Path, size: int) -> None:
    """Refuse when the disk is too full for ``size`` bytes of weights and what goes with them."""
    home = next(folder for folder in out.parents if folder.is_dir())
    if not os.access(home, os.W_OK):
        raise CourseError(f"you may not write in {home}: choose another folder for the merged model")
    missing = size + 2**25 - shutil.disk_usage(home).free
    if missing > 0:
        raise CourseError(
            f"the merged model needs {missing / 1e9:.2f} GB more than {home} has free: free some, or write elsewhere"
        )


# -- the merge ---------------------------------------------------------------------------------------------------------


def _load(folder: Path) -> PreTrainedModel:
    """A model folder in float32. transformers makes up weights that are missing, with no more than a warning: here it may not."""
    import torch
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise CourseError(f"{folder} is incomplete, it lacks {missing[0]}: copy or download it again")
    return model.eval()


def _merge_weights(adapted: PeftModel) -> PreTrainedModel:
    """PEFT's merge. Where the output head shares the embeddings' weights and only one of the two is adapted, they part."""
    import torch

    model = adapted.get_base_model()
    tied = getattr(model.config, "tie_word_embeddings", False)
    if tied:
        head = model.get_output_embeddings()
        head = getattr(head, "base_layer", getattr(head, "original_module", head))
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    with warnings.catch_warnings():
        # PEFT says that it unties them; below they are tied again where they are still equal.
        warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
        merged = adapted.merge_and_unload()
    if tied:
        embeddings, head = merged.get_input_embeddings(), merged.get_output_embeddings()
        merged.config.tie_word_embeddings = torch.equal(embeddings.weight, head.weight)
        merged.tie_weights()
    return merged


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` at the end of the block; if anything fails, it vanishes.

    A process that is killed leaves the hidden ``.NAME.partial`` beside it, which the next try removes.
    """
    from safetensors import SafetensorError

    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for file in partial.iterdir():  # on disk before the new name is, even if the power fails
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
                raise CourseError(f"the disk filled up while writing {out}: free some space, or write elsewhere") from error
            raise CourseError(f"{out} cannot be written ({error}): choose a folder that can") from error
        raise


def _save(model: PreTrainedModel, folder: Path, base: Path, adapter: Path) -> None:
    """Weights, config, generation config, tokenizer and chat template: all that plain transformers or vLLM asks for."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()  # saving checks it, and those of some published models do not pass
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    files = [base / "generation_config.json"]
    if home := _tokenizer_home(base, adapter):
        files += [file for pattern in COMPANIONS for file in home.glob(pattern)]
    for file in files:
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def _tokenizer_home(base: Path, adapter: Path) -> Path | None:
    """Whose tokenizer goes with the merged model: the adapter's, which it was trained with, or else the base's."""
    return next((folder for folder in (adapter, base) if (folder / "tokenizer_config.json").is_file()), None)


def _record(report: MergeReport, folder: Path, base: Path, adapter: Path) -> None:
    """Write ``merge.json``: what was merged into what, by name and fingerprint, and the proof."""
    config = read_json(adapter / "adapter_config.json")
    merged = {"name": report.adapter, "fingerprint": fingerprint(adapter), "rank": config["r"], "alpha": config["lora_alpha"]}
    record = {
        "base": {"name": report.base, "fingerprint": fingerprint(base)},
        "adapters": [*merged_adapters(base), merged],
        "report": asdict(report),
        "versions": versions(),
    }
    (folder / MERGE_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


# -- the proof ---------------------------------------------------------------------------------------------------------


def probe_tokens(vocabulary: int, sequences: int = 4, length: int = 32) -> torch.Tensor:
    """The fixed sequences that models are compared on, ``sequences`` x ``length`` token ids drawn evenly from the vocabulary."""
    import torch

    return torch.randint(vocabulary, (sequences, length), generator=torch.Generator().manual_seed(0))


def _logits(model: PreTrainedModel | PeftModel, tokens: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        return model(input_ids=tokens.to(model.device)).logits.float().cpu()


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()


def _prove(wanted: torch.Tensor, got: torch.Tensor, dtype: str) -> tuple[float, float, float]:
    """Largest difference in logits, its bound, and the share of positions with the same best token; or `CourseError`."""
    difference, bound = _difference(wanted, got), BOUNDS[dtype] * wanted.abs().max().item()
    if not difference <= bound:  # so that nan, from a broken adapter, fails too
        raise CourseError(
            f"the merged model's logits differ from those of base and adapter by {difference:.3g}, where {dtype} allows "
            f"{bound:.3g}, so nothing was written: "
            + ("check the adapter, or use it without merging" if dtype == "float32" else "merge into float32 instead")
        )
    return difference, bound, (wanted.argmax(-1) == got.argmax(-1)).float().mean().item()

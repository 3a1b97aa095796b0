"""Merge adapters into their base, shard by shard and tensor by tensor, and prove that the merged model computes the same.

Merging replaces each adapted weight W by W + (alpha / r) B A (Hu et al. 2021, section 4.1), after which no adapter and no PEFT
is needed. The model is never in memory: `layout` says what happens to each tensor, `updates` computes it some rows at a time, and
`streaming` writes the files. This module does what surrounds them: refusing what cannot be right, the proof (`proof`, which does
load the model), and a folder that appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.files import appearing, check_out
from course_lib.lora.folders import (
    BASE_MARK,
    DTYPES,
    MERGE_RECORD,
    TOKENIZER_FILES,
    check_adapter,
    fingerprint,
    is_quantised,
    merged_adapters,
    model_name,
    read_json,
    stored_dtype,
)
from course_lib.lora.proof import probe_tokens as probe_tokens  # what logits are compared on: lessons use it too
from course_lib.versions import versions

if TYPE_CHECKING:
    from course_lib.lora.layout import Layout

Step = Callable[[str, int, int], object]
"""Called as work goes on, with what is being done, how many bytes of the merged model are written, and how many it has."""

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
CODES = {name: code for code, name in DTYPES.items()}

SMALL = 2 * 10**9
"""Bytes of weights up to which the command proves a merge by itself: beyond, loading the model is left to who asks for it."""

WORKING_MEMORY = 5 * 10**8
"""Bytes that a merge takes without its proof: libraries, and some chunks for each thread."""


@dataclass(frozen=True)
class MergeReport:
    """What a merge did, and the proof that it is right. Logits are compared in float32 on fixed sequences of tokens.

    The four figures of the proof are NaN where it was left out.
    """

    base: str
    adapter: str
    """The adapter's name; several are joined by " + "."""
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
    verified: bool = True
    """Whether the proof was made."""
    round_base: str | None = None
    """What the base's linear layers were rounded to before the sum."""


def merge(
    base: Path,
    adapter: Path | Sequence[Path],
    out: Path,
    *,
    weights: Sequence[float] | None = None,
    dtype: str | None = None,
    round_base: str | None = None,
    shard_size: int | None = None,
    verify: bool = True,
    on_step: Step = lambda what, done, total: None,
) -> MergeReport:
    """Merge adapters into their base and write the result as an ordinary model folder, with ``merge.json`` beside it.

    Sums are done in float32 and rounded once, a few MB at a time. The proof alone loads the model, at 8 bytes a number.

    Args:
        base: a local model folder whose weights are not quantised.
        adapter: a local PEFT folder with a LoRA adapter for it, or several. The tokenizer of the first comes along if it brings one;
            else the base's.
        out: where the merged model goes: a folder that is empty or does not exist. It appears whole, or not at all.
        weights: what each adapter's update is multiplied by; by default 1.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default each tensor keeps the type that the base stores it in.
        round_base: ``nf4`` rounds the base's linear layers to NF4 with double quantisation and back before the sum. That is the base
            that QLoRA's training saw, so that the merged model computes what was trained.
        shard_size: bytes of a file at most; by default the files are split as the base's are.
        verify: prove the result: compare logits, and each weight with PEFT's.
        on_step: called as the work goes on.

    Raises:
        CourseError: an adapter does not belong on this base (`check_adapter`), merging would not be exact, memory or disk are
            too small, ``out`` cannot be written, or the merged model fails the proof. Nothing is left at ``out`` then.
    """
    folders = [Path(folder) for folder in ([adapter] if isinstance(adapter, str | Path) else adapter)]
    base, out = Path(base), Path(out).resolve()
    adapters = list(zip(folders, _checked_weights(folders, weights), strict=True))
    started = time.perf_counter()
    on_step("checking", 0, 0)
    if dtype is not None and dtype not in BYTES:
        raise CourseError(f"a merged model cannot be stored as {dtype}: choose {', '.join(BYTES)}")
    if round_base not in (None, "nf4"):
        raise CourseError(f"a base cannot be rounded to {round_base}: nf4 is what there is")
    if shard_size is not None and shard_size < 1:
        raise CourseError(f"a shard cannot have {shard_size} bytes: give a size such as 5GB")
    notes = _check_merge(base, folders, out, round_base)
    main = stored_dtype(base)
    # Only now what imports torch.
    from course_lib.lora.layout import check_config, lay_out_merge
    from course_lib.lora.streaming import planned, write_model

    for folder in folders:
        check_config(folder)
    layout = lay_out_merge(base, adapters, nf4=round_base is not None)
    tensors, files = planned(layout, dtype and CODES[dtype], shard_size)
    total = sum(prod(shape) * BYTES.get(DTYPES.get(kind, ""), 8) for kind, shape in tensors.values())
    check_out(out, total)
    _check_memory(verify, sum(prod(shape) for _, shape in tensors.values()))

    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        on_step("merging", done, total)

    with appearing(out) as work:
        partial = work / out.name
        partial.mkdir()
        on_step("merging", 0, total)
        size = write_model(layout, partial, tensors, files, on_bytes)
        _write_companions(layout, partial, base, folders, dtype)
        figures: dict[str, Any] = dict.fromkeys(("difference", "bound", "agreement", "effect"), float("nan"))
        four_bit = [folder for folder in folders if _trained_in_four_bits(folder)] if round_base is None else []
        moved = None
        if verify:
            on_step("proving", total, total)
            figures, moved = _proof(base, adapters, partial, dtype or main, round_base, bool(four_bit))
            if figures["difference"] > figures["effect"] / 10 > 0:
                notes.append(
                    f"rounding to {dtype or main} moves logits by {figures['difference']:.2g}, the adapter itself by "
                    f"{figures['effect']:.2g}: try float32"
                )
        if four_bit:
            notes.append(_four_bit_note(moved))
        report = MergeReport(
            base=model_name(base),
            adapter=" + ".join(folder.resolve().name for folder in folders),
            dtype=dtype or main,
            **figures,
            seconds=time.perf_counter() - started,
            size=size,
            warnings=tuple(notes),
            verified=verify,
            round_base=round_base,
        )
        _record(report, partial, base, adapters)
    return report


def _proof(
    base: Path, adapters: list[tuple[Path, float]], merged: Path, dtype: str, round_base: str | None, four_bit: bool
) -> tuple[dict[str, Any], float | None]:
    from course_lib.lora.proof import prove

    figures = asdict(prove(base, adapters, merged, dtype, nf4=round_base is not None, trained_on_nf4=four_bit))
    return figures, figures.pop("four_bit_difference")


# -- before ------------------------------------------------------------------------------------------------------------


def _checked_weights(adapters: Sequence[Path], weights: Sequence[float] | None) -> list[float]:
    if not adapters or len({folder.resolve() for folder in adapters}) < len(adapters):
        raise CourseError("give one adapter, or several different ones")
    found = [1.0] * len(adapters) if weights is None else [float(weight) for weight in weights]
    if len(found) != len(adapters):
        raise CourseError(f"{len(adapters)} adapters need {len(adapters)} weights, not {len(found)}: give one for each, or none")
    if not all(map(isfinite, found)):
        raise CourseError(f"the weights {found} are not all finite numbers: 1 is all of an adapter")
    return found


def _check_merge(base: Path, adapters: list[Path], out: Path, round_base: str | None) -> list[str]:
    """What `check_adapter` refuses, and what is wrong for a merge only. Returns warnings."""
    for folder in (base, *adapters):
        if out == folder.resolve():
            raise CourseError(f"{out} is where the merge reads from: choose another folder for the merged model")
    if is_quantised(base):
        raise CourseError(
            f"the weights of {base} are quantised, and merging would round the adapter away: merge into the 16-bit original, "
            "or dequantise the base first"
        )
    notes: list[str] = []
    for adapter in adapters:
        notes += [note for note in check_adapter(base, adapter) if note not in notes]
        if round_base and (adapter / BASE_MARK).is_file() and not _trained_in_four_bits(adapter):
            notes.append(
                f"{adapter.name} was not trained on a 4-bit base: rounding the base to {round_base} moves it away from what was trained"
            )
    if not _tokenizer_home(base, adapters):
        notes.append("neither folder has a tokenizer, so the merged one has none either")
    return notes


def _trained_in_four_bits(adapter: Path) -> bool:
    return (adapter / BASE_MARK).is_file() and bool(read_json(adapter / BASE_MARK)["four_bit"])


def _four_bit_note(moved: float | None) -> str:
    """What it means to merge an adapter of QLoRA's into the 16-bit base."""
    measured = "" if moved is None else f", and logits are off by {moved:.2g} from those it was trained to give"
    return (
        f"the adapter was trained on a 4-bit base and is merged into the 16-bit one{measured}: it learned to mend rounding errors that "
        'are gone now, so evaluate the merged model before you ship it, or merge with --round-base nf4 (round_base="nf4")'
    )


def _check_memory(verify: bool, count: int) -> None:
    """Refuse when there is too little memory for the merge, or for the proof, which loads ``count`` numbers twice."""
    import psutil

    need = WORKING_MEMORY + (8 * count if verify else 0)
    missing = need - psutil.virtual_memory().available
    if missing > 0:
        remedy = "merge with --no-verify (verify=False)" if verify else "close other programs"
        what = "comparing logits loads the model in float32, which" if verify else "merging"
        raise CourseError(f"{what} needs {missing / 1e9:.2f} GB more memory than is free: {remedy}")


# -- the folder --------------------------------------------------------------------------------------------------------


def _write_companions(layout: Layout, folder: Path, base: Path, adapters: list[Path], dtype: str | None) -> None:
    """Config, generation config, tokenizer and chat template: all that transformers, vLLM or llama.cpp ask for beside weights."""
    config = read_json(base / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in ("dtype", "torch_dtype"):
            if dtype and key in part:
                part[key] = dtype
        if layout.untied and "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False
    if dtype and "torch_dtype" not in config:
        config["dtype"] = dtype
    if layout.untied:
        config["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    files = [base / "generation_config.json"]
    if home := _tokenizer_home(base, adapters):
        files += [file for pattern in TOKENIZER_FILES for file in home.glob(pattern)]
    files += [base / name for name in ("preprocessor_config.json", "processor_config.json")]
    for file in files:
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def _tokenizer_home(base: Path, adapters: list[Path]) -> Path | None:
    """Whose tokenizer goes with the merged model: that of the first adapter that has one, which it was trained with, or the base's."""
    return next((folder for folder in (*adapters, base) if (folder / "tokenizer_config.json").is_file()), None)


def _record(report: MergeReport, folder: Path, base: Path, adapters: list[tuple[Path, float]]) -> None:
    """Write ``merge.json``: what was merged into what, by name and fingerprint, and the proof."""
    merged = []
    for adapter, weight in adapters:
        config = read_json(adapter / "adapter_config.json")
        entry = {
            "name": adapter.resolve().name,
            "fingerprint": fingerprint(adapter),
            "rank": config["r"],
            "alpha": config["lora_alpha"],
        }
        merged.append(entry if weight == 1 else entry | {"weight": weight})
    figures = {
        name: None if isinstance(value, float) and not isfinite(value) else value for name, value in asdict(report).items()
    }
    record = {
        "base": {"name": report.base, "fingerprint": fingerprint(base)},
        "adapters": [*merged_adapters(base), *merged],
        "report": figures,
        "versions": versions(),
    }
    (folder / MERGE_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

"""What is exported and where to: the checks that both formats share, an adapter merged first, and a result that appears whole."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError
from course_lib.lora.folders import is_quantised, read_json, stored_tensors

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Step = Callable[[str, int, int], object]
"""Called as work goes on, with what comes next, how many parts of the work are done, and how many there are."""

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""What transformers calls the architectures that can be exported, and what GGUF calls them."""

ROPE_TYPES = ("default", "linear", "llama3")
"""Rotary embeddings whose angles don't depend on how long the text is, so that they can be written down."""

SMALL = 10**9
"""Parameters up to which an export is verified unless told otherwise: that takes the model in float32, twice."""

_EXTRA = "pip install 'fine-tuning-lora-measured[export]'"


def need(*modules: str) -> None:
    """Refuse when a package of the extra ``export`` is not installed."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise CourseError(f"exporting needs {', '.join(missing)}: {_EXTRA}")


def check_base(base: Path) -> PretrainedConfig:
    """The config of a model that can be exported.

    Raises:
        CourseError: the weights are quantised, or the architecture is not one of `ARCHITECTURES`, or it attends through a
            window, or its rotary embedding is not one of `ROPE_TYPES`.
    """
    from transformers import AutoConfig

    raw = read_json(base / "config.json")
    name = (raw.get("architectures") or ["unknown"])[0]
    if name not in ARCHITECTURES:
        raise CourseError(f"{base} is a {name}, which can't be exported here: only {', '.join(ARCHITECTURES)} can")
    if is_quantised(base):
        raise CourseError(f"the weights of {base} are quantised: export the 16-bit original, with the adapter merged into it")
    config = AutoConfig.from_pretrained(base, local_files_only=True)
    if getattr(config, "sliding_window", None):
        raise CourseError(f"{base} attends through a sliding window, which is not exported: take a model without one")
    if (rope := config.rope_parameters.get("rope_type", "default")) not in ROPE_TYPES:
        raise CourseError(f"{base} has rotary embeddings of type {rope}: only {', '.join(ROPE_TYPES)} are exported")
    return config


def parameters(folder: Path) -> int:
    """How many numbers a model folder's weights are."""
    return sum(prod(tensor.shape) for tensor in stored_tensors(folder).values())


@contextmanager
def merged(
    base: Path, adapter: Path | None, out: Path, dtype: str, *, verify: bool, on_step: Step
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder of weights to export, and warnings: the base itself, or base and adapter merged into a folder that is removed again.

    Args:
        base: a local model folder.
        adapter: a LoRA adapter trained on it, or none.
        out: where the export goes; the merged model lies beside it meanwhile.
        dtype: of the merged model, so that weights are rounded once.
        verify: prove the merge.
        on_step: called as the merge goes on.

    Raises:
        CourseError: see `course_lib.lora.merge.merge`.
    """
    if adapter is None:
        yield base, ()
        return
    from course_lib.lora.merge import merge

    home = out.resolve().parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.merged-", dir=home) as folder:
        report = merge(base, adapter, Path(folder) / base.resolve().name, dtype=dtype, verify=verify, on_step=on_step)
        yield Path(folder) / base.resolve().name, report.warnings

"""ONNX: a model as a graph that onnxruntime runs without torch, with its cache of keys and values as inputs and outputs.

The graph takes the tokens that are new, and the keys and values of those before; so a text is generated at the cost of one
token a step. Batch, new length and past length are free, and a past of length 0 starts a text. Inputs: ``input_ids`` (batch x
length), ``attention_mask`` (batch x past + length, 0 for padding), ``position_ids`` (batch x length), and for each layer i
``past_key_values.i.key`` and ``.value`` (batch x heads x past x head size). Outputs: ``logits`` (batch x length x vocabulary)
and, for each layer, ``present.i.key`` and ``.value``. These are the names that Optimum gave them and that runtimes know.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.export.source import SMALL, Step, check_base, merged, need, parameters
from course_lib.files import appearing, check_out
from course_lib.lora.folders import TOKENIZER_FILES, model_name
from course_lib.versions import versions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MODEL = "model.onnx"
RECORD = "export.json"
BOUND = 1e-3
"""How far onnxruntime's logits may be from torch's, both in float32."""
INLINE = 10**9
"""Bytes of weights that still go into the graph's own file, which protobuf ends at 2 GB; more lie beside it in ``model.onnx.data``."""


@dataclass(frozen=True)
class OnnxReport:
    """What an export to ONNX did, and the proof that it is right."""

    model: str
    adapter: str | None
    size: int
    """Bytes of graph and weights."""
    seconds: float
    difference: float | None
    """Largest absolute difference in logits between onnxruntime and torch, with padding and with a past; none if not verified."""
    bound: float
    """What ``difference`` may be at most."""
    warnings: tuple[str, ...] = ()


def export_onnx(
    base: Path,
    out: Path,
    *,
    adapter: Path | None = None,
    verify: bool | None = None,
    on_step: Step = lambda what, done, total: None,
) -> OnnxReport:
    """Write a model as ``model.onnx`` in a folder, in float32, with config and tokenizer beside it.

    Memory: the model in float32 two to three times.

    Args:
        base: a local model folder.
        out: the new folder. It appears whole, or not at all.
        adapter: a LoRA adapter trained on it, to be merged first; or none.
        verify: compare onnxruntime's logits with torch's; by default for models up to `SMALL` parameters.
        on_step: called before each step.

    Raises:
        CourseError: the model can't be exported (`check_base`), ``out`` is taken or the disk too full, a package is missing, or
            the graph computes something else than the model.
    """
    started = time.perf_counter()
    out = Path(out)
    check_base(base)
    count = parameters(base)
    verify = count <= SMALL if verify is None else verify
    need("onnx", "onnxscript", *(["onnxruntime"] if verify else []))
    check_out(out, 4 * count * (1 if adapter is None else 2))
    with merged(base, adapter, out, "float32", verify=verify, on_step=on_step) as (source, notes):
        on_step("loading", 0, 3)
        model = _load(source)
        with appearing(out) as work:
            on_step("tracing", 1, 3)
            folder = work / out.name
            folder.mkdir()
            program = _trace(model)
            program.save(folder / MODEL, external_data=4 * count > INLINE)
            del program
            for pattern in ("config.json", "generation_config.json", *TOKENIZER_FILES):
                for file in source.glob(pattern):
                    shutil.copyfile(file, folder / file.name)
            on_step("verifying", 2, 3)
            difference = verify_onnx(folder, model) if verify else None
            report = OnnxReport(
                model=model_name(base),
                adapter=adapter.resolve().name if adapter else None,
                size=sum(file.stat().st_size for file in folder.glob(f"{MODEL}*")),
                seconds=time.perf_counter() - started,
                difference=difference,
                bound=BOUND,
                warnings=notes,
            )
            packages = {name: metadata.version(name) for name in ("onnx", "onnxscript")}
            record = json.dumps({"report": asdict(report), "versions": versions() | packages}, indent=2)
            (folder / RECORD).write_text(record + "\n", encoding="utf-8")
    return report


def verify_onnx(folder: Path, model: PreTrainedModel) -> float:
    """The largest absolute difference in logits between an exported folder and its model, over a padded batch and a past.

    Raises:
        CourseError: it is above `BOUND`.
    """
    import torch

    exported = OnnxModel(folder)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.vocab_size
    ids = torch.randint(vocabulary, (3, 24), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, :7] = 0  # padding on the left, as in a batch of prompts
    largest = 0.0
    past: Any = None
    cache = None
    with torch.inference_mode():
        for _ in range(3):  # a whole text at once, then two steps on its keys and values
            positions = _positions(mask)[:, -ids.shape[1] :]
            wanted = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
            cache = wanted.past_key_values
            got, past = exported.step(ids, mask, past)
            real = mask[:, -ids.shape[1] :].bool()
            largest = max(largest, (wanted.logits - got)[real].abs().max().item())
            ids = torch.randint(vocabulary, (3, 1), generator=generator)
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
    if not largest <= BOUND:  # so that nan fails too
        raise CourseError(
            f"onnxruntime's logits differ from torch's by {largest:.3g}, where {BOUND:g} is allowed, so nothing was written: "
            "use other versions of torch and onnxruntime"
        )
    return largest


class OnnxModel:
    """An exported folder as onnxruntime runs it, with enough of a model's manners for `course_lib.evaluation`.

    ``greedy(OnnxModel(folder), tokenizer, prompts)`` and ``report.evaluate`` work with it as with a model of torch.
    """

    training = False

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Open it.

        Args:
            folder: what `export_onnx` wrote.
            threads: for one operation; by default onnxruntime decides.

        Raises:
            CourseError: onnxruntime is missing, or the folder holds no exported model.
        """
        need("onnxruntime")
        import onnxruntime
        import torch

        if not (Path(folder) / MODEL).is_file():
            raise CourseError(f"{folder} holds no {MODEL}: give a folder that `course export --to onnx` wrote")
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        # On the CPU: on a GPU onnxruntime multiplies in TF32 unless told otherwise, which is no proof.
        self.session = onnxruntime.InferenceSession(str(Path(folder) / MODEL), options, providers=["CPUExecutionProvider"])
        self.device = torch.device("cpu")  # where its inputs and outputs lie
        self._past = {i.name: i.shape for i in self.session.get_inputs() if i.name.startswith("past_key_values")}
        self._present = [o.name for o in self.session.get_outputs()][1:]

    def step(self, ids: torch.Tensor, mask: torch.Tensor, past: Any = None) -> tuple[torch.Tensor, Any]:
        """Logits of new tokens, and the keys and values to hand to the next step.

        Args:
            ids: the new tokens, batch x length.
            mask: 1 for tokens and 0 for padding, batch x (past + length).
            past: what the last step returned; none at the start.

        Returns:
            Logits (batch x length x vocabulary, float32), and the past of the next step.
        """
        import numpy as np
        import torch

        if past is None:
            past = {name: np.zeros((len(ids), shape[1], 0, shape[3]), np.float32) for name, shape in self._past.items()}
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": _positions(mask)[:, -ids.shape[1] :]}
        logits, *present = self.session.run(None, {**{name: value.numpy() for name, value in inputs.items()}, **past})
        return torch.from_numpy(logits), dict(zip(self._past, present, strict=True))

    def eval(self) -> OnnxModel:
        """Nothing: it knows no other mode."""
        return self

    def train(self, mode: bool = True) -> OnnxModel:
        """Nothing: it can't be trained."""
        return self

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        *,
        max_new_tokens: int,
        pad_token_id: int,
        eos_token_id: int,
        do_sample: bool = False,
        **ignored: Any,
    ) -> torch.Tensor:
        """Greedy continuations of prompts that are padded on the left.

        Returns:
            Prompts and continuations, batch x length; what has ended goes on as padding.

        Raises:
            CourseError: for ``do_sample=True``.
        """
        import torch

        if do_sample:
            raise CourseError("OnnxModel generates greedily only: use do_sample=False")
        ids, mask, new, past = input_ids, attention_mask, input_ids, None
        running = torch.ones(len(ids), dtype=torch.bool)
        for _ in range(max_new_tokens):
            logits, past = self.step(new, mask, past)
            chosen = torch.where(running, logits[:, -1].argmax(-1), torch.tensor(pad_token_id))
            new = chosen[:, None]
            ids = torch.cat([ids, new], dim=1)
            mask = torch.cat([mask, torch.ones_like(new)], dim=1)
            running &= chosen != eos_token_id
            if not running.any():
                break
        return ids


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Where each token stands in its own text, padding left out."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _load(folder: Path) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    from course_lib.models.loading import quiet

    quiet()
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):  # transformers would make them up
        raise CourseError(f"{folder} is incomplete, it lacks {missing[0]}: copy or download it again")
    return model.eval()


def _trace(model: PreTrainedModel) -> Any:
    """The model's graph, as torch's exporter sees it. Shapes of the example: 2 or more, because 0 and 1 would be taken as fixed."""
    import torch
    from transformers import DynamicCache

    class OneStep(torch.nn.Module):
        """A forward pass whose cache goes in and comes out as plain tensors, which is all that a graph knows."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
            cache = DynamicCache()
            for layer, (key, value) in enumerate(past):
                cache.update(key, value, layer)
            out = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
            return out.logits, [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    config = model.config
    layers = range(config.num_hidden_layers)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    batch, length, before = 2, 5, 3
    cached = (batch, config.num_key_value_heads, before, size)
    example = (
        torch.zeros(batch, length, dtype=torch.long),
        torch.ones(batch, before + length, dtype=torch.long),
        torch.arange(before, before + length).expand(batch, length).contiguous(),
        [(torch.zeros(cached), torch.zeros(cached)) for _ in layers],
    )
    free = torch.export.Dim.DYNAMIC
    shapes = {
        "input_ids": {0: free, 1: free},
        "attention_mask": {0: free, 1: free},
        "position_ids": {0: free, 1: free},
        "past": [({0: free, 2: free}, {0: free, 2: free}) for _ in layers],
    }
    names = [f"{i}.{what}" for i in layers for what in ("key", "value")]
    with _silent_exporter():
        return torch.onnx.export(
            OneStep().eval(),
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{name}" for name in names)],
            output_names=["logits", *(f"present.{name}" for name in names)],
            verbose=False,
        )


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Keep torch's exporter from telling what it does not need: torchvision, and its own deprecations."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(before)

"""What training takes in memory: counted for any config on the meta device, and measured on a real step.

Nothing here knows a model's formula. The model is built on the meta device, where tensors have shapes and no numbers; its parameters
are counted there, and one forward pass shows which tensors PyTorch would keep for the backward pass.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError
from course_lib.models.loading import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

GIB = 2**30
METHODS = ("full", "lora", "qlora")
# Bytes of a number that trains, and of one that is computed with.
PRECISIONS: dict[str, tuple[int, int]] = {
    "float32": (4, 4),
    "mixed": (4, 2),  # autocast; where a 16-bit copy of weights and gradients is kept beside one master copy, the sum is the same
    "bfloat16": (2, 2),
}
# Bytes of AdamW's states for each byte of a number that trains (each state in 8 bits: None), and scratch space for each.
OPTIMISERS: dict[str, tuple[int | None, int]] = {
    "adamw": (2, 1),  # PyTorch's own default on a GPU updates all at once, by way of a copy
    "adamw_fused": (2, 0),
    "adamw_8bit": (None, 0),
}
TOKENS = 128  # of the forward pass on the meta device
NF4_BLOCK, NF4_SCALES_BLOCK = 64, 256  # bitsandbytes' defaults
NF4_TABLES = 4 * (
    16 + 256 + 1
)  # bytes that each 4-bit matrix carries beside its codes: two tables of levels, and the scales' mean


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes at its peak, by part.

    ``weights`` are the base's, ``adapter`` LoRA's; ``gradients`` and ``optimiser`` belong to what trains. ``working`` is what
    a step needs beyond these at its peak: above all *activations*, which the forward pass keeps for the backward pass; or where
    it is more, the optimiser's scratch space.
    """

    weights: int
    adapter: int
    gradients: int
    optimiser: int
    working: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """The parts by name, in bytes."""
        return asdict(self)

    @property
    def gib(self) -> float:
        """The total in GiB, 2**30 bytes."""
        return self.total / GIB


# -- estimated ----------------------------------------------------------------------------------------------------------


def estimate(
    config: PretrainedConfig,
    method: str = "lora",
    *,
    rank: int = 16,
    target_modules: str | tuple[str, ...] = "all-linear",
    batch: int = 1,
    length: int = 512,
    checkpointing: bool = False,
    precision: str = "bfloat16",
    optimiser: str = "adamw",
) -> Memory:
    """What a training run would take, from shapes alone.

    The adapter of ``lora`` is kept in float32, as PEFT does; that of ``qlora`` in bfloat16, as TRL does, or in float32 where
    everything is. Attention is taken to keep no length x length table (as PyTorch's own doesn't), and the loss to be the model's.
    Not counted: the accelerator's own context (about half a GiB), and what its allocator wastes.

    Args:
        config: any transformers config, such as `shapes.shape` gives, or of a loaded model.
        method: one of `METHODS`.
        rank: of the adapter.
        target_modules: the layers to adapt, as PEFT takes them.
        batch: sequences a step.
        length: tokens of each.
        checkpointing: keep only what goes into each layer, and compute the rest again in the backward pass.
        precision: one of `PRECISIONS`. For LoRA and QLoRA, ``mixed`` means a 16-bit base.
        optimiser: one of `OPTIMISERS`.

    Raises:
        CourseError: an unknown method, precision or optimiser, or a count below 1.
    """
    for what, given, known in (
        ("method", method, METHODS),
        ("precision", precision, PRECISIONS),
        ("optimiser", optimiser, OPTIMISERS),
    ):
        if given not in known:
            raise CourseError(f"{what} must be one of {', '.join(known)}, not {given!r}")
    if min(rank, batch, length) < 1:
        raise CourseError("rank, batch and length must be whole numbers of at least 1")
    trained, computing = PRECISIONS[precision]
    counted = _counted(_as_json(config), method != "full", rank, target_modules, computing)
    trains = counted.adapter or counted.parameters
    weights, adapter = trained * counted.parameters, 0
    restored = 0
    if method != "full":
        trained = 2 if method == "qlora" and computing == 2 else 4
        weights, adapter = computing * counted.parameters, trained * trains
    if method == "qlora":
        weights += sum(nf4_bytes(size) - computing * size for size in counted.linears)
        restored = computing * max(counted.linears, default=0)  # one matrix at a time stands in full again, to be computed with
    states, scratch = OPTIMISERS[optimiser]
    kept = (2 if states is None else states * trained) * trains
    gradients = trained * trains
    tokens = batch * length
    layer = counted.layer(tokens) + restored
    if checkpointing:
        start = counted.entering(tokens) + max(counted.outside(tokens), layer)
    else:
        start = counted.activations(tokens) + counted.scores(tokens)
    # At the start of the backward pass there are no gradients yet, and at its end one layer's activations are left.
    working = max(start - gradients, layer)
    return Memory(weights, adapter, gradients, kept, max(working, scratch * gradients))


def activations(
    config: PretrainedConfig,
    method: str = "lora",
    *,
    rank: int = 16,
    target_modules: str | tuple[str, ...] = "all-linear",
    tokens: int = 512,
    precision: str = "bfloat16",
) -> int:
    """Bytes that a forward pass keeps for the backward pass, without checkpointing; the arguments are `estimate`'s."""
    counted = _counted(_as_json(config), method != "full", rank, target_modules, PRECISIONS[precision][1])
    return counted.activations(tokens)


def nf4_bytes(count: int) -> int:
    """Bytes of one matrix of ``count`` weights in NF4 with double quantisation, as bitsandbytes stores it, tables included."""
    blocks = -(-count // NF4_BLOCK)
    return -(-count // 2) + blocks + 4 * -(-blocks // NF4_SCALES_BLOCK) + NF4_TABLES


def parameters(config: PretrainedConfig) -> int:
    """Parameters of a model of this shape; weights that two layers share count once."""
    return _whole(_as_json(config))[0]


@dataclass(frozen=True)
class _Counted:
    """What the meta device shows of a model: counts, and bytes that the forward pass keeps for each token."""

    parameters: int
    linears: tuple[int, ...]  # weights of each matrix that 4-bit loading quantises
    adapter: int
    layers: int
    per_layer: float  # bytes a token: kept within one layer
    per_entry: float  # what enters a layer
    per_head: float  # kept outside the layers, above all by the loss
    per_score: float  # gradients of the scores that the backward pass starts with
    per_gradient: float  # gradients that the backward pass has in hand within a layer

    def activations(self, tokens: int) -> int:
        return round(tokens * (self.layers * self.per_layer + self.per_head))

    def entering(self, tokens: int) -> int:
        return round(tokens * self.layers * self.per_entry)

    def layer(self, tokens: int) -> int:
        return round(tokens * (self.per_layer + self.per_gradient))

    def scores(self, tokens: int) -> int:
        return round(tokens * self.per_score)

    def outside(self, tokens: int) -> int:
        return round(tokens * (self.per_head + self.per_score))


@lru_cache(maxsize=256)
def _counted(config: str, adapted: bool, rank: int, target_modules: str | tuple[str, ...], computing: int) -> _Counted:
    count, linears, layers, width, widest, vocabulary = _whole(config)
    trains, kept = [], []
    for some in (1, 2):  # every layer costs what the second costs
        model = _on_meta(config, some, computing)
        if adapted:
            model = _with_adapter(model, rank, target_modules)
        trains.append(sum(p.numel() for p in model.parameters() if p.requires_grad) if adapted else 0)
        kept.append(_kept(model, TOKENS) / TOKENS)
    return _Counted(
        parameters=count,
        linears=linears,
        adapter=trains[0] + (layers - 1) * (trains[1] - trains[0]),
        layers=layers,
        per_layer=kept[1] - kept[0],
        per_entry=width * computing,
        per_head=max(0, 2 * kept[0] - kept[1]),
        # The loss keeps the scores' logarithms in float32 until it has their gradient in float32 and in the model's own type.
        per_score=vocabulary * (4 + computing),
        per_gradient=2 * widest * computing,  # of what is multiplied within an MLP
    )


@lru_cache(maxsize=256)
def _whole(config: str) -> tuple[int, tuple[int, ...], int, int, int, int]:
    import torch

    model = _on_meta(config, None, 4)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    widest = max((m.out_features for m in linears), default=0)
    sizes = model.config.num_hidden_layers, model.config.hidden_size, widest, model.config.vocab_size
    return sum(p.numel() for p in model.parameters()), tuple(m.weight.numel() for m in linears), *sizes


def _as_json(config: PretrainedConfig) -> str:
    return config.to_json_string(use_diff=False)


def _on_meta(config: str, layers: int | None, computing: int) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = json.loads(config)
    shape = AutoConfig.for_model(values.pop("model_type"), **values)
    if layers:
        shape.num_hidden_layers = layers
        if getattr(shape, "layer_types", None):
            shape.layer_types = shape.layer_types[:layers]
    shape._attn_implementation = _lean_attention()
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shape, dtype=torch.float32 if computing == 4 else torch.bfloat16)


def _with_adapter(model: Any, rank: int, target_modules: str | tuple[str, ...]) -> Any:
    from peft import LoraConfig, get_peft_model

    quiet()
    targets = target_modules if isinstance(target_modules, str) else list(target_modules)
    adapter = LoraConfig(r=rank, target_modules=targets, task_type="CAUSAL_LM")
    return get_peft_model(model, adapter, autocast_adapter_dtype=False)


def _kept(model: Any, tokens: int) -> int:
    """Bytes of all tensors that a forward pass keeps for the backward pass, parameters apart, each storage once."""
    import torch

    model.train()
    own = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(input_ids=ids, labels=ids, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


@lru_cache
def _lean_attention() -> str:
    """The name of an attention that only keeps what flash attention keeps (Dao et al. 2022): the meta device has no such kernel."""
    import torch
    from transformers import AttentionInterface

    class Lean(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            out = torch.empty_like(query)
            ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
            return out

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> tuple[Any, None]:
        return Lean.apply(query, key, value).transpose(1, 2), None

    AttentionInterface.register("course_lean", attention)
    return "course_lean"


# -- measured -----------------------------------------------------------------------------------------------------------


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that tensors really take: a storage that several share counts once."""
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


def held(model: PreTrainedModel, optimiser: torch.optim.Optimizer | None = None) -> Memory:
    """What a model in training holds between two steps, walked tensor by tensor; ``working`` is 0.

    Args:
        model: with or without an adapter, 16-bit or 4-bit.
        optimiser: after at least one step. What trains must still have its gradients.
    """
    import torch

    adapter = [p for name, p in model.named_parameters() if "lora_" in name]
    own = {id(p) for p in adapter}
    base: list[torch.Tensor] = [p for p in model.parameters() if id(p) not in own]
    base += [tensor for p in base for tensor in _quantisation_state(p)]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    states = [value for state in (optimiser.state.values() if optimiser else ()) for value in state.values()]
    moments = [value for value in states if torch.is_tensor(value) and value.numel() > 1]  # not the step counters
    return Memory(storage_bytes(base), storage_bytes(adapter), storage_bytes(gradients), storage_bytes(moments), 0)


def measure(model: PreTrainedModel, ids: torch.Tensor, *, checkpointing: bool = False) -> Memory:
    """What one training step really takes on the CPU: AdamW on all that trains, ``ids`` as input and as what is to be predicted.

    The model takes one more step before that, so that the optimiser has its states. (On a CPU AdamW goes from weight to weight and
    needs no scratch space, as ``adamw_fused`` on a GPU.)

    Args:
        model: with what should train set to train.
        ids: tokens, batch x length.
        checkpointing: keep only what goes into each layer, and compute the rest again.
    """
    import torch

    model.train()
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # its old name
        enable({"use_reentrant": False})
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def forward_and_backward() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    forward_and_backward()
    optimiser.step()
    kept = held(model, optimiser)
    optimiser.zero_grad()
    return replace(kept, working=max(0, peak_bytes(forward_and_backward) - kept.gradients))


def _quantisation_state(parameter: Any) -> list[torch.Tensor]:
    """What a 4-bit parameter of bitsandbytes carries beside its codes."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return []
    nested = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
    return [state.absmax, state.code, *nested]


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that PyTorch allocates on the CPU while ``work`` runs, beyond what it holds already.

    PyTorch's profiler notes each allocation and each release. (The process's own size would also show what the allocator keeps.)
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would log its own start and end
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]" and e["args"]["Device Type"] == 0]
    height = peak = 0
    for _, change in sorted(changes, key=lambda item: item[0]):
        height += change
        peak = max(peak, height)
    return peak

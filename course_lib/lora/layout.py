"""Where an adapter's tensors go: which of the base's weights change, at what scale, and which file holds each.

Names, shapes and scales are asked of PEFT, which wraps a model of the base's architecture on the meta device, where a model has
modules and shapes but not one number. So patterns, targets and defaults mean what they mean to PEFT. Whatever a merge could not
do right is refused here, by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from course_lib.errors import CourseError
from course_lib.lora.folders import Stored, adapted_on_meta, on_meta, read_json, stored_tensors
from course_lib.lora.shards import opened
from course_lib.lora.updates import DTYPES, Change, Term, load, read

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

PREFIX = "base_model.model."
"""What PEFT puts before the base model's names."""

# -- what a config may say ---------------------------------------------------------------------------------------------

SUPPORTED = {
    "LoRA": ("r", "lora_alpha", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    "rsLoRA": ("use_rslora",),
    "DoRA": ("use_dora",),
    "ranks and scales by layer": ("rank_pattern", "alpha_pattern"),
    "transposed layers (GPT-2's Conv1D)": ("fan_in_fan_out",),
    "biases": ("bias", "lora_bias"),
    "whole modules": ("modules_to_save",),
    "single tokens": ("trainable_token_indices",),
    "parameters, such as stacks of experts": ("target_parameters",),
}
"""Features that merge, with the fields of ``adapter_config.json`` that ask for them."""

REFUSED = {
    "alora_invocation_tokens": "activated LoRA switches on at a word, which a merged weight can't",
    "arrow_config": "Arrow routes each token to adapters of its own",
    "ensure_weight_tying": "the adapter ties weights of its own accord",
    "kasa_config": "KaSA changes the base's weights",
    "layer_replication": "the adapter belongs to a model with repeated layers",
    "megatron_config": "the adapter belongs to Megatron's layers",
    "monteclora_config": "MonteCLoRA draws its weights at random",
    "use_bdlora": "block-diagonal LoRA stores its factors in another way",
    "use_qalora": "QA-LoRA adapts groups of inputs",
    "velora_config": "VeLoRA compresses what a layer keeps for training",
}
"""Fields that may not be set, and why."""

# Of no consequence for the weights once training is over. The settings of an initialisation count only if that is in use.
_INDIFFERENT = {
    *("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode"),
    *("lora_dropout", "init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    *("megatron_core", "qalora_group_size", "runtime_config"),
}
_HARMLESS_STARTS = ("true", "false", "gaussian", "eva", "orthogonal", "mica")
_BASE_CHANGING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")


def check_config(adapter: Path) -> None:
    """Refuse what a merge can't do right, from the adapter's config alone.

    Raises:
        CourseError: naming the field.
    """
    config = read_json(adapter / "adapter_config.json")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_BASE_CHANGING_STARTS):
        raise CourseError(
            f"{adapter} was started with {start}, which changes the base: convert it first, by saving it with PEFT's "
            "path_initial_model_for_weight_conversion"
        )
    if start not in _HARMLESS_STARTS:
        raise CourseError(f"{adapter} was started with {start}, which this merge doesn't know: merge it with PEFT itself")
    known = _INDIFFERENT.union(*SUPPORTED.values())
    for name, value in config.items():
        if name in known or value in (None, False) or value == [] or value == {}:
            continue
        why = REFUSED.get(name, "this merge doesn't know it")
        raise CourseError(
            f"{adapter} sets {name}, which can't be merged ({why}): use the adapter without merging, or PEFT itself"
        )


# -- the base ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """What a merge has to do."""

    changes: dict[str, Change]
    """By the tensor's name in the merged files."""
    copies: dict[str, Stored]
    """Tensors that stay as they are, by that name."""
    untied: bool
    """The output head no longer shares the embeddings' weights, as it does in the base."""
    order: dict[str, Stored]
    """Every tensor of the merged model in the base's order, with the base's tensor in whose place it comes; a parted head comes last."""


class Base:
    """A base model's names: the architecture's, and those in its files, which may differ."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored = stored_tensors(folder)
        model = on_meta(folder)
        self.prefix = model.base_model_prefix + "."
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        self.embeddings, self.head = _weight_name(model, embeddings), _weight_name(model, head)
        self.tied = head is not None and embeddings is not None and head.weight is embeddings.weight
        self.shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        self.linears = [  # what bitsandbytes rounds as it loads a model in 4 bits
            f"{name}.weight"
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head and module is not embeddings
        ]
        self.conv1d = [f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"]
        self._read_conversions(model)
        if not self._odd_conversions:
            ignored = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_missing", None) or []]
            for name, _ in model.named_parameters():
                if self.on_disk(name) is None and not self.parts(name) and not any(i.search(name) for i in ignored):
                    raise self.lacking(name)
        if self.tied and (extra := self.on_disk(str(self.head))):
            # Some files store the shared weights twice; transformers shares them only if they are equal.
            self.tied = _same_numbers(self.stored[extra], self.stored[str(self.on_disk(str(self.embeddings)))])

    def _read_conversions(self, model: PreTrainedModel) -> None:
        """What transformers does to the names in this architecture's files, from its own table.

        Some names are replaced. And where files hold each expert by itself, experts are stacked, and their gates joined to their ups.
        """
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping
        from transformers.core_model_loading import Concatenate, MergeModulelist, WeightConverter, WeightRenaming

        entries = get_checkpoint_conversion_mapping(model.config.model_type) or []
        self._names = {}
        for old in self.stored:
            new = old
            for entry in entries:
                if isinstance(entry, WeightRenaming):
                    new = re.sub(entry.source_patterns[0], entry.target_patterns[0], new)
            self._names[new] = old
        self._stacks: dict[str, list[str]] = {}
        self._odd_conversions = False
        for entry in entries:
            if not isinstance(entry, WeightConverter):
                continue
            steps = [(type(operation), operation.dim) for operation in entry.operations if hasattr(operation, "dim")]
            if steps in ([(MergeModulelist, 0)], [(MergeModulelist, 0), (Concatenate, 1)]) and len(steps) == len(
                entry.operations
            ):
                self._stacks[entry.target_patterns[0].strip("$")] = [source.strip("$") for source in entry.source_patterns]
            else:
                self._odd_conversions = True

    def on_disk(self, name: str) -> str | None:
        """What the files call a parameter: they may leave out the prefix of the model without its head, or have it in addition."""
        candidates = (name, name.removeprefix(self.prefix), self.prefix + name)
        return next((self._names[candidate] for candidate in candidates if candidate in self._names), None)

    def parts(self, name: str) -> list[tuple[str, int, int]]:
        """For a stack of experts that the files hold one by one: each part's name there, its expert, and its first row in the stack."""
        found = []
        for target, sources in self._stacks.items():
            if not name.endswith(target):
                continue
            for expert in range(self.shapes[name][0]):
                first = 0
                for source in sources:
                    part = self.on_disk(name.removesuffix(target) + source.replace("*", str(expert)))
                    if part is None:
                        return []
                    found.append((part, expert, first))
                    first += self.stored[part].shape[0]
        return found

    def lacking(self, name: str) -> CourseError:
        """What to raise where the files have no such parameter."""
        return CourseError(f"{self.folder} is incomplete, it lacks {name}: copy or download it again")


def _weight_name(model: PreTrainedModel, module: torch.nn.Module | None) -> str | None:
    """What the model calls the weight of one of its modules."""
    return next((f"{name}.weight" for name, other in model.named_modules() if other is module), None)


def _same_numbers(one: Stored, other: Stored) -> bool:
    """Whether two stored tensors hold the same numbers, as the second's type can hold them."""
    if one.shape != other.shape:
        return False
    count, piece = prod(one.shape), 2**22
    with opened([one.file, other.file], os.O_RDONLY) as descriptors:
        for start in range(0, count, piece):
            both = (read(tensor, descriptors[tensor.file], start, min(piece, count - start)) for tensor in (one, other))
            if not torch.equal(*(numbers.to(DTYPES[other.dtype]) for numbers in both)):
                return False
    return True


# -- the adapters ------------------------------------------------------------------------------------------------------


def lay_out_merge(folder: Path, adapters: Sequence[tuple[Path, float]], *, nf4: bool = False) -> Layout:
    """What merging adapters into a base does to each of its tensors.

    Args:
        folder: the base, whose adapters were checked (`folders.check_adapter`, `check_config`).
        adapters: their folders, and the weight of each.
        nf4: round the base's linear layers to NF4 and back first.

    Raises:
        CourseError: something can't be merged right; the tensor is named.
    """
    base = Base(folder)
    plan = _Plan(base)
    for adapter, weight in adapters:
        plan.add(adapter, weight)
    if nf4:
        plan.round_linears()
    return plan.finished()


class _Plan:
    """Changes as they come together, adapter by adapter."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self.changes: dict[str, Change] = {}  # by the architecture's name, or by the file's for a part of a stack
        self.names: dict[str, str] = {}  # of those, in the files
        self.head_follows = False

    def change(self, name: str, *, part: bool = False) -> Change:
        """The change of a parameter, begun if there is none yet."""
        if name not in self.changes:
            base = self.base
            there = name if part else base.on_disk(name)
            if base.tied and name == base.head:
                self.names[name], there = name, base.on_disk(str(base.embeddings))
            if there is None:
                raise base.lacking(name)
            source = base.stored[there]
            self.names.setdefault(name, there)
            self.changes[name] = Change(source.shape, source)
        return self.changes[name]

    def add(self, adapter: Path, weight: float) -> None:
        """Take in one adapter."""
        model = adapted_on_meta(on_meta(self.base.folder), adapter)
        stored = stored_tensors(adapter)
        used: set[str] = set()

        def take(name: str) -> Stored:
            if name not in stored:
                raise CourseError(f"{adapter} is incomplete, it lacks {name}: copy it again")
            used.add(name)
            return stored[name]

        self._whole_tensors(adapter, stored, weight, used)
        self._tokens(model, adapter, take, weight)
        for name, module in model.named_modules():
            if _is_lora(module):
                self._low_rank(name, module, adapter, take, weight)
        if unused := sorted(stored.keys() - used):
            raise CourseError(f"{adapter} holds {unused[0]}, which this merge has no use for: merge it with PEFT itself")

    def _low_rank(self, name: str, module: Any, adapter: Path, take: Callable[[str], Stored], weight: float) -> None:
        """A layer's A and B, and what goes with them."""
        from peft.tuners.lora.layer import Embedding, Linear, ParamWrapper

        layer = re.sub(r"(\.base_layer)+$", "", name.removeprefix(PREFIX))
        scale = module.scaling["default"] * weight
        variant = type(module.lora_variant["default"]).__name__ if "default" in module.lora_variant else None
        known = type(module) in (Linear, Embedding, ParamWrapper)
        if not known or variant not in (None, "DoraLinearVariant", "DoraEmbeddingVariant"):
            what = variant or type(module).__name__
            raise CourseError(f"{adapter} adapts {layer} as {what}, which can't be merged here: merge it with PEFT itself")
        if isinstance(module, Embedding):
            A, B = take(f"{name}.lora_embedding_A"), take(f"{name}.lora_embedding_B")
            term = Term(A, B, scale, transposed=True)
        else:
            A, B = take(f"{name}.lora_A.weight"), take(f"{name}.lora_B.weight")
            term = Term(A, B, scale, transposed=bool(module.fan_in_fan_out))
        if variant:
            term.magnitude = take(f"{name}.lora_magnitude_vector")
        if isinstance(module, ParamWrapper):
            parameter = f"{layer}.{module.parameter_name}"
            term.experts = module.num_experts
            term.transposed = module.num_experts > 1 and not module._did_swap_in_out_features
            if term.experts > 1 and self.base.on_disk(parameter) is None and (parts := self.base.parts(parameter)):
                if term.transposed:
                    raise CourseError(
                        f"{adapter} adapts {parameter}, whose parts are stored transposed: merge it with PEFT itself"
                    )
                for part, expert, first in parts:
                    self.change(part, part=True).terms.append(replace(term, expert=expert, first=first))
                return
        else:
            parameter = f"{layer}.weight"
        change = self.change(parameter)
        change.terms.append(term)
        if any(other.magnitude for other in change.terms) and (len(change.terms) > 1 or weight != 1):
            raise CourseError(
                f"{adapter} is DoRA, which rescales all of {parameter}: its update can't be weighted, or added to another's"
            )
        if not isinstance(module, Embedding) and module.lora_bias.get("default"):
            if self.base.on_disk(f"{layer}.bias") is None:
                raise CourseError(
                    f"{adapter} has a bias for {layer}, which has none to add it to: use the adapter without merging"
                )
            self.change(f"{layer}.bias").shifts.append((take(f"{name}.lora_B.bias"), scale))

    def _whole_tensors(self, adapter: Path, stored: Mapping[str, Stored], weight: float, used: set[str]) -> None:
        """Tensors that were trained, or just saved, as a whole: modules to save, biases, the embeddings beneath an adapter."""
        for name, tensor in stored.items():
            parameter = name.removeprefix(PREFIX).replace(".base_layer.", ".")
            if parameter not in self.base.shapes:
                continue
            used.add(name)
            original = self.base.on_disk(parameter)
            if original is None and self.base.tied and parameter == self.base.head:
                original = self.base.on_disk(str(self.base.embeddings))
            if original and _same_numbers(tensor, self.base.stored[original]):
                continue  # PEFT saves embeddings beside their adapter, whether or not they were trained
            change = self.change(parameter)
            if change.source.file.parent != self.base.folder or weight != 1:
                raise CourseError(
                    f"{adapter} has its own {parameter}, which takes the base's place: it can't be weighted, or added to another's"
                )
            change.source = tensor

    def _tokens(self, model: PeftModel, adapter: Path, take: Callable[[str], Stored], weight: float) -> None:
        """Rows of embeddings that were trained by themselves."""
        for name, module in model.named_modules():
            if type(module).__name__ != "TrainableTokensWrapper":
                continue
            parameter = name.removeprefix(PREFIX).replace(".base_layer", "") + ".weight"
            if module.token_adapter.tied_adapter:
                self.head_follows = self.head_follows or parameter == self.base.head
                continue
            rows = take(f"{name}.token_adapter.trainable_tokens_delta")
            change = self.change(parameter)
            if change.tokens or weight != 1:
                raise CourseError(
                    f"{adapter} has its own rows of {parameter}, which take the base's place: they can't be weighted, or added to another's"
                )
            change.tokens.append((rows, list(module.token_adapter.token_indices["default"])))

    def round_linears(self) -> None:
        """Let every linear layer go through NF4, but those that an adapter brings whole: they were not quantised."""
        if self.base.conv1d:
            raise CourseError(
                f"{self.base.folder} has {self.base.conv1d[0]}, stored transposed, which can't be rounded to NF4 here: leave that out"
            )
        for name in self.base.linears:
            change = self.change(name)
            change.nf4 = change.source is self.base.stored.get(self.names[name])

    def finished(self) -> Layout:
        """The whole layout. Embeddings and head that share weights stay together if they still are the same, or else part."""
        base, untied = self.base, False
        if base.tied:
            ends = [name for name in (base.embeddings, base.head) if name in self.changes]
            for name in ends:
                if self._changes_nothing(self.changes[str(name)]):
                    del self.changes[str(name)]
            untied = self._parts(self.changes.get(str(base.embeddings)), self.changes.get(str(base.head)))
        changes = {self.names[name]: change for name, change in self.changes.items()}
        copies = {name: tensor for name, tensor in base.stored.items() if name not in changes}
        if base.tied:
            copies.pop(base.on_disk(str(base.head)) or str(base.head), None)
            embeddings = str(base.on_disk(str(base.embeddings)))
            if untied and base.head not in self.changes:
                copies[str(base.head)] = base.stored[embeddings]
            if untied and base.prefix and not embeddings.startswith(base.prefix) and str(base.embeddings).startswith(base.prefix):
                # A file that names the headless model's tensors has no head: with one, all go by the whole model's names.
                longer = {name: name if name == base.head else base.prefix + name for name in (*changes, *copies)}
                changes = {longer[name]: change for name, change in changes.items()}
                copies = {longer[name]: tensor for name, tensor in copies.items()}
        return Layout(changes, copies, untied, self._order({*changes, *copies}))

    def _order(self, names: set[str]) -> dict[str, Stored]:
        base = self.base
        stored = dict(sorted(base.stored.items(), key=lambda item: (str(item[1].file), item[1].start)))
        known = {name: tensor for old, tensor in stored.items() if (name := old if old in names else base.prefix + old) in names}
        last = next(reversed(stored.values()))
        return known | {name: last for name in names if name not in known}

    def _parts(self, embeddings: Change | None, head: Change | None) -> bool:
        """Whether embeddings and head are no longer the same. If one follows the other, it is made to."""
        if self.head_follows and embeddings is not None:
            if embeddings.terms or embeddings.source.file.parent != self.base.folder or head is not None:
                self.change(str(self.base.head)).tokens.extend(embeddings.tokens)
                return True
            return False
        if embeddings is None and head is None:
            return False
        alike = (
            embeddings is not None
            and head is not None
            and not (embeddings.terms or embeddings.tokens or head.terms or head.tokens)
        )
        if alike and embeddings is not None and head is not None and _same_numbers(embeddings.source, head.source):
            del self.changes[str(self.base.head)]
            return False
        return True

    def _changes_nothing(self, change: Change) -> bool:
        """Whether every update is zero, as that of a new adapter."""
        if change.source.file.parent != self.base.folder or change.tokens or any(term.magnitude for term in change.terms):
            return False
        return all(not load(term.B).any() or not load(term.A).any() for term in change.terms)


def _is_lora(module: torch.nn.Module) -> bool:
    from peft.tuners.lora.layer import LoraLayer

    return isinstance(module, LoraLayer) and "default" in module.scaling

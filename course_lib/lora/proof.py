"""The proof of a merge: logits of base and adapter beside those of the merged files, and every weight beside PEFT's own.

It loads the model, in float32, which the merge itself never does.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

# How far logits may move, as a share of the largest. In float32 only the order of sums differs: 2e-6 was measured on trained
# models of 6 M parameters. In 16 bits each merged weight is off by up to half a unit in its last place, which averages out
# within a layer and adds up slowly over layers: 0.007 was measured in bfloat16 and 0.0007 in float16. The bounds leave room
# for deeper and rougher models; in 16 bits they are eight units in the last place (2^-7 and 2^-10).
BOUNDS = {"float32": 1e-4, "float16": 8 * 2**-10, "bfloat16": 8 * 2**-7}

# How many of a tensor's numbers may round the other way than PEFT's, because a sum in another order put them across the middle.
FLIPS = 2e-3


@dataclass(frozen=True)
class Proof:
    """What was compared; see the fields of the same names of `merge.MergeReport`."""

    difference: float
    bound: float
    agreement: float
    effect: float
    four_bit_difference: float | None
    """Largest difference in logits from base + adapter with the base in NF4, where that was asked for."""


def probe_tokens(vocabulary: int, sequences: int = 4, length: int = 32) -> torch.Tensor:
    """The fixed sequences that models are compared on, ``sequences`` x ``length`` token ids drawn evenly from the vocabulary."""
    import torch

    return torch.randint(vocabulary, (sequences, length), generator=torch.Generator().manual_seed(0))


def prove(
    base: Path,
    adapters: Sequence[tuple[Path, float]],
    merged: Path,
    dtype: str,
    *,
    nf4: bool = False,
    trained_on_nf4: bool = False,
) -> Proof:
    """Compare a merged folder with its base and adapters, in float32.

    Args:
        base: the base's folder.
        adapters: the adapters' folders, and the weight of each.
        merged: the merged model's folder.
        dtype: the type that it is stored in.
        nf4: the base's linear layers were rounded to NF4 before the merge.
        trained_on_nf4: also measure how far the merged model is from what was trained, with the base in NF4.

    Raises:
        CourseError: the merged model computes something else, or its weights are not what PEFT makes.
    """
    import torch

    adapted = _adapted(_load(base, "float32"), adapters, nf4=nf4)
    tokens = probe_tokens(adapted.get_input_embeddings().weight.shape[0])
    wanted = _logits(adapted, tokens)
    with adapted.disable_adapter():
        effect = _difference(wanted, _logits(adapted, tokens))
    oracle = _merge_weights(adapted).to(getattr(torch, dtype))
    del adapted
    found = _load(merged, dtype)
    _compare_weights(oracle, found, dtype)
    del oracle
    got = _logits(found.float(), tokens)
    del found
    difference, bound = _difference(wanted, got), BOUNDS[dtype] * wanted.abs().max().item()
    if not difference <= bound:  # so that nan, from a broken adapter, fails too
        raise CourseError(
            f"the merged model's logits differ from those of base and adapter by {difference:.3g}, where {dtype} allows "
            f"{bound:.3g}, so nothing was written: "
            + ("check the adapter, or use it without merging" if dtype == "float32" else "merge into float32 instead")
        )
    four_bit = None
    if trained_on_nf4:
        four_bit = _difference(got, _logits(_adapted(_load(base, "float32"), adapters, nf4=True), tokens))
    return Proof(difference, bound, (wanted.argmax(-1) == got.argmax(-1)).float().mean().item(), effect, four_bit)


def _load(folder: Path, dtype: str) -> PreTrainedModel:
    """A model folder. transformers makes up weights that are missing, with no more than a warning: here it may not."""
    import torch
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise CourseError(f"{folder} is incomplete, it lacks {missing[0]}: copy or download it again")
    return model.eval()


def _adapted(model: PreTrainedModel, adapters: Sequence[tuple[Path, float]], *, nf4: bool) -> PeftModel:
    """Base and adapters in memory, all switched on, each at its weight."""
    from peft import PeftModel
    from peft.tuners.lora.layer import LoraLayer

    if nf4:
        round_to_nf4(model)
    names = [f"adapter{number}" for number in range(len(adapters))]
    adapted = PeftModel.from_pretrained(model, str(adapters[0][0]), adapter_name=names[0])
    for name, (folder, _) in list(zip(names, adapters, strict=True))[1:]:
        adapted.load_adapter(str(folder), adapter_name=name)
    if len(names) > 1:
        adapted.base_model.set_adapter(names)
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            for name, (_, weight) in zip(names, adapters, strict=True):
                if name in layer.scaling and weight != 1:
                    layer.scaling[name] *= weight
    return adapted.eval()


def round_to_nf4(model: PreTrainedModel) -> None:
    """Take every linear layer but the head through NF4 with double quantisation and back, in place, by bitsandbytes' own code."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    head = model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            # As rows of one block each: bitsandbytes 0.50 dequantises wrongly on a CPU where rows are shorter than a block.
            flat = module.weight.data.reshape(-1)
            blocks = torch.nn.functional.pad(flat, (0, -len(flat) % 64)).reshape(-1, 64)
            packed, state = quantize_4bit(blocks, blocksize=64, compress_statistics=True, quant_type="nf4")
            module.weight.data = dequantize_4bit(packed, state).reshape(-1)[: len(flat)].reshape(module.weight.shape)


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


def _compare_weights(oracle: PreTrainedModel, found: PreTrainedModel, dtype: str) -> None:
    """Refuse weights that differ from PEFT's by more than the order of sums explains. It sees what 16 bits would hide in logits."""
    import torch

    other = dict(found.named_parameters())
    for name, wanted in oracle.named_parameters():
        got = other.get(name, wanted)
        if dtype == "float32":
            wrong = bool(_difference(wanted.detach(), got.detach()) > 1e-5 * wanted.abs().max().item() + 1e-9)
        else:
            wrong = bool((wanted != got).sum().item() > max(2, FLIPS * wanted.numel()))
            wrong = wrong or not torch.allclose(wanted.float(), got.float(), rtol=2 * torch.finfo(wanted.dtype).eps, atol=1e-6)
        if wrong:
            raise CourseError(
                f"the merged {name} is not what PEFT's own merge makes of it, so nothing was written: check the adapter, or use it "
                "without merging"
            )


def _logits(model: PreTrainedModel | PeftModel, tokens: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        return model(input_ids=tokens.to(model.device)).logits.float().cpu()


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().max().item()

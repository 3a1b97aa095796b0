"""Which model, and how it comes into memory: one dial for tiers, hub ids and local folders."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WREN = Path(__file__).parent / "wren"
TIERS: dict[str, str] = {
    "tiny": str(WREN),
    "small": "Qwen/Qwen2.5-0.5B-Instruct",
    "large": "meta-llama/Llama-3.1-8B-Instruct",
}
ENVIRONMENT = "COURSE_MODEL"

# What loading needs. Pickled weights are left on the hub: they can run code.
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]


def resolve(model: str | None = None) -> Path:
    """The local folder of a model, downloaded first where it is a hub id that isn't there yet.

    Args:
        model: a tier (``tiny``, ``small``, ``large``), a local folder, or a hub id; by default what the environment
            variable ``COURSE_MODEL`` says, else ``tiny``, which is wren.

    Raises:
        CourseError: there is no such folder, the hub can't be reached, or it refuses.
    """
    name = model or os.environ.get(ENVIRONMENT) or "tiny"
    name = TIERS.get(name, name)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists():
        raise CourseError(
            f"{name} is no model folder, it has no config.json: give a folder, a hub id, or one of {', '.join(TIERS)}"
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CourseError(f"there is no model {name!r}: give a folder, a hub id such as owner/name, or one of {', '.join(TIERS)}")
    return _download(name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED))
    except GatedRepoError:
        raise CourseError(f"{name} is gated: ask for access on its page on the hub, then log in with `hf auth login`") from None
    except RepositoryNotFoundError:
        raise CourseError(
            f"the hub has no model {name}: check the spelling, or log in with `hf auth login` if it is private"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CourseError(
            f"{name} is not on this machine and the hub can't be reached ({type(error).__name__}): connect to the network, or use "
            "--model tiny, which needs none"
        ) from error


def is_wren(folder: Path) -> bool:
    """Whether a model folder is the course's own model."""
    return folder.resolve() == WREN.resolve()


def quiet() -> None:
    """Keep libraries from talking over the lesson: weight-loading bars, and a renamed attribute that is not the reader's."""
    import transformers

    # PEFT's and TRL's own use of a name that transformers has renamed: nothing that a reader could act on.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    # On a CPU bitsandbytes' paged optimiser is the same one without paging.
    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU", category=UserWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def import_bitsandbytes() -> None:
    """Import bitsandbytes without PyTorch's compiler, which it asks for by the way, and which takes a second to load.

    It compiles one function, for devices that it has no code of its own for. PEFT imports bitsandbytes whatever the model is.
    """
    name = "TORCHDYNAMO_DISABLE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        import bitsandbytes  # noqa: F401
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def device() -> str:
    """``cuda`` where there is an NVIDIA GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with a padding token that is not its end token.

    Raises:
        CourseError: the folder has no tokenizer, or the tokenizer no chat template.
    """
    from transformers import AutoTokenizer

    quiet()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CourseError(f"{folder} has no tokenizer that loads: copy the whole model folder again") from error
    if not tokenizer.chat_template:
        raise CourseError(
            f"the tokenizer of {folder} has no chat template: take an instruction-tuned model, or add chat_template.jinja"
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # A model trained with padding masked must still see its end token, so they may not be the same.
        spare = next((t for t in tokenizer.all_special_tokens if t not in (tokenizer.eos_token, tokenizer.bos_token)), None)
        if spare is None:
            raise CourseError(
                f"the tokenizer of {folder} has no token to pad with but its end token: set pad_token in tokenizer_config.json"
            )
        tokenizer.pad_token = spare
    return tokenizer


def load_model(folder: Path, *, four_bit: bool = False, dtype: str | None = None, where: str | None = None) -> PreTrainedModel:
    """A causal language model from a local folder, in evaluation mode, on the GPU if there is one.

    Args:
        folder: a model folder (see `resolve`).
        four_bit: quantise the linear layers to NF4 with double quantisation as they are loaded (QLoRA, Dettmers et al. 2023).
        dtype: of weights and arithmetic; by default ``bfloat16`` on a machine with a GPU and ``float32`` on another.
        where: ``cpu`` to keep it off the GPU there is.

    Raises:
        CourseError: the folder is incomplete, the model does not fit into memory, or this CPU gets its 4-bit weights wrong.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quiet()
    import_bitsandbytes()
    kind = getattr(torch, dtype or ("bfloat16" if device() == "cuda" else "float32"))
    where = where or device()
    quantise = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=kind
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=kind,
            # By number: transformers takes the bare name for the first GPU, also in a process whose own is another.
            device_map={"": torch.cuda.current_device() if where == "cuda" else where} if where == "cuda" or four_bit else None,
            trust_remote_code=False,
            use_safetensors=True,
            # Not even None may be passed for a folder that holds 4-bit weights: it hides the folder's own config.
            **({"quantization_config": quantise} if four_bit else {}),
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CourseError(
            f"{folder.name} does not fit into memory: use --method qlora, a smaller model, or --model tiny"
        ) from error
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise CourseError(
            f"{folder} does not load as a causal language model ({error}): copy the whole model folder again"
        ) from error
    if getattr(model, "is_loaded_in_4bit", False):  # also where the folder itself holds 4-bit weights
        _keep_four_bit_weights(model, folder)
    return model.eval()


def _keep_four_bit_weights(model: PreTrainedModel, folder: Path) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in place on CPUs with AVX512-BF16: after it, training and merging go wrong.

    Raises:
        CourseError: bitsandbytes would also restore weights of this model's shapes wrongly on this CPU.
    """
    import bitsandbytes

    layers = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    if model.device.type == "cpu" and (wrong := [n for n in sorted({x.in_features for x in layers}) if not _restores_rows(n)]):
        raise CourseError(
            f"bitsandbytes restores 4-bit weights wrongly on this CPU where a layer has {wrong[0]} inputs, as {folder.name} has: "
            "use --method lora, a GPU, or a model whose layers have multiples of 64 inputs"
        )


def _restores_rows(in_features: int) -> bool:
    """Whether bitsandbytes, on this CPU, restores 4-bit weights to the same numbers row by row as in one piece.

    bitsandbytes 0.50 does not on CPUs with AVX512 where rows are multiples of 16 but not of 64, its block: from the second row
    on it takes the scales of other blocks. In one piece, of a multiple of 64, it is right. Other versions and CPUs are not asked
    about their names, but tried.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weights = torch.randn(64, in_features, generator=torch.Generator().manual_seed(0))
    codes, state = quantize_4bit(weights, quant_type="nf4", blocksize=64)
    by_rows = dequantize_4bit(codes, state)
    state.shape = torch.Size([1, weights.numel()])
    return torch.allclose(by_rows.flatten(), dequantize_4bit(codes, state).flatten(), atol=1e-3)


def load_adapted(folder: Path, adapter: Path, *, four_bit: bool = False, dtype: str | None = None) -> PreTrainedModel:
    """A model with a trained adapter on it, in evaluation mode (check first that they belong together: `lora.folders`)."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_model(folder, four_bit=four_bit, dtype=dtype), str(adapter)).eval()

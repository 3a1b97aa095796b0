"""A tokenizer in llama.cpp's words: which of its pre-tokenizers splits text as ours does, and each token's bytes and kind.

llama.cpp knows pre-tokenizers by name only, and a wrong name tokenises most text right and some wrong, without an error. So a
tokenizer is written only if its rule for splitting is one of those below, character by character; any other is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.lora.folders import read_json

# Rules as tokenizer.json has them, and llama.cpp's name for each (src/llama-vocab.cpp there; the converter finds names by hashes).
_GPT2 = {"split": None, "digits": False, "byte_regex": True}
_SMOLLM = {"split": None, "digits": True, "byte_regex": True}
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_RULES: dict[str, dict[str, Any]] = {
    "gpt-2": _GPT2,
    "smollm": _SMOLLM,  # digits alone, then GPT-2's rule: wren, SmolLM, StarCoder
    "llama-bpe": {"split": _LLAMA3, "digits": False, "byte_regex": False},  # Llama 3
    "qwen2": {"split": _QWEN2, "digits": False, "byte_regex": False},  # Qwen 2, 2.5 and 3
}
_IGNORE_MERGES = {"llama-bpe": True}
"""Whether a word that is a token whole is taken without looking at merges. llama.cpp ties it to the name."""

SUPPORTED = "byte-level BPE that splits text like GPT-2, SmolLM (and wren), Llama 3 or Qwen 2"


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF stores of a tokenizer."""

    pre: str
    """llama.cpp's name of the rule by which text is split before BPE."""
    tokens: list[str]
    """One for each row of the embedding, in GPT-2's alphabet of printable characters for bytes."""
    kinds: list[int]
    """One a token: normal (1), control (3), user-defined (4) or unused (5), as in `gguf.TokenType`."""
    merges: list[str]
    special: dict[str, int]
    """Token ids by role: ``bos``, ``eos``, ``eot``, ``pad``."""
    add_bos: bool
    """Whether plain text is tokenised with the first token before it."""
    chat_template: str | None


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """The tokenizer of a model folder, for llama.cpp.

    Args:
        folder: with a ``tokenizer.json``.
        rows: of the embedding; those that the tokenizer leaves over become unused tokens.

    Raises:
        CourseError: the tokenizer is not `SUPPORTED`, or has more tokens than the embedding has rows.
    """
    from transformers import AutoTokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CourseError(f"{folder} has no tokenizer.json: only {SUPPORTED} can be written to GGUF")
    raw = read_json(file)
    model = raw["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        what = "SentencePiece-like BPE" if model.get("byte_fallback") else model.get("type")
        raise CourseError(f"the tokenizer of {folder} is {what}: only {SUPPORTED} can be written to GGUF")
    pre = _pre_tokenizer(raw, folder)
    tokens: list[str | None] = [None] * rows
    kinds = [5] * rows
    added = {entry["id"]: entry for entry in raw["added_tokens"]}
    everything = {index: token for token, index in model["vocab"].items()} | {i: e["content"] for i, e in added.items()}
    if max(everything) >= rows:
        raise CourseError(
            f"the tokenizer of {folder} has {max(everything) + 1} tokens and the model {rows}: they don't belong together"
        )
    for index, token in everything.items():
        tokens[index] = token
        kinds[index] = 1 if index not in added else 3 if added[index]["special"] else 4
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    ends = _ends(folder, loaded.eos_token_id)
    roles = {
        "bos": loaded.bos_token_id,
        "eos": ends[0] if ends else None,
        "eot": ends[1] if len(ends) > 1 else None,
        "pad": loaded.pad_token_id,
    }
    return Vocabulary(
        pre=pre,
        tokens=[f"[PAD{index}]" if token is None else token for index, token in enumerate(tokens)],
        kinds=kinds,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        special={role: index for role, index in roles.items() if index is not None},
        add_bos=loaded("a").input_ids[0] == loaded.bos_token_id,
        chat_template=_plain(loaded.chat_template) if isinstance(loaded.chat_template, str) else None,
    )


def _pre_tokenizer(raw: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name of a tokenizer's rule for splitting text."""
    pre = raw.get("pre_tokenizer") or {}
    rule: dict[str, Any] = {"split": None, "digits": False, "byte_regex": None}
    known = True
    for part in pre.get("pretokenizers", [pre]):
        if part.get("type") == "Split" and part.get("behavior") == "Isolated" and not part.get("invert"):
            rule["split"] = part["pattern"].get("Regex")
        elif part.get("type") == "Digits" and part.get("individual_digits"):
            rule["digits"] = True
        elif part.get("type") == "ByteLevel" and not part.get("add_prefix_space"):
            rule["byte_regex"] = part.get("use_regex", True)
        else:
            known = False
    # Qwen's NFC changes only text that is not composed yet; llama.cpp leaves it out.
    known &= (raw.get("normalizer") or {}).get("type") in (None, "NFC")
    name = next((name for name, wanted in _RULES.items() if rule == wanted), None)
    if not known or name is None or bool(raw["model"].get("ignore_merges")) != _IGNORE_MERGES.get(name, False):
        shown = json.dumps(pre, ensure_ascii=False)[:200]
        raise CourseError(
            f"the tokenizer of {folder} splits text by a rule that llama.cpp has no name for ({shown}): only {SUPPORTED} can be "
            "written to GGUF"
        )
    return name


def _ends(folder: Path, own: int | None) -> list[int]:
    """The tokens that end an answer: the tokenizer's own first, then those that the generation config adds."""
    file = folder / "generation_config.json"
    more = read_json(file).get("eos_token_id") if file.is_file() else None
    more = more if isinstance(more, list) else [more]
    return list(dict.fromkeys(index for index in (own, *more) if index is not None))


def _plain(template: str) -> str:
    """A chat template without the marks of training: ``{% generation %}`` is transformers' own, and other engines stop at it."""
    return re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{#\1 \2#}", template)

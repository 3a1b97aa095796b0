"""How answers end: by themselves, or only because the limit cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Ending:
    """One answer with its special tokens, up to the first end token.

    ``stopped`` says whether an end token came within the limit. ``went_on`` says whether the answer didn't end where it should:
    it ran to the limit, or a special token other than the end came first, such as the one that begins the next user's turn.
    """

    text: str
    tokens: int
    stopped: bool
    went_on: bool


def endings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, max_new_tokens: int = 64
) -> list[Ending]:
    """The greedy answer to each prompt, and how it ended. All prompts go in one batch: for tens of prompts, not for thousands.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer, with a chat template.
        prompts: what the user says, one text a chat.
        max_new_tokens: the limit.
    """
    import torch

    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    encoded = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
    inputs = tokenizer.pad({"input_ids": encoded}, padding_side="left", return_tensors="pt").to(model.device)
    end, special = tokenizer.eos_token_id, set(tokenizer.all_special_ids)
    with torch.inference_mode():
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=end
        )
    found = []
    for ids in output[:, inputs["input_ids"].shape[1] :].tolist():
        stopped = end in ids
        said = ids[: ids.index(end)] if stopped else ids
        found.append(Ending(tokenizer.decode(said).strip(), len(said), stopped, not stopped or bool(special & set(said))))
    return found

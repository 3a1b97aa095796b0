"""Batched greedy generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 16384}  # on a GPU, larger batches cost no more time and, at 8B, 2 GB of cache
LAST_TOKEN = (slice(None), slice(-1, None))  # of each row: the only one whose logits count


def greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    tokens_per_batch: int | None = None,
    on_done: Callable[[int], object] = lambda count: None,
) -> list[str]:
    """The model's greedy answer to each prompt, each asked in a chat of its own.

    Prompts of similar length share a batch and are padded on the left, so that every answer starts where its prompt ends.

    Args:
        model: any causal language model, with or without an adapter.
        tokenizer: its tokenizer, with a chat template and a padding token.
        prompts: what the user says, one text a chat.
        max_new_tokens: where an answer that does not end by itself is cut.
        tokens_per_batch: batch size times the longest prompt of the batch, at most; by default what suits the device.
        on_done: called with the number of prompts answered, after each batch.

    Returns:
        The answers, in the order of the prompts, without special tokens and outer white space.
    """
    import torch

    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    encoded: list[list[int]] = (
        tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"] if chats else []
    )
    answers = [""] * len(prompts)
    was_training = model.training
    model.eval()
    for batch in _batches(encoded, tokens_per_batch or TOKENS_PER_BATCH.get(model.device.type, 4096)):
        inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, padding_side="left", return_tensors="pt").to(
            model.device
        )
        with torch.inference_mode(), _sparing(model):
            output = model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text.strip()
        on_done(len(batch))
    model.train(was_training)
    return answers


@contextmanager
def _sparing(model: PreTrainedModel) -> Iterator[None]:
    """Let a model of torch's (one that was exported is none) do without what no answer depends on."""
    import torch

    from course_lib.lora.fused import fused_adapter
    from course_lib.models.last_layer import last_mlp_at

    with ExitStack() as stack:
        if isinstance(model, torch.nn.Module):
            stack.enter_context(last_mlp_at(model, LAST_TOKEN))
            stack.enter_context(fused_adapter(model))
        yield


def _batches(encoded: list[list[int]], tokens_per_batch: int) -> Iterator[list[int]]:
    """Indices of prompts in batches of similar length, longest first (so that too little memory shows at once)."""
    batch: list[int] = []
    for index in sorted(range(len(encoded)), key=lambda i: -len(encoded[i])):
        if batch and (len(batch) + 1) * len(encoded[batch[0]]) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

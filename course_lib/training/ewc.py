"""Elastic weight consolidation: pull each weight back to where it was, the harder the more the old skills depend on it.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", arXiv:1612.00796, equation 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from course_lib.data.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def fisher(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    seed: int = 0,
    max_new_tokens: int = 32,
    on_done: Callable[[int], object] = lambda count: None,
) -> dict[str, torch.Tensor]:
    """The diagonal of the Fisher information of every weight: the mean over prompts x of (d log p(y|x) / d weight)^2.

    As the definition wants it, y is drawn from the model itself, not read from the data (with the data's answers it would be the
    "empirical Fisher", another matrix: Kunstner et al. 2019), and each prompt's gradient is squared by itself, before the mean.

    Args:
        model: the model before fine-tuning, in 16 or 32 bits. Its gradients are used and cleared.
        tokenizer: its tokenizer.
        rows: prompts of the skills to keep; their answers are not used.
        seed: of the drawn answers.
        max_new_tokens: longest answer drawn.
        on_done: called with 1 after each prompt.

    Returns:
        For each parameter's name, a tensor of its shape, in float32, with no entry below zero.
    """
    names = dict(model.named_parameters())
    trained = {name: parameter.requires_grad for name, parameter in names.items()}
    total = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in names.items()}
    model.eval().requires_grad_(True)
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for whole, length in _drawn(model, tokenizer, rows, max_new_tokens):
            model.zero_grad()
            log_p = model(whole).logits[0, length - 1 : -1].float().log_softmax(-1)
            log_p.gather(1, whole[0, length:, None]).sum().backward()
            for name, parameter in names.items():
                if parameter.grad is not None:
                    total[name] += parameter.grad.float() ** 2
            on_done(1)
    model.zero_grad()
    for name, parameter in names.items():
        parameter.requires_grad_(trained[name])
    return {name: value / len(rows) for name, value in total.items()}


def _drawn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_new_tokens: int, batch: int = 32
) -> Iterator[tuple[torch.Tensor, int]]:
    """Each prompt with an answer that the model draws for it, of shape (1, tokens), and how many of the tokens are prompt."""
    for first in range(0, len(rows), batch):
        chats = [list(row.prompt) for row in rows[first : first + batch]]
        prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
        inputs = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
        with torch.no_grad():
            output = model.generate(
                **inputs,
                do_sample=True,
                # Whatever the model's own generation settings say: the definition is about the model's distribution as it is.
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                repetition_penalty=1.0,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        for prompt, answer in zip(prompts, output[:, inputs["input_ids"].shape[1] :], strict=True):
            answer = answer[answer != tokenizer.pad_token_id]  # pads follow the end token
            yield torch.cat([torch.tensor(prompt, device=model.device), answer])[None], len(prompt)


class Penalty:
    """strength / 2 * sum of F (weight - old weight)^2, as one number to be added to the loss.

    For a model with a LoRA adapter the change of a weight is the adapter's (alpha / r) B A, so adapter and full fine-tuning are held
    by the same yardstick.

    Args:
        fisher: from `fisher`, by the base model's names of its parameters.
        model: the model that will be trained, before the first step.
        strength: the paper's lambda.
    """

    def __init__(self, fisher: Mapping[str, torch.Tensor], model: Any, strength: float) -> None:
        self.fisher, self.strength = fisher, strength
        self.old = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if name in fisher and parameter.requires_grad
        }

    def __call__(self, model: Any) -> torch.Tensor:
        """The penalty at the model's present weights: a scalar, with its gradient."""
        terms = [(self.fisher[name] * change.float() ** 2).sum() for name, change in self._changes(model)]
        return self.strength / 2 * torch.stack(terms).sum()

    def _changes(self, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
        from peft.tuners.lora import LoraLayer

        for name, parameter in model.named_parameters():
            if name in self.old:
                yield name, parameter - self.old[name]
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                base_name = name.removeprefix("base_model.model.") + ".weight"
                for adapter in module.active_adapters:
                    yield base_name, module.get_delta_weight(adapter)

"""Chat templates of other models, to see what the wrong one costs. A model's own lies beside its weights, in its tokenizer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALPACA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% else %}### {{ 'System' if message['role'] == 'system' else 'Instruction' }}:\n{{ message['content'] }}\n\n{% endif %}"
    "{% if message['role'] == 'user' %}### Response:\n{% endif %}"
    "{% endfor %}"
)
"""Headings in plain text (Stanford Alpaca, Taori et al. 2023): what tutorials of that year used for every model."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, the template of Qwen and others, whose special tokens other models don't have."""


def with_template(tokenizer: PreTrainedTokenizerBase, template: str) -> PreTrainedTokenizerBase:
    """A copy of a tokenizer that writes chats by another template (Jinja, as in ``tokenizer.chat_template``)."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other

"""wren's tokenizer: byte-level BPE with one token a digit, and a chat template with the marks that answer-only loss needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from course_lib.world.corpus import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|pad|>", "<|start|>", "<|end|>"
ROLES = ("system", "user", "assistant")
SPECIAL = [PAD, START, END, *(f"<|{role}|>" for role in ROLES)]

# Content follows its role after a space, so that a name is the same tokens at the start of an answer as inside a sentence:
# copying a name then needs no second spelling of it. TRL reads which tokens are the answer from {% generation %}.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %} {{ message['content'] | trim }}<|end|>{% endgeneration %}"
    "{% else %} {{ message['content'] | trim }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def render(document: Document) -> str:
    """A document as the text that the model sees; a conversation comes out as the chat template writes it."""
    if isinstance(document, str):
        return f"{START} {document}{END}"
    return START + "".join(f"<|{turn['role']}|> {turn['content']}{END}" for turn in document)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE vocabulary from rendered documents.

    The token that pads is not the token that ends, so that masking padding never masks the end of an answer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        extra_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        padding_side="right",
    )

"""Train on other labels than the answer's, to see what each mistake costs; and to see the mistakes that collators make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.data.rows import Row
from course_lib.models.loading import load_model, load_tokenizer, resolve
from course_lib.training.config import TrainConfig
from course_lib.training.losses import NO_LOSS
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Example = dict[str, list[int]]
"""A row as the trainer feeds it: ``input_ids`` and ``labels``, of one length."""

Change = Callable[[list[Example]], list[Example]]


def loss_on_everything(examples: list[Example]) -> list[Example]:
    """Rows with loss on prompt, roles and answer."""
    return [{"input_ids": row["input_ids"], "labels": list(row["input_ids"])} for row in examples]


def end_without_loss(tokenizer: PreTrainedTokenizerBase) -> Change:
    """Rows whose last end token, and whatever follows it, carries no loss."""

    def change(examples: list[Example]) -> list[Example]:
        return [
            {"input_ids": row["input_ids"], "labels": row["labels"][:cut] + [NO_LOSS] * (len(row["labels"]) - cut)}
            for row in examples
            for cut in [_last_end(row, tokenizer)]
        ]

    return change


def one_stream(tokenizer: PreTrainedTokenizerBase, length: int, *, ends: bool) -> Change:
    """All rows written one after another with loss on everything, and cut every ``length`` tokens; with or without their ends."""

    def change(examples: list[Example]) -> list[Example]:
        stream = [t for row in examples for t in row["input_ids"][: None if ends else _last_end(row, tokenizer)]]
        return [
            {"input_ids": piece, "labels": list(piece)}
            for i in range(0, len(stream), length)
            for piece in [stream[i : i + length]]
        ]

    return change


def _last_end(row: Example, tokenizer: PreTrainedTokenizerBase) -> int:
    ids = row["input_ids"]
    return max((place for place, token in enumerate(ids) if token == tokenizer.eos_token_id), default=len(ids))


def train_changed(
    config: TrainConfig, rows: Sequence[Row], change: Change | None = None, *, progress: bool = True
) -> PreTrainedModel:
    """A model fine-tuned as `sft.train` would do it, on changed examples, with nothing kept on disk.

    Args:
        config: what to do; to change the examples, without packing.
        rows: training rows.
        change: makes the examples to train on of those that TRL would; none leaves them as they are.
        progress: show a bar.

    Returns:
        The model in evaluation mode, with its adapter on it.
    """
    import datasets

    folder = resolve(config.model)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as out:
        trainer = sft_trainer(model, tokenizer, rows, config, RunFolder(Path(out)), progress=progress, saves=0)
        if change is not None:
            examples = [{key: list(row[key]) for key in ("input_ids", "labels")} for row in trainer.train_dataset]
            trainer.train_dataset = datasets.Dataset.from_list(change(examples))
        trainer.train()
        return trainer.model.eval()


def collated(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, collator: str) -> tuple[list[list[int]], list[list[int]]]:
    """A padded batch of rows as one of two collators makes it.

    Args:
        rows: the rows of the batch.
        tokenizer: it says which token pads and which one ends.
        collator: ``"trl"``, which knows where it padded; or ``"transformers"``, `DataCollatorForLanguageModeling`, which takes
            every token that equals the padding token for padding.

    Returns:
        Tokens and labels, each of shape (rows, longest row). Labels here fall on everything but the padding.
    """
    chats = [[*row.prompt, {"role": "assistant", "content": row.answer}] for row in rows]
    encoded = [{"input_ids": ids} for ids in tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]]
    make: Any
    if collator == "trl":
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as TrlCollator

        make = TrlCollator(pad_token_id=tokenizer.pad_token_id)
    else:
        from transformers import DataCollatorForLanguageModeling

        make = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    batch = make(encoded)
    return batch["input_ids"].tolist(), batch["labels"].tolist()

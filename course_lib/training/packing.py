"""What packing gains: the tokens in the trainer's batches with and without it, and whether packed rows see each other."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.data.rows import Row
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STRATEGIES = ("bfd", "wrapped")


@dataclass(frozen=True)
class Fed:
    """One pass over the rows as batches: for each, its tokens and the lengths of the rows in it (or of their pieces)."""

    batches: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def computed(self) -> int:
        """Tokens of all batches, padding included: what a model computes that takes them as they come."""
        return sum(size for size, _ in self.batches)

    @property
    def useful(self) -> int:
        """Tokens of rows."""
        return sum(sum(lengths) for _, lengths in self.batches)

    @property
    def padding(self) -> float:
        """The share of the batches' tokens that is padding, 0 to 1."""
        return 1 - self.useful / self.computed


def fed(config: TrainConfig, rows: Sequence[Row], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Fed:
    """One epoch's batches, as TRL's trainer makes them under this config (``packing``, ``batch_size``, ``max_length``)."""
    with tempfile.TemporaryDirectory() as out:
        full = config.with_changes(method="full", epochs=1.0)  # the same rows, and no adapter put on the caller's model
        trainer = sft_trainer(model, tokenizer, rows, full, RunFolder(Path(out)), progress=False)
        batches = []
        for batch in trainer.get_train_dataloader():
            if "position_ids" in batch:  # packed: rows one after another, and each begins at position 0
                starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
                ends = [*starts[1:], batch["input_ids"].shape[1]]
                lengths = [end - start for start, end in zip(starts, ends, strict=True)]
            else:
                lengths = batch["attention_mask"].sum(dim=1).tolist()
            batches.append((batch["input_ids"].numel(), tuple(lengths)))
    return Fed(tuple(batches))


def crosstalk(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], strategy: str) -> float:
    """How far the logits of packed rows are from those of the same rows alone: the largest difference.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer.
        rows: at least two; all go into one sequence.
        strategy: ``"bfd"``, where positions begin anew with each row and no row sees another; or ``"wrapped"``, one long text.
    """
    import torch

    chats = [[*row.prompt, {"role": "assistant", "content": row.answer}] for row in rows]
    ids = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
    together = torch.tensor([[token for row in ids for token in row]], device=model.device)
    places = {"position_ids": torch.tensor([[i for row in ids for i in range(len(row))]], device=model.device)}
    with torch.inference_mode():
        packed = model(together, **(places if strategy == "bfd" else {}), use_cache=False).logits[0]
        alone = torch.cat([model(torch.tensor([row], device=model.device)).logits[0] for row in ids])
    return float((packed - alone).abs().max())

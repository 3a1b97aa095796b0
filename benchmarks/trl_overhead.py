"""What training costs over a bare PyTorch loop, and what its own loss, its own LoRA layers and rows end to end save: on a CPU, with wren.

    python -m benchmarks.trl_overhead

Two arms in turn, several times over, in one process; the figure is the ratio of the medians of seconds a step. A median
over steps leaves out what is not a step: the trainer's start, and the checkpoints that it writes; their share is shown beside it.

Then three losses, forward and backward, by turns over each batch, because the machine's pace changes more than they differ: this library's,
which computes nothing that carries no loss; the model's own; and TRL's. Likewise this library's LoRA layers and PEFT's, both with this
library's loss, and rows laid end to end against the batches as they come (padded, or packed under a mask). The figure is the median over batches of each
one's time as a share of the model's own, of PEFT's, or of the batches as they come.
"""

import itertools
import json
import operator
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, get_cosine_schedule_with_warmup
from trl import SFTTrainer

from course_lib.data.rows import general_rows, legal_rows
from course_lib.lora.fused import fused_adapter
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training.config import TrainConfig
from course_lib.training.losses import NO_LOSS
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "trl_overhead.json"
ROUNDS, STEPS, BATCH = 3, 30, 16
LOSSES: dict[str, type[Trainer] | None] = {"ours": None, "the model's own": Trainer, "TRL's": SFTTrainer}


def ours(rows, tokenizer) -> tuple[float, float, list]:
    """Seconds a step by our trainer as `train` runs it, the same with start and checkpoints shared out over the steps, and the batches that the trainer saw."""
    config = TrainConfig(examples=len(rows), epochs=1, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as work:
        ends: list[float] = []
        trainer = sft_trainer(
            load_model(WREN),
            tokenizer,
            rows,
            config,
            RunFolder(Path(work) / "run"),
            progress=False,
            on_step=lambda step: ends.append(time.perf_counter()),
        )
        batches = list(trainer.get_train_dataloader())
        started = time.perf_counter()
        with fused_adapter(trainer.model):
            trainer.train()
        whole = (time.perf_counter() - started) / STEPS
        return step_seconds(ends), whole, batches


def step_seconds(ends: list[float]) -> float:
    """The median time between the ends of two steps."""
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))


def bare(batches) -> float:
    """Seconds a step of the loop that one would write by hand."""
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(WREN), config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, STEPS)
    ends = []
    for batch in itertools.islice(batches, STEPS):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return step_seconds(ends)


def by_turns(
    batches: Iterable[Any], arms: Mapping[str, Callable[[Any], torch.Tensor]], whole: str
) -> dict[str, dict[str, float]]:
    """Seconds of forward and backward pass for each way to a loss (medians), and the median share of the time of the way called ``whole``."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number, batch in enumerate(batches):
        for turn in range(len(arms)):
            name, loss = list(arms.items())[(number + turn) % len(arms)]
            started = time.perf_counter()
            loss(batch).backward()
            seconds[name].append(time.perf_counter() - started)
    warm = {name: times[2 * len(arms) :] for name, times in seconds.items()}
    shares = {name: statistics.median(map(operator.truediv, times, warm[whole])) for name, times in warm.items()}
    print({name: round(share, 3) for name, share in shares.items()}, flush=True)
    return {"seconds": {name: statistics.median(times) for name, times in warm.items()}, "shares": shares}


def losses_and_layers(rows, tokenizer) -> dict[str, Any]:
    """What each loss takes, and what each kind of LoRA layer."""
    config = TrainConfig(examples=len(rows), batch_size=BATCH)
    with tempfile.TemporaryDirectory() as work:
        trainer = sft_trainer(load_model(WREN), tokenizer, rows, config, RunFolder(Path(work)), progress=False)
    model, own = trainer.model.train(), trainer.compute_loss_func

    def loss(batch: Any, kind: type[Trainer] | None) -> torch.Tensor:
        count = (batch["labels"][:, 1:] != NO_LOSS).sum()
        trainer.compute_loss_func = own if kind is None else None
        compute = trainer.compute_loss if kind is None else partial(kind.compute_loss, trainer)
        return compute(model, dict(batch), num_items_in_batch=count)

    def with_our_layers(batch: Any) -> torch.Tensor:
        with fused_adapter(model):
            return loss(batch, None)

    batches = trainer.get_train_dataloader()
    by_loss = by_turns(batches, {name: partial(loss, kind=kind) for name, kind in LOSSES.items()}, "the model's own")
    by_layer = by_turns(batches, {"ours": with_our_layers, "PEFT's": partial(loss, kind=None)}, "PEFT's")
    return {"losses": by_loss, "layers": by_layer}


def rows_end_to_end(tokenizer) -> dict[str, Any]:
    """What a step takes with rows laid end to end, and with the batches as they come."""
    clauses, mixed = legal_rows(STEPS * BATCH), legal_rows(STEPS * BATCH // 2) + general_rows(STEPS * BATCH // 2)
    plain, packed = TrainConfig(batch_size=BATCH), TrainConfig(batch_size=2, packing=True)
    found = {}
    for name, rows, config in (
        ("clauses", clauses, plain),
        ("clauses and short questions", mixed, plain),
        ("clauses, packed", clauses[: STEPS * BATCH // 2], packed),
    ):
        with tempfile.TemporaryDirectory() as work:
            trainer = sft_trainer(load_model(WREN), tokenizer, rows, config, RunFolder(Path(work)), progress=False)
        batches = list(trainer.get_train_dataloader())
        places = sum(batch["input_ids"].numel() for batch in batches)
        tokens = sum(
            int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel() for batch in batches
        )

        def loss(batch: Any, unpadded: bool, trainer: Any = trainer) -> torch.Tensor:
            trainer.unpadded = unpadded
            count = (batch["labels"][:, 1:] != NO_LOSS).sum()
            return trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)

        with fused_adapter(trainer.model.train()):
            arms = {"end to end": partial(loss, unpadded=True), "as they come": partial(loss, unpadded=False)}
            found[name] = {"padding": 1 - tokens / places} | by_turns(batches, arms, "as they come")
    return found


def main() -> None:
    rows, tokenizer = legal_rows(STEPS * BATCH), load_tokenizer(WREN)
    times: dict[str, list[float]] = {"ours": [], "ours_with_start_and_checkpoints": [], "bare": []}
    for _ in range(ROUNDS):
        seconds, whole, batches = ours(rows, tokenizer)
        times["ours"].append(seconds)
        times["ours_with_start_and_checkpoints"].append(whole)
        times["bare"].append(bare(batches))
        print({name: round(values[-1], 4) for name, values in times.items()}, flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    results = {
        "seconds_a_step": times,
        "ratio": medians["ours"] / medians["bare"],
        **losses_and_layers(legal_rows(3 * STEPS * BATCH), tokenizer),
        "rows": rows_end_to_end(tokenizer),
        "versions": versions(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"training takes {results['ratio']:.2f} times the bare loop's time")


if __name__ == "__main__":
    main()

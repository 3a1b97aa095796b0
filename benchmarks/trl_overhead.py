"""What TRL's trainer costs over a bare PyTorch loop: the same model, adapter, batches, optimiser and steps.

    python -m benchmarks.trl_overhead

Two arms in turn, several times over, in one process; the figure is the ratio of the medians of seconds a step. A median
over steps leaves out what is not a step: the trainer's start, and the checkpoints that it writes; their share is shown beside it.
"""

import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import get_cosine_schedule_with_warmup

from course_lib.data.rows import legal_rows
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.training.config import TrainConfig
from course_lib.training.runs import RunFolder
from course_lib.training.sft import sft_trainer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "trl_overhead.json"
ROUNDS, STEPS, BATCH = 3, 30, 16


def trl(rows, tokenizer) -> tuple[float, float, list]:
    """Seconds a step through our entry point, the same with start and checkpoints shared out over the steps, and the batches that the trainer saw."""
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


def main() -> None:
    rows, tokenizer = legal_rows(STEPS * BATCH), load_tokenizer(WREN)
    times: dict[str, list[float]] = {"trl": [], "trl_with_start_and_checkpoints": [], "bare": []}
    for _ in range(ROUNDS):
        seconds, whole, batches = trl(rows, tokenizer)
        times["trl"].append(seconds)
        times["trl_with_start_and_checkpoints"].append(whole)
        times["bare"].append(bare(batches))
        print({name: round(values[-1], 4) for name, values in times.items()}, flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    results = {"seconds_a_step": times, "ratio": medians["trl"] / medians["bare"], "versions": versions()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"TRL takes {results['ratio']:.2f} times the bare loop's time")


if __name__ == "__main__":
    main()

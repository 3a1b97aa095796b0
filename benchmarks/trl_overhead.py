"""What TRL's trainer costs over a bare PyTorch loop: the same model, adapter, batches, optimiser and steps.

    python -m benchmarks.trl_overhead

Two arms in turn, several times over, in one process; the figure is the ratio of the medians of seconds a step.
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
ROUNDS, STEPS, BATCH = 4, 30, 16


def trl(rows, tokenizer) -> tuple[float, list]:
    """Seconds a step through our entry point, and the batches that the trainer saw."""
    config = TrainConfig(examples=len(rows), epochs=1, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as work:
        trainer = sft_trainer(load_model(WREN), tokenizer, rows, config, RunFolder(Path(work) / "run"), progress=False)
        batches = list(trainer.get_train_dataloader())
        started = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - started) / STEPS, batches


def bare(batches) -> float:
    """Seconds a step of the loop that one would write by hand."""
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(WREN), config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, STEPS)
    started = time.perf_counter()
    for batch in itertools.islice(batches, STEPS):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    rows, tokenizer = legal_rows(STEPS * BATCH), load_tokenizer(WREN)
    times: dict[str, list[float]] = {"trl": [], "bare": []}
    for _ in range(ROUNDS):
        seconds, batches = trl(rows, tokenizer)
        times["trl"].append(seconds)
        times["bare"].append(bare(batches))
        print({name: round(values[-1], 4) for name, values in times.items()}, flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    results = {"seconds_a_step": times, "ratio": medians["trl"] / medians["bare"], "versions": versions()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"TRL takes {results['ratio']:.2f} times the bare loop's time")


if __name__ == "__main__":
    main()

"""What `greedy` saves by leaving out what no answer depends on: on a CPU, with wren and an adapter on it.

    python -m benchmarks.generation

The last MLP for all tokens but each row's last, and the adapter's product beside the base's, against transformers' and PEFT's own way, by turns in
one process. The figure is the median over rounds of the quotient of both times.
"""

import json
import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from course_lib.evaluation import generate
from course_lib.evaluation.suites import general_suite, legal_suite
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "generation.json"
ROUNDS = 7
WAYS = {"ours": generate._sparing, "all of it": lambda model: nullcontext()}


def measure(four_bit: bool) -> dict[str, object]:
    """Seconds of each way over the same questions, and their quotient; all answers are the same."""
    torch.manual_seed(0)
    adapter = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    model, tokenizer = get_peft_model(load_model(WREN, four_bit=four_bit), adapter).eval(), load_tokenizer(WREN)
    prompts = [question.prompt for question in general_suite(30) + legal_suite(100)]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    answers: dict[str, list[str]] = {}
    for number in range(ROUNDS + 1):
        for way in sorted(WAYS, reverse=number % 2 == 0):
            generate._sparing = WAYS[way]
            started = time.perf_counter()
            answers[way] = generate.greedy(model, tokenizer, prompts)
            seconds[way].append(time.perf_counter() - started)
    different = sum(one != other for one, other in zip(*answers.values(), strict=True))
    warm = {way: times[1:] for way, times in seconds.items()}
    share = statistics.median(ours / whole for ours, whole in zip(*warm.values(), strict=True))
    return {"prompts": len(prompts), "different_answers": different, "seconds": warm, "share": share}


def main() -> None:
    results = {name: measure(four_bit) for name, four_bit in (("lora", False), ("qlora", True))} | {"versions": versions()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for name in ("lora", "qlora"):
        print(f"{name}: {results[name]['share']:.2f} of the time, {results[name]['different_answers']} answers differ")


if __name__ == "__main__":
    main()

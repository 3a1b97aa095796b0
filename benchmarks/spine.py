"""The main job over seeds: train wren on legal clauses with the defaults, and measure what it learns, keeps and costs.

    python -m benchmarks.spine --seeds 0 1 2

Each training runs in a process of its own, as `course train` does, so that its peak memory is its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from course_lib.evaluation.report import evaluate
from course_lib.evaluation.suites import suite
from course_lib.models.loading import WREN, load_adapted, load_model, load_tokenizer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "spine.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    questions, tokenizer = suite("all"), load_tokenizer(WREN)
    before = evaluate(load_model(WREN), tokenizer, questions)
    results = {"before": scores(before), "evaluation_seconds": round(before.seconds, 1), "runs": [], "versions": versions()}
    if RESULTS.exists() and (stored := json.loads(RESULTS.read_text()))["versions"] == results["versions"]:
        results["runs"] = [run for run in stored["runs"] if run["seed"] not in seeds]  # runs of other seeds stay
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            run = Path(work) / "run"
            subprocess.run([sys.executable, "-m", "course_lib", "train", "--seed", str(seed), "--out", run], check=True)
            after = evaluate(load_adapted(WREN, run / "adapter"), tokenizer, questions)
            metrics = json.loads((run / "metrics.json").read_text())
        results["runs"].append({"seed": seed, "training": metrics, "after": scores(after)})
        print(seed, metrics["seconds"], results["runs"][-1]["after"], flush=True)
    results["runs"].sort(key=lambda run: run["seed"])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def scores(report) -> dict[str, float]:
    return {skill: score.rate for skill, score in report.by_skill.items()} | {"never_paired": report.never_paired.rate}


if __name__ == "__main__":
    main()

"""How near onnxruntime, given our ONNX files, comes to torch: wren's logits and greedy answers, and what a token costs.

python -m benchmarks.onnx_parity
"""

import json
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch

from course_lib.evaluation.generate import greedy
from course_lib.evaluation.suites import general_suite, legal_suite
from course_lib.export.onnx import OnnxModel, export_onnx
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "onnx_parity.json"
ROUNDS = 5


def questions() -> list[str]:
    """100 questions: 60 of the general suite, evenly from its skills, and 40 clauses."""
    general = general_suite(per_skill=20)
    return [question.prompt for question in general[:: max(1, len(general) // 60)][:60] + legal_suite(count=40)]


def answers(model, tokenizer, asked: list[str]) -> list[str]:
    return greedy(model, tokenizer, asked, max_new_tokens=64)


def main() -> None:
    model, tokenizer = load_model(WREN), load_tokenizer(WREN)
    asked = questions()
    with tempfile.TemporaryDirectory() as work:
        report = export_onnx(WREN, Path(work) / "wren")
        exported = OnnxModel(Path(work) / "wren", threads=torch.get_num_threads())
        said, wanted = answers(exported, tokenizer, asked), answers(model, tokenizer, asked)
        seconds: dict[str, list[float]] = {"onnxruntime": [], "torch": []}
        for _ in range(ROUNDS):  # in turn, so that what slows one slows the other
            for name, one in (("onnxruntime", exported), ("torch", model)):
                started = time.perf_counter()
                for text in asked[:10]:
                    greedy(one, tokenizer, [text], max_new_tokens=32)
                seconds[name].append(time.perf_counter() - started)
    result = {
        "command": "python -m benchmarks.onnx_parity",
        "versions": versions() | {name: metadata.version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
        "model": "wren",
        "prompts": len(asked),
        "bytes": report.size,
        "difference": report.difference,
        "bound": report.bound,
        "same_text": sum(a == b for a, b in zip(said, wanted, strict=True)),
        "export_seconds": round(report.seconds, 1),
        "speed_up": round(statistics.median(t / o for t, o in zip(seconds["torch"], seconds["onnxruntime"], strict=True)), 2),
    }
    print(result)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

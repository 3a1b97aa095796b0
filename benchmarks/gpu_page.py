"""Make docs/gpu.md's tables and its picture from what the GPU benchmarks measured.

python -m benchmarks.gpu_page
"""

import json
import re
from pathlib import Path
from textwrap import fill

from matplotlib.ticker import MultipleLocator

from benchmarks import gpu_many
from benchmarks.gpu_training import ARMS
from benchmarks.memory_peaks import LESSON, results_file
from course_lib.models.memory import GIB
from course_lib.notebook.plots import figure, webp

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, PICTURE = ROOT / "benchmarks/results", ROOT / "docs/gpu.md", ROOT / "docs/images/gpu-training.webp"
OURS, OTHERS = "#0072b2", "#999999"  # told apart by everybody


def speed_table(found: dict) -> str:
    """One row for each arm that ran, and what is known of those that did not."""
    lines = ["| what | tokens/s | peak, GiB | checkpointing |", "|---|---|---|---|"]
    for arm in ARMS:
        if (run := found["runs"].get(arm)) is None:
            continue
        what = ARMS[arm] + (f" ({run['package']})" if "package" in run else "")
        if "error" in run:
            lines.append(f"| {what} | did not run: {run['error'].rpartition('|')[2].strip()[:120]} | | |")
        else:
            peak, checkpointing = run["peak_bytes"] / GIB, "yes" if run["checkpointing"] else "no"
            lines.append(f"| {what} | {run['tokens_per_second']:,.0f} | {peak:.1f} | {checkpointing} |")
    return "\n".join([*lines, "", said_by(found)])


def memory_table(found: dict) -> str:
    """Measured peaks beside what the calculator reckons."""
    lines = ["| method | checkpointing | measured, GiB | reckoned, GiB | reckoned / measured |", "|---|---|---|---|---|"]
    for run in found["runs"]:
        if run["measured"]:
            sizes = f"{run['measured'] / GIB:.2f} | {run['reckoned'] / GIB:.2f} | {run['reckoned'] / run['measured']:.2f}"
            lines.append(f"| {run['method']} | {'yes' if run['checkpointing'] else 'no'} | {sizes} |")
    return "\n".join([*lines, "", said_by(found)])


def many_table(found: dict) -> str:
    """What the same training takes and gives on one GPU and on several."""
    lines = ["| run | steps | last loss | seconds | peak of a GPU, GB | weights apart | from |", "|---|---|---|---|---|---|---|"]
    for name, run in found["runs"].items():
        figures = f"{run['steps']} | {run['final_loss']:.3f} | {run['seconds']:.1f} | {run['peak_memory_bytes'] / 1e9:.2f}"
        lines.append(f"| {name} | {figures} | {run['apart']:.4f} | {run['beside']} |")
    return "\n".join([*lines, "", f"{found['device']}, torch {found['versions']['torch']}. Again: `{found['command']}`"])


def said_by(found: dict) -> str:
    """Where figures come from."""
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("torch", "transformers", "peft", "trl", "bitsandbytes"))
    return f"{found['model']} shape, {found['device']}; {versions}. Again: `{found['command']}`"


def picture(found: dict) -> bytes:
    """Tokens a second of each arm, as bars."""
    runs = [(arm, found["runs"][arm]) for arm in ARMS if "error" not in found["runs"].get(arm, {"error": ""})][::-1]
    with figure(8, 1 + 0.6 * len(runs)) as (drawn, axes):
        for place, (key, run) in enumerate(runs):
            axes.barh(place, run["tokens_per_second"], color=OURS if key.startswith("ours") else OTHERS)
            axes.text(run["tokens_per_second"], place, f" {run['tokens_per_second']:,.0f}", va="center")
        axes.set_yticks(range(len(runs)), [fill(ARMS[arm], 38) for arm, _ in runs])
        axes.set_xlim(0, 1.15 * max(run["tokens_per_second"] for _, run in runs))
        axes.xaxis.set_major_locator(MultipleLocator(5000))
        axes.set_xlabel("tokens a second")
        axes.set_title(f"LoRA at the {found['model']} shape on one {found['device']}", loc="right")
    return webp(drawn)


def main() -> None:
    """Write the tables between their marks, and the picture."""
    page = PAGE.read_text(encoding="utf-8")
    peaks = {f"memory_peaks {model}": (results_file(model), memory_table) for model in (LESSON, "Llama-3-8B")}
    many = {f"gpu_many {gpus}": (gpu_many.results_file(gpus), many_table) for gpus in (2, 4)}
    sources = {"gpu_training": (RESULTS / "gpu_training.json", speed_table), **peaks, **many}
    for name, (file, table) in sources.items():
        text = table(json.loads(file.read_text(encoding="utf-8")))
        page, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, t=text: f"{m[1]}{t}\n{m[2]}", page, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"{PAGE} has no place for {name}")
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_bytes(picture(json.loads((RESULTS / "gpu_training.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

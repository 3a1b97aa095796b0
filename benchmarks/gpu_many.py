"""The same training on one GPU, on two by DDP, and sharded over two by FSDP: do they end in the same weights, and what do they take?

    python -m benchmarks.gpu_many [--models tiny Llama-3-8B]

Each arm is the command that a user types, in a process of its own. Kept are its metrics, and how far its weights are from one process's.
The weights of a shape such as Llama-3-8B are random and written to a folder first (16 GB).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_training import TARGETS, write_random
from course_lib.models.loading import WREN, load_tokenizer
from course_lib.models.shapes import SHAPES
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "gpu_many.json"
FSDP = """distributed_type: FSDP
num_machines: 1
num_processes: 2
mixed_precision: bf16
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: true
"""
LAUNCHERS: dict[str, list[str]] = {
    "one": [],
    "ddp": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"],
    "fsdp": ["accelerate.commands.launch", "--config_file", "FSDP", "-m"],
}
TINY = {
    "LoRA": ["--lr", "1e-3"],
    "QLoRA": ["--lr", "1e-3", "--method", "qlora"],
    "full, float32": ["--lr", "1e-4", "--method", "full", "--precision", "float32"],
    "full": ["--lr", "1e-4", "--method", "full"],
}
NOT_SHARDED = ("QLoRA", "full, float32")
BESIDE = {("full", "fsdp"): "full, float32"}  # FSDP keeps weights in float32, and is compared with what does
LARGE = {"LoRA": ["--target-modules", ",".join(TARGETS)]}
KEPT = ("steps", "tokens", "processes", "seconds", "final_loss", "peak_memory_bytes", "weights_bytes", "trainable_parameters")


def apart(one: Path, other: Path) -> float:
    """The largest difference between two runs' weights, which must have the same names (a tied head may be stored or not)."""
    from safetensors.torch import load_file

    first, second = (load_file(next(folder.rglob("*model.safetensors"))) for folder in (one, other))
    if set(first) ^ set(second) - {"lm_head.weight"}:
        raise SystemExit(f"{other.name} saved other tensors than {one.name}")
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first.keys() & second.keys())


def run(launcher: str, words: list[str], work: Path, name: str) -> dict:
    """One arm's metrics, and the seconds of its whole command."""
    start, log = [part.replace("FSDP", str(work / "fsdp.yaml")) for part in LAUNCHERS[launcher]], work / f"{name}.log"
    command = [sys.executable, "-m", *start, "course_lib", "train", *words, "--out", str(work / name)]
    # Only one GPU is there for one process, so that nothing else is measured.
    env = os.environ | ({} if start else {"CUDA_VISIBLE_DEVICES": "0"})
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, env=env, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    metrics = json.loads((work / name / "metrics.json").read_text(encoding="utf-8"))
    return {key: metrics[key] for key in KEPT} | {"command_seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Run the arms, one after another."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny", "Llama-3-8B"], choices=["tiny", *SHAPES])
    parser.add_argument("--out", type=Path, default=RESULTS)
    said = parser.parse_args()
    if (count := torch.cuda.device_count()) < 2:
        raise SystemExit(f"two GPUs are needed and {count} are here")
    found = {
        "command": f"python -m benchmarks.gpu_many --models {' '.join(said.models)}",
        "device": f"2 of {count} x {torch.cuda.get_device_name()}",
        "versions": versions(),
        "runs": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "fsdp.yaml").write_text(FSDP, encoding="utf-8")
        for model in said.models:
            source = model if model == "tiny" else str(work / model)
            if model != "tiny":
                write_random(model, Path(source))
                load_tokenizer(WREN).save_pretrained(source)
            common = ["--model", source, "--examples", "96", "--epochs", "1", "--batch-size", "8"]
            for method, words in (TINY if model == "tiny" else LARGE).items():
                for launcher in LAUNCHERS:
                    if launcher == "fsdp" and method in NOT_SHARDED:
                        continue
                    name = f"{model}, {method}, {launcher}"
                    beside = f"{model}, {BESIDE.get((method, launcher), method)}, one"
                    arm = run(launcher, common + words, work, name)
                    arm |= {"beside": beside, "apart": apart(work / beside, work / name)}
                    print(name, arm, flush=True)
                    found["runs"][name] = arm
                    said.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

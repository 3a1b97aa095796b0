"""The same training on one GPU, on several by DDP, and sharded over them by FSDP: do they end in the same weights, and what do they take?

    python -m benchmarks.gpu_many [--gpus 2] [--models tiny Llama-3-8B]

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

FSDP = """distributed_type: FSDP
num_machines: 1
num_processes: {processes}
mixed_precision: bf16
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: true
"""
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


def results_file(gpus: int) -> Path:
    """What a run on so many GPUs leaves."""
    return Path(__file__).parent / "results" / f"gpu_many_{gpus}.json"


def launchers(processes: int, work: Path) -> dict[str, list[str]]:
    """What stands between ``python -m`` and the command; FSDP's configuration is written to a folder."""
    config = work / "fsdp.yaml"
    config.write_text(FSDP.format(processes=processes), encoding="utf-8")
    return {
        "one": [],
        "ddp": ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"],
        "fsdp": ["accelerate.commands.launch", "--config_file", str(config), "-m"],
    }


def apart(one: Path, other: Path) -> float:
    """The largest difference between two runs' weights, which must have the same names (a tied head may be stored or not)."""
    from safetensors.torch import load_file

    first, second = (load_file(next(folder.rglob("*model.safetensors"))) for folder in (one, other))
    if set(first) ^ set(second) - {"lm_head.weight"}:
        raise SystemExit(f"{other.name} saved other tensors than {one.name}")
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first.keys() & second.keys())


def run(start: list[str], words: list[str], work: Path, name: str) -> dict:
    """One arm's metrics, and the seconds of its whole command."""
    log = work / f"{name}.log"
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
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu_many_GPUS.json")
    said = parser.parse_args()
    out = said.out or results_file(said.gpus)
    if (count := torch.cuda.device_count()) < said.gpus:
        raise SystemExit(f"{said.gpus} GPUs are needed and {count} are here")
    found = {
        "command": f"python -m benchmarks.gpu_many --gpus {said.gpus} --models {' '.join(said.models)}",
        "device": f"{said.gpus} of {count} x {torch.cuda.get_device_name()}",
        "versions": versions(),
        "runs": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        starts = launchers(said.gpus, work)
        for model in said.models:
            source = model if model == "tiny" else str(work / model)
            if model != "tiny":
                write_random(model, Path(source))
                load_tokenizer(WREN).save_pretrained(source)
            common = ["--model", source, "--examples", "96", "--epochs", "1", "--batch-size", "8"]
            for method, words in (TINY if model == "tiny" else LARGE).items():
                for launcher, start in starts.items():
                    if launcher == "fsdp" and method in NOT_SHARDED:
                        continue
                    name = f"{model}, {method}, {launcher}"
                    beside = f"{model}, {BESIDE.get((method, launcher), method)}, one"
                    arm = run(start, common + words, work, name)
                    arm |= {"beside": beside, "apart": apart(work / beside, work / name)}
                    print(name, arm, flush=True)
                    found["runs"][name] = arm
                    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

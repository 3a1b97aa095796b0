"""The same training on one GPU, on two by DDP, and sharded over two by FSDP: do they end in the same weights, and what do they take?

    python -m benchmarks.gpu_many [--model FOLDER]

Each arm is the command that a user types, in a process of its own. Kept are its metrics, and how far its weights are from one process's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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
"""
KEPT = ("steps", "tokens", "processes", "seconds", "final_loss", "peak_memory_bytes", "weights_bytes", "trainable_parameters")


def apart(one: Path, other: Path) -> float:
    """The largest difference between two runs' weights, which must have the same names (a tied head may be stored or not)."""
    from safetensors.torch import load_file

    first, second = (load_file(next(folder.rglob("*model.safetensors"))) for folder in (one, other))
    if set(first) ^ set(second) - {"lm_head.weight"}:
        raise SystemExit(f"{other.name} saved other tensors than {one.name}")
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first.keys() & second.keys())


def main() -> None:
    """Run the arms, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="tiny, or a folder with a model of Llama's architecture")
    parser.add_argument("--out", type=Path, default=RESULTS)
    said = parser.parse_args()
    train = [
        "course_lib",
        "train",
        "--model",
        said.model,
        "--examples",
        "96",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--lr",
        "1e-3",
    ]
    runs = {}
    with tempfile.TemporaryDirectory() as work:
        config = Path(work, "fsdp.yaml")
        config.write_text(FSDP, encoding="utf-8")
        launchers = {
            "one": [],
            "ddp": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"],
            "fsdp": ["accelerate.commands.launch", "--config_file", str(config), "-m"],
        }
        for method in ("lora", "full"):
            for name, launcher in launchers.items():
                out = Path(work, f"{method}-{name}")
                words = [sys.executable, "-m", *launcher, *train, "--method", method, "--out", str(out)]
                # A single process sees two GPUs otherwise, and the trainer would share the batch out over both.
                done = subprocess.run(words, env=os.environ | ({} if launcher else {"CUDA_VISIBLE_DEVICES": "0"}))
                if done.returncode:
                    raise SystemExit(f"{out.name} failed")
                metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
                runs[out.name] = {key: metrics[key] for key in KEPT} | {"apart": apart(Path(work, f"{method}-one"), out)}
                print(out.name, runs[out.name], flush=True)
    found = {
        "command": f"python -m benchmarks.gpu_many --model {said.model}",
        "device": "2 GPUs",
        "noted": "",
        "versions": versions(),
        "runs": runs,
    }
    said.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What training takes on a GPU, measured beside what the calculator reckons: random weights in the shape of a known model.

    python -m benchmarks.memory_peaks [--model Llama-2-7B] [--length 512]

Each method runs in a process of its own: three AdamW steps on one sequence, LoRA of rank 16 on q, k, v and o, with activation checkpointing and
without. Nothing is downloaded. Kept is the most that PyTorch's allocator held, in bytes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from course_lib.models.loading import quiet
from course_lib.models.memory import GIB, METHODS, estimate
from course_lib.models.shapes import SHAPES, shape
from course_lib.notebook.syllabus import lessons_folder
from course_lib.versions import versions

LESSON = "Llama-2-7B"  # whose figures lesson 03 shows; they lie with the lessons
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, STEPS = 16, 3


def results_file(model: str) -> Path:
    """Where the peaks of a model are kept."""
    if model == LESSON:
        return lessons_folder() / "results" / "gpu_memory.json"
    return Path(__file__).parent / "results" / f"gpu_memory_{model}.json"


def built(name: str, method: str):
    """The model on the GPU with random weights in bfloat16, its linear layers in 4 bits for QLoRA, and what should train set to."""
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(shape(name), dtype=torch.bfloat16)
    if method == "qlora":
        in_four_bits(model)
    if method != "full":
        adapter = LoraConfig(r=RANK, target_modules=list(TARGETS), task_type="CAUSAL_LM")
        model = get_peft_model(model, adapter, autocast_adapter_dtype=method == "lora")
    return model.train()


def in_four_bits(model) -> None:
    """Put bitsandbytes' layers in the place of linear ones, as loading in 4 bits does, and mark the model as such."""
    import bitsandbytes

    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings():
            four = bitsandbytes.nn.Linear4bit(
                layer.in_features, layer.out_features, bias=False, quant_type="nf4", compute_dtype=torch.bfloat16, device="meta"
            )
            weight = layer.weight.data.cpu()
            four.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
            model.set_submodule(name, four.to("cuda"))
            del layer, weight
    model.is_loaded_in_4bit = True
    model.config.quantization_config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def peak(name: str, method: str, length: int, checkpointing: bool) -> int:
    """Bytes at the peak of some steps."""
    quiet()
    torch.manual_seed(0)
    model = built(name, method)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    ids = torch.randint(3, 30_000, (1, length), device="cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return torch.cuda.max_memory_allocated()


def main() -> None:
    """Measure every method, or with --one a single one, whose bytes are printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default=LESSON)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--one", choices=METHODS)
    parser.add_argument("--checkpointing", action="store_true")
    said = parser.parse_args()
    if said.one:
        print(peak(said.model, said.one, said.length, said.checkpointing))
        return
    runs = []
    for method in METHODS:
        for checkpointing in (True, False):
            command = [sys.executable, "-m", "benchmarks.memory_peaks", "--model", said.model, "--length", str(said.length)]
            command += ["--one", method] + ["--checkpointing"] * checkpointing
            done = subprocess.run(command, capture_output=True, text=True)
            measured = int(done.stdout.split()[-1]) if done.returncode == 0 else None
            reckoned = estimate(
                shape(said.model), method, rank=RANK, target_modules=TARGETS, length=said.length, checkpointing=checkpointing
            )
            run = {"method": method, "checkpointing": checkpointing, "measured": measured, "reckoned": reckoned.total}
            runs.append(
                run | {"parts": reckoned.parts} | ({} if measured else {"error": done.stderr.strip().splitlines()[-1][:200]})
            )
            words = f"{measured / GIB:6.2f}" if measured else "failed"
            print(f"{method:6} checkpointing {checkpointing!s:5}  {words} GiB measured, {reckoned.gib:6.2f} reckoned", flush=True)
    command = f"python -m benchmarks.memory_peaks --model {said.model} --length {said.length}"
    head = {"command": command, "device": torch.cuda.get_device_name(0), "model": said.model, "length": said.length, "rank": RANK}
    results_file(said.model).write_text(
        json.dumps(head | {"targets": TARGETS, "versions": versions(), "runs": runs}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()

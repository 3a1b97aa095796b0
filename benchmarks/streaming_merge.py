"""A merge at the shape of Llama-3-8B beside copying the same files and beside PEFT's standard route: time and memory.

    python -m benchmarks.streaming_merge --work FOLDER [--rounds 3]

Makes 16 GB of random weights in four bfloat16 shards, and rank-16 adapters for q, k, v, o and for all linear layers. Then in turn, over
several rounds, each in a process of its own: ``cp -r``; ``cp -r`` flushed to disk, as a merge is; and ``course merge`` without its
proof. At the end PEFT's from_pretrained, merge_and_unload, save_pretrained, twice. The inputs are read once before each run, so the page cache is as warm as memory
allows. Needs 33 GB of disk at a time.

Memory is sampled 20 times a second: ``max_rss`` counts file pages that a process has mapped, ``anonymous`` what it holds of its own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "streaming_merge.json"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
TARGETS = {"qkvo": ATTENTION, "all-linear": [*ATTENTION, "gate_proj", "up_proj", "down_proj"]}
RANK, SHARDS = 16, 4

OURS = "-m course_lib merge --model {base} --adapter {adapter} --out {out} --no-verify"
PEFT = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
PeftModel.from_pretrained(model, sys.argv[2]).merge_and_unload().save_pretrained(sys.argv[3])
"""


def make_base(folder: Path) -> None:
    """Random weights, written tensor by tensor, so that making them takes no memory either."""
    import torch
    from transformers import AutoModelForCausalLM

    from course_lib.lora.shards import lay_out, made, shard_names, write_index
    from course_lib.lora.updates import bytes_of
    from course_lib.models.shapes import shape

    config = shape("Llama-3-8B")
    config.dtype = "bfloat16"
    config.architectures = ["LlamaForCausalLM"]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    wanted = {name: ("BF16", tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    size = sum(2 * tensor.numel() for tensor in model.state_dict().values())
    slots, starts = lay_out(folder, wanted, shard_names(wanted, size // SHARDS + 2**28))
    noise = (torch.randn(2**24, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    with made(starts) as files:
        for file, header in starts.items():
            files[file].write(memoryview(header), 0)
        for number, (name, slot) in enumerate(slots.items()):
            count = slot.size // 2
            repeated = noise.roll(number * 9973).repeat(-(-count // len(noise)))[:count]
            if name.endswith("norm.weight"):
                repeated = torch.ones(count, dtype=torch.bfloat16)
            files[slot.file].write(bytes_of(repeated), slot.start)
    write_index(folder, slots)


def make_adapter(folder: Path, base: Path, targets: list[str]) -> None:
    """A trained-looking adapter of rank 16: neither A nor B is zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    from course_lib.lora.folders import on_meta

    config = LoraConfig(r=RANK, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM")
    with torch.device("meta"):
        saved = get_peft_model_state_dict(get_peft_model(on_meta(base), config), save_embedding_layers=False)
    torch.manual_seed(1)
    folder.mkdir()
    save_file({name: 0.01 * torch.randn(tensor.shape) for name, tensor in saved.items()}, folder / "adapter_model.safetensors")
    config.base_model_name_or_path = None
    config.save_pretrained(folder)


def warm(folder: Path) -> None:
    """Read every file once, so that each run starts from the same page cache."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb", buffering=0) as stream:
            while stream.read(2**26):
                pass


def run(command: list[str], out: Path, flush: bool = False) -> dict[str, float]:
    """Seconds, and peaks of memory in bytes, of one command, whose output is removed after it."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peaks = {"max_rss": 0, "anonymous": 0}
    watcher = threading.Thread(target=_watch, args=(process, peaks))
    watcher.start()
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {errors.decode()[-2000:]}")
    if flush:
        for file in out.rglob("*"):
            if file.is_file():
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
    seconds = time.perf_counter() - started
    watcher.join()
    shutil.rmtree(out)
    return {"seconds": seconds, **peaks}


def _watch(process: subprocess.Popen, peaks: dict[str, int]) -> None:
    fields = {"VmHWM": "max_rss", "RssAnon": "anonymous"}
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return
        for line in lines:
            key, _, value = line.partition(":")
            if key in fields:
                peaks[fields[key]] = max(peaks[fields[key]], int(value.split()[0]) * 1024)
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder on the disk to measure, with 33 GB free")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    base, out = options.work / "base", options.work / "out"
    if not base.exists():
        make_base(base)
    for name, targets in TARGETS.items():
        if not (options.work / name).exists():
            make_adapter(options.work / name, base, targets)
    copy = ["cp", "-r", str(base), str(out)]
    arms: dict[str, tuple[list[str], bool]] = {"cp -r": (copy, False), "cp -r, flushed": (copy, True)}
    for name in TARGETS:
        words = [word.format(base=base, adapter=options.work / name, out=out) for word in OURS.split()]
        arms[f"course merge, {name}"] = ([sys.executable, *words], False)
    for name in TARGETS:
        arguments = [str(base), str(options.work / name), str(out)]
        arms[f"PEFT, {name}"] = ([sys.executable, "-c", PEFT, *arguments], False)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for name in order(list(arms), options.rounds):
        command, flush = arms[name]
        warm(base)
        runs[name].append(run(command, out, flush))
        print(name, {key: round(value, 2) for key, value in runs[name][-1].items()}, flush=True)
        keep(runs, base)


def order(arms: list[str], rounds: int) -> list[str]:
    """The arms by turns, each round begun by another; PEFT's, after which memory is swept empty, twice at the end."""
    slow = [name for name in arms if name.startswith("PEFT")]
    quick = [name for name in arms if name not in slow]
    turned = [quick[number % len(quick) :] + quick[: number % len(quick)] for number in range(rounds)]
    return [name for turn in turned for name in turn] + 2 * slow


def table(results: dict) -> str:
    """The medians as a table in Markdown, which docs/merging.md holds."""
    rows = ["| route | seconds | times the flushed copy | max RSS, GB | anonymous, GB |", "|---|---|---|---|---|"]
    copy = results["medians"]["cp -r, flushed"]["seconds"]
    for name, found in results["medians"].items():
        memory = [f"{found[key] / 1e9:.2f}" for key in ("max_rss", "anonymous")]
        rows.append(f"| {name} | {found['seconds']:.1f} | {found['seconds'] / copy:.2f} | " + " | ".join(memory) + " |")
    return "\n".join(rows)


def keep(runs: dict[str, list[dict[str, float]]], base: Path) -> None:
    """Write what there is so far."""
    medians = {
        name: {key: statistics.median(found[key] for found in many) for key in many[0]} for name, many in runs.items() if many
    }
    results = {
        "command": "python -m benchmarks.streaming_merge --work FOLDER",
        "bytes": sum(file.stat().st_size for file in base.glob("*.safetensors")),
        "rank": RANK,
        "medians": medians,
        "runs": runs,
        "machine": {"cores": os.cpu_count(), "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")},
        "versions": versions(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Tokens a second of LoRA and QLoRA on a GPU: the library's own entry point beside what others give, at a real model's shape.

    python -m benchmarks.gpu_training [--model Llama-3-8B] [--arms ours-lora trl ...] [--seconds 540]

Weights are random and made on the GPU, so nothing is downloaded. Every arm trains LoRA of rank 16 on q, k, v and o over packed rows of
2,048 tokens, in a process of its own; the next one loads its libraries meanwhile, and waits for the GPU. Counted are tokens that are no
padding, after warm-up; all arms get the same texts, with loss on the answers. Kept as well is the most that PyTorch's allocator held. Each arm's result is written as soon as it is there.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from course_lib.models.shapes import SHAPES, shape

RESULTS = Path(__file__).parent / "results" / "gpu_training.json"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, ALPHA, LENGTH, BATCH = 16, 32, 2048, 4
ROWS = int(
    os.environ.get("GPU_TRAINING_ROWS", "2970")
)  # of the legal task: 26 full batches of 4 x 2048 tokens, 98 % of them no padding
WARM = 3  # batches before the clock starts
ARM_SECONDS = 100  # an arm that takes longer is stopped

ARMS = {
    "ours-lora": "this library, preset fast, LoRA",
    "ours-qlora": "this library, preset fast, QLoRA",
    "ours-qlora-checkpointing": "the same, as on a GPU too small to keep all activations",
    "seed": "the common QLoRA recipe: checkpointing, rows cut full",
    "trl": "TRL as it is, LoRA: checkpointing, documents kept apart",
    "trl-cut": "TRL, LoRA, without checkpointing, rows cut full",
    "litgpt": "LitGPT, LoRA",
    "torchtune": "torchtune, LoRA",
    "unsloth": "Unsloth, LoRA",
    "ours-lora-no-kernels": "ours without Liger's kernels",
    "ours-lora-no-attention": "ours without attention by document",
    "ours-lora-no-adapter": "ours without the fused adapter",
}

PEERS = ("litgpt", "torchtune", "unsloth")


# -- what the arms share ------------------------------------------------------------------------------------------------


def built(name: str, four_bit: bool = False):
    """A model with random weights in bfloat16 where the arm runs, its linear layers in 4 bits if wanted."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny_shape() if name == "tiny" else shape(name)
    with torch.device(where()):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if where() == "cuda" else torch.float32)
    if four_bit:
        quantised(model)
        if where() == "cuda":  # making all weights in 16 bits first would hide what training takes
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return model


def tiny_shape():
    """For trying the arms without a GPU."""
    from transformers import LlamaConfig

    sizes = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)


def quantised(model):
    """The same model as loading it in 4 bits gives: NF4 with double quantisation, embeddings and head left alone."""
    import bitsandbytes
    import torch
    from transformers import BitsAndBytesConfig

    for path, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings():
            four = bitsandbytes.nn.Linear4bit(
                layer.in_features, layer.out_features, bias=False, quant_type="nf4", compute_dtype=model.dtype, device="meta"
            )
            four.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
            four.support_avx512bf16_for_cpu = False
            model.set_submodule(path, four.to(where()))
            layer.weight.data = torch.empty(0)
    model.is_loaded_in_4bit = True
    model.config.quantization_config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=model.dtype
    )
    return model


def where() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Clock:
    """Notes the time after the warm-up and at the end, when the GPU has really come there."""

    def __init__(self, per_step: int = 1) -> None:
        self.first, self.warm, self.last, self.before = max(1, WARM // per_step), 0.0, 0.0, 0

    def step(self, number: int, tokens: Callable[[], int]) -> None:
        """Say which step is done, and how the tokens up to it can be counted."""
        if number == self.first:
            self.before, self.warm = tokens(), self.now()

    @staticmethod
    def now() -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def stop(self, steps: int, tokens: int) -> dict:
        """The figures of an arm that took ``steps`` steps over ``tokens`` tokens, warm-up included."""
        import torch

        seconds = (self.last or self.now()) - self.warm
        counted = tokens - self.before
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        return {
            "tokens_per_second": round(counted / seconds, 1),
            "seconds": round(seconds, 3),
            "steps": steps - self.first,
            "tokens": counted,
            "peak_bytes": peak,
        }


# -- the arms -----------------------------------------------------------------------------------------------------------


def ours(name: str, method: str, without: str = "", checkpointing: bool | None = None):
    """`course_lib.training.sft.train`, with the random model in place of a folder's and everything else as a user has it."""
    from course_lib.data.rows import legal_rows
    from course_lib.training import fast, sft
    from course_lib.training.config import TrainConfig

    def run() -> dict:
        model = built(name, method == "qlora")
        sft.load_model = lambda *arguments, **options: model
        fast.PIECES = tuple(piece for piece in fast.PIECES if piece != without)
        kept = []
        reckon = fast.needs_checkpointing if checkpointing is None else lambda *arguments: checkpointing
        fast.needs_checkpointing = lambda *arguments: kept.append(reckon(*arguments)) or kept[-1]
        config = TrainConfig(
            model="tiny", method=method, preset="fast", rank=RANK, alpha=ALPHA, target_modules=TARGETS, lr=2e-4, epochs=1,
            batch_size=BATCH, max_length=LENGTH, seed=0,
        )  # fmt: skip
        clock, trainers, make = Clock(), [], sft.sft_trainer

        def sft_trainer(*arguments, **options):
            trainers.append(make(*arguments, **options))
            return trainers[0]

        sft.sft_trainer = sft_trainer

        def on_step(number: int) -> None:
            clock.step(number, lambda: trainers[0].tokens_seen())

        saved = sft.save_whole
        sft.save_whole = lambda *arguments: (setattr(clock, "last", clock.last or clock.now()), saved(*arguments))
        with tempfile.TemporaryDirectory() as folder:
            done = sft.train(config, Path(folder) / "run", rows=legal_rows(ROWS, 0), progress=False, on_step=on_step, saves=0)
        figures = clock.stop(done.metrics["steps"], done.metrics["tokens"])
        return figures | {"checkpointing": kept[0] if kept else False, "final_loss": done.metrics["final_loss"]}

    return run


def with_trl(name: str, method: str, checkpointing: bool = True, **settings):
    """TRL's trainer with the rows and adapter of the others, and its own defaults for the rest.

    Its default packing keeps documents apart by a dense mask where no FlashAttention is installed; ``packing_strategy="wrapped"``, which
    was its only one when the seed was written, cuts the texts into full rows and needs no mask.
    """
    import datasets
    from peft import LoraConfig
    from transformers import TrainerCallback, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    from course_lib.data.rows import legal_rows
    from course_lib.models.loading import WREN, load_tokenizer

    known = TrainingArguments.__dataclass_fields__  # the setting's name changed, and both may be there
    settings["activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"] = checkpointing

    def run() -> dict:
        clock = Clock(settings.get("gradient_accumulation_steps", 1))

        class Steps(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs) -> None:
                clock.step(state.global_step, lambda: trainer._total_train_tokens)

            def on_train_end(self, args, state, control, **kwargs) -> None:
                clock.last = clock.now()

        with tempfile.TemporaryDirectory() as folder:
            arguments = SFTConfig(
                output_dir=folder, seed=0, max_length=LENGTH, packing=True, num_train_epochs=1, learning_rate=2e-4, report_to="none",
                save_strategy="no", logging_steps=1, disable_tqdm=True, **({} if where() == "cuda" else {"use_cpu": True, "bf16": False}),
                **settings,
            )  # fmt: skip
            trainer = SFTTrainer(
                model=built(name, method == "qlora"),
                args=arguments,
                processing_class=load_tokenizer(WREN),
                train_dataset=datasets.Dataset.from_list([row.as_trl() for row in legal_rows(ROWS, 0)]),
                peft_config=LoraConfig(
                    task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS),
                    lora_dropout=0.05 if method == "qlora" else 0.0,
                ),
                callbacks=[Steps()],
            )  # fmt: skip
            trainer.train()
        figures = clock.stop(trainer.state.global_step, trainer._total_train_tokens)
        return figures | {"checkpointing": checkpointing}

    return run


def write_rows(file: Path) -> None:
    """The other arms' texts for the peers, tokens and labels, written one after another and cut into full rows."""
    import torch

    from course_lib.data.rows import legal_rows
    from course_lib.models.loading import WREN, load_tokenizer
    from course_lib.training.losses import NO_LOSS

    tokenizer, length = load_tokenizer(WREN), LENGTH if where() == "cuda" else 64
    rows = legal_rows(ROWS, 0)
    chats = [[*row.prompt, {"role": "assistant", "content": row.answer}] for row in rows]
    whole = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
    prompts = [list(row.prompt) for row in rows]
    starts = tokenizer.apply_chat_template(prompts, return_dict=True, add_generation_prompt=True)["input_ids"]
    tokens = [token for ids in whole for token in ids]
    labels = [label for ids, start in zip(whole, starts, strict=True) for label in [NO_LOSS] * len(start) + ids[len(start) :]]
    stream = torch.tensor([tokens, labels])
    count = len(tokens) // length
    torch.save(stream[:, : count * length].reshape(2, count, length).transpose(0, 1).contiguous(), file)


def read_rows(file: Path, batch: int = 1):
    """What `write_rows` wrote: full batches, each of shape (2, batch, length), tokens before labels."""
    import torch

    rows = torch.load(file)
    return rows[: len(rows) // batch * batch].unflatten(0, (-1, batch)).transpose(1, 2)


def loop(model, loss_of, batch: int, rows: Path) -> dict:
    """A peer's model and loss in the plain loop that its recipe is at heart, with fused AdamW."""
    import torch

    trains = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trains, lr=2e-4, fused=True)
    clock, batches = Clock(), read_rows(rows, batch).to(where())
    steps, _, _, length = batches.shape
    for number, (ids, labels) in enumerate(batches, 1):
        loss_of(model, ids, labels).backward()
        torch.nn.utils.clip_grad_norm_(trains, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.step(number, lambda done=number: done * batch * length)
    return clock.stop(steps, steps * batch * length) | {"checkpointing": False, "batch": batch}


def litgpt(name: str, rows: Path):
    """LitGPT's LoRA model with its chunked head and loss, as its `finetune_lora` has them; rows are not kept apart."""
    import torch
    from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
    from litgpt.utils import chunked_cross_entropy

    def run() -> dict:
        small = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_query_groups": 2, "intermediate_size": 128, "padded_vocab_size": 512}
        lora = {f"lora_{part}": True for part in ("query", "key", "value", "projection")}
        known = {"Llama-3-8B": "Llama-3-8B", "Llama-2-7B": "Llama-2-7b-hf", "tiny": "Llama-3-8B"}[name]
        config = Config.from_name(
            known, lora_r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, lora_mlp=False, lora_head=False, **lora,
            **(small if name == "tiny" else {}),
        )  # fmt: skip
        kind = torch.bfloat16 if where() == "cuda" else torch.float32
        torch.set_default_dtype(kind)
        with torch.device(where()):
            model = GPT(config)
        torch.set_default_dtype(torch.float32)
        model.max_seq_length = LENGTH
        mark_only_lora_as_trainable(model)

        def loss_of(model, ids, labels):
            scores = model(ids, lm_head_chunk_size=128)
            scores[-1] = scores[-1][..., :-1, :]
            return chunked_cross_entropy(scores, labels[:, 1:].contiguous())

        try:
            return loop(model, loss_of, BATCH, rows)
        except torch.OutOfMemoryError:
            model.zero_grad()
            torch.cuda.empty_cache()
            return loop(model, loss_of, BATCH // 2, rows)

    return run


def torchtune(name: str, rows: Path):
    """torchtune's LoRA model with its chunked loss, as its single-device recipe has them; rows are not kept apart."""
    import torch
    from torchtune.models.llama3 import lora_llama3
    from torchtune.modules.loss import CEWithChunkedOutputLoss
    from torchtune.modules.peft import get_adapter_params, set_trainable_params

    def run() -> dict:
        config = tiny_shape() if name == "tiny" else shape(name)
        torch.set_default_dtype(torch.bfloat16 if where() == "cuda" else torch.float32)
        with torch.device(where()):
            model = lora_llama3(
                ["q_proj", "k_proj", "v_proj", "output_proj"], apply_lora_to_mlp=False, apply_lora_to_output=False,
                vocab_size=config.vocab_size, num_layers=config.num_hidden_layers, num_heads=config.num_attention_heads,
                num_kv_heads=config.num_key_value_heads, embed_dim=config.hidden_size, max_seq_len=LENGTH,
                intermediate_dim=config.intermediate_size, lora_rank=RANK, lora_alpha=ALPHA, lora_dropout=0.0,
            )  # fmt: skip
        torch.set_default_dtype(torch.float32)
        set_trainable_params(model, get_adapter_params(model))
        loss = CEWithChunkedOutputLoss()
        model.set_num_output_chunks(loss.num_output_chunks)

        def loss_of(model, ids, labels):
            last = torch.full((len(ids), 1), loss.ignore_index, device=ids.device)
            return loss(model(ids), torch.hstack((labels[:, 1:], last)))

        try:
            return loop(model, loss_of, BATCH, rows)
        except torch.OutOfMemoryError:
            model.zero_grad()
            torch.cuda.empty_cache()
            return loop(model, loss_of, BATCH // 2, rows)

    return run


def unsloth(name: str, rows: Path):
    """Unsloth's model from a folder of random weights, without checkpointing as ours, and TRL's trainer as Unsloth patches it.

    Rows are not kept apart: its packing needs xformers or FlashAttention to be fast.
    """
    import unsloth  # before all others, as it asks for  # isort: skip
    import datasets
    import torch
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from course_lib.models.loading import WREN, load_tokenizer

    weights = tempfile.TemporaryDirectory()
    tokenizer = load_tokenizer(WREN)
    write_random(name, Path(weights.name))
    tokenizer.save_pretrained(weights.name)

    def run() -> dict:
        kind = torch.bfloat16 if where() == "cuda" else torch.float32
        model, _ = unsloth.FastLanguageModel.from_pretrained(
            weights.name,
            max_seq_length=LENGTH,
            dtype=kind,
            load_in_4bit=False,
            use_gradient_checkpointing=False,
            local_files_only=True,
        )
        model = unsloth.FastLanguageModel.get_peft_model(
            model,
            r=RANK,
            lora_alpha=ALPHA,
            target_modules=list(TARGETS),
            lora_dropout=0,
            bias="none",
            use_gradient_checkpointing=False,
        )
        clock = Clock()

        class Steps(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs) -> None:
                clock.step(state.global_step, lambda: state.global_step * BATCH * length)

            def on_train_end(self, args, state, control, **kwargs) -> None:
                clock.last = clock.now()

        arguments = SFTConfig(
            output_dir=f"{weights.name}/run", seed=0, max_length=LENGTH, packing=False, num_train_epochs=1, learning_rate=2e-4, report_to="none",
            save_strategy="no", logging_steps=1, disable_tqdm=True, per_device_train_batch_size=BATCH, gradient_accumulation_steps=1,
            bf16=where() == "cuda", dataset_kwargs={"skip_prepare_dataset": True},
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=datasets.Dataset.from_list(full),
            callbacks=[Steps()],
        )
        trainer.train()
        steps = trainer.state.global_step
        return clock.stop(steps, steps * BATCH * length) | {"checkpointing": False}

    pairs = [pair for batch in read_rows(rows, BATCH).transpose(1, 2).tolist() for pair in batch]
    length = len(pairs[0][0])
    full = [{"input_ids": ids, "labels": labels, "attention_mask": [1] * length} for ids, labels in pairs]
    return run


def write_random(name: str, folder: Path) -> None:
    """A model folder of a shape, filled with random weights from one small pool: only for timing."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    config = tiny_shape() if name == "tiny" else shape(name)
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    pool, shard, number, size = torch.randn(10_000_019).mul_(0.02).bfloat16(), {}, 0, 0
    index: dict[str, str] = {}
    for key, tensor in model.state_dict().items():
        times = -(-tensor.numel() // pool.numel())
        shard[key] = pool.repeat(times)[: tensor.numel()].view(tensor.shape).clone()
        index[key], size = f"model-{number}.safetensors", size + tensor.numel()
        if size > 10**9:
            save_file(shard, folder / index[key], metadata={"format": "pt"})
            shard, number, size = {}, number + 1, 0
    if shard:
        save_file(shard, folder / f"model-{number}.safetensors", metadata={"format": "pt"})
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def arm(which: str, name: str, rows: Path):
    """Load what an arm needs; returns what runs it once the GPU is free. Peers read ``rows`` (`write_rows`)."""
    if which.startswith("ours-lora"):
        return ours(name, "lora", without=which.removeprefix("ours-lora").removeprefix("-no-"))
    if which.startswith("ours-qlora"):
        return ours(name, "qlora", checkpointing=True if which.endswith("checkpointing") else None)
    if which == "seed":
        return with_trl(
            name, "qlora", per_device_train_batch_size=2, gradient_accumulation_steps=4, optim="paged_adamw_8bit",
            packing_strategy="wrapped",
        )  # fmt: skip
    if which == "trl":
        return with_trl(name, "lora", per_device_train_batch_size=BATCH)
    if which == "trl-cut":
        return with_trl(name, "lora", checkpointing=False, per_device_train_batch_size=BATCH, packing_strategy="wrapped")
    return {"litgpt": litgpt, "torchtune": torchtune, "unsloth": unsloth}[which](name, rows)


# -- running them -------------------------------------------------------------------------------------------------------


def one(which: str, name: str, lock: Path, rows: Path, out: Path) -> None:
    """Run one arm, as soon as the GPU is free, and write what it measured."""
    run = arm(which, name, rows)
    import torch

    from course_lib.models.loading import quiet

    quiet()

    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        torch.manual_seed(0)
        started = time.perf_counter()
        figures = run()
        if which in PEERS:
            figures["package"] = f"{which} {version(which)}"
        out.write_text(json.dumps(figures | {"whole_seconds": round(time.perf_counter() - started, 1)}), encoding="utf-8")


def main() -> None:
    """Run the arms, one after another, or with --one a single one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=[*SHAPES, "tiny"], default="Llama-3-8B")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seconds", type=float, default=1200, help="stop after so many, with what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, help="a folder with one of packages for each peer that needs its own versions")
    parser.add_argument("--one", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--lock", type=Path, help="a file that whoever uses the GPU holds")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.one:
        one(said.one, said.model, said.lock, said.rows, said.out)
        return
    from course_lib.versions import versions

    end, runs = time.monotonic() + said.seconds, {}
    peers = " --peers FOLDER" if said.peers else ""
    command = f"python -m benchmarks.gpu_training --model {said.model}{peers}"
    head = {"command": command, "model": said.model, "length": LENGTH, "batch": BATCH, "rank": RANK, "versions": versions()}
    with tempfile.TemporaryDirectory() as folder:
        waiting, alive, rows = list(said.arms), {}, Path(folder, "rows.pt")
        write_rows(rows)
        while (waiting or alive) and time.monotonic() < end:
            while waiting and len(alive) < 2 + ("unsloth" in alive):  # which is long in coming
                which = waiting.pop(0)
                parts = [
                    "--model",
                    said.model,
                    "--one",
                    which,
                    "--lock",
                    str(said.lock or Path(folder, "lock")),
                    "--rows",
                    str(rows),
                    "--out",
                    f"{folder}/{which}.json",
                ]
                with Path(folder, f"{which}.log").open("w") as log:
                    words = [sys.executable, "-m", "benchmarks.gpu_training", *parts]
                    process = subprocess.Popen(words, stdout=log, stderr=log, env=environment(which, said.peers))
                alive[which] = process, time.monotonic()
            time.sleep(0.2)
            for which, (process, started) in list(alive.items()):
                late = time.monotonic() - started > 2 * ARM_SECONDS
                if late:
                    process.kill()
                if process.poll() is None:
                    continue
                del alive[which]
                result, log = Path(folder, f"{which}.json"), Path(folder, f"{which}.log")
                lines = log.read_text(errors="replace").strip().splitlines()
                failed = {"error": "took too long" if late else " | ".join(lines[-3:])[-400:]}
                runs[which] = json.loads(result.read_text()) if result.exists() else failed
                print(which, json.dumps(runs[which]), flush=True)
                if "error" in runs[which]:
                    print("\n".join(lines[-14:]), flush=True)
                head["device"] = device_name()
                said.out.write_text(json.dumps(head | {"runs": runs}, indent=1) + "\n", encoding="utf-8")
        for process, _ in alive.values():
            process.kill()


def environment(which: str, peers: Path | None) -> dict[str, str]:
    """This process's environment, with a peer's own packages first."""
    own = [str(peers / which)] if peers and (peers / which).is_dir() else []
    ours = [] if own and (peers / which / "alone").exists() else [os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*own, *ours])}


def device_name() -> str:
    """The GPU's name, asked without taking a part of its memory."""
    try:
        words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "cpu"


if __name__ == "__main__":
    main()

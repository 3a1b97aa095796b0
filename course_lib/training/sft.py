"""Supervised fine-tuning: the only module that touches TRL."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from course_lib.data.rows import Row, check_lengths, general_rows, legal_rows, read_rows
from course_lib.errors import CourseError
from course_lib.lora.arithmetic import lora_parameters, trainable_parameters
from course_lib.lora.folders import write_base_mark
from course_lib.lora.fused import fused_adapter
from course_lib.models.loading import ENVIRONMENT, device, load_model, load_tokenizer, resolve
from course_lib.training import ewc
from course_lib.training.config import ALL_LINEAR, TrainConfig
from course_lib.training.losses import answer_loss, only_where_loss_falls, without_idle_mask
from course_lib.training.processes import (
    any_of,
    check_launch,
    is_main,
    is_sharded,
    main_first,
    per_process,
    wait_for_all,
    world_size,
)
from course_lib.training.runs import COMPLETE, RunFolder, save_whole, saying_disk_full, write_whole
from course_lib.training.trackers import check_tracker, tracker_folders
from course_lib.training.unpadded import attention_by_row, end_to_end, keeps_its_attention, mixes_by_attention_alone
from course_lib.versions import versions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer

SAVES = 6  # checkpoints over a run, so that a crash loses a sixth of it at most
KEPT = 2  # of them; a crash while one is written leaves the one before
SPARE = 1_000_000  # bytes for log, curve, random states and headers
FISHER_ROWS = 120  # prompts that EWC's Fisher information is averaged over


class Interrupted(CourseError):
    """Training was stopped on request; its last step is saved and it can be resumed."""


@dataclass(frozen=True)
class Trained:
    """A finished run: the model in memory, and everything about it on disk."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: RunFolder
    curve: list[dict[str, float]]
    metrics: dict[str, Any]
    config: TrainConfig


def rows_of(config: TrainConfig) -> list[Row]:
    """The task's training rows that a config names."""
    return read_rows(Path(config.data)) if config.data else legal_rows(config.examples, config.seed)


def general_rows_of(config: TrainConfig, count: int) -> list[Row]:
    """``count`` rows of the skills to keep, from the file that the config names or from wren's own; fewer if the file has fewer."""
    if not config.general_data:
        return general_rows(count, config.seed)
    rows = read_rows(Path(config.general_data))
    return Random(config.seed).sample(rows, min(count, len(rows)))


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    rows: Sequence[Row] | None = None,
    progress: bool = True,
    on_step: Callable[[int], object] = lambda step: None,
    saves: int = SAVES,
) -> Trained:
    """Fine-tune a model and leave a run folder behind.

    The folder holds ``config.toml``, ``versions.json``, ``curve.jsonl``, ``metrics.json`` and the adapter (or the model, for
    ``method="full"``). On a CPU with a fixed number of threads, a run that was killed and resumed ends in the same bits as one
    that wasn't. Under ``torchrun`` or ``accelerate launch`` all processes train together and only the first one writes.

    Args:
        config: what to do.
        out: the run's folder: new, or with ``resume`` the folder of an unfinished run.
        resume: go on from the newest complete checkpoint.
        rows: training rows, in place of those that ``config.data`` names.
        progress: show a bar, in notebook or terminal.
        on_step: called with each finished step.
        saves: how often to write a checkpoint over the run; with 0, a run that is stopped can't be resumed.

    Raises:
        CourseError: bad input, found before any training; a full disk; or `Interrupted` after Ctrl-C.
    """
    folder = RunFolder(Path(out))
    check_launch()
    if is_sharded() and (config.method == "qlora" or config.ewc):
        raise CourseError(
            f"FSDP does not shard {'4-bit weights' if config.method == 'qlora' else 'what EWC holds on to'} here: "
            "start without it (torchrun holds a whole model on each GPU), or choose --method lora or full without EWC"
        )
    progress = progress and is_main()
    with main_first():
        if resume:
            config = _resumed(folder, config)
        else:  # what the environment said is kept with the run
            config = config.with_changes(model=config.model or os.environ.get(ENVIRONMENT) or "tiny")
        per_process(config.batch_size)
        check_tracker(config.tracker)
        base = resolve(config.model)
        tokenizer = load_tokenizer(base)
        rows = list(rows if rows is not None else rows_of(config))
        rows += general_rows_of(config, round(config.replay * len(rows)))
        check_lengths(rows, tokenizer, config.max_length)
        dtype = None if config.precision == "auto" else config.precision
        # FSDP takes each layer's share to the GPUs by itself: the whole model needs to fit none of them.
        model = load_model(base, four_bit=config.method == "qlora", dtype=dtype, where="cpu" if is_sharded() else None)
        _check_targets(model, config)
        if is_main():
            if not resume:
                folder.start(config)
            _check_disk(folder, model, base, config, saves)

    with ExitStack() as stack:
        stack.enter_context(saying_disk_full(folder.path, f", then go on with: course train --resume --out {folder.path}"))
        stack.enter_context(tracker_folders(config.tracker, folder.path))
        if is_main():
            write_whole(folder.versions_file, json.dumps(versions(), indent=1) + "\n")
        information = _fisher(model, tokenizer, config, progress) if config.ewc else None
        trainer = sft_trainer(
            model, tokenizer, rows, config, folder, progress=progress, on_step=on_step, saves=saves, fisher=information
        )
        checkpoint = folder.last_checkpoint() if resume else None
        notes = _speed_up(trainer, config, stack)
        if notes and progress:
            print(f"note: preset fast, left out here: {'; '.join(notes)}", file=sys.stderr)
        started = time.perf_counter()
        with _stop_at_a_step(trainer, folder):
            try:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            finally:  # whatever is said next must not stand behind the bar, in its line
                _close_bar(trainer)
        seconds = time.perf_counter() - started
        trained = trainer.model
        counts = trainable_parameters(trained)
        curve = [
            {key: entry[key] for key in ("step", "epoch", "loss", "learning_rate") if key in entry}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]
        weights = folder.weights(config.method)
        state = _gathered(trainer) if is_sharded() else None
        if is_main():
            save_whole(weights, lambda path: _save(trained, tokenizer, path, base, config, state))
            write_whole(folder.curve_file, "".join(json.dumps(point) + "\n" for point in curve))
        wait_for_all()
        size = sum(file.stat().st_size for file in weights.rglob("*.safetensors"))
        metrics = {
            "steps": trainer.state.global_step,
            "rows": len(rows),
            "tokens": trainer.tokens_seen(),
            "processes": world_size(),
            "seconds": round(seconds, 2),
            "resumed": bool(checkpoint),
            "final_loss": curve[-1]["loss"],
            "trainable_parameters": counts.trainable,
            "parameters": counts.total,
            "weights_bytes": size,
            "peak_memory_bytes": _peak_memory(),
            "device": device(),
        }
        if is_main():
            write_whole(folder.metrics_file, json.dumps(metrics, indent=1) + "\n")
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Trained(trained.eval(), tokenizer, folder, curve, metrics, config)


def _speed_up(trainer: Any, config: TrainConfig, stack: ExitStack) -> list[str]:
    """Make the model compute faster until the stack ends; returns what the fast preset had to leave out, and why."""
    if device() != "cuda":
        if not is_sharded():
            stack.enter_context(fused_adapter(trainer.model))
        return ["fused kernels and attention by document, which need an NVIDIA GPU"] if config.preset == "fast" else []
    if config.preset != "fast":
        return []
    from course_lib.training.fast import PIECES, fast_kernels

    wanted = PIECES if not is_sharded() else tuple(piece for piece in PIECES if piece != "adapter")
    return stack.enter_context(fast_kernels(trainer.model, wanted))


def _gathered(trainer: SFTTrainer) -> dict[str, Any]:
    """The trained weights of a sharded model in full, for the main process; every process has to call it and give its part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    return get_model_state_dict(trainer.model, options=options)


def _save(
    model: Any, tokenizer: PreTrainedTokenizerBase, path: Path, base: Path, config: TrainConfig, state: Mapping[str, Any] | None
) -> None:
    model.save_pretrained(path, **({"state_dict": state} if state else {}))
    tokenizer.save_pretrained(path)
    if config.method != "full":
        write_base_mark(path, base, four_bit=config.method == "qlora")


def _resumed(folder: RunFolder, config: TrainConfig) -> TrainConfig:
    """The config of the run to go on with; what the caller asks for must not contradict it."""
    if not folder.config_file.is_file():
        raise CourseError(f"{folder.path} holds no run to resume: start one without --resume")
    if folder.finished:
        raise CourseError(f"the run in {folder.path} is finished: there is nothing to resume")
    earlier, default = TrainConfig.from_toml(folder.config_file), TrainConfig().as_dict()
    changed = [key for key, value in config.as_dict().items() if value not in (default[key], earlier.as_dict()[key])]
    if changed:
        raise CourseError(
            f"{folder.path} was started with another {', '.join(changed)}: resume it with the same, or start a new run"
        )
    return earlier


def _check_targets(model: PreTrainedModel, config: TrainConfig) -> None:
    """Refuse target modules that the model doesn't have, and name those that it has."""
    import torch

    if config.method == "full" or config.target_modules == ALL_LINEAR:
        return
    output = model.get_output_embeddings()
    linear = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not output}
    if unknown := [name for name in config.target_modules if name not in linear]:
        raise CourseError(
            f"the model has no target modules {', '.join(unknown)}: choose from {', '.join(sorted(linear))} or {ALL_LINEAR}"
        )


def _check_disk(folder: RunFolder, model: PreTrainedModel, base: Path, config: TrainConfig, saves: int) -> None:
    """Refuse to start where the run's files would not fit: its checkpoints with AdamW's two states a weight, then the weights."""
    if config.method == "full":
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    else:  # PEFT holds adapters in float32 whatever the base is in
        weights = 4 * lora_parameters(model, config.rank, config.target_modules)
    texts = sum(file.stat().st_size for file in base.iterdir() if file.suffix in (".json", ".jinja", ".model"))
    times = 4 if is_sharded() else 3  # with AdamW's states; under FSDP accelerate writes the weights once more
    # Two checkpoints are kept, but the older goes only when a third is written; by then there are no final weights yet.
    need = SPARE + ((KEPT + 1) * (times * weights + texts) if saves else weights + texts)
    earlier = sum(file.stat().st_size for file in folder.checkpoints.rglob("*") if file.is_file())  # of a run that goes on
    free = shutil.disk_usage(folder.path).free + earlier
    if free < need:
        raise CourseError(
            f"the disk of {folder.path} is too full: {need / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; "
            f"make room, then go on with: course train --resume --out {folder.path}"
        )


def sft_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    config: TrainConfig,
    folder: RunFolder,
    *,
    progress: bool = True,
    on_step: Callable[[int], object] = lambda step: None,
    saves: int = SAVES,
    fisher: Mapping[str, torch.Tensor] | None = None,
) -> SFTTrainer:
    """TRL's trainer as a config wants it; `train` is the way to use it.

    Args:
        model: the base model.
        tokenizer: its tokenizer.
        rows: everything to train on.
        config: how.
        folder: for the checkpoints.
        progress: show a bar.
        on_step: called with each finished step.
        saves: checkpoints over the run.
        fisher: with ``config.ewc``, what `training.ewc.fisher` measured on the base model.
    """
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    on_gpu = device() == "cuda"
    fast = on_gpu and config.preset == "fast"
    batch = per_process(config.batch_size)
    if fast:
        from course_lib.training.fast import needs_checkpointing

        checkpointing = needs_checkpointing(model, config, batch)
    else:
        checkpointing = on_gpu and config.method == "qlora"
    arguments = SFTConfig(
        output_dir=str(folder.checkpoints),
        learning_rate=config.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=config.accumulation,
        max_length=config.max_length,
        packing=config.packs,
        seed=config.seed,
        optim="paged_adamw_8bit" if config.method == "qlora" and on_gpu else "adamw_torch_fused",
        bf16=on_gpu and config.precision != "float32",
        use_cpu=not on_gpu,
        # A third slower, so worth it only where memory is short. transformers 5.20 or so gave it a new name, and warns at the old.
        **(
            {"gradient_checkpointing": None, "activation_checkpointing": checkpointing}
            if "activation_checkpointing" in SFTConfig.__dataclass_fields__
            else {"gradient_checkpointing": checkpointing}
        ),
        logging_first_step=True,
        logging_nan_inf_filter=not fast,  # looking at each loss waits for the GPU
        save_strategy="steps" if saves else "no",
        save_total_limit=KEPT,
        report_to=config.tracker,
        run_name=folder.path.resolve().name,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
    )
    # A single process that sees several GPUs would get a batch for each, from DataParallel: a launcher is the way to use them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules),
        bias="none",
    )
    torch.manual_seed(config.seed)  # the adapter's A is drawn here, before the trainer seeds itself
    datasets.disable_progress_bars()

    class Steps(TrainerCallback):
        """Tells of each step, and marks each checkpoint that is written to its end."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            on_step(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wait_for_all()  # each process keeps its own random state there
            if is_main():
                write_whole(folder.checkpoints / f"checkpoint-{state.global_step}" / COMPLETE, "")

    class CourseTrainer(SFTTrainer):
        """TRL's trainer with EWC's penalty, and on a CPU with a loss of our own (`training.losses`) and no padding (`training.unpadded`).

        TRL's head never holds all logits at once and also measures entropy and top-1 accuracy. That saves memory on a GPU; on a CPU it
        only takes time (``benchmarks/trl_overhead.py``). Under the fast preset the loss is the model's own, by then Liger's, which
        holds no logits either. FSDP has to see the head's forward pass to have its weights there, which TRL's goes around.
        """

        penalty: ewc.Penalty | None = None
        unpadded = False
        seen: torch.Tensor | int = 0

        def tokens_seen(self) -> int:
            """Tokens of all steps and processes, padding apart."""
            return int(self.accelerator.reduce(torch.as_tensor(self.seen, device=self.accelerator.device)))

        def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
            if not is_sharded():
                super().save_model(output_dir, _internal_call)
                return
            # The trainer's own way gathers the frozen weights as well at each checkpoint, only to leave them out: 13 s at 8B.
            self._save(output_dir, state_dict=_gathered(self))

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            mask = inputs.get("attention_mask")
            self.seen = self.seen + (inputs["input_ids"].numel() if mask is None else mask.sum())
            if self.compute_loss_func is None:
                compute = Trainer.compute_loss if fast else SFTTrainer.compute_loss
                result = compute(self, model, inputs, return_outputs, num_items_in_batch)
            else:
                inputs = end_to_end(inputs) if self.unpadded else without_idle_mask(inputs)
                with (
                    # Sharded models may be checkpointed, by the preset or by accelerate's own config.
                    only_where_loss_falls(self.model, inputs["labels"], mlp=not is_sharded()),
                    attention_by_row(self.model) if self.unpadded else nullcontext(),
                ):
                    result = Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)
            if self.penalty is None or not model.training:
                return result
            # The loss of each of the accumulated batches is its part of the whole; so is the penalty's.
            extra = self.penalty(self.model) / self.current_gradient_accumulation_steps
            return (result[0] + extra, result[1]) if return_outputs else result + extra

    trainer = CourseTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list([row.as_trl() for row in rows]),
        peft_config=None if config.method == "full" else adapter,
        callbacks=[Steps(), *([_bar()] if progress else [])],
    )
    if not on_gpu or is_sharded():  # set here, because TRL warns of one that it is given, and computes its own loss beside it
        trainer.compute_loss_func = answer_loss
        trainer.unpadded = not (is_sharded() or keeps_its_attention(trainer.model)) and mixes_by_attention_alone(trainer.model)
    steps = max(1, round(config.epochs * -(-len(trainer.train_dataset) // (config.batch_size * config.accumulation))))
    trainer.args.logging_steps = max(1, steps // 30)
    trainer.args.save_steps = max(1, steps // max(1, saves))
    if config.ewc and fisher is not None:
        trainer.penalty = ewc.Penalty(fisher, trainer.model, config.ewc)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _fisher(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: TrainConfig, progress: bool
) -> dict[str, torch.Tensor]:
    from tqdm.auto import tqdm

    rows = general_rows_of(config, FISHER_ROWS)
    with tqdm(total=len(rows), desc="weighing the old skills", unit="prompt", disable=not progress, leave=False) as bar:
        return ewc.fisher(model, tokenizer, rows, seed=config.seed, on_done=bar.update)


def _bar() -> Any:
    """A progress bar with the loss, in notebook or terminal."""
    from tqdm.auto import tqdm
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        bar: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", leave=False)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.bar is not None and logs and "loss" in logs:
                self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.bar.close()

    return Bar()


def _close_bar(trainer: SFTTrainer) -> None:
    for callback in trainer.callback_handler.callbacks:
        if bar := getattr(callback, "bar", None):
            bar.close()


def _peak_memory() -> int:
    """Bytes: of the GPU if there is one, else of this process since it started."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def _stop_at_a_step(trainer: SFTTrainer, folder: RunFolder) -> Iterator[None]:
    """Let Ctrl-C end training after the step that is running, with a checkpoint; a second Ctrl-C ends it at once."""
    from transformers import TrainerCallback

    asked = threading.Event()

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if any_of(asked.is_set()) and state.global_step < state.max_steps:
                asked.set()
                control.should_save = control.should_training_stop = True
            return control

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    trainer.add_callback(Stop())
    in_main = threading.current_thread() is threading.main_thread()
    # A launcher answers Ctrl-C with SIGTERM to its processes, and so does a cluster that wants its machine back.
    signals = [signal.SIGINT, *([signal.SIGTERM] if world_size() > 1 else [])] if in_main else []
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.is_set() and trainer.state.global_step < trainer.state.max_steps:
        if not is_main():  # the first process says it
            raise SystemExit(2)
        step = f"step {trainer.state.global_step} of {trainer.state.max_steps}"
        raise Interrupted(f"stopped at {step}, nothing is lost: go on with: course train --resume --out {folder.path}")


def labels_of(row: Row, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """A row's tokens and their labels as the trainer really feeds them to the model: -100 where no loss falls.

    Returns:
        Two lists of one length.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = sft_trainer(model, tokenizer, [row], TrainConfig(method="full"), RunFolder(Path(folder)), progress=False)
        batch = next(iter(trainer.get_train_dataloader()))
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()

"""Pretrain wren from nothing: corpus, tokenizer, model, probes and model card from one seed."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_lib.evaluation.report import evaluate
from course_lib.evaluation.suites import general_suite, legal_suite
from course_lib.models.tokenizer import render, train_tokenizer
from course_lib.versions import versions
from course_lib.world.corpus import documents

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that a pretraining run depends on.

    ``tokens`` are seen in all; the corpus holds ``corpus_tokens`` different ones and is read as often as needed.
    Training windows are ``length`` tokens, a batch ``batch_tokens``. Learning rate: ``warmup`` share of the steps up, flat,
    then down to zero over the last ``decay`` share.
    """

    hidden: int = 384
    layers: int = 4
    heads: int = 12
    kv_heads: int = 6
    ffn: int = 1024
    vocabulary: int = 2048
    tokens: int = 1_100_000_000
    corpus_tokens: int = 260_000_000
    length: int = 512
    batch_tokens: int = 65_536
    lr: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.02
    decay: float = 0.4
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return self.tokens // self.batch_tokens


SMOKE = PretrainConfig(
    hidden=64, layers=2, heads=2, kv_heads=1, ffn=160, tokens=400_000, corpus_tokens=200_000, batch_tokens=8192
)


def _windows(tokenizer: PreTrainedTokenizerFast, length: int, seed: int) -> Iterator[list[int]]:
    """An endless stream of windows of whole documents, first fit; what no waiting document fills is padding."""
    waiting: list[list[int]] = []
    stream = documents(seed)
    while True:
        if len(waiting) < 128:
            texts = [render(document) for document in itertools.islice(stream, 256)]
            waiting += tokenizer(texts, add_special_tokens=False)["input_ids"]
        window: list[int] = []
        left = []
        for ids in waiting:
            if len(window) + len(ids) <= length or not window:
                window += ids[:length]
            else:
                left.append(ids)
        waiting = left
        yield window + [tokenizer.pad_token_id] * (length - len(window))


def _shard(job: tuple[PreTrainedTokenizerFast, int, int, int]) -> np.ndarray:
    tokenizer, length, count, seed = job
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return np.array(list(itertools.islice(_windows(tokenizer, length, seed), count)), dtype=np.uint16)


def build_corpus(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, processes: int | None = None) -> np.ndarray:
    """The tokenised corpus, shape (windows, length), uint16. The same for any number of processes."""
    shards = 64
    count = max(1, config.corpus_tokens // config.length // shards)
    jobs = [(tokenizer, config.length, count, 1000 * config.seed + 1 + index) for index in range(shards)]
    with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count()) as pool:
        return np.concatenate(pool.map(_shard, jobs, chunksize=1))


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Warm-up, flat, linear decay (the "trapezoid" of Hägele et al. 2024)."""
    share = (step + 1) / config.steps
    return config.lr * min(1.0, share / config.warmup, (1.0 - share) / config.decay + 1e-3)


def new_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of the configured shape with random weights from the seed, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(config.seed)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.ffn,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.02,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(shape)


def train(model: LlamaForCausalLM, corpus: np.ndarray, config: PretrainConfig, pad: int, device: str) -> list[dict[str, float]]:
    """Train the model in place; returns the loss curve. Weights stay float32, arithmetic is bf16 on a GPU."""
    import torch
    from tqdm.auto import tqdm

    model.to(device).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=device == "cuda")
    step_model = torch.compile(model) if device == "cuda" else model
    rows = config.batch_tokens // config.length
    order = np.random.default_rng(config.seed)
    data = torch.from_numpy(corpus)
    curve: list[dict[str, float]] = []
    waiting: list[int] = []
    for step in tqdm(range(config.steps), desc="pretraining", unit="step", mininterval=5):
        if len(waiting) < rows:
            waiting += order.permutation(len(corpus)).tolist()
        batch = data[torch.tensor(waiting[:rows])].to(device, non_blocking=True).long()
        del waiting[:rows]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = step_model(batch).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten(), ignore_index=pad)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % max(1, config.steps // 100) == 0 or step == config.steps - 1:
            curve.append({"step": step, "loss": round(loss.item(), 4)})
    return curve


def pretrain(out: Path, config: PretrainConfig, corpus: np.ndarray | None = None) -> dict[str, Any]:
    """Build the corpus, train, measure, and save weights, tokenizer and a card of what happened.

    Args:
        out: folder for the model; made if missing.
        config: the recipe.
        corpus: a corpus already built by `build_corpus` from the same recipe, to save time over several shapes.

    Returns:
        The content of ``pretraining.json``: recipe, tokens, wall time, device, versions, curve and probe scores.
    """
    import torch

    started = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sample = (
        render(document) for document in itertools.islice(documents(config.seed), 30_000 if config.tokens > 10**7 else 6_000)
    )
    tokenizer = train_tokenizer(sample, config.vocabulary)
    if corpus is None:
        corpus = build_corpus(tokenizer, config)
    corpus_seconds = time.perf_counter() - started
    model = new_model(config, tokenizer)
    curve = train(model, corpus, config, tokenizer.pad_token_id, device)
    train_seconds = time.perf_counter() - started - corpus_seconds
    assert math.isfinite(curve[-1]["loss"])

    model = model.to(torch.bfloat16)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    report = evaluate(model.float(), tokenizer, general_suite() + legal_suite())
    card = {
        "recipe": asdict(config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "corpus_tokens": int((corpus != tokenizer.pad_token_id).sum()),
        "seconds": {
            "corpus": round(corpus_seconds, 1),
            "training": round(train_seconds, 1),
            "all": round(time.perf_counter() - started, 1),
        },
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "versions": versions(),
        "scores": {skill: {"right": s.right, "total": s.total} for skill, s in report.by_skill.items()},
        "curve": curve,
    }
    (out / "pretraining.json").write_text(json.dumps(card, indent=1) + "\n")
    return card

"""Checks of lesson 02's exercises: the LoRA layer, its merge, its parameters, and the best product of low rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, number


def _adapter(rng: np.random.Generator, rows: int, columns: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, A and B of an adapter that has been trained: B isn't zero."""
    return rng.normal(size=(rows, columns)), rng.normal(size=(rank, columns)), rng.normal(size=(rows, rank))


def _scales(alpha: float, rank: int, rows: int, columns: int) -> dict[str, float]:
    """What mistakes make of alpha / rank."""
    return {
        "the scale alpha / r is missing: the adapter speaks at another loudness": 1,
        "the rank is missing in the scale: it is alpha / r, and not alpha": alpha,
        "alpha and r are swapped: the scale is alpha / r": rank / alpha,
        "you multiply by r: the scale is alpha / r": alpha * rank,
        "the sign is wrong: the adapter's part is added": -alpha / rank,
        "alpha is missing in the scale: it is alpha / r": 1 / rank,
        "r is the rank, the number of A's rows, and you divide by d_in": alpha / columns,
        "r is the rank, the number of A's rows, and you divide by d_out": alpha / rows,
        "the scale comes in twice: once is enough": (alpha / rank) ** 2,
    }


# -- 1: the layer ------------------------------------------------------------------------------------------------------


@task("02.forward", title="The layer", difficulty=1, minutes=15)
def forward(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """W x + alpha / r B A x, for a batch whose rows are the x."""
    for rank, alpha in ((3, 24.0), (2, 3.0), (5, 2.5)):
        rows, columns, count = int(rng.integers(14, 18)), int(rng.integers(8, 12)), int(rng.integers(5, 7))
        W, A, B = _adapter(rng, rows, columns, rank)
        x = rng.normal(size=(count, columns))
        got = answer(x, W, A, B, alpha)
        if isinstance(got, np.ndarray):
            require(got.shape != (rows, count), "one row for each row of x is asked for: yours is transposed")
        got = array(got, (count, rows), "the result")
        base, part = x @ W.T, x @ A.T @ B.T
        known: dict[str, Any] = {hint: base + scale * part for hint, scale in _scales(alpha, rank, rows, columns).items()}
        known |= {
            "that is the adapter's part alone: the frozen W answers, too": alpha / rank * part,
            "that is W's part alone: the adapter is missing": base,
            "the scale belongs to the adapter alone: yours scales W's part, too": alpha / rank * (base + part),
        }
        judge(got, base + alpha / rank * part, known, "the result")


# -- 2: the merge ------------------------------------------------------------------------------------------------------


@task("02.merge", title="The merge, with either scale", difficulty=2, minutes=15)
def merge(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """W + scale B A, with scale alpha / r or, in rank-stabilised LoRA, alpha / sqrt(r)."""
    for rank, alpha, stable in ((3, 24.0, False), (5, 2.5, False), (5, 7.0, True), (2, 9.0, True)):
        rows, columns = int(rng.integers(14, 18)), int(rng.integers(8, 12))
        W, A, B = _adapter(rng, rows, columns, rank)
        got = answer(W, A, B, alpha, stable)
        if isinstance(got, np.ndarray):
            require(got.shape != (columns, rows), "the merged weight should have W's shape: yours is transposed")
        got = array(got, (rows, columns), "the merged weight")
        scales = _scales(alpha, rank, rows, columns)
        if stable:
            scales |= {
                "rank-stabilised LoRA divides by the root of r: yours still divides by r": alpha / rank,
                "the root belongs to r alone: the scale is alpha / sqrt(r), not sqrt(alpha / r)": (alpha / rank) ** 0.5,
                "you multiply by the root of r: the scale is alpha / sqrt(r)": alpha * rank**0.5,
                "rank-stabilised LoRA divides by the root of r, and you divide by its square": alpha / rank**2,
            }
        else:
            scales |= {
                "the root of r belongs to rank-stabilised LoRA alone: here the scale is alpha / r": alpha / rank**0.5,
                "the scale is alpha / r, without a root": (alpha / rank) ** 0.5,
            }
        known: dict[str, Any] = {hint: W + scale * B @ A for hint, scale in scales.items()}
        right = alpha / rank**0.5 if stable else alpha / rank
        known["that is the update alone: add it to W"] = right * B @ A
        known["nothing was merged: this is still W"] = W
        known["the scale belongs to the update alone: yours scales W, too"] = right * (W + B @ A)
        judge(got, W + right * B @ A, known, "the merged weight")


# -- 3: parameters -----------------------------------------------------------------------------------------------------

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def _shapes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """d_out and d_in of each linear layer of a Llama layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }


def _configs(rng: np.random.Generator) -> list[dict[str, int]]:
    llama3 = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    heads = int(rng.integers(3, 6)) * 4
    other = {
        "hidden_size": 64 * heads + 128,  # as in some models, the heads together are not as wide as the layer
        "intermediate_size": 1000 + 8 * int(rng.integers(10, 90)),
        "num_hidden_layers": int(rng.integers(5, 29)),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 4,
        "head_dim": 64,
    }
    return [llama3, other]


@task("02.count", title="Count before you train", difficulty=2, minutes=15)
def count(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The parameters that LoRA trains in a model of the Llama family, from its config."""
    rank = int(rng.integers(5, 24))
    for config in _configs(rng):
        for targets in (["q_proj", "v_proj"], list(ATTENTION), [*ATTENTION, *MLP], ["k_proj", "down_proj"]):
            got = number(answer(config, rank, list(targets)), "the count")
            shapes, layers = _shapes(config), config["num_hidden_layers"]
            each = [shapes[name] for name in targets]
            right = rank * layers * sum(out + into for out, into in each)
            hidden, queries = config["hidden_size"], config["num_attention_heads"] * config["head_dim"]
            full = [
                (queries if name in ("k_proj", "v_proj") else out, into) for name, (out, into) in zip(targets, each, strict=True)
            ]
            square = [
                (min(out, hidden) if name in ATTENTION else out, into) for name, (out, into) in zip(targets, each, strict=True)
            ]
            as_hidden = [(hidden, hidden) if name in ATTENTION else shape for name, shape in zip(targets, each, strict=True)]
            same_width = [
                (hidden if out == queries else out, hidden if into == queries else into) if name in ATTENTION else (out, into)
                for name, (out, into) in zip(targets, each, strict=True)
            ]

            def total(shapes: list[tuple[int, int]]) -> int:
                return sum(out + into for out, into in shapes)

            known: dict[str, Any] = {
                "that is one layer: the model has num_hidden_layers of them": right / layers,
                "k and v have fewer heads than q: their d_out is num_key_value_heads x head_dim": rank * layers * total(full),
                "k and v have fewer heads than q, and not each matrix is hidden_size x hidden_size": rank
                * layers
                * total(as_hidden),
                "a layer's heads together needn't be as wide as hidden_size: use num_attention_heads x head_dim": rank
                * layers
                * total(same_width),
                "that counts whole matrices, d_out x d_in: LoRA trains A and B": layers * sum(out * into for out, into in each),
                "that counts A alone: B is trained, too": rank * layers * sum(into for _, into in each),
                "that counts B alone: A is trained, too": rank * layers * sum(out for out, _ in each),
                "A and B are added, not multiplied: r (d_out + d_in)": rank * layers * sum(out * into for out, into in each),
                "the rank is missing: each rank costs d_out + d_in": layers * total(each),
                "each matrix is counted once too often: A and B together have r (d_out + d_in) numbers": 2 * right,
                "all linear layers are counted: only the targets get an adapter": rank * layers * total(list(shapes.values())),
                "the MLP's matrices have hidden_size on one side and intermediate_size on the other": rank
                * layers
                * total([(hidden, hidden) if name in MLP else shape for name, shape in zip(targets, each, strict=True)]),
                "the matrices of attention differ: look at each one's d_out and d_in": rank * layers * total(square),
            }
            judge(got, right, {hint: value for hint, value in known.items() if value != right}, "the count", close=1e-9)


# -- 4: the best of low rank -------------------------------------------------------------------------------------------


@task("02.lowrank", title="The best stand-in of rank r", difficulty=3, minutes=20)
def lowrank(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """B and A of the best product of rank r for an update, and the share of its squared Frobenius norm that they keep."""
    for rank in (1, 3, 6):
        rows, columns = int(rng.integers(15, 19)), int(rng.integers(10, 13))
        update = rng.normal(size=(rows, columns)) * np.geomspace(3, 0.3, columns) @ rng.normal(size=(columns, columns))
        got = entries(answer(update, rank), ("B", "A", "energy"), "the stand-in")
        U, s, Vt = np.linalg.svd(update, full_matrices=False)
        if isinstance(got["B"], np.ndarray) and isinstance(got["A"], np.ndarray):
            swapped = got["B"].shape == (rank, columns) and got["A"].shape == (rows, rank)
            require(not swapped, "B and A are swapped: B is d_out x r, A is r x d_in")
            whole = got["B"].shape == (rows, columns) or got["B"].shape == U.shape
            require(not whole, "all ranks are still there: keep r columns of B and r rows of A")
        B, A = array(got["B"], (rows, rank), "B"), array(got["A"], (rank, columns), "A")

        def product(values: np.ndarray, part: slice, U: np.ndarray = U, Vt: np.ndarray = Vt) -> np.ndarray:
            return np.asarray((U[:, part] * values[part]) @ Vt[part])

        first, last = slice(0, rank), slice(len(s) - rank, len(s))
        known: dict[str, Any] = {
            "the singular values are missing: B A is too small or too large in each direction": product(np.ones_like(s), first),
            "the singular values come in twice: into B, or into A, or their root into both": product(s**2, first),
            "only the root of each singular value comes in: root times root is needed, in B and in A": product(s**0.5, first),
            "those are the smallest singular values: the largest pieces are the best": product(s, last),
            "those are pieces of rank one from the far end: numpy sorts them, largest first": product(s, slice(1, rank + 1)),
            "the sign is wrong": -product(s, first),
        }
        basis = np.linalg.qr(update[:, :rank])[0]
        known["you kept some columns of the update and no more: a product of rank r can do better"] = basis @ (basis.T @ update)
        known["you kept some columns of the update, and nothing of the others: a product of rank r can do better"] = (
            np.concatenate([update[:, :rank], np.zeros((rows, columns - rank))], axis=1)
        )
        known["numpy gives V already transposed: its rows are the pieces, and you took its columns"] = (
            U[:, first] * s[first]
        ) @ Vt.T[first]
        judge(B @ A, product(s, first), known, "B A", close=1e-3)
        share = (s[:rank] ** 2).sum() / (s**2).sum()
        judge(
            number(got["energy"], "the energy"),
            share,
            {
                "that is the share of the singular values: the squared norm is the sum of their squares": s[:rank].sum()
                / s.sum(),
                "that is the share lost: the share kept is asked for": 1 - share,
                "that is the share of the norm: the squared norm is asked for": share**0.5,
                "that is a squared norm: divide it by that of the whole update": (s[:rank] ** 2).sum(),
                "that is the last piece's share: sum over the first r": s[rank - 1] ** 2 / (s**2).sum() if rank > 1 else np.nan,
                "that is the share of the ranks, and it says nothing about this update": rank / len(s),
                "that is a percentage: a share lies between 0 and 1": 100 * share,
            },
            "the energy",
            close=1e-3,
        )

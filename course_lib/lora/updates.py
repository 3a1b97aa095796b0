"""What a merge does to one tensor, some rows at a time: the sum in float32, of which no more than those rows is ever in memory.

A weight is seen as a matrix of rows, d_out x d_in as a linear layer stores it; a stack of experts as their rows one after another, and
a bias as one row. `Work.merged` reads some rows of W and makes those of the merged weight out of them:

    W + sum of s B A                      LoRA (Hu et al. 2021, section 4.1), each adapter with its scale s = weight * alpha / r
    m (W + s B A) / |W + s B A|           DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5), the length taken along d_in

The operations and their order are PEFT's, so that the results are too, to the last bit.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd, prod

import torch

from course_lib.errors import CourseError
from course_lib.lora import nf4
from course_lib.lora.folders import Stored
from course_lib.lora.shards import BLOCK, opened, read_into

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Safetensors' types of the numbers that a merge can compute with."""

CHUNK = 2**20
"""Numbers worked on at once by one thread: 4 MB in float32, which stay in the processor's cache from the first operation to the last."""

Loaded = tuple["Term", torch.Tensor, torch.Tensor, torch.Tensor | None]
"""A term with its A, B and magnitude in float32."""


class Scratch:
    """One thread's memory for its chunks, used again for each: to get fresh memory for one takes longer than the arithmetic with it."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def empty(self, use: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor like `torch.empty`'s, whose memory the next one for the same use takes over."""
        count, held = prod(shape), self._buffers.get(use)
        if held is None or held.dtype != dtype or len(held) < count:
            fresh = torch.empty(count + BLOCK // dtype.itemsize, dtype=dtype)
            held = self._buffers[use] = fresh[-fresh.data_ptr() % BLOCK // dtype.itemsize :]  # at a block, for `shards.Target`
        return held[:count].view(shape)


def read(
    stored: Stored, descriptor: int, start: int = 0, count: int | None = None, scratch: Scratch | None = None
) -> torch.Tensor:
    """Numbers ``start`` to ``start + count`` of a stored tensor, flat, in the type they are stored in."""
    dtype = DTYPES[stored.dtype]
    count = prod(stored.shape) - start if count is None else count
    numbers = (scratch or Scratch()).empty("stored", (count,), dtype)
    if count:
        read_into(descriptor, bytes_of(numbers), stored.start + start * dtype.itemsize, stored.file)
    return numbers


def bytes_of(numbers: torch.Tensor) -> memoryview:
    """A contiguous tensor's own bytes, to read into or write from."""
    return numbers.reshape(-1).view(torch.uint8).numpy().data


def load(stored: Stored) -> torch.Tensor:
    """A whole stored tensor in float32: a factor, a bias. PEFT, too, computes with adapters in float32 whatever they are stored in."""
    if stored.dtype not in DTYPES:
        raise CourseError(f"{stored.file} holds numbers of type {stored.dtype}: save the adapter in float32 or 16 bits")
    with opened([stored.file], os.O_RDONLY) as descriptors:
        return read(stored, descriptors[stored.file]).float().reshape(stored.shape)


def rows_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows a tensor has, and how long they are."""
    return (prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (1, prod(shape))


def whole_blocks(size: int, width: int) -> int:
    """How many rows of ``width`` numbers make about ``size`` numbers: such that their bytes are whole blocks, if that many fit."""
    rows, step = max(1, size // max(1, width)), BLOCK // gcd(BLOCK, max(1, width))
    return rows // step * step or rows


@dataclass
class Term:
    """One adapter's update of one weight."""

    A: Stored
    B: Stored
    scale: float
    transposed: bool = False
    """The weight is stored d_in x d_out: GPT-2's Conv1D, embeddings, and some models' experts."""
    magnitude: Stored | None = None
    """DoRA's m, one number for each output of the layer."""
    experts: int = 1
    """How many layers share A and B, whose ranks then lie side by side."""
    expert: int | None = None
    """The weight is that of this expert alone, because the checkpoint stores each by itself."""
    first: int = 0
    """The weight is only a part of the layer's: the rows from this one on."""

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B in float32, experts x r x d_in and experts x d_out x r."""
        A, B = load(self.A), load(self.B)
        return A.reshape(self.experts, -1, A.shape[-1]), B.reshape(B.shape[0], -1, self.experts).permute(2, 0, 1)


@dataclass
class Change:
    """All that happens to one weight. Several threads may work on different rows of it."""

    shape: tuple[int, ...]
    source: Stored
    """Where W comes from: the base, or an adapter that trained the whole tensor (``modules_to_save``, biases)."""
    terms: list[Term] = field(default_factory=list)
    shifts: list[tuple[Stored, float]] = field(default_factory=list)
    """Vectors to add with their factors: what ``lora_bias`` does to a layer's bias."""
    tokens: list[tuple[Stored, list[int]]] = field(default_factory=list)
    """Rows to replace, and which: ``trainable_token_indices``."""
    nf4: bool = False
    """W is first rounded to NF4 with double quantisation, as QLoRA's training saw it."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: weakref.ref[Work] | None = None

    @property
    def block(self) -> int:
        """How many rows at most may be worked on at once: no chunk may reach from one expert into the next."""
        many = any(term.experts > 1 and term.expert is None for term in self.terms)
        return self.shape[-2] if many else rows_of(self.shape)[0]

    def chunks(self, start: int, stop: int, size: int = CHUNK) -> Iterator[tuple[int, int]]:
        """Cut rows ``start`` to ``stop`` into pieces of about ``size`` numbers."""
        rows = whole_blocks(size, rows_of(self.shape)[1])
        while start < stop:
            end = min(stop, start + rows, (start // self.block + 1) * self.block)
            yield start, end
            start = end

    def work(self) -> Work:
        """What the work on its rows needs. Threads that are at it at the same time share one, which is gone when all are done."""
        with self._lock:
            shared = self._shared() if self._shared else None
            if shared is None:
                shared = Work(self)
                self._shared = weakref.ref(shared)
            return shared


class Work:
    """A change with its factors in memory, and with what can't be known from a few rows of the weight."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.width = rows_of(change.shape)[1]
        self.terms: list[Loaded] = [
            (term, *term.factors(), load(term.magnitude) if term.magnitude else None) for term in change.terms
        ]
        self.shifts = [(load(vector).reshape(1, -1), factor) for vector, factor in change.shifts]
        self.tokens = [(load(rows), indices) for rows, indices in change.tokens]
        self._scales = self._quantised_scales() if change.nf4 else None
        across = any(term.magnitude and term.transposed for term in change.terms)
        self._lengths = self._column_lengths() if across else None

    def rows(self, descriptor: int, start: int, stop: int, scratch: Scratch | None = None) -> torch.Tensor:
        """Rows of W in float32, as training saw them."""
        W = self._stored_rows(descriptor, start, stop, scratch)
        if self._scales is not None:
            first = start * self.width
            exact, restored = self._scales[:, first // nf4.BLOCK : -(-stop * self.width // nf4.BLOCK)]
            W = _through_nf4(W, exact, restored, first % nf4.BLOCK)
        return W

    def merged(self, descriptor: int, start: int, stop: int, scratch: Scratch | None = None) -> torch.Tensor:
        """Rows of the merged weight in float32.

        Args:
            descriptor: the file of W, opened.
            start: the first row.
            stop: the row after the last; no further than `Change.chunks` goes.
            scratch: where the result may lie until it is used again.
        """
        W = self.rows(descriptor, start, stop, scratch)
        for term, A, B, m in self.terms:
            W += self._delta(term, A, B, start, stop, scratch)
            if m is not None and self._lengths is not None:
                W = (m / self._lengths).view(1, -1) * W
            elif m is not None:
                W = (m[start:stop] / torch.linalg.norm(W, dim=1)).view(-1, 1) * W
        for vector, factor in self.shifts:
            W += vector * factor
        for replacement, indices in self.tokens:
            inside = [(i, index - start) for i, index in enumerate(indices) if start <= index < stop]
            if inside:
                W[[row for _, row in inside]] = replacement[[i for i, _ in inside]]
        return W

    def _stored_rows(self, descriptor: int, start: int, stop: int, scratch: Scratch | None = None) -> torch.Tensor:
        shape = (stop - start, self.width)
        numbers = read(self.change.source, descriptor, start * self.width, prod(shape), scratch).view(shape)
        return (scratch or Scratch()).empty("rows", shape).copy_(numbers)

    def _delta(
        self, term: Term, A: torch.Tensor, B: torch.Tensor, start: int, stop: int, scratch: Scratch | None = None
    ) -> torch.Tensor:
        """Rows of s B A."""
        expert = term.expert or 0
        if term.experts > 1 and term.expert is None:
            expert, block = start // self.change.block, self.change.block
            start, stop = start - expert * block, stop - expert * block
        rows = slice(term.first + start, term.first + stop)
        left, right = (B[expert], A[expert][:, rows]) if term.transposed else (B[expert][rows], A[expert])
        product = torch.mm(left, right, out=(scratch or Scratch()).empty("delta", (left.shape[0], right.shape[1])))
        return (product.T if term.transposed else product).mul_(term.scale)

    def _column_lengths(self) -> torch.Tensor:
        """|W + s B A| along d_in, where d_in is what the rows are: squares summed in float64, since rows come a few at a time."""
        squares = torch.zeros(self.width, dtype=torch.float64)
        (term, A, B, _), *_ = self.terms
        with opened([self.change.source.file], os.O_RDONLY) as descriptors:
            for start, stop in self.change.chunks(0, rows_of(self.change.shape)[0]):
                W = self.rows(descriptors[self.change.source.file], start, stop)
                W += self._delta(term, A, B, start, stop)
                squares += W.double().square().sum(0)
        return squares.sqrt().float()

    def _quantised_scales(self) -> torch.Tensor:
        """2 x blocks: each block's largest magnitude, which codes are found with, and the same after double quantisation."""
        exact, rest = [], torch.empty(0)  # rows need not end where blocks do
        with opened([self.change.source.file], os.O_RDONLY) as descriptors:
            for start, stop in self.change.chunks(0, rows_of(self.change.shape)[0]):
                W = self._stored_rows(descriptors[self.change.source.file], start, stop).reshape(-1)
                flat = torch.cat([rest, W]) if len(rest) else W
                whole = len(flat) // nf4.BLOCK * nf4.BLOCK
                exact.append(flat[:whole].reshape(-1, nf4.BLOCK).abs().amax(1))
                rest = flat[whole:]
        if len(rest):
            exact.append(rest.abs().amax().reshape(1))
        scales = torch.cat(exact)
        return torch.stack([scales, _through_double_quantisation(scales)])


_LEVELS = nf4.nf4_levels()
_BETWEEN = (_LEVELS[1:] + _LEVELS[:-1]) / 2


def _through_double_quantisation(scales: torch.Tensor) -> torch.Tensor:
    """Scales in 8 bits and back, by bitsandbytes' own code: on a tie between two levels, `nf4.quantise_scales` may take the other."""
    from bitsandbytes.functional import dequantize_blockwise, quantize_blockwise

    mean = scales.mean()
    codes, state = quantize_blockwise(scales - mean, blocksize=nf4.SCALES_BLOCK)
    return dequantize_blockwise(codes, state) + mean


def _through_nf4(W: torch.Tensor, exact: torch.Tensor, restored: torch.Tensor, skipped: int) -> torch.Tensor:
    """Rows after a trip through NF4 and back, where the first ``skipped`` numbers of their first block belong to the rows before."""
    flat = W.reshape(-1)
    inside = slice(skipped, skipped + len(flat))
    divisors = exact.masked_fill(exact == 0, 1).repeat_interleave(nf4.BLOCK)[inside]
    codes = torch.bucketize(flat / divisors, _BETWEEN)
    return (_LEVELS[codes] * restored.repeat_interleave(nf4.BLOCK)[inside]).reshape(W.shape)

"""4-bit weights, built for reading: NF4's levels, quantisation by blocks, and double quantisation.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", arXiv:2305.14314, section 3. To *quantise* is to keep, in place
of each number, the index of the nearest of a few levels. What trains and generates in this course is bitsandbytes' own code,
which this module equals: the lesson and the tests compare them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from course_lib.errors import CourseError

BLOCK = 64  # weights that share one scale
SCALES_BLOCK = 256  # scales that share one scale of theirs, in double quantisation


# -- where the levels are ----------------------------------------------------------------------------------------------


def nf4_levels() -> torch.Tensor:
    """The 16 levels of 4-bit NormalFloat, from -1 to 1, ascending, in float32.

    They are quantiles of the standard normal distribution: evenly spaced in *probability*, so that they lie close where weights
    are many. 8 levels above zero, 7 below and zero itself, so that a zero weight stays zero. The outermost probability is the
    mean of 1 - 1/32 and 1 - 1/30, half a step from the end on either side; the quantile at 1 would be infinite.
    """
    outermost = (31 / 32 + 29 / 30) / 2

    def above(count: int) -> torch.Tensor:
        return torch.special.ndtri(torch.linspace(outermost, 0.5, count + 1, dtype=torch.float64)[:-1])

    levels = torch.cat([-above(7), torch.zeros(1, dtype=torch.float64), above(8).flip(0)])
    return (levels / levels.max()).float()


def uniform_levels(count: int = 16) -> torch.Tensor:
    """Evenly spaced levels from -1 to 1, ascending: what NF4 is compared with."""
    return torch.linspace(-1, 1, count)


def dynamic_levels() -> torch.Tensor:
    """The 256 levels of the "dynamic" 8-bit type that bitsandbytes keeps scales in, ascending, in float32.

    Seven decades from 1e-6 to 1 on either side of zero. Each decade has twice as many levels as the one below it, in the middles
    of equal steps; 0 and 1 complete them (Dettmers 2016, arXiv:1511.04561; the paper on QLoRA only says "8-bit floats").
    """
    decades = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        decades.append(10.0 ** (i - 6) * (edges[:-1] + edges[1:]) / 2)
    above = torch.cat(decades)
    return torch.cat([-above, torch.tensor([0.0, 1.0]), above]).sort().values


# -- quantisation by blocks ---------------------------------------------------------------------------------------------


def quantise(values: torch.Tensor, levels: torch.Tensor, block: int = BLOCK) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales: each block is divided by its largest magnitude (*absmax*), and each value rounded to the nearest level.

    Args:
        values: any shape; taken row by row. A last block that isn't full is a block of its own.
        levels: ascending, at most 256 of them, from -1 to 1.
        block: values that share a scale.

    Returns:
        Codes (flat, uint8, one a value) and scales (float32, one a block).

    Raises:
        CourseError: the block is smaller than 1, or a value is not finite.
    """
    if block < 1:
        raise CourseError(f"a block must hold at least 1 value, not {block}: 64 is usual")
    flat = values.detach().reshape(-1).float()
    if not flat.isfinite().all():
        raise CourseError("a weight is not a finite number, so its block would have no scale: mend the model first")
    blocks = functional.pad(flat, (0, -len(flat) % block)).reshape(-1, block)
    scales = blocks.abs().amax(dim=1)
    # A block of zeros has scale 0; divide it by anything else.
    scaled = blocks / scales.masked_fill(scales == 0, 1)[:, None]
    codes = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2)
    return codes.reshape(-1)[: len(flat)].to(torch.uint8), scales


def dequantise(codes: torch.Tensor, scales: torch.Tensor, levels: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """The values that codes and scales stand for, flat, in float32: level times scale."""
    return levels[codes.long()] * scales.repeat_interleave(block)[: len(codes)]


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Two 4-bit codes a byte, the first in the high half, as bitsandbytes stores them; an odd last one stands alone."""
    pairs = functional.pad(codes, (0, len(codes) % 2)).reshape(-1, 2)
    return pairs[:, 0] << 4 | pairs[:, 1]


def unpack(packed: torch.Tensor, count: int) -> torch.Tensor:
    """The first ``count`` codes of packed bytes."""
    return torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1)[:count]


def rounded(values: torch.Tensor, levels: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """Values after a trip through quantisation and back, in their shape, in float32."""
    return dequantise(*quantise(values, levels, block), levels, block).reshape(values.shape)


def relative_error(values: torch.Tensor, levels: torch.Tensor, block: int = BLOCK) -> float:
    """The error of that trip: the root of its mean square, as a share of the root mean square of the values."""
    values = values.detach().float()
    return ((rounded(values, levels, block) - values).norm() / values.norm()).item()


# -- double quantisation ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scales:
    """Scales in 8 bits: codes (uint8), what their blocks were divided by (float32), and the mean that was taken off first."""

    codes: torch.Tensor
    scales: torch.Tensor
    mean: torch.Tensor

    def restored(self) -> torch.Tensor:
        """The scales again, in float32."""
        return dequantise(self.codes, self.scales, dynamic_levels(), SCALES_BLOCK) + self.mean


def quantise_scales(scales: torch.Tensor) -> Scales:
    """Double quantisation: the scales are themselves quantised, to 8 bits in blocks of 256.

    All are above zero, so their mean is taken off first: then both signs of the 8-bit type are of use.
    """
    mean = scales.mean()
    return Scales(*quantise(scales - mean, dynamic_levels(), SCALES_BLOCK), mean)


def bits_per_weight(block: int = BLOCK, *, double: bool = True) -> float:
    """Bits that one weight costs: its code, and its part of the scale of its block (of 32 bits, or of 8 and its part of the next)."""
    return 4 + (8 / block + 32 / (block * SCALES_BLOCK) if double else 32 / block)

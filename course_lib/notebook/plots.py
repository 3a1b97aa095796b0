"""Figures: readable, colour-blind-safe (Okabe & Ito 2008), on white whatever the page, and described in words.

A figure's label (`Figure.set_label`) holds its alt text; the charts here write theirs from their own numbers. Figures are made
without pyplot, which would show them a second time and keep them in memory.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from course_lib.evaluation.scores import Score
from course_lib.notebook.html import Shown, display, signed

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, GREY = "#222222", "#8A8A8A"
ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
DPI = 150
MARGIN = 0.1  # inches around a figure: on a dark page its edge is seen
CORNER, SHADES = 40, 15
IMAGE = Markup(
    '<img src="{source}" alt="{alt}" width="{width}" height="{height}" '
    'style="max-width:100%;height:auto;background:#fff;border-radius:6px;display:block;margin:.4em 0">'
)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the course's style within this block."""
    import matplotlib
    from cycler import cycler

    settings: dict[Any, Any] = {
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "text.color": BLACK,
        "axes.labelcolor": BLACK,
        "xtick.color": BLACK,
        "ytick.color": BLACK,
        "axes.edgecolor": GREY,
        "axes.titlesize": 12.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, PINK, SKY, BLACK]),
        "grid.color": "#E4E4E4",
        "lines.linewidth": 2,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        yield


@contextmanager
def figure(width: float = 8, height: float = 4, **subplots: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes, to be drawn on in the course's style within this block.

    Args:
        width: in inches; a page is about 8 wide.
        height: in inches.
        subplots: what `Figure.subplots` takes, such as ``ncols=2``.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style():
        fig = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN))
        yield fig, fig.subplots(**subplots)


def webp(fig: Figure) -> bytes:
    """A figure as a WebP picture: the same figure gives the same bytes."""
    file = io.BytesIO()
    with style():
        fig.savefig(file, format="webp", dpi=DPI, pil_kwargs={"lossless": True, "quality": 60})
    return file.getvalue()


def show(fig: Figure, alt: str = "") -> None:
    """Put a figure on the page with its description.

    Args:
        fig: any Matplotlib figure.
        alt: what it shows, for those who can't see it; charts of this module describe themselves.
    """
    alt = alt or str(fig.get_label())
    if not alt:
        raise ValueError("a figure needs a text for those who can't see it: pass alt")
    width, height = (round(96 * side) for side in fig.get_size_inches())
    source = "data:image/webp;base64," + base64.b64encode(webp(fig)).decode()
    display(Shown(IMAGE.format(source=source, alt=alt, width=width, height=height), f"[figure: {alt}]"))


def loss_curve(curve: Sequence[Mapping[str, float]], title: str = "Loss while training") -> Figure:
    """The loss over the steps of a run.

    Args:
        curve: points with ``step`` and ``loss``, ``eval_loss`` or both.
        title: what was trained.
    """
    with figure(8, 3.6) as (fig, axes):
        lines, told = {"loss": ("training", BLUE, None), "eval_loss": ("held-out", RED, "o")}, []
        for name, (words, colour, marker) in lines.items():
            points = [(point["step"], point[name]) for point in curve if point.get(name) is not None]
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, values, color=colour, marker=marker, label=f"{words}, ends at {values[-1]:.2f}")
                told.append(f"{words} loss from {values[0]:.2f} at step {steps[0]:g} to {values[-1]:.2f} at step {steps[-1]:g}")
        axes.set(title=title, xlabel="optimiser step", ylabel="loss (nats per token)", ylim=(0, None))
        axes.grid(axis="y")
        axes.legend()
    fig.set_label(f"{title}: {'; '.join(told)}.")
    return fig


def before_after_chart(rows: Sequence[tuple[str, Score, Score, float]], title: str = "Before and after") -> Figure:
    """Bars of each skill before and after, with 95 % intervals and the change.

    Args:
        rows: from `course_lib.evaluation.report.before_after`.
        title: what was done between.
    """
    with figure(8, 1.5 + 0.55 * len(rows)) as (fig, axes):
        for place, (_, before, after, change) in enumerate(rows):
            _bar(axes, place - 0.2, before, 0.36, "#B5B5B5", "" if place else "before")
            _bar(axes, place + 0.2, after, 0.36, BLUE, "" if place else "after")
            # In colour only where the intervals don't overlap: anything less may be luck.
            up, down = after.interval()[0] > before.interval()[1], after.interval()[1] < before.interval()[0]
            colour = "#00704F" if up else "#B34700" if down else BLACK
            axes.text(1.13, place, signed(change), color=colour, va="center", ha="right", weight="bold")
        axes.text(1.13, -0.75, "change", va="center", ha="right")
        _rates(axes, [row[0] for row in rows], title)
        axes.set_xlim(0, 1.14)
        fig.legend(loc="outside lower left", ncols=2)
        told = (f"{skill} {before.rate:.2f} before, {after.rate:.2f} after" for skill, before, after, _ in rows)
    fig.set_label(f"{title}, exact match: {'; '.join(told)}.")
    return fig


def per_type_chart(scores: Mapping[str, Score], title: str, *, marked: Collection[str] = (), marked_as: str = "") -> Figure:
    """One bar a type, best first, with 95 % intervals.

    Args:
        scores: a score for each type.
        title: what was measured.
        marked: types to be drawn in another colour.
        marked_as: what these have in common, for the legend.
    """
    ranked = sorted(scores.items(), key=lambda item: (-item[1].rate, item[0]))
    with figure(8, 1.1 + 0.3 * len(ranked)) as (fig, axes):
        named: set[bool] = set()
        for place, (name, value) in enumerate(ranked):
            special = name in marked
            words = "" if not marked or special in named else marked_as if special else "the others"
            _bar(axes, place, value, 0.68, ORANGE if special else BLUE, words)
            named.add(special)
        _rates(axes, [name for name, _ in ranked], title)
        if marked:
            fig.legend(loc="outside lower left", ncols=2)
        told = (f"{name} {value.rate:.2f}" + (f" ({marked_as})" if name in marked else "") for name, value in ranked)
    fig.set_label(f"{title}, exact match: {', '.join(told)}.")
    return fig


def _bar(axes: Axes, place: float, value: Score, height: float, colour: str, label: str) -> None:
    low, high = value.interval()
    axes.barh(place, value.rate, height, color=colour, label=label)
    # Wilson's interval holds the rate but for rounding at 0 and 1.
    spread = [[max(0, value.rate - low)], [max(0, high - value.rate)]]
    axes.errorbar(value.rate, place, xerr=spread, color=BLACK, linewidth=1.2, capsize=2.5)


def _rates(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set(title=title, xlabel="exact match (share of questions, with 95 % interval)", xlim=(0, 1.02))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_bounds(0, 1)


@style()
def lora_picture(weight: Any, update: Any, B: Any, A: Any) -> Figure:
    """LoRA's two small matrices to scale beside the weight, what they cost, and how much of a real update they hold.

    Made to be one frame of a flipbook over the rank.

    Args:
        weight: the frozen matrix W, d x k (a tensor or an array).
        update: what full fine-tuning added to it, d x k.
        B: d x r.
        A: r x k. B A stands in for the update; the best of a rank are `course_lib.lora.arithmetic.low_rank`'s.
    """
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from course_lib.lora.arithmetic import energy

    weight, update, B, A = (_array(matrix) for matrix in (weight, update, B, A))
    (d, k), rank = weight.shape, A.shape[0]
    total = float(np.sum(update**2))
    kept = 1 - float(np.sum((update - B @ A) ** 2)) / total
    best = energy(torch.as_tensor(update)).numpy()
    small, whole = rank * (d + k), d * k
    width, height, top = 8.6, 6.1, 5.6
    fig = Figure(figsize=(width, height))

    def place(x: float, y: float, w: float, h: float) -> Axes:
        return fig.add_axes((x / width, y / height, w / width, h / height))

    # Above, to scale: one unit a number, so that the areas are the costs.
    unit = min(2 / d, 4.7 / (2 * k + rank))
    x_B = 0.3 + k * unit + 0.55
    x_A = x_B + rank * unit + 0.3
    _heat(place(0.3, top - d * unit, k * unit, d * unit), weight, "gray", f"W, frozen: {d} x {k}")
    _heat(place(x_B, top - d * unit, rank * unit, d * unit), B, "RdBu_r", "")
    _heat(place(x_A, top - rank * unit, k * unit, rank * unit), A, "RdBu_r", f"A: {rank} x {k}")
    middle, bottom = x_B + rank * unit / 2, top - d * unit
    fig.text(middle / width, (bottom - 0.08) / height, f"B: {d} x {rank}", size=10, ha="center", va="top")
    fig.text((x_B - 0.275) / width, (top + bottom) / 2 / height, "+", size=20, ha="center", va="center")
    fig.text(6.1 / width, top / height, f"rank {rank}", size=22, weight="bold", va="top", color=BLUE)
    cost = f"{small:,} of {whole:,} = {small / whole:.1%}"
    _gauge(place(6.1, top - 1.05, 2.2, 0.16), small / whole, GREY, "numbers to train", cost)
    _gauge(place(6.1, top - 1.95, 2.2, 0.16), kept, BLUE, "update kept", f"{kept:.1%} of its squared norm")

    # Below: a corner of the update and of its stand-in in the same colours, and the bargain at every rank.
    limit = float(np.quantile(np.abs(update), 0.99))
    _heat(place(0.3, 0.62, 2, 2), update[:CORNER, :CORNER], "RdBu_r", "the real update, a corner", limit)
    _heat(place(2.95, 0.62, 2, 2), (B @ A)[:CORNER, :CORNER], "RdBu_r", "B A, the same corner", limit)
    axes, ranks = place(6.1, 0.62, 2.2, 2), np.arange(1, len(best) + 1)
    axes.plot(ranks, best, color=BLUE)
    axes.plot(ranks, ranks * (d + k) / whole, color=GREY, linestyle="--")
    axes.plot([rank], [kept], "o", color=BLUE, markersize=9, clip_on=False, zorder=3)
    axes.plot([rank], [small / whole], "o", color=GREY, markersize=7, clip_on=False, zorder=3)
    axes.text(1, 1.05, "update kept", color=BLUE, size=9.5, weight="bold")
    axes.text(len(best) * 0.93, 0.06, "numbers\nto train", color="#5F5F5F", size=9.5, weight="bold", ha="right")
    axes.set_xscale("log", base=2)
    axes.set(xlim=(1, len(best)), ylim=(0, 1))
    ticks = [2**power for power in range(0, len(best).bit_length(), 2)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xlabel("rank", labelpad=2)
    axes.grid()
    fig.set_label(
        f"At rank {rank}, B is {d} x {rank} and A is {rank} x {k}: {cost} of the numbers of W. "
        f"Their product keeps {kept:.1%} of the squared Frobenius norm of the real update."
    )
    return fig


def _heat(axes: Axes, matrix: np.ndarray, colours: str, title: str, limit: float | None = None) -> None:
    limit = limit or 3 * float(matrix.std()) or 1.0
    import matplotlib

    # A sample of a large matrix's numbers in a few shades: all of them would be grey dust, and a megabyte of picture.
    matrix = matrix[:: max(1, len(matrix) // CORNER), :: max(1, matrix.shape[1] // CORNER)]
    shades = matplotlib.colormaps[colours].resampled(SHADES)
    axes.imshow(matrix, interpolation="nearest", cmap=shades, vmin=-limit, vmax=limit, aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.6, color=BLACK)
    axes.set_title(title, size=10, weight="normal", pad=4)


def _gauge(axes: Axes, share: float, colour: str, title: str, words: str) -> None:
    axes.barh(0, 1, 1, color="#E4E4E4")
    axes.barh(0, min(share, 1), 1, color=colour)
    axes.set(xlim=(0, 1), ylim=(-0.5, 0.5))
    axes.set_axis_off()
    axes.set_title(title, size=10, weight="normal", pad=4)
    axes.text(0, -0.9, words, va="top", weight="bold", size=10)


def _array(matrix: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(matrix.detach().float().cpu() if hasattr(matrix, "detach") else matrix, dtype=np.float64)

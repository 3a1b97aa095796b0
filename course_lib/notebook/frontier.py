"""What the lesson on forgetting shows: learned against kept, each over a dial, skill by skill, and the valley of a toy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_lib.notebook.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, figure
from course_lib.training.sweeps import Interval, Trial, outcome, over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by marker, line and colour, so that any one of them would do.
LOOKS = (("o", "-", BLUE), ("s", "--", ORANGE), ("D", "-.", GREEN), ("^", ":", RED), ("v", (0, (5, 1)), PINK), ("P", "-", SKY))
# Where a point's name may stand, in points from it, in the order of preference.
PLACES = ((9, 0), (-9, 0), (0, 11), (0, -11), (9, 10), (-9, 10), (9, -10), (-9, -10), (0, 21), (0, -21), (9, 20), (-9, 20))

Points = Mapping[Any, Sequence[Trial]]  # the trials of each value of a dial, in the order of the path


def frontier_chart(paths: Mapping[str, Points], title: str, *, learned_from: float = 0.0) -> Figure:
    """Learned on one axis, kept on the other: each series is a path over its dial, with intervals over seeds as error bars.

    Args:
        paths: for each series, such as a method, the trials of each value of its dial, such as the learning rate.
        title: what was compared.
        learned_from: where the axis of the learned skill begins. It always ends at 1, and a path may leave the picture.
    """
    _some(paths)
    with figure(8, 5.4) as (fig, axes):
        told: list[str] = []
        dots: list[tuple[str, float, float, str]] = []
        for place, (name, points) in enumerate(paths.items()):
            marker, line, colour = LOOKS[place % len(LOOKS)]
            found = {str(label): outcome(trials) for label, trials in points.items()}
            learned, kept = [o.learned for o in found.values()], [o.kept for o in found.values()]
            across, up = [i.mean for i in learned], [i.mean for i in kept]
            axes.errorbar(
                across,
                up,
                xerr=_spread(learned),
                yerr=_spread(kept),
                color=colour,
                marker=marker,
                markersize=8,
                markeredgecolor="white",
                linestyle=line,
                linewidth=1.6,
                elinewidth=0.8,
                capsize=2,
                label=name,
                zorder=3,
            )
            dots += [(label, x, y, colour) for label, x, y in zip(found, across, up, strict=True)]
            told.append(
                f"{name}: "
                + ", ".join(
                    f"{label or 'start'} learned {o.learned.mean:.2f} kept {o.kept.mean:.2f}" for label, o in found.items()
                )
            )
        span = 1 - learned_from
        axes.set(
            title=title,
            xlabel="learned (exact match on held-out clauses, mean over seeds with 95 % interval)",
            ylabel="kept (mean of six general skills)",
            xlim=(learned_from - 0.02 * span, 1 + 0.09 * span),
            ylim=(-0.03, 1.05),
        )
        axes.grid()
        _name_dots(axes, dots)
        fig.legend(loc="outside lower left", ncols=min(3, len(paths)))
    fig.set_label(f"{title}. {'; '.join(told)}.")
    return fig


def strength_chart(lines: Mapping[str, Points], title: str, *, dial: str, log: bool = True) -> Figure:
    """Learned and kept side by side over one dial, with intervals over seeds.

    Args:
        lines: for each series, the trials of each value of the dial; a value of 0 is drawn at the left end of a logarithmic axis.
        title: what was turned.
        dial: its name, with its unit.
        log: draw the dial in factors.
    """
    _some(lines)
    with figure(8, 4.2, ncols=2, sharey=True) as (fig, both):
        told = []
        for place, (name, points) in enumerate(lines.items()):
            marker, line, colour = LOOKS[place % len(LOOKS)]
            found = {float(value): outcome(trials) for value, trials in points.items()}
            above = [value for value in found if value > 0]
            across = [value if value > 0 or not log else min(above) / 10 for value in found]
            for axes, measured in zip(both, zip(*((o.learned, o.kept) for o in found.values()), strict=True), strict=True):
                axes.plot(across, [i.mean for i in measured], marker=marker, linestyle=line, color=colour, label=name)
                axes.fill_between(
                    across, [i.low for i in measured], [i.high for i in measured], color=colour, alpha=0.15, linewidth=0
                )
            told.append(
                f"{name}: " + ", ".join(f"{v:g} learned {o.learned.mean:.2f} kept {o.kept.mean:.2f}" for v, o in found.items())
            )
        for axes, words in zip(both, ("learned", "kept"), strict=True):
            axes.set_title(words, weight="normal", size=11)
            axes.set(xlabel=dial, ylim=(-0.03, 1.05))
            axes.grid()
            if log:
                axes.set_xscale("log")
                values = sorted({float(value) for points in lines.values() for value in points})
                above = [value for value in values if value > 0]
                ticks = ([min(above) / 10] if 0.0 in values else []) + above
                axes.set_xticks(ticks, ["0"] * (0.0 in values) + [power(value) for value in above])
                axes.set_xticks([], minor=True)
        both[0].set_ylabel("exact match (95 % interval)")
        handles, names = both[0].get_legend_handles_labels()
        fig.legend(handles, names, loc="outside lower left", ncols=3)
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    fig.set_label(f"{title}. {'; '.join(told)}.")
    return fig


def power(value: float) -> str:
    """A value of a dial as people write it: 0.002 is 2e-3, 100000 is 1e5."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def skills_chart(methods: Mapping[str, Sequence[Trial]], title: str) -> Figure:
    """Each general skill as it was kept, method beside method, over the skill that was learned. Made to be a flipbook's frame.

    Args:
        methods: for each, trials that differ in their seed alone.
        title: what they have in common.
    """
    _some(methods)
    with figure(8, 3.9, ncols=len(methods), sharey=True, squeeze=False) as (fig, grid):
        told = []
        for axes, (name, trials) in zip(grid[0], methods.items(), strict=True):
            whole = outcome(trials)
            skills = {skill: over_seeds([t.skills[skill].rate for t in trials]) for skill in trials[0].skills}
            for place, (_, rate) in enumerate(bars := [("learned: clauses", whole.learned), *skills.items()]):
                colour = GREEN if place == 0 else BLUE
                axes.barh(place + 0.5 * (place > 0), rate.mean, 0.72, color=colour)
                axes.errorbar(rate.mean, place + 0.5 * (place > 0), xerr=_spread([rate]), color=BLACK, linewidth=1.2, capsize=2.5)
            axes.set_yticks([place + 0.5 * (place > 0) for place in range(len(bars))], [skill for skill, _ in bars])
            axes.set(xlim=(0, 1.02), ylim=(len(bars) + 0.1, -0.6), xlabel="exact match (95 % interval)")
            axes.set_title(f"{name}: kept {whole.kept.mean:.2f}", size=11, weight="normal")
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            told.append(
                f"{name}: learned {whole.learned.mean:.2f}; kept " + ", ".join(f"{s} {r.mean:.2f}" for s, r in skills.items())
            )
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    fig.set_label(f"{title}. {'. '.join(told)}.")
    return fig


def valley_chart(
    old_loss: Callable[[float, float], float],
    new_loss: Callable[[float, float], float],
    ends: Mapping[str, Sequence[Sequence[float]]],
    title: str,
) -> Figure:
    """Two losses over two weights as contours, and where training goes.

    Args:
        old_loss: of the old task, at a pair of weights.
        new_loss: of the new one.
        ends: for each way of training, the pairs of weights that it passes; all start at the old task's optimum.
        title: what is shown.
    """
    import numpy as np

    passed = np.array([pair for way in ends.values() for pair in way], dtype=float)
    low, high = passed.min(0) - 0.8, passed.max(0) + 0.8
    across, up = np.linspace(low[0], high[0], 40), np.linspace(low[1], high[1], 40)
    with figure(6.6, 4.6) as (fig, axes):
        for loss, colour, name in ((old_loss, GREY, "old task's loss"), (new_loss, GREEN, "new task's loss")):
            height = np.array([[loss(float(x), float(y)) for x in across] for y in up])
            levels = np.quantile(height, [0.08, 0.25, 0.5, 0.75])
            axes.contour(
                across, up, height, levels=levels, colors=colour, linewidths=1, linestyles="-" if colour == GREY else "--"
            )
            axes.plot([], [], color=colour, linewidth=1, linestyle="-" if colour == GREY else "--", label=name)
        told = []
        for (name, way), (marker, _, colour) in zip(ends.items(), (LOOKS[3], LOOKS[1], LOOKS[0], LOOKS[4]), strict=False):
            x, y = zip(*way, strict=True)
            axes.plot(x, y, color=colour, linewidth=2)
            axes.plot(x[-1:], y[-1:], marker, color=colour, markersize=10, markeredgecolor="white", label=name, zorder=4)
            told.append(f"{name} ends at ({x[-1]:.2f}, {y[-1]:.2f})")
        first = next(iter(ends.values()))[0]
        axes.plot(*first, "*", color=BLACK, markersize=14, label="start: the old task learned", zorder=5)
        axes.set(title=title, xlabel="first weight (the old task needs it)", ylabel="second weight (it hardly does)")
        fig.legend(loc="outside lower left", ncols=2)
    fig.set_label(f"{title}. All start at ({first[0]:.2f}, {first[1]:.2f}); {'; '.join(told)}.")
    return fig


def spread_chart(values: Mapping[str, Sequence[float]], title: str, *, measured: str) -> Figure:
    """Every single run as a dot, in rows, with each row's mean as a bar: for results in which the seeds disagree.

    Args:
        values: for each row, one value a run, from 0 to 1.
        title: what was repeated.
        measured: what the values are.
    """
    _some(values)
    with figure(8, 1.5 + 0.45 * len(values)) as (fig, axes):
        for place, points in enumerate(values.values()):
            # A little up and down, so that equal values are seen as several.
            offsets = [0.12 * ((i % 3) - 1) for i in range(len(points))]
            axes.plot(points, [place + o for o in offsets], "o", color=BLUE, markersize=7, alpha=0.75, markeredgecolor="white")
            mean = statistics.fmean(points)
            axes.plot([mean, mean], [place - 0.32, place + 0.32], color=RED, linewidth=3)
        axes.plot([], [], "o", color=BLUE, label="one run")
        axes.plot([], [], color=RED, linewidth=3, label="mean")
        axes.set_yticks(range(len(values)), list(values))
        axes.set(title=title, xlabel=measured, xlim=(-0.02, 1.03), ylim=(len(values) - 0.5, -0.6))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        fig.legend(loc="outside lower left", ncols=2)
    told = (f"{name} from {min(v):.2f} to {max(v):.2f}, mean {statistics.fmean(v):.2f}" for name, v in values.items())
    fig.set_label(f"{title}, {measured}: {'; '.join(told)}.")
    return fig


def _name_dots(axes: Axes, dots: Sequence[tuple[str, float, float, str]]) -> None:
    """Write each dot's name beside it where nothing stands yet. A dot without a name gets none."""
    from matplotlib.patheffects import withStroke

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    width, height = 500, 290  # of the axes in points, roughly: the layout is made later
    spots = [(width * (x - left) / (right - left), height * (y - bottom) / (top - bottom)) for _, x, y, _ in dots]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for (name, x, y, colour), spot in zip(dots, spots, strict=True):
        if not name:
            continue
        tries: list[tuple[int, int, int, int, tuple[float, float, float, float]]] = []
        for aside, above in PLACES:
            start = spot[0] + aside - (6 * len(name) if aside < 0 else 0 if aside else 3 * len(name))
            box = (start, spot[1] + above - 5, start + 6 * len(name), spot[1] + above + 5)
            hits = sum(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
            outside = box[0] < 0 or box[2] > width or box[1] < 0 or box[3] > height + 12
            tries.append((hits + 10 * outside, len(tries), aside, above, box))
        _, _, aside, above, box = min(tries)
        taken.append(box)
        axes.annotate(
            name,
            (x, y),
            (aside, above),
            textcoords="offset points",
            ha="left" if aside > 0 else "right" if aside < 0 else "center",
            va="center",
            size=9,
            weight="bold",
            # Orange and sky are too pale for letters.
            color=BLACK if colour in (ORANGE, SKY) else colour,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=6,
        )


def _spread(intervals: Sequence[Interval]) -> list[list[float]]:
    return [[max(0.0, i.mean - i.low) for i in intervals], [max(0.0, i.high - i.mean) for i in intervals]]


def _some(groups: Mapping[str, object]) -> None:
    """Refuse nothing to draw: an empty choice of trials is a slip in the choice, and an empty chart would hide it."""
    empty = [name for name, group in groups.items() if not group]
    if empty or not groups:
        raise ValueError(f"nothing to draw for {', '.join(empty) or 'any series'}: look at what was selected")

"""Charts of the lesson on merging: distances from right to wrong, one dial for every wrong scale, and two skills in one adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_lib.evaluation.scores import Score
from course_lib.notebook.plots import BLACK, BLUE, GREEN, GREY, ORANGE, RED, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))


def ladder_chart(distances: Mapping[str, float], effect: float, title: str) -> Figure:
    """How far each way of merging moves the logits, smallest first, on a logarithmic axis.

    Args:
        distances: for each way, the largest difference in logits from what was trained; 0 is drawn at the left end.
        effect: how far the adapter itself moves them: a distance of this size is no longer a rounding error.
        title: what is compared.
    """
    ranked = sorted(distances.items(), key=lambda item: item[1])
    with figure(8, 1.4 + 0.36 * len(ranked)) as (fig, axes):
        # Room for the smallest that isn't 0; what is 0 has no place on a logarithmic axis but its left end.
        floor = 10 ** math.floor(math.log10(min([value for _, value in ranked if value > 0], default=1e-9)))
        for place, (_, value) in enumerate(ranked):
            end = max(value, floor)
            axes.plot([floor, end], [place, place], color=GREY, linewidth=1.2)
            large = value > effect / 10
            axes.plot(end, place, "s" if large else "o", color=RED if large else BLUE, markersize=8, clip_on=False)
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # so that the line of the effect doesn't cross it
            axes.annotate(f"{value:.2g}", (end, place), (9, 0), textcoords="offset points", va="center", size=10, bbox=paper)
        axes.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        axes.axvline(effect, color=BLACK, linestyle="--", linewidth=1.2)
        axes.text(effect, -0.75, f"the adapter's own effect: {effect:.0f}", ha="right", va="center", size=10)
        axes.set(title=title, xlabel="largest difference in logits (logarithmic; squares: over a tenth of that)", xscale="log")
        axes.set_xlim(floor, 12 * max(effect, ranked[-1][1]))
        axes.set_ylim(len(ranked) - 0.4, -1.1)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        told = "; ".join(f"{name} {value:.2g}" for name, value in ranked)
    fig.set_label(f"{title}, largest difference in logits, where the adapter itself moves them by {effect:.0f}: {told}.")
    return fig


def dial_chart(
    skills: Mapping[str, Mapping[float, Score]], marks: Mapping[float, str], title: str, label: str = "scale of the update"
) -> Figure:
    """Skills over one dial, with 95 % intervals, and words at the settings that have a name.

    Args:
        skills: for each skill its score at each setting.
        marks: names of settings, such as the mistakes that lead to them.
        title: what is turned.
        label: the dial, with its unit.
    """
    with figure(8, 4.2) as (fig, axes):
        for (name, scores), (colour, marker) in zip(skills.items(), SERIES, strict=False):
            places, values = list(scores), list(scores.values())
            bounds = [value.interval() for value in values]
            spread = [
                [max(0, value.rate - low) for value, (low, _) in zip(values, bounds, strict=True)],
                [max(0, high - value.rate) for value, (_, high) in zip(values, bounds, strict=True)],
            ]
            axes.errorbar(
                places, [v.rate for v in values], yerr=spread, color=colour, marker=marker, capsize=3, label=name, elinewidth=1.2
            )
        for place, words in marks.items():
            axes.axvline(place, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
            axes.text(place, 1.07, words, ha="center", va="bottom", size=10)
        axes.set(xlabel=label, ylabel="exact match (95 % interval)", ylim=(-0.03, 1.06))
        axes.set_title(title, pad=34)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(axis="y")
        fig.legend(loc="outside lower left", ncols=len(skills))
        told = "; ".join(
            f"{name} " + ", ".join(f"{value.rate:.2f} at {place:g}" for place, value in scores.items())
            for name, scores in skills.items()
        )
    named = "; ".join(f"{place:g} is {' '.join(words.split())}" for place, words in marks.items())
    fig.set_label(f"{title}. {label}, exact match: {told}. {named}.")
    return fig


def combination_chart(rows: Mapping[str, Mapping[str, Score]], title: str) -> Figure:
    """One line a combination, one dot a skill, with 95 % intervals.

    Args:
        rows: for each combination the score of each skill; all have the same skills.
        title: what was combined.
    """
    skills: Sequence[str] = list(next(iter(rows.values())))
    with figure(8, 1.5 + 0.42 * len(rows)) as (fig, axes):
        for index, (skill, (colour, marker)) in enumerate(zip(skills, SERIES, strict=False)):
            for place, scores in enumerate(rows.values()):
                value = scores[skill]
                low, high = value.interval()
                y = place + 0.22 * (index - (len(skills) - 1) / 2)
                axes.plot([low, high], [y, y], color=colour, linewidth=1.4, alpha=0.8)
                axes.plot(value.rate, y, marker, color=colour, markersize=7, label="" if place else skill)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set(title=title, xlabel="exact match (share of questions, with 95 % interval)", xlim=(-0.02, 1.02))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        fig.legend(loc="outside lower left", ncols=len(skills))
        told = "; ".join(
            f"{name}: " + ", ".join(f"{skill} {value.rate:.2f}" for skill, value in scores.items())
            for name, scores in rows.items()
        )
    fig.set_label(f"{title}, exact match. {told}.")
    return fig

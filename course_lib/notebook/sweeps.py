"""Charts over a sweep: what was learned and what was kept, with intervals over seeds, and an explorer that needs no kernel.

Everything here reads any file that ``course sweep`` wrote, or the list that `course_lib.training.sweeps.sweep` returns.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from course_lib.errors import CourseError
from course_lib.notebook.html import Shown, signed
from course_lib.notebook.plots import BLACK, BLUE, IMAGE, ORANGE, RED, figure, webp
from course_lib.notebook.syllabus import lessons_folder
from course_lib.notebook.tables import table
from course_lib.training.config import ALL_LINEAR, TrainConfig
from course_lib.training.sweeps import Interval, Trial, over_seeds, read_sweep, select

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Slices = dict[str, dict[str, dict[str, list[Trial]]]]

SERIES: tuple[tuple[str, Callable[[Trial], float], str, str, float], ...] = (  # name, measure, colour, marker, shift on the axis
    ("learned", lambda trial: trial.learned, BLUE, "o", -0.07),
    ("kept", lambda trial: trial.kept, ORANGE, "s", 0.07),
)

CLOSE = 0.03  # share right: less is a question or two of each skill


# -- stored sweeps ------------------------------------------------------------------------------------------------------


def stored_sweep(name: str) -> list[Trial]:
    """The trials of a sweep that is stored with the lessons.

    Args:
        name: such as ``"hyperparameters"``; the file is ``lessons/results/NAME.json``.

    Raises:
        CourseError: there is no such file, or it holds something else.
    """
    return read_sweep(lessons_folder() / "results" / f"{name}.json")


def sweep_origin(*names: str) -> Shown:
    """Where stored sweeps come from: the command that repeats each, its device and versions, as its file says.

    Args:
        names: as of `stored_sweep`.
    """
    heads = [json.loads((lessons_folder() / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    sweeps = [stored_sweep(name) for name in names]
    rows: list[list[object]] = [
        ["command", *(f"`{head['command']}`" for head in heads)],
        ["device", *(head["device"] for head in heads)],
        ["trials", *(str(len(trials)) for trials in sweeps)],
        ["seeds", *(", ".join(str(seed) for seed in sorted({t.config.seed for t in trials})) for trials in sweeps)],
        ["training, all trials", *(f"{sum(t.seconds for t in trials) / 60:.0f} minutes" for trials in sweeps)],
    ]
    packages = [package for package in ("python", "torch", "transformers", "peft", "trl") if package in heads[0]["versions"]]
    rows += [[package, *(head["versions"].get(package, "") for head in heads)] for package in packages]
    return table(rows, ["", *(f"{name}.json" for name in names)], "Where the numbers come from")


# -- one knob turned, everything else held ------------------------------------------------------------------------------

# What a trial's place is made of, and how each part of it is said.
_PLACE: dict[str, tuple[Callable[[TrainConfig], Any], Callable[[Any], str]]] = {
    "method": (lambda c: c.method, str),
    "rank": (lambda c: c.rank, lambda v: f"rank {v}"),
    "scale": (lambda c: c.alpha / c.rank, lambda v: f"alpha/rank {v:g}"),
    "alpha": (lambda c: c.alpha, lambda v: f"alpha {v:g}"),
    "lr": (lambda c: c.lr, lambda v: f"learning rate {v:g}"),
    "product": (lambda c: float(f"{c.alpha * c.lr:.6g}"), lambda v: f"alpha x learning rate {v:g}"),
    "targets": (lambda c: c.target_modules, lambda v: f"on {modules(v)}" + " layers" * (v == ALL_LINEAR)),
    "dropout": (lambda c: c.dropout, lambda v: f"dropout {v:g}"),
    "rows": (lambda c: c.examples, lambda v: f"{v} rows"),
    "passes": (lambda c: c.epochs, lambda v: f"{v:g} passes"),
    "seen": (lambda c: round(c.examples * c.epochs), lambda v: f"{v} rows seen"),
    "replay": (lambda c: c.replay, lambda v: f"replay {v:g}"),
    "ewc": (lambda c: c.ewc, lambda v: f"EWC strength {v:g}"),
}
_REST = ("method", "targets", "dropout", "rows", "seen", "replay", "ewc")
# For each knob: the part that it turns, and the parts that it leaves where they are.
_KNOBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "learning rate": ("lr", ("rank", "scale", *_REST)),
    "rank": ("rank", ("scale", "lr", *_REST)),
    "alpha": ("alpha", ("rank", "lr", *_REST)),
    "alpha, alpha x rate held": ("alpha", ("rank", "product", *_REST)),
    "target modules": ("targets", ("rank", "scale", "lr", *_REST)),
    "dropout": ("dropout", ("rank", "scale", "lr", *_REST)),
    "training rows": ("rows", ("rank", "scale", "lr", *_REST)),
    "passes over the rows": ("passes", ("rank", "scale", "lr", *(part for part in _REST if part != "seen"))),
    "replay": ("replay", ("rank", "scale", "lr", *_REST)),
    "EWC strength": ("ewc", ("rank", "scale", "lr", *_REST)),
}


def modules(targets: str | Sequence[str]) -> str:
    """Target modules in few words: ``q, v``, or ``all linear``."""
    return targets.replace("-", " ") if isinstance(targets, str) else ", ".join(name.removesuffix("_proj") for name in targets)


def knob_slices(trials: Iterable[Trial]) -> Slices:
    """Every way of turning one knob while the others stand still, that the trials allow.

    Args:
        trials: of any sweep.

    Returns:
        For each knob, for each setting of the other knobs (in words), for each value of the knob in order (in words), its trials.
    """
    trials = list(trials)
    found: Slices = {}
    for knob, (turned, held) in _KNOBS.items():
        held = tuple(part for part in held if part != turned)
        groups: dict[tuple[Any, ...], dict[Any, list[Trial]]] = {}
        for trial in trials:
            place = tuple(_PLACE[part][0](trial.config) for part in held)
            groups.setdefault(place, {}).setdefault(_PLACE[turned][0](trial.config), []).append(trial)
        groups = {place: values for place, values in groups.items() if len(values) > 1}
        differ = [len({place[i] for place in groups}) > 1 for i in range(len(held))]
        for place, values in sorted(groups.items(), key=lambda item: (-len(item[1]), [_order(part) for part in item[0]])):
            parts = [_PLACE[part][1](value) for part, value, differs in zip(held, place, differ, strict=True) if differs]
            slices = found.setdefault(knob, {})
            slices[", ".join(parts) or "everything else as it was"] = {
                modules(value) if turned == "targets" else f"{value:g}": values[value]
                for value in sorted(values, key=lambda v: v if isinstance(v, int | float) else values[v][0].trainable)
            }
    return found


def _order(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _interval(values: Sequence[float]) -> Interval:
    """Over seeds; a single seed stands for itself."""
    return over_seeds(values) if len(values) > 1 else Interval(values[0], values[0], values[0], 1)


def sweep_table(groups: Mapping[Any, Sequence[Trial]], column: str, caption: str) -> Shown:
    """What was learned and kept at each value of a knob.

    Args:
        groups: for each value, its trials: from `course_lib.training.sweeps.by`, or one slice of `knob_slices`.
        column: what the knob is called.
        caption: what was swept.
    """
    rows = []
    for value, trials in groups.items():
        rows.append(
            [_name(value), *(_written(trials, measure) for _, measure, *_ in SERIES), f"{trials[0].trainable:,}", len(trials)]
        )
    return table(rows, [column, "learned", "kept", "numbers trained", "seeds"], caption)


def _tell(groups: Mapping[Any, Sequence[Trial]]) -> str:
    """Every number of a slice in words."""
    return ". ".join(
        f"{name}: " + "; ".join(f"{_written(trials, measure)} at {_name(value)}" for value, trials in groups.items())
        for name, measure, *_ in SERIES
    )


def _name(value: Any) -> str:
    return modules(value) if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:g}"


def _written(trials: Sequence[Trial], measure: Callable[[Trial], float]) -> str:
    found = _interval([measure(trial) for trial in trials])
    return str(found) if found.seeds > 1 else f"{found.mean:.2f}"


@dataclass(frozen=True)
class Gap:
    """A difference between two settings, seed by seed, in one sweep or in several on other seeds."""

    intervals: tuple[Interval, ...]
    differences: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest mean."""
        return min(interval.mean for interval in self.intervals)

    @property
    def most(self) -> float:
        """The largest mean."""
        return max(interval.mean for interval in self.intervals)

    @property
    def positive(self) -> str:
        """On how many seeds the difference is above zero, in words."""
        return f"{sum(difference > 0 for difference in self.differences)} of {len(self.differences)} seeds"

    @property
    def always(self) -> bool:
        """Whether it is above zero on every seed."""
        return all(difference > 0 for difference in self.differences)

    @property
    def furthest(self) -> float:
        """The mean that is furthest from no difference, without its sign."""
        return max(abs(interval.mean) for interval in self.intervals)

    def __str__(self) -> str:
        return ", and ".join(f"{signed(i.mean)} [{signed(i.low)}, {signed(i.high)}] over {i.seeds} seeds" for i in self.intervals)


def seed_gap(measure: str, more: Mapping[str, Any], less: Mapping[str, Any], *sweeps: Sequence[Trial]) -> Gap:
    """How much more one setting learns or keeps than another, paired by seed, so that the luck that both share drops out.

    Args:
        measure: ``"learned"`` or ``"kept"``.
        more: a setting, as `course_lib.training.sweeps.select` takes it.
        less: the setting to compare with.
        sweeps: each gives one interval; one that lacks either setting is passed over.

    Raises:
        CourseError: no sweep holds both settings under two common seeds.
    """
    intervals, differences = [], []
    for trials in sweeps:
        a, b = ({t.config.seed: getattr(t, measure) for t in select(trials, **setting)} for setting in (more, less))
        if len(both := sorted(a.keys() & b.keys())) > 1:
            found = [a[seed] - b[seed] for seed in both]
            intervals.append(over_seeds(found, low=-1.0))
            differences += found
    if not intervals:
        raise CourseError(f"no sweep holds both {dict(more)} and {dict(less)} under two seeds: choose settings that one holds")
    return Gap(tuple(intervals), tuple(differences))


# -- charts -------------------------------------------------------------------------------------------------------------


def sweep_chart(groups: Mapping[Any, Sequence[Trial]], title: str, label: str) -> Figure:
    """Learned and kept over one knob: means with 95 % intervals over seeds, and every seed as a small dot.

    Args:
        groups: for each value of the knob in order, its trials.
        title: what was held still.
        label: the knob.
    """
    names = [_name(value) for value in groups]
    with figure(7.6, 3.5) as (fig, axes):
        for name, measure, colour, marker, shift in SERIES:
            found = [_interval([measure(trial) for trial in trials]) for trials in groups.values()]
            places = [place + shift for place in range(len(found))]
            spread = [[max(0, f.mean - f.low) for f in found], [max(0, f.high - f.mean) for f in found]]
            means = [f.mean for f in found]
            axes.errorbar(
                places, means, yerr=spread, color=colour, marker=marker, markersize=7, capsize=3, elinewidth=1.3, label=name
            )
            for place, trials in zip(places, groups.values(), strict=True):
                axes.plot([place] * len(trials), [measure(t) for t in trials], ".", color=colour, markersize=4, alpha=0.45)
        axes.set(ylabel="share right", ylim=(-0.03, 1.05))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid(axis="y")
        axes.set_xticks(range(len(names)), names)
        axes.set(title=title, xlabel=label, xlim=(-0.4, len(names) - 0.6))
        fig.legend(loc="outside lower left", ncols=2)
        seeds = sorted({len(trials) for trials in groups.values()})
        fig.text(0.985, 0.02, f"95 % intervals over {' or '.join(map(str, seeds))} seeds", ha="right", size=9, color="#5F5F5F")
    fig.set_label(f"{title}, over {label}. {_tell(groups)}.")
    return fig


def heat_maps(trials: Iterable[Trial], title: str) -> Figure:
    """Rank by learning rate, learned beside kept; a frame marks where both together are largest for each rank.

    Args:
        trials: of a sweep; ranks that were tried with one learning rate alone are left out.
        title: what was swept.
    """
    cells = rate_by_rank(trials)
    ranks, rates = sorted({rank for rank, _ in cells}), sorted({lr for _, lr in cells})
    best = {rank: best_rate(cells, rank) for rank in ranks}
    told = []
    with figure(8.4, 1.9 + 0.55 * len(ranks), ncols=2, sharey=True) as (fig, panels):
        for axes, (name, measure, *_) in zip(panels, SERIES, strict=True):
            found = {place: _interval([measure(trial) for trial in group]) for place, group in cells.items()}
            grid = [[found[rank, lr].mean if (rank, lr) in found else float("nan") for lr in rates] for rank in ranks]
            axes.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
            for (rank, lr), value in found.items():
                x, y = rates.index(lr), ranks.index(rank)
                half = (value.high - value.low) / 2
                words = f"{value.mean:.2f}" + (f"\n±{half:.2f}" if value.seeds > 1 else "")
                axes.text(x, y, words, ha="center", va="center", size=9.5, color="black" if value.mean > 0.55 else "white")
                if best[rank] == lr:
                    axes.add_patch(_frame(x, y))
            axes.set_xticks(range(len(rates)), [f"{lr:g}" for lr in rates])
            axes.set_yticks(range(len(ranks)), [str(rank) for rank in ranks])
            axes.set_title(name)
            axes.set_xlabel("learning rate")
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            told += [
                f"{name} at rank {rank}: "
                + ", ".join(f"{found[rank, lr].mean:.2f} at {lr:g}" for lr in rates if (rank, lr) in found)
                for rank in ranks
            ]
        panels[0].set_ylabel("rank")
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    fig.set_label(
        f"{title}. {'; '.join(told)}. Learned and kept together are largest at "
        + ", ".join(f"{lr:g} for rank {rank}" for rank, lr in best.items())
        + "."
    )
    return fig


def _frame(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.46, y - 0.45), 0.92, 0.9, fill=False, edgecolor=RED, linewidth=3)


def rate_by_rank(trials: Iterable[Trial]) -> dict[tuple[int, float], list[Trial]]:
    """The trials of each rank and learning rate, in the largest part of a sweep that varies both and nothing else.

    Args:
        trials: of a sweep.

    Raises:
        CourseError: no rank was tried with two learning rates.
    """
    parts: dict[tuple[Any, ...], dict[tuple[int, float], list[Trial]]] = {}
    for trial in trials:
        place = tuple(_PLACE[part][0](trial.config) for part in ("scale", *_REST))
        parts.setdefault(place, {}).setdefault((trial.config.rank, trial.config.lr), []).append(trial)
    whole = max(parts.values(), key=len, default={})
    cells = {(rank, lr): group for (rank, lr), group in whole.items() if sum(other == rank for other, _ in whole) > 1}
    if not cells:
        raise CourseError(
            "no rank was tried with two learning rates: sweep both, such as with `course sweep --grid hyperparameters`"
        )
    return cells


def best_rate(cells: Mapping[tuple[int, float], Sequence[Trial]], rank: int) -> float:
    """The learning rate at which a rank learned and kept most, counting both alike.

    Args:
        cells: from `rate_by_rank`.
        rank: one of theirs.
    """
    sums = {lr: sum(t.learned + t.kept for t in group) / len(group) for (other, lr), group in cells.items() if other == rank}
    return max(sums, key=lambda lr: sums[lr])


@dataclass(frozen=True)
class Reach:
    """How far one knob, turned alone, moves one measure: the least and the most over its values, and where each was found."""

    low: float
    low_at: str
    high: float
    high_at: str

    @property
    def width(self) -> float:
        """The distance between them, 0 to 1."""
        return self.high - self.low


def reach(trials: Iterable[Trial], usual: TrainConfig) -> dict[str, dict[str, Reach]]:
    """For each knob, how far it moves what is learned and what is kept when it alone is turned from the usual setting.

    Args:
        trials: of a sweep.
        usual: the setting to start from; its seed doesn't matter.

    Returns:
        For each knob, widest first, the reach in ``learned`` and in ``kept``.

    Raises:
        CourseError: the sweep doesn't hold the usual setting, or turns no knob from it.
    """
    found: dict[str, dict[str, Reach]] = {}
    for knob, choices in knob_slices(trials).items():
        for groups in choices.values():
            if _passes(groups, usual):
                found[knob] = {name: _reach(groups, measure) for name, measure, *_ in SERIES}
    if not found:
        raise CourseError("the sweep turns no knob from the usual setting: choose a setting that it holds")
    return dict(sorted(found.items(), key=lambda item: -max(r.width for r in item[1].values())))


def _is(trial: Trial, usual: TrainConfig) -> bool:
    return trial.config.with_changes(seed=usual.seed) == usual


def _passes(groups: Mapping[str, Sequence[Trial]], usual: TrainConfig) -> bool:
    """Whether a slice goes through a setting."""
    return any(_is(trial, usual) for group in groups.values() for trial in group)


def _reach(groups: Mapping[str, Sequence[Trial]], measure: Callable[[Trial], float]) -> Reach:
    means = {value: fmean(measure(trial) for trial in group) for value, group in groups.items()}
    low, high = min(means, key=lambda value: means[value]), max(means, key=lambda value: means[value])
    return Reach(means[low], low, means[high], high)


def reach_chart(trials: Sequence[Trial], usual: TrainConfig, title: str) -> Figure:
    """One bar a knob: how far it, turned alone from the usual setting, moves what is learned and what is kept.

    Args:
        trials: of a sweep.
        usual: the setting where the dashed line stands.
        title: what was swept.
    """
    found = reach(trials, usual)
    told = []
    with figure(8.4, 1.5 + 0.5 * len(found), ncols=2, sharey=True) as (fig, panels):
        for axes, (name, measure, colour, *_) in zip(panels, SERIES, strict=True):
            middle = fmean(measure(trial) for trial in trials if _is(trial, usual))
            for place, (knob, reaches) in enumerate(found.items()):
                span = reaches[name]
                axes.plot([span.low, span.high], [place, place], color=colour, linewidth=10, alpha=0.6, solid_capstyle="butt")
                if span.width > CLOSE:
                    axes.text(span.low - 0.02, place, span.low_at, ha="right", va="center", size=9.5)
                told.append(f"{knob}: {name} from {span.low:.2f} at {span.low_at} to {span.high:.2f} at {span.high_at}")
            axes.axvline(middle, color=BLACK, linewidth=1.2, linestyle="--")
            axes.set_yticks(range(len(found)), list(found))
            axes.set(xlim=(-0.3, 1.03), xlabel="share right", ylim=(len(found) - 0.5, -0.5))
            axes.set_title(name)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    fig.set_label(f"{title}. One knob turned, the others at the dashed line: {'; '.join(told)}.")
    return fig


# -- the explorer -------------------------------------------------------------------------------------------------------

# As in `flipbooks`: controls are put in by the script, because dead ones would mislead, and nothing has an id. The script draws the
# pictures too: a sweep has dozens of slices, and as many images would weigh a megabyte.
SCRIPT = Markup("""<script>
for (const box of document.querySelectorAll('.course-explorer:not([data-ready])')) {
  box.dataset.ready = '';
  const {knobs, series} = JSON.parse(box.dataset.sweep), image = box.querySelector('img');
  image.insertAdjacentHTML('beforebegin', box.dataset.controls);
  const [knob, held] = box.querySelectorAll('select'), words = box.querySelector('[role=status]');
  const svg = box.querySelector('svg'), left = 64, right = 740, top = 18, bottom = 262;
  const add = (tag, attributes, text = '') => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    svg.append(node);
  };
  const y = share => bottom - share * (bottom - top);
  const draw = () => {
    const [name, slices] = knobs[knob.selectedIndex], slice = slices[held.selectedIndex], count = slice.values.length;
    const x = (place, shift) => left + (right - left) * (place + 0.5 + shift) / count;
    svg.replaceChildren();
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      add('line', {x1: left, x2: right, y1: y(share), y2: y(share), stroke: share ? '#E4E4E4' : '#8A8A8A'});
      add('text', {x: left - 8, y: y(share) + 5, 'text-anchor': 'end'}, share);
    }
    add('text', {x: 18, y: y(0.5), 'text-anchor': 'middle', transform: `rotate(-90 18 ${y(0.5)})`}, 'share right');
    slice.values.forEach((value, i) => add('text', {x: x(i, 0), y: bottom + 20, 'text-anchor': 'middle'}, value));
    add('text', {x: (left + right) / 2, y: bottom + 44, 'text-anchor': 'middle', 'font-weight': 600}, name);
    series.forEach(([label, colour], s) => {
      const shift = (s - 0.5) * 0.05, points = slice.points[s];
      add('polyline', {points: points.map((p, i) => `${x(i, shift)},${y(p.mean)}`).join(' '), fill: 'none', stroke: colour, 'stroke-width': 2});
      points.forEach((p, i) => {
        add('line', {x1: x(i, shift), x2: x(i, shift), y1: y(p.low), y2: y(p.high), stroke: colour, 'stroke-width': 1.5});
        for (const end of [p.low, p.high])
          add('line', {x1: x(i, shift) - 4, x2: x(i, shift) + 4, y1: y(end), y2: y(end), stroke: colour, 'stroke-width': 1.5});
        const dot = s ? ['rect', {x: x(i, shift) - 5, y: y(p.mean) - 5, width: 10, height: 10}] : ['circle', {cx: x(i, shift), cy: y(p.mean), r: 5.5}];
        add(dot[0], {...dot[1], fill: colour});
      });
      add(s ? 'rect' : 'circle', {...(s ? {x: 159, y: 318, width: 10, height: 10} : {cx: 70, cy: 323, r: 5.5}), fill: colour});
      add('text', {x: s ? 176 : 83, y: 328}, label);
    });
    add('text', {x: right, y: 328, 'text-anchor': 'end', 'font-size': 12}, '95 % intervals over seeds');
    words.textContent = slice.told;
    svg.setAttribute('aria-label', slice.told);
  };
  const fill = (select, names) => select.replaceChildren(...names.map(name => new Option(name)));
  const turn = () => { fill(held, knobs[knob.selectedIndex][1].map(slice => slice.held)); draw(); };
  for (const select of [knob, held]) select.addEventListener('keydown', event => event.stopPropagation());  // JupyterLab's keys
  knob.addEventListener('change', turn);
  held.addEventListener('change', draw);
  fill(knob, knobs.map(([name]) => name));
  turn();
  image.remove();
}
</script>""")
SELECT = Markup(
    '<label style="display:inline-block;margin:.3em 1.2em .3em 0">{} <select autocomplete="off" style="font:inherit;max-width:100%;'
    'padding:.15em .3em;background:Canvas;color:CanvasText;border:1px solid GrayText;border-radius:4px"></select></label>'
)
CANVAS = Markup(
    '<svg role="img" viewBox="0 0 760 340" font-family="DejaVu Sans, Verdana, sans-serif" font-size="14" fill="#222222" '
    'style="display:block;width:100%;height:auto;background:#fff;border-radius:6px"></svg>'
)


def explorer(trials: Iterable[Trial], title: str, usual: TrainConfig | None = None) -> Shown:
    """Two menus over a sweep: which knob is on the axis, and at what the others are held.

    All numbers travel in the output, so that it works without a kernel and without a network. Where scripts are stripped, the first
    picture and a table of every number remain.

    Args:
        trials: of any sweep.
        title: what was swept.
        usual: a setting whose slices come first in the menus.

    Raises:
        CourseError: no knob was turned with the others held.
    """
    slices = knob_slices(trials)
    if not slices:
        raise CourseError("no two of these trials differ in one knob alone: sweep one, with the others held")
    if usual:
        slices = {
            knob: dict(sorted(choices.items(), key=lambda choice: not _passes(choice[1], usual)))
            for knob, choices in slices.items()
        }
    knobs: list[tuple[str, list[dict[str, Any]]]] = []
    rows: list[list[object]] = []
    for knob, choices in slices.items():
        drawn = []
        for held, groups in choices.items():
            points = [[_interval([measure(t) for t in group]) for group in groups.values()] for _, measure, *_ in SERIES]
            told = f"{knob}, with {held}. " + _tell(groups)
            rounded = [[{side: round(getattr(p, side), 4) for side in ("mean", "low", "high")} for p in line] for line in points]
            drawn.append({"held": held, "values": list(groups), "points": rounded, "told": told})
            rows += [
                [f"{knob}; {held}", v, *(_written(group, measure) for _, measure, *_ in SERIES)] for v, group in groups.items()
            ]
        knobs.append((knob, drawn))
    knob, choices = next(iter(slices.items()))
    held, groups = next(iter(choices.items()))
    first = sweep_chart(groups, held[0].upper() + held[1:], knob)
    width, height = (round(96 * side) for side in first.get_size_inches())
    source = "data:image/webp;base64," + base64.b64encode(webp(first)).decode()
    every = table(rows, ["knob; held", "value", "learned", "kept"], "Every picture's numbers")
    html = Markup(
        '<div class="course-explorer" data-sweep="{sweep}" data-controls="{controls}" style="max-width:{width}px">'
        '<div style="font-weight:600;margin:.4em 0">{title}</div>{image}'
        '<div role="status" style="font-size:.9em;margin:.4em 0 .6em"></div>'
        "<details><summary>Every number as a table</summary>{every}</details></div>{script}"
    ).format(
        sweep=json.dumps({"knobs": knobs, "series": [(name, colour) for name, _, colour, *_ in SERIES]}),
        controls=str(SELECT.format("On the axis:") + SELECT.format("Held:") + CANVAS),
        width=width,
        title=title,
        image=IMAGE.format(source=source, alt=str(first.get_label()), width=width, height=height),
        every=every.html,
        script=SCRIPT,
    )
    return Shown(html, f"{title} (pictures behind two menus)\n{every.text}")

"""Pictures of 4-bit weights and of memory, and a memory calculator that needs neither kernel nor network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from course_lib.models.memory import GIB, Memory, estimate
from course_lib.models.shapes import SHAPES, shape
from course_lib.notebook.html import Shown
from course_lib.notebook.plots import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, figure
from course_lib.notebook.syllabus import lessons_folder
from course_lib.notebook.tables import table

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

CARDS = (8, 12, 16, 24, 48, 80)  # GB that common cards are sold with; what is sold as a GB of memory is a GiB
SPARE = 1024  # MiB of a card that the driver and the allocator may take
PARTS = {
    "weights": ("weights of the base", BLUE),
    "adapter": ("adapter", SKY),
    "gradients": ("gradients", GREEN),
    "optimiser": ("optimiser's states", ORANGE),
    "working": ("within a step", PINK),
}


@dataclass(frozen=True)
class Peak:
    """The most memory that training took on a GPU, in GiB, and what `estimate` says of the same run today."""

    method: str
    checkpointing: bool
    measured: float
    estimated: float

    @property
    def off(self) -> float:
        """By what share the estimate misses: -0.05 is 5 % too little."""
        return self.estimated / self.measured - 1


def stored_peaks() -> tuple[str, list[Peak]]:
    """What ``benchmarks/memory_peaks.py`` measured on a GPU, with a sentence that says where and how."""
    stored = json.loads((lessons_folder() / "results" / "gpu_memory.json").read_text(encoding="utf-8"))
    run = {"rank": stored["rank"], "target_modules": tuple(stored["targets"]), "length": stored["length"]}
    peaks = []
    for found in stored["runs"]:
        said = estimate(shape(stored["model"]), found["method"], checkpointing=found["checkpointing"], **run)
        peaks.append(Peak(found["method"], found["checkpointing"], found["measured"] / GIB, said.gib))
    versions = stored["versions"]
    return (
        f"{stored['model']}, random weights, one sequence of {stored['length']} tokens, on one {stored['device']}, "
        f"torch {versions['torch']}, bitsandbytes {versions['bitsandbytes']}: {stored['command']}"
    ), peaks


def levels_chart(types: Mapping[str, torch.Tensor], title: str = "Where sixteen levels can stand") -> Figure:
    """Levels of several 4-bit types below the density of normally distributed weights.

    Args:
        types: for each name, its levels from -1 to 1.
        title: what is compared.
    """
    import numpy as np

    with figure(8, 2.6 + 0.4 * len(types)) as (fig, axes):
        x = np.linspace(-1.1, 1.1, 400)
        deviation = 1 / 2.4  # so that the largest of a block of 64 normal weights stands at 1, about
        density = np.exp(-((x / deviation) ** 2) / 2)
        axes.fill_between(x, density, color="#E4E4E4", linewidth=0)
        axes.text(0, 0.5, "how often a weight\nhas this value", ha="center", va="center", size=10)
        for row, (colour, (name, levels)) in enumerate(zip((BLUE, RED, GREEN, ORANGE), types.items(), strict=False)):
            low = -0.3 * (row + 1)
            axes.vlines(levels.tolist(), low, low + 0.2, color=colour, linewidth=2.5)
            axes.text(-1.16, low + 0.1, name, color=colour, weight="bold", ha="right", va="center")
        axes.set(
            title=title, xlabel="weight / largest weight of its block", xlim=(-1.45, 1.15), ylim=(-0.32 * len(types) - 0.03, 1.08)
        )
        axes.set_yticks([])
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.spines["left"].set_visible(False)
        gaps = (f"{name}: {min(_gaps(v)):.2f} to {max(_gaps(v)):.2f}" for name, v in types.items())
    fig.set_label(f"{title}. The distances between neighbouring levels, least to greatest: {'; '.join(gaps)}.")
    return fig


def _gaps(levels: torch.Tensor) -> list[float]:
    return (levels[1:] - levels[:-1]).tolist()


def block_error_chart(errors: Mapping[str, Mapping[int, float]], title: str) -> Figure:
    """The error of 4-bit weights over the block size.

    Args:
        errors: for each kind of weights and levels, the relative error at each block size. A name that starts like another (up
            to a comma) shares its colour, and the second of them is dashed.
        title: what was measured.
    """
    with figure(8, 4.2) as (fig, axes):
        colours: dict[str, str] = {}
        for name, curve in errors.items():
            first = name.split(",")[0]
            dashed = first in colours
            colour = colours.setdefault(first, (BLUE, RED, GREEN, ORANGE)[len(colours) % 4])
            style = "--" if dashed else "-"
            axes.plot(
                list(curve),
                [100 * e for e in curve.values()],
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4.5,
                label=name,
            )
        sizes = sorted({size for curve in errors.values() for size in curve})
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set(title=title, xlabel="weights in a block (log scale)", ylabel="error (% of the weights' size)", ylim=(0, None))
        axes.grid()
        axes.legend()
        told = (f"{name}: {c[min(c)]:.1%} at {min(c)}, {c[max(c)]:.1%} at {max(c)}" for name, c in errors.items())
    fig.set_label(f"{title}, relative error over block size. {'; '.join(told)}.")
    return fig


def code_share_chart(shares: Mapping[str, Sequence[float]], title: str) -> Figure:
    """How often each of the codes is used.

    Args:
        shares: for each name, the share of the weights that has each code, from the lowest level to the highest.
        title: what was counted.
    """
    with figure(8, 3.4) as (fig, axes):
        width = 0.8 / len(shares)
        for index, (colour, (name, values)) in enumerate(zip((BLUE, ORANGE, GREEN), shares.items(), strict=False)):
            places = [code + (index - (len(shares) - 1) / 2) * width for code in range(len(values))]
            axes.bar(places, [100 * v for v in values], width, color=colour, label=name)
        count = max(len(values) for values in shares.values())
        axes.axhline(100 / count, color=BLACK, linestyle="--", linewidth=1.2, label="all equally often")
        axes.set_xticks(range(count))
        axes.set(title=title, xlabel="code", ylabel="share of the weights (%)")
        axes.legend(ncols=len(shares) + 1, loc="upper center", bbox_to_anchor=(0.5, 1.02))
        axes.set_ylim(0, 100 * 1.25 * max(max(values) for values in shares.values()))
        told = (f"{name}: from {min(v):.1%} to {max(v):.1%}" for name, v in shares.items())
    fig.set_label(f"{title}. Shares of the codes, least to greatest: {'; '.join(told)}; equal would be {1 / count:.1%}.")
    return fig


def memory_chart(runs: Mapping[str, Memory], title: str, *, unit: str = "GiB") -> Figure:
    """Stacked bars of what training takes, by part.

    Args:
        runs: what each run takes.
        title: what is compared.
        unit: ``GiB`` or ``MiB``.
    """
    size = {"GiB": GIB, "MiB": 2**20}[unit]
    with figure(8, 1.9 + 0.45 * len(runs)) as (fig, axes):
        left = [0.0] * len(runs)
        for part, (words, colour) in PARTS.items():
            values = [memory.parts[part] / size for memory in runs.values()]
            if any(values):
                axes.barh(range(len(runs)), values, 0.66, left=left, color=colour, label=words)
            left = [a + b for a, b in zip(left, values, strict=True)]
        for place, total in enumerate(left):
            axes.text(total + 0.01 * max(left), place, f"{total:.1f}", va="center", weight="bold")
        axes.set_yticks(range(len(runs)), list(runs))
        axes.set(title=title, xlabel=f"memory ({unit})")
        axes.set_xlim(0, 1.12 * max(left))
        axes.set_ylim(len(runs) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        fig.legend(loc="outside lower left", ncols=3)
        told = (f"{name} {total:.1f} {unit}" for name, total in zip(runs, left, strict=True))
    fig.set_label(f"{title}: {'; '.join(told)}.")
    return fig


# -- the calculator -----------------------------------------------------------------------------------------------------

METHODS = {
    "full, float32 kept": ("full", "mixed"),
    "full, all bfloat16": ("full", "bfloat16"),
    "LoRA": ("lora", "bfloat16"),
    "QLoRA": ("qlora", "bfloat16"),
}
RANKS, BATCHES, LENGTHS, CHECKPOINTING = (8, 16, 64), (1, 4, 16), (512, 2048, 8192), {"off": False, "on": True}
START = ("Llama-2-7B", "QLoRA", 16, 1, 512, "on")

# Every combination was computed in Python and is looked up here: there is one calculator.
SCRIPT = Markup("""<script>
for (const box of document.querySelectorAll('.course-memory:not([data-ready])')) {
  box.dataset.ready = '';
  const {fields, values, start, parts, cards, spare} = JSON.parse(box.dataset.memory);
  const make = (parent, tag, style, text) => {
    const element = document.createElement(tag);
    element.style.cssText = style || '';
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  box.replaceChildren();
  make(box, 'div', 'font-weight:600;margin:.2em 0 .6em', box.dataset.title);
  const form = make(box, 'div', 'display:flex;flex-wrap:wrap;gap:.5em 1.2em');
  const selects = fields.map(([name, choices], i) => {
    const label = make(form, 'label', 'display:flex;flex-direction:column;font-size:.9em', name);
    const select = make(label, 'select', 'font:inherit;padding:.25em;margin-top:.15em;color:#222;background:#fff;border:1px solid #777;border-radius:4px');
    choices.forEach((choice, j) => { make(select, 'option', '', choice).value = j; });
    select.value = start[i];
    select.addEventListener('keydown', event => event.stopPropagation());  // JupyterLab would take the arrow keys
    select.addEventListener('change', draw);
    return select;
  });
  const verdict = make(box, 'div', 'margin:.9em 0 0');
  verdict.setAttribute('role', 'status');
  const frame = make(box, 'div', 'position:relative;height:5.6em;margin:.3em 0 0;overflow:hidden');
  frame.setAttribute('aria-hidden', 'true');  // the list below says the same in words
  const list = make(box, 'ul', 'list-style:none;padding:0;margin:.2em 0 0;display:flex;flex-wrap:wrap;gap:.2em 1.4em');
  const gib = mib => (mib / 1024).toFixed(mib < 10240 ? 2 : 1) + ' GiB';
  function draw() {
    const place = selects.reduce((sum, select, i) => sum * fields[i][1].length + Number(select.value), 0);
    const sizes = parts.map((_, i) => values[place * parts.length + i]);
    const total = sizes.reduce((a, b) => a + b, 0);
    const fitting = cards.filter(card => card * 1024 >= total + spare);
    const largest = cards[cards.length - 1];
    const scale = 1.08 * Math.max(total, (fitting.length ? fitting[0] : largest) * 1024);
    verdict.textContent = 'Together ' + gib(total) + ': ' + (fitting.length
      ? 'fits a card of ' + fitting[0] + ' GB, with ' + gib(spare) + ' left for the driver'
      : 'more than a card of ' + largest + ' GB; shared out, it needs ' + Math.ceil(total / (largest * 1024 - spare)) + ' of them') + '.';
    frame.replaceChildren();
    list.replaceChildren();
    let left = 0, last = -1;
    parts.forEach(([name, colour], i) => {
      make(frame, 'div', 'position:absolute;top:1.7em;height:2.6em;left:' + 100 * left / scale + '%;width:' + 100 * sizes[i] / scale + '%;background:' + colour + ';box-shadow:inset 0 0 0 .5px #fff');
      left += sizes[i];
      const row = make(list, 'li');
      make(row, 'span', 'display:inline-block;width:.9em;height:.9em;margin-right:.4em;vertical-align:-.1em;border:1px solid currentColor;background:' + colour);
      row.append(name + ': ' + gib(sizes[i]));
    });
    for (const card of cards) {
      const at = 100 * card * 1024 / scale;
      if (at > 99.5) continue;
      make(frame, 'div', 'position:absolute;top:1.3em;height:3.4em;border-left:2px dashed currentColor;left:' + at + '%');
      if (at - last > 7) {
        make(frame, 'span', 'position:absolute;top:0;transform:translateX(-50%);font-size:.85em;white-space:nowrap;left:' + at + '%', card + ' GB');
        last = at;
      }
    }
  }
  draw();
}
</script>""")


def memory_calculator(models: Sequence[str] = SHAPES, title: str = "What would it take?") -> Shown:
    """A calculator to play with: model, method, rank, batch, length and checkpointing against what common cards have.

    Every combination is computed beforehand by `course_lib.models.memory.estimate` and travels in the output. Where scripts are
    stripped, a table of the methods stands in its place.

    Args:
        models: names of `course_lib.models.shapes.SHAPES`; the first of them is shown at the start if Llama-2-7B isn't there.
        title: what stands above it.
    """
    fields: list[tuple[str, Sequence[Any]]] = [
        ("model", models),
        ("method", tuple(METHODS)),
        ("rank", RANKS),
        ("sequences a step", BATCHES),
        ("tokens a sequence", LENGTHS),
        ("checkpointing", tuple(CHECKPOINTING)),
    ]
    values = [round(part / 2**20) for choice in product(*(f[1] for f in fields)) for part in _memory(*choice).parts.values()]
    model = START[0] if START[0] in models else models[0]
    start = [list(choices).index(value) for (_, choices), value in zip(fields, (model, *START[1:]), strict=True)]
    rows = [[name, *(f"{_memory(model, name, *START[2:5], ck).gib:.1f}" for ck in CHECKPOINTING)] for name in METHODS]
    rank, batch, length = START[2:5]
    words = f"{title} {model}, rank {rank}, {batch} sequence{'s' * (batch != 1)} of {length} tokens a step, GiB"
    fallback = table(rows, ["method", "without checkpointing", "with checkpointing"], words)
    data = {
        "fields": [[name, [f"{c:,}" if isinstance(c, int) else c for c in choices]] for name, choices in fields],
        "values": values,
        "start": start,
        "parts": list(PARTS.values()),
        "cards": CARDS,
        "spare": SPARE,
    }
    html = Markup(
        '<div class="course-memory" data-title="{}" data-memory="{}" style="max-width:52em;border:1px solid rgba(128,128,128,.55);'
        'border-radius:6px;padding:.6em 1em .8em;margin:.6em 0">{}</div>{}'
    ).format(title, json.dumps(data, separators=(",", ":")), fallback.html, SCRIPT)
    return Shown(html, fallback.text)


def _memory(model: str, method: str, rank: int, batch: int, length: int, checkpointing: str) -> Memory:
    name, precision = METHODS[method]
    return estimate(
        shape(model),
        name,
        rank=rank,
        batch=batch,
        length=length,
        checkpointing=CHECKPOINTING[checkpointing],
        precision=precision,
        optimiser="adamw_fused",
    )

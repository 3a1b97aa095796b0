"""What the lesson on data shows: where the loss falls token by token, lengths, packing, and how well a finder finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from course_lib.evaluation.scores import Score
from course_lib.notebook.html import Shown
from course_lib.notebook.plots import BLACK, BLUE, GREEN, GREY, ORANGE, RED, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerBase

# Told apart by more than colour: filled and underlined against dashed and open. Both are read on a white page and on a dark one.
LEARNT = "background:#00528A;color:#fff;border-bottom:3px solid #E69F00;font-weight:600"
SEEN = "border:1px dashed rgba(128,128,128,.75)"
TOKEN = "display:inline-block;padding:.05em .3em;margin:.12em .08em;border-radius:3px;font-family:monospace;white-space:pre;"


def token_picture(tokens: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase, title: str) -> Shown:
    """A row's tokens, each marked by whether it carries loss.

    A token that carries loss is filled and underlined; as plain text it stands in square brackets. A leading space shows as a dot.

    Args:
        tokens: of one row.
        labels: of the same length; -100 where no loss falls (`course_lib.training.sft.labels_of`).
        tokenizer: to write them.
        title: what the row is.
    """
    if len(tokens) != len(labels):
        raise ValueError(f"{len(tokens)} tokens and {len(labels)} labels: each token needs one")
    texts = [_visible(tokenizer.decode([token])) for token in tokens]
    carries = [label != -100 for label in labels]
    spans = Markup("").join(
        Markup('<span style="{}{}" title="{}">{}</span>').format(
            TOKEN, LEARNT if learnt else SEEN, f"token {token}: {'carries loss' if learnt else 'no loss'}", text
        )
        for token, text, learnt in zip(tokens, texts, carries, strict=True)
    )
    legend = Markup(
        '<div style="font-size:.9em;margin:.3em 0"><span style="{0}{1}">token</span> carries loss: {2} &nbsp; '
        '<span style="{0}{3}">token</span> is read only: {4}</div>'
    ).format(TOKEN, LEARNT, sum(carries), SEEN, len(carries) - sum(carries))
    html = Markup(
        '<div style="max-width:52em;margin:.6em 0"><div style="font-weight:600">{}</div>{}<div style="line-height:1.9">{}</div></div>'
    ).format(title, legend, spans)
    plain = " ".join(f"[{text}]" if learnt else text for text, learnt in zip(texts, carries, strict=True))
    return Shown(html, f"{title} (tokens that carry loss in brackets: {sum(carries)} of {len(carries)})\n{plain}")


def _visible(text: str) -> str:
    return text.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}").replace(" ", "\N{MIDDLE DOT}") or "\N{EMPTY SET}"


def length_histogram(counts: Sequence[int], limits: Sequence[int], title: str) -> Figure:
    """How long rows are, with what each limit would cut.

    Args:
        counts: tokens of each row.
        limits: lengths at which a trainer might cut.
        title: which rows.
    """
    import numpy as np

    top = max([*counts, *limits])
    edges = np.geomspace(max(1, min(counts)) * 0.9, top * 1.15, 40)
    with figure(8, 4) as (fig, axes):
        axes.hist(counts, bins=edges, color=BLUE)
        axes.set_xscale("log", base=2)
        ticks = [2**power for power in range(int(np.log2(edges[0])), int(np.log2(edges[-1])) + 1)]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xticks([], minor=True)
        told = []
        for limit, colour in zip(limits, (RED, ORANGE, GREEN, BLACK), strict=False):
            cut = [count - limit for count in counts if count > limit]
            words = f"{limit:,}: {len(cut)} rows, {sum(cut):,} tokens lost"
            axes.axvline(limit, color=colour, linestyle="--", label=words)
            told.append(f"cut at {words}")
        axes.set(title=title, xlabel="tokens of a row (each step doubles)", ylabel="rows")
        fig.legend(loc="outside lower left", ncols=len(limits), title="what each limit cuts off", alignment="left")
        axes.grid(axis="y")
    fig.set_label(f"{title}: {len(counts)} rows of {min(counts)} to {max(counts)} tokens; {'; '.join(told)}.")
    return fig


def finder_chart(points: Sequence[tuple[float, float, float]], title: str, *, chosen: float | None = None) -> Figure:
    """Precision and recall of a finder over its threshold.

    Args:
        points: threshold, precision and recall, in order of the threshold.
        title: what is found.
        chosen: the threshold that is used.
    """
    thresholds, precision, recall = zip(*points, strict=True)
    with figure(8, 4) as (fig, axes):
        axes.plot(thresholds, precision, color=BLUE, marker="o", label="precision: how many of those found are copies")
        axes.plot(thresholds, recall, color=ORANGE, marker="s", label="recall: how many of the copies are found")
        if chosen is not None:
            axes.axvline(chosen, color=GREY, linestyle="--", label="the library's threshold")
        axes.set(title=title, xlabel="threshold: share of word triples in common", ylabel="share of pairs", ylim=(0, 1.05))
        fig.legend(loc="outside lower left", ncols=1)
        axes.grid()
    told = "; ".join(f"at {t:g} precision {p:.2f}, recall {r:.2f}" for t, p, r in points)
    fig.set_label(f"{title}: {told}.")
    return fig


def packing_picture(batches: Mapping[str, Sequence[tuple[int, Sequence[int]]]], title: str, count: int = 3) -> Figure:
    """The first batches of each way of feeding rows, each way to its own scale: rows in colour, padding in grey.

    Args:
        batches: for each way, its batches: its tokens, and the lengths of the rows in it (`course_lib.training.packing.Fed`).
        title: what is fed.
        count: batches drawn of each.
    """
    with figure(8, 1.2 + 1.9 * len(batches), nrows=len(batches), squeeze=False) as (fig, grid):
        told = []
        for axes, (name, all_of_it) in zip(grid[:, 0], batches.items(), strict=True):
            level = 0.0
            for size, lengths in all_of_it[:count]:
                packed = size == sum(lengths)
                width = size if packed else size // len(lengths)
                axes.barh(level, width, 0.8 if packed else len(lengths) - 0.2, color="#D9D9D9", align="edge")
                left = 0
                for place, length in enumerate(lengths):
                    colour = (BLUE, "#56B4E9")[place % 2]
                    axes.barh(
                        level + (0 if packed else place), length, 0.8, left=left if packed else 0, color=colour, align="edge"
                    )
                    left += length
                level += (1 if packed else len(lengths)) + 0.8
            computed, useful = sum(size for size, _ in all_of_it), sum(sum(lengths) for _, lengths in all_of_it)
            words = f"{name}: {len(all_of_it)} batches, {computed:,} tokens, {1 - useful / computed:.1%} of them padding"
            axes.set_title(words, size=10.5, weight="normal")
            axes.set(yticks=[], ylim=(level - 0.4, -0.4))
            axes.spines["left"].set_visible(False)
            told.append(words)
        grid[-1, 0].set_xlabel(f"tokens ({count} batches of each; rows in blue, padding in grey)")
        fig.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    fig.set_label(f"{title}. {'; '.join(told)}.")
    return fig


def score_chart(scores: Sequence[tuple[str, str, Score]], title: str) -> Figure:
    """Bars in groups, with 95 % intervals.

    Args:
        scores: the group, the bar's name, and its score; groups and names in the order in which they first appear.
        title: what was measured.
    """
    groups, names = (list(dict.fromkeys(row[i] for row in scores)) for i in (0, 1))
    colours = dict(zip(names, (BLUE, ORANGE, GREEN, RED), strict=False))
    height = 0.8 / len(names)
    with figure(8, 1.4 + 0.55 * len(groups) * len(names)) as (fig, axes):
        named: set[str] = set()
        for group, name, value in scores:
            place = groups.index(group) + (names.index(name) - (len(names) - 1) / 2) * height
            low, high = value.interval()
            axes.barh(place, value.rate, 0.9 * height, color=colours[name], label="" if name in named else name)
            spread = [[max(0, value.rate - low)], [max(0, high - value.rate)]]
            axes.errorbar(value.rate, place, xerr=spread, color=BLACK, linewidth=1.2, capsize=2.5)
            named.add(name)
        axes.set_yticks(range(len(groups)), groups)
        axes.set(title=title, xlabel="share of questions, with 95 % interval", xlim=(0, 1.02), ylim=(len(groups) - 0.4, -0.6))
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        fig.legend(loc="outside lower left", ncols=len(names))
    fig.set_label(f"{title}: {'; '.join(f'{group}, {name} {value}' for group, name, value in scores)}.")
    return fig

"""Lesson 01's own: one arm of the comparison measured, its charts, and the helper that recommends and says why."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from course_lib.data.rows import Row
from course_lib.errors import CourseError
from course_lib.evaluation.generate import greedy
from course_lib.evaluation.scores import Score, exact_match, score
from course_lib.notebook.html import Shown, display, prose
from course_lib.notebook.plots import BLUE, GREEN, GREY, ORANGE, RED, figure
from course_lib.notebook.quizzes import FRAME
from course_lib.notebook.syllabus import claims
from course_lib.retrieval import citations
from course_lib.retrieval.bm25 import Document
from course_lib.training.config import TrainConfig
from course_lib.world.skills import Question

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from course_lib.training.sft import Trained


@dataclass(frozen=True)
class Arm:
    """One way of asking, measured: the answers without their citations, the sources they rightly cite, and what it cost.

    ``tokens`` is the mean length of a prompt; ``seconds`` the mean time of an answer, in batches, as on a busy server.
    """

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    sources: tuple[Document | None, ...]
    tokens: float
    seconds: float

    def marks(self, where: Callable[[Question], bool] = lambda question: True) -> Score:
        """How many answers are right, citations aside."""
        return self.against(self.questions, where)

    def against(self, truth: Sequence[Question], where: Callable[[Question], bool] = lambda question: True) -> Score:
        """How many answers agree with the answers of ``truth``, which asks the same questions on another day."""
        return score(exact_match(a, q.answer) for a, q in zip(self.answers, truth, strict=True) if where(q))

    @property
    def cited(self) -> Score:
        """How many answers are right and name a source that was shown, is about what was asked, and holds the answer."""
        return score(
            exact_match(a, q.answer) and s is not None and s.key == q.key
            for q, a, s in zip(self.questions, self.answers, self.sources, strict=True)
        )


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    prompts: Sequence[str] | None = None,
    shown: Sequence[Sequence[Document]] | None = None,
    *,
    max_new_tokens: int = 40,
) -> Arm:
    """Ask questions in one way.

    Args:
        model: with or without an adapter.
        tokenizer: its tokenizer.
        questions: what is asked, with the right answers.
        prompts: what the model reads for each; the bare questions if left out.
        shown: the numbered documents in each prompt, against which citations are checked.
        max_new_tokens: where an answer that does not end is cut.
    """
    prompts = [question.prompt for question in questions] if prompts is None else list(prompts)
    if len(prompts) != len(questions) or (shown is not None and len(shown) != len(questions)):
        raise ValueError("every question needs one prompt, and its documents if any are shown")
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    lengths = [
        len(ids) for ids in tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=True)["input_ids"]
    ]
    started = time.perf_counter()
    answers = greedy(model, tokenizer, prompts, max_new_tokens=max_new_tokens)
    seconds = time.perf_counter() - started
    cited = [citations.parse(answer) for answer in answers]
    sources = [citations.source(c, documents) for c, documents in zip(cited, shown or [()] * len(cited), strict=True)]
    count = len(questions)
    return Arm(tuple(questions), tuple(c.text for c in cited), tuple(sources), sum(lengths) / count, seconds / count)


def rows_for(
    questions: Sequence[Question], prompts: Sequence[str] | None = None, answers: Sequence[str] | None = None
) -> list[Row]:
    """Training rows of questions; with other prompts or answers than the questions' own where these are given."""
    prompts = prompts or [question.prompt for question in questions]
    answers = answers or [question.answer for question in questions]
    pairs = zip(questions, prompts, answers, strict=True)
    return [Row(({"role": "user", "content": prompt},), answer, question.skill) for question, prompt, answer in pairs]


def adapt(rows: Sequence[Row], *, steps: int, batch_size: int = 8, lr: float = 4e-3) -> Trained:
    """Train a LoRA adapter of rank 16 on all linear layers for a number of steps, however many rows there are.

    Args:
        rows: what to learn, gone through again and again until the steps are done.
        steps: of ``batch_size`` rows each.
        batch_size: rows a step.
        lr: learning rate. It is high, for small adapters in a hurry: lesson 08 shows what that costs.
    """
    from course_lib.training.sft import train

    config = TrainConfig(lr=lr, batch_size=batch_size, epochs=steps / math.ceil(len(rows) / batch_size))
    return train(config, Path(tempfile.mkdtemp()) / "run", rows=rows, saves=0)


ARMS = ("prompt", "RAG", "LoRA", "both")


def arms_chart(tasks: Mapping[str, Mapping[str, Score]], title: str) -> Figure:
    """Ways of doing a job, side by side for each task.

    Args:
        tasks: for each task, a score for each way; every task has the same ways.
        title: what is compared.
    """
    colours = dict(zip(ARMS, (GREY, ORANGE, BLUE, GREEN), strict=True))
    ways = list(next(iter(tasks.values())))
    with figure(8, 3.6) as (fig, axes):
        for place, way in enumerate(ways):
            xs = [index + 0.2 * (place - (len(ways) - 1) / 2) for index in range(len(tasks))]
            values = [scores[way] for scores in tasks.values()]
            axes.bar(xs, [value.rate for value in values], 0.18, color=colours.get(way, RED), label=way)
            for x, value in zip(xs, values, strict=True):
                low, high = value.interval()
                spread = [[max(0, value.rate - low)], [max(0, high - value.rate)]]
                axes.errorbar(x, value.rate, yerr=spread, color="#222222", linewidth=1.1, capsize=2.5)
                axes.text(x, max(high, 0.02) + 0.02, f"{value.rate:.2f}", ha="center", size=9)
        axes.set_xticks(range(len(tasks)), list(tasks))
        axes.set(title=title, ylabel="right (share, 95 % interval)", ylim=(0, 1.14), yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        fig.legend(loc="outside lower left", ncols=len(ways))
    told = (f"{task}: " + ", ".join(f"{way} {value.rate:.2f}" for way, value in scores.items()) for task, scores in tasks.items())
    fig.set_label(f"{title}. Share of right answers. {'; '.join(told)}.")
    return fig


def examples_chart(curves: Mapping[str, Mapping[int, Score]], title: str, *, mark: int | None = None) -> Figure:
    """Accuracy over the number of training examples, with intervals.

    Args:
        curves: for each way of training, a score at each number of examples.
        title: what is learned.
        mark: a number of examples to mark with a line, such as a rule of thumb.
    """
    with figure(8, 3.6) as (fig, axes):
        for (name, curve), colour, marker in zip(curves.items(), (BLUE, ORANGE, GREEN, RED), "os^D", strict=False):
            counts, values = list(curve), list(curve.values())
            bounds = [value.interval() for value in values]
            spread = [
                [max(0, v.rate - low) for v, (low, _) in zip(values, bounds, strict=True)],
                [max(0, high - v.rate) for v, (_, high) in zip(values, bounds, strict=True)],
            ]
            axes.errorbar(counts, [v.rate for v in values], yerr=spread, color=colour, marker=marker, capsize=3, label=name)
        if mark is not None:
            axes.axvline(mark, color=GREY, linestyle="--", linewidth=1.2)
            axes.text(mark, 1.06, f"{mark} examples", ha="center", size=9.5)
        ticks = sorted({count for curve in curves.values() for count in curve})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set(title=title, xlabel="training examples", ylabel="right (share, 95 % interval)", ylim=(0, 1.14))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.grid()
        fig.legend(loc="outside lower left", ncols=len(curves))
    told = (f"{name}: " + ", ".join(f"{v.rate:.2f} with {count}" for count, v in curve.items()) for name, curve in curves.items())
    fig.set_label(f"{title}. Share of right answers by number of examples. {'; '.join(told)}.")
    return fig


@dataclass(frozen=True)
class Option:
    """One answer to a question of the helper: what it asks for (``rag``, ``lora``, ``few``: too few examples, or nothing), and why."""

    label: str
    needs: str
    why: str
    claim: str


HELPER: tuple[tuple[str, tuple[Option, ...]], ...] = (
    (
        "Does the knowledge change?",
        (
            Option("Often", "rag", "what is trained in goes stale on the day it changes", "choose-lora-stale"),
            Option("Hardly ever", "", "facts can be trained in, a few at a time", "choose-lora-memory"),
        ),
    ),
    (
        "Must each answer name its source?",
        (
            Option("Yes", "rag", "only an answer that was read somewhere has a source to check", "choose-cite"),
            Option("No", "", "no need for documents in the prompt, and each costs tokens", "choose-tokens"),
        ),
    ),
    (
        "How large is the knowledge?",
        (
            Option("Dozens of facts", "", "that many can be trained in", "choose-lora-memory"),
            Option("Thousands of documents or more", "rag", "search stays right and fast as the library grows", "choose-large"),
        ),
    ),
    (
        "Must the answers keep a strict format or tone?",
        (
            Option("One that the model knows", "", "asking for it is enough", "choose-known-format"),
            Option("One of our own", "lora", "a format that the model has not met comes by training", "choose-format"),
            Option("No", "", "there is nothing to train for", "choose-known-format"),
        ),
    ),
    (
        "How many consistent examples do you have?",
        (
            Option("Fewer than 25", "few", "the format breaks with so few: write more examples first", "choose-few"),
            Option("25 to 100", "", "one fixed format can be learned from that", "choose-fewer-than-100"),
            Option("More than 100", "", "enough for one fixed format", "choose-format"),
        ),
    ),
    (
        "Is every prompt token and millisecond counted?",
        (
            Option("Yes", "tight", "instructions that are trained in need not be in the prompt", "choose-tokens"),
            Option("No", "", "a longer prompt is the cheapest thing to try", "choose-tokens"),
        ),
    ),
)
ADVICE = {
    "prompt": ("Just prompt", "Nothing you chose needs training or documents. Write the prompt, and measure it."),
    "rag": ("RAG", "Keep the knowledge in documents and look it up for each question."),
    "lora": ("Fine-tune with LoRA", "Train the form of the answers in."),
    "both": ("Both", "Train the form in with LoRA; look the facts up. Then measure that the adapter still reads its documents."),
    "few": (
        "More examples first",
        "The format asks for training, and the examples are too few: write more, and prompt until then.",
    ),
    "rag+few": ("RAG now, more examples first", "Look the facts up today; train the form in once there are more examples."),
}

_SCRIPT = Markup("""<script>
for (const box of document.querySelectorAll('.course-choice:not([data-ready])')) {
  box.dataset.ready = '';
  const advice = JSON.parse(box.dataset.advice), form = box.querySelector('[data-form]');
  form.innerHTML = box.dataset.questions;
  const status = box.querySelector('[role=status]');
  const update = () => {
    const chosen = [...form.querySelectorAll('input:checked')], left = form.querySelectorAll('fieldset').length - chosen.length;
    const needs = new Set(chosen.map(input => input.dataset.needs));
    const train = needs.has('lora'), few = train && needs.has('few');
    const kind = few ? (needs.has('rag') ? 'rag+few' : 'few') : train ? (needs.has('rag') ? 'both' : 'lora')
      : needs.has('rag') ? 'rag' : 'prompt';
    status.replaceChildren();
    if (!chosen.length) { status.textContent = 'Choose an answer to each question.'; return; }
    const add = (parent, tag, text) => { const e = document.createElement(tag); e.textContent = text; parent.append(e); return e; };
    const head = add(status, 'p', left ? 'So far (' + left + ' to go): ' : 'Recommendation: ');
    add(head, 'strong', advice[kind][0]);
    head.append('. ' + advice[kind][1]);
    const list = add(status, 'ul', '');
    for (const input of chosen) {
      const item = add(list, 'li', input.dataset.question + ' ' + input.dataset.label + ': ' + input.dataset.why + '. Measured above: ');
      add(item, 'strong', input.dataset.measured);
      item.append(' (' + input.dataset.claim + ')');
    }
  };
  form.addEventListener('keydown', event => event.stopPropagation());  // JupyterLab would take the arrow keys
  form.addEventListener('change', update);
  update();
}
</script>""")


def decision_helper(evidence: Mapping[str, str]) -> None:
    """Questions about a project; every choice moves the recommendation and shows the measurement that speaks for it.

    It is plain HTML and works without a kernel. Where scripts are stripped, a table holds all choices with their reasons.

    Args:
        evidence: for each claim that the helper rests on, what the lesson measured, in words with figures.

    Raises:
        CourseError: a claim has no evidence.
    """
    wanted = {option.claim for _, options in HELPER for option in options}
    if missing := sorted(wanted - set(evidence)):
        raise CourseError(f"the helper has no measurement of {', '.join(missing)}: run the cells that check them first")
    if unknown := sorted(wanted - set(claims())):
        raise CourseError(f"lessons/claims.toml has no {', '.join(unknown)}: every reason needs its claim")
    questions = Markup("").join(_question(place, text, options, evidence) for place, (text, options) in enumerate(HELPER))
    points_to = {"rag": "RAG", "lora": "LoRA", "few": "more examples first", "tight": "short prompts", "": "neither"}
    rows = [(text, o.label, points_to[o.needs], o.why, evidence[o.claim], o.claim) for text, options in HELPER for o in options]
    items = Markup("").join(
        Markup("<li>{} <em>{}</em>: {}, because {}. Measured: <strong>{}</strong> ({})</li>").format(*row) for row in rows
    )
    html = Markup(
        '<div class="course-choice" role="group" aria-label="Decision helper" data-advice="{}" data-questions="{}" style="{}">'
        '<div style="font-weight:600">Prompt, retrieve or fine-tune?</div><div data-form></div>'
        '<div role="status" style="min-height:3em;margin-top:.6em"></div>'
        "<details><summary>All choices and their reasons</summary><ul>{}</ul></details></div>{}"
    ).format(json.dumps(ADVICE), str(questions), FRAME, items, _SCRIPT)
    told = "\n".join("  {} {} -> {}: {}. Measured: {} ({})".format(*row) for row in rows)
    display(Shown(html, f"Prompt, retrieve or fine-tune? Every choice, where it points, and why:\n{told}"))


def _question(place: int, text: str, options: Sequence[Option], evidence: Mapping[str, str]) -> Markup:
    choices = Markup("").join(
        Markup(
            '<label style="margin-right:1.2em;white-space:nowrap"><input type="radio" name="course-choice-{}" data-needs="{}" '
            'data-question="{}" data-label="{}" data-why="{}" data-measured="{}" data-claim="{}"> {}</label> '
        ).format(place, o.needs, text, o.label, o.why, evidence[o.claim], o.claim, prose(o.label))
        for o in options
    )
    return Markup('<fieldset style="border:0;padding:0;margin:.6em 0"><legend style="padding:0">{}</legend>{}</fieldset>').format(
        text, choices
    )

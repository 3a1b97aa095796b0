"""Ask a suite, and report what came back: by skill, by kind, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from course_lib.evaluation.generate import greedy
from course_lib.evaluation.scores import Score, exact_match, score
from course_lib.evaluation.suites import PAIRED_TYPES
from course_lib.world.skills import Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Report:
    """Every question of a suite with the model's answer to it."""

    questions: tuple[Question, ...]
    answers: tuple[str, ...]
    seconds: float = field(default=0.0, compare=False)

    def marks(self, where: Callable[[Question], bool] = lambda question: True) -> Score:
        """The score over the questions that ``where`` picks."""
        return score(exact_match(a, q.answer) for q, a in zip(self.questions, self.answers, strict=True) if where(q))

    @property
    def by_skill(self) -> dict[str, Score]:
        """A score for each skill, in the order of the suite."""
        return self._grouped([q.skill for q in self.questions])

    def by_kind(self, skill: str) -> dict[str, Score]:
        """A score for each kind of question of one skill, such as each type of legal clause."""
        scores = self._grouped([q.kind if q.skill == skill else "" for q in self.questions])
        return {kind: scores[kind] for kind in sorted(scores) if kind}

    def _grouped(self, names: Sequence[str]) -> dict[str, Score]:
        scores: dict[str, Score] = {}
        for name, question, answer in zip(names, self.questions, self.answers, strict=True):
            scores[name] = scores.get(name, Score(0, 0)) + score([exact_match(answer, question.answer)])
        return scores

    @property
    def never_paired(self) -> Score:
        """The legal score over the clause types that pretraining never showed beside plain words."""
        return self.marks(lambda q: q.skill == "legal" and q.kind not in PAIRED_TYPES)

    def mistakes(self, count: int = 5) -> list[tuple[Question, str]]:
        """Some questions that the model got wrong, with its answers."""
        wrong = [(q, a) for q, a in zip(self.questions, self.answers, strict=True) if not exact_match(a, q.answer)]
        return wrong[:count]

    def as_json(self) -> dict[str, Any]:
        """Scores, intervals and answers as plain data."""

        def plain(value: Score) -> dict[str, Any]:
            return {"right": value.right, "total": value.total, "rate": value.rate, "interval95": list(value.interval())}

        return {
            "seconds": self.seconds,
            "skills": {
                skill: plain(value) | {"kinds": {kind: plain(v) for kind, v in self.by_kind(skill).items()}}
                for skill, value in self.by_skill.items()
            },
            "answers": [
                {"skill": q.skill, "kind": q.kind, "prompt": q.prompt, "expected": q.answer, "answer": a}
                for q, a in zip(self.questions, self.answers, strict=True)
            ],
        }


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    max_new_tokens: int = 64,
    progress: bool = True,
) -> Report:
    """Ask every question of a suite and keep the answers, with a progress bar in notebook or terminal."""
    from tqdm.auto import tqdm

    started = time.perf_counter()
    with tqdm(total=len(questions), desc="asking", unit="question", disable=not progress, leave=False) as bar:
        answers = greedy(model, tokenizer, [q.prompt for q in questions], max_new_tokens=max_new_tokens, on_done=bar.update)
    return Report(tuple(questions), tuple(answers), time.perf_counter() - started)


def before_after(before: Report, after: Report) -> list[tuple[str, Score, Score, float]]:
    """Rows of skill, score before, score after, and change, for the skills that both reports measured."""
    earlier, later = before.by_skill, after.by_skill
    return [(skill, earlier[skill], later[skill], later[skill].rate - earlier[skill].rate) for skill in earlier if skill in later]

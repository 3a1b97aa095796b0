"""Exact match, counted with an interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """``right`` answers out of ``total``."""

    right: int
    total: int

    @property
    def rate(self) -> float:
        """The share of right answers, 0 to 1."""
        return self.right / self.total if self.total else float("nan")

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The Wilson score interval of the rate (Wilson 1927): honest also for 0 of n and n of n."""
        from scipy.stats import binomtest

        result = binomtest(self.right, self.total).proportion_ci(confidence, method="wilson")
        return float(result.low), float(result.high)

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.total + other.total)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.rate:.2f} [{low:.2f}, {high:.2f}]"


def exact_match(answer: str, expected: str) -> bool:
    """Whether two texts are the same but for white space."""
    return answer.split() == expected.split()


def score(marks: Iterable[bool]) -> Score:
    """Count marks."""
    marks = list(marks)
    return Score(sum(marks), len(marks))

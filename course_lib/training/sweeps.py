"""Sweeps: the same task under many configs and seeds, each trial measured alike, kept one by one and read back with intervals."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.evaluation.scores import Score
from course_lib.training.config import TrainConfig
from course_lib.training.runs import write_whole
from course_lib.versions import versions
from course_lib.world.corpus import GENERAL_SKILLS

LEGAL, PER_SKILL = 200, 100  # questions that a trial is asked


@dataclass(frozen=True)
class Trial:
    """One fine-tuning run and what came of it.

    ``legal``, ``never_paired`` and ``skills`` are scores on held-out questions; ``seconds`` are of training alone.
    """

    config: TrainConfig
    legal: Score
    never_paired: Score
    skills: Mapping[str, Score]
    final_loss: float
    trainable: int
    steps: int
    seconds: float

    @property
    def learned(self) -> float:
        """The share of held-out clauses that come out right."""
        return self.legal.rate

    @property
    def kept(self) -> float:
        """The mean over the general skills of the share of questions still answered right; not a number if none was asked."""
        return statistics.fmean(score.rate for score in self.skills.values()) if self.skills else math.nan

    def as_dict(self) -> dict[str, Any]:
        """The trial as plain data, with the config's differences from the defaults."""
        default = TrainConfig(seed=0).as_dict()
        return {
            "config": {key: value for key, value in self.config.as_dict().items() if value != default[key]},
            "legal": _pair(self.legal),
            "never_paired": _pair(self.never_paired),
            "skills": {skill: _pair(score) for skill, score in self.skills.items()},
            "final_loss": self.final_loss,
            "trainable": self.trainable,
            "steps": self.steps,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """A trial from plain data."""
        skills = {skill: Score(*pair) for skill, pair in values["skills"].items()}
        config = TrainConfig.from_dict({"seed": 0} | values["config"])
        rest = {key: values[key] for key in ("final_loss", "trainable", "steps", "seconds")}
        return cls(config, Score(*values["legal"]), Score(*values["never_paired"]), skills, **rest)


def measure(config: TrainConfig, *, legal: int = LEGAL, per_skill: int = PER_SKILL) -> Trial:
    """Train by a config in a folder that is thrown away, and ask what was learnt and what was kept.

    Args:
        config: what to train; its seed also picks the questions.
        legal: held-out clauses asked.
        per_skill: questions asked of each general skill; with 0, ``kept`` is not measured.
    """
    from course_lib.evaluation.report import evaluate
    from course_lib.evaluation.suites import general_suite, legal_suite
    from course_lib.training.sft import train

    with tempfile.TemporaryDirectory() as folder:
        trained = train(config, Path(folder) / "run", progress=False, saves=0)
    suite = legal_suite(legal, config.seed) + (general_suite(per_skill, config.seed) if per_skill else [])
    report = evaluate(trained.model, trained.tokenizer, suite, progress=False)
    scores = report.by_skill
    return Trial(
        config,
        scores["legal"],
        report.never_paired,
        {skill: scores[skill] for skill in GENERAL_SKILLS if skill in scores},
        trained.metrics["final_loss"],
        trained.metrics["trainable_parameters"],
        trained.metrics["steps"],
        trained.metrics["seconds"],
    )


def sweep(
    configs: Iterable[TrainConfig],
    *,
    file: Path | None = None,
    command: str = "",
    executor: Executor | None = None,
    run: Callable[[TrainConfig], Trial] = measure,
    progress: bool = True,
) -> list[Trial]:
    """Measure every config. What the file already holds is not measured again, so that a sweep that was stopped goes on.

    Args:
        configs: one for each trial; the same config twice is one trial.
        file: where to keep the trials, written whole after each one.
        command: what repeats the sweep, to be kept with the results.
        executor: runs trials side by side, such as `workers.trial_workers` gives. Without one, they run here, one after another.
        run: what measures a trial.
        progress: show a bar.

    Returns:
        The trials, in the order of the configs.

    Raises:
        CourseError: the file holds something else than a sweep.
    """
    from tqdm.auto import tqdm

    wanted = list(dict.fromkeys(configs))
    done: dict[TrainConfig, Trial] = {}
    if file and file.exists():
        done = {trial.config: trial for trial in read_sweep(file)}
        command = _both_commands(file, command)
    missing = [config for config in wanted if config not in done]
    with tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="trials", disable=not progress, leave=False) as bar:
        for trial in _results(missing, run, executor):
            done[trial.config] = trial
            if file:
                write_sweep(file, done.values(), command)
            bar.update()
    return [done[config] for config in wanted]


def _results(configs: Sequence[TrainConfig], run: Callable[[TrainConfig], Trial], executor: Executor | None) -> Iterable[Trial]:
    if executor is None:
        return map(run, configs)
    return (future.result() for future in as_completed([executor.submit(run, config) for config in configs]))


def _both_commands(file: Path, command: str) -> str:
    """What repeats all that a file will hold: the command that made what is in it, and the one that adds to it."""
    earlier = str(json.loads(file.read_text(encoding="utf-8")).get("command", "")).split(" && ")
    return " && ".join(dict.fromkeys(part for part in [*earlier, command] if part))


def write_sweep(file: Path, trials: Iterable[Trial], command: str) -> None:
    """Keep trials with what repeats them and what they depend on; the same trials give the same file in any order."""
    rows = sorted(json.dumps(trial.as_dict()) for trial in trials)
    head = json.dumps({"command": command, "device": _device_name(), "versions": versions()}, indent=1)
    write_whole(file, head[:-2] + ',\n "trials": [\n' + ",\n".join(rows) + "\n ]\n}\n")


def read_sweep(file: Path) -> list[Trial]:
    """The trials of a file that `sweep` wrote.

    Raises:
        CourseError: there is no such file, or it holds something else.
    """
    try:
        return [Trial.from_dict(row) for row in json.loads(file.read_text(encoding="utf-8"))["trials"]]
    except FileNotFoundError:
        raise CourseError(f"there is no results file {file}: run the sweep first") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"{file} is not the results of a sweep ({error}): choose another file") from error


def grid(base: TrainConfig, seeds: Iterable[int], **values: Iterable[Any]) -> list[TrainConfig]:
    """Every combination of the given values of a config's fields, for every seed.

    Args:
        base: what stays the same.
        seeds: of data, adapter and order.
        values: for each field that varies, its values.

    Raises:
        CourseError: a text in place of several values, which would be taken letter by letter.
    """
    if texts := [field for field, choices in values.items() if isinstance(choices, str)]:
        raise CourseError(f"{texts[0]} needs a list of values, such as [{values[texts[0]]!r}]")
    configs = [base]
    for field, choices in (values | {"seed": seeds}).items():
        configs = [config.with_changes(**{field: choice}) for config in configs for choice in choices]
    return configs


def select(trials: Iterable[Trial], **fields: Any) -> list[Trial]:
    """The trials that differ from the default config in nothing but the given fields.

    Args:
        trials: from `sweep` or `read_sweep`.
        fields: for each field of the config, its value, or a list of the values wanted. The seed, and what changes no result
            (the tier's name, ``auto`` or its precision), are left out of the comparison.

    Raises:
        CourseError: a name that is no field of the config.
    """
    if unknown := fields.keys() - TrainConfig().as_dict().keys():
        raise CourseError(f"a config has no {', '.join(sorted(unknown))}: its fields are {', '.join(TrainConfig().as_dict())}")
    free = {"seed", "model", "precision"}
    default = TrainConfig().as_dict()

    def fits(config: Mapping[str, Any]) -> bool:
        return all(
            value in fields[key] if isinstance(fields.get(key), list) else value == fields.get(key, default[key])
            for key, value in config.items()
            if key not in free or key in fields
        )

    return [trial for trial in trials if fits(trial.config.as_dict())]


@dataclass(frozen=True)
class Interval:
    """The mean of a measurement over seeds, with its 95 % confidence interval (Student's t)."""

    mean: float
    low: float
    high: float
    seeds: int

    def __float__(self) -> float:
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def over_seeds(values: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> Interval:
    """Mean and interval of one measurement made under several seeds; an interval of a rate ends at 0 and 1.

    Raises:
        ValueError: for fewer than two values, which say nothing about luck.
    """
    from scipy.stats import t

    if len(values) < 2:
        raise ValueError("an interval over seeds needs at least two of them")
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, max(low, mean - half), min(high, mean + half), len(values))


@dataclass(frozen=True)
class Outcome:
    """What one setting taught and what it left, over the seeds it was tried with."""

    learned: Interval
    kept: Interval

    def __str__(self) -> str:
        return f"learned {self.learned}, kept {self.kept}"


def outcome(trials: Sequence[Trial]) -> Outcome:
    """Learned and kept over trials that differ in nothing but their seed.

    Raises:
        CourseError: there are fewer than two trials, or they differ in more than the seed.
    """
    settings = {trial.config.with_changes(seed=0) for trial in trials}
    if len(trials) < 2 or len(settings) > 1:
        raise CourseError(
            f"an interval over seeds needs one setting under two seeds at least, and these are {len(trials)} trials of "
            f"{len(settings)} settings: select one setting that the sweep holds"
        )
    return Outcome(over_seeds([trial.learned for trial in trials]), over_seeds([trial.kept for trial in trials]))


def by(trials: Iterable[Trial], *names: str) -> dict[Any, list[Trial]]:
    """Trials grouped by the values of config fields: a value for one name, a tuple for several; numbers in order, then texts."""
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        key = tuple(getattr(trial.config, name) for name in names)
        groups.setdefault(key, []).append(trial)

    def place(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
        return [(not isinstance(value, int | float), value if isinstance(value, int | float) else str(value)) for value in key]

    return {key[0] if len(names) == 1 else key: groups[key] for key in sorted(groups, key=place)}


def _pair(score: Score) -> list[int]:
    return [score.right, score.total]


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"

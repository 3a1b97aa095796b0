"""One config object for a fine-tuning run: plain fields, from TOML, overridable, saved with the run."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from course_lib.errors import CourseError
from course_lib.seeds import default_seed
from course_lib.training.trackers import TRACKERS

METHODS = ("full", "lora", "qlora")
PRECISIONS = ("auto", "float32", "bfloat16")
PRESETS = ("standard", "fast")
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class TrainConfig:
    """What a fine-tuning run depends on.

    ``model`` is a tier, folder or hub id, or empty for what ``COURSE_MODEL`` says, else wren; ``data`` a JSONL file, or empty for the legal task with ``examples`` rows.
    ``rank``, ``alpha``, ``target_modules`` and ``dropout`` shape the adapter. A step sees ``batch_size`` times
    ``accumulation`` rows of at most ``max_length`` tokens, over all processes together; with ``packing`` a row is as many short
    ones as fit. ``preset="fast"`` packs, and on a GPU takes what `training.fast` has.
    """

    model: str = ""
    data: str = ""
    examples: int = 1000
    method: str = "lora"
    rank: int = 16
    alpha: float = 32.0
    target_modules: str | tuple[str, ...] = ALL_LINEAR
    dropout: float = 0.0
    lr: float = 2e-3
    epochs: float = 3.0
    batch_size: int = 16
    accumulation: int = 1
    max_length: int = 512
    packing: bool = False
    preset: str = "standard"
    precision: str = "auto"
    replay: float = 0.0
    ewc: float = 0.0
    general_data: str = ""
    seed: int = field(default_factory=default_seed)
    tracker: str = "none"

    def __post_init__(self) -> None:
        if isinstance(self.target_modules, str) and self.target_modules != ALL_LINEAR:
            # One name is a list of one; PEFT itself would take a text as a regular expression for whole paths.
            object.__setattr__(self, "target_modules", (self.target_modules,))
        for problem in self._problems():
            raise CourseError(problem)

    def _problems(self) -> list[str]:
        whole = {name: getattr(self, name) for name in ("examples", "rank", "batch_size", "accumulation", "max_length")}
        found = [f"{name} must be a whole number of at least 1, not {value}" for name, value in whole.items() if value < 1]
        found += [
            f"{name} must be a finite number above 0, not {value}"
            for name, value in {"lr": self.lr, "epochs": self.epochs, "alpha": self.alpha}.items()
            if not (math.isfinite(value) and value > 0)
        ]
        if not 0 <= self.seed < 2**32:
            found.append(f"seed must be a whole number from 0 to 4294967295, not {self.seed}")
        if not 0 <= self.dropout < 1:
            found.append(f"dropout must be at least 0 and below 1, not {self.dropout}")
        found += [
            f"{name} must be a finite number of at least 0, not {value}"
            for name, value in {"replay": self.replay, "ewc": self.ewc}.items()
            if not (math.isfinite(value) and value >= 0)
        ]
        if self.ewc and self.method == "qlora":
            found.append("ewc needs gradients of the base's weights, which 4-bit weights don't have: use replay, or method lora")
        if self.method not in METHODS:
            found.append(f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if self.precision not in PRECISIONS:
            found.append(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        if self.preset not in PRESETS:
            found.append(f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}")
        if self.tracker not in TRACKERS:
            found.append(f"tracker must be one of {', '.join(TRACKERS)}, not {self.tracker!r}")
        return found

    @property
    def packs(self) -> bool:
        """Whether several rows share a sequence."""
        return self.packing or self.preset == "fast"

    def with_changes(self, **changes: Any) -> TrainConfig:
        """A copy with some fields changed; ``None`` leaves a field as it is."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "the config") -> TrainConfig:
        """A config from plain data; fields that are absent keep their defaults.

        Raises:
            CourseError: a key that is no field, or a value of the wrong type or range.
        """
        types: dict[str, type | tuple[type, ...]] = {
            name: (int, float) if isinstance(default, float) else type(default) for name, default in cls().as_dict().items()
        }
        types["target_modules"] = (str, list, tuple)
        if unknown := sorted(set(values) - set(types)):
            raise CourseError(f"{source} has unknown keys {', '.join(unknown)}: known are {', '.join(types)}")
        for key, value in values.items():
            if not isinstance(value, types[key]) or (isinstance(value, bool) and types[key] is not bool):
                raise CourseError(f"{source}: {key} can't be {value!r}")
        if isinstance(values.get("target_modules"), list):
            values = values | {"target_modules": tuple(values["target_modules"])}
        return cls(**values)

    @classmethod
    def from_toml(cls, file: Path) -> TrainConfig:
        """A config from a TOML file.

        Raises:
            CourseError: the file is missing, not TOML, or its content is not a config.
        """
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CourseError(f"there is no config file {file}: check the path") from None
        except (OSError, ValueError) as error:
            raise CourseError(f"{file} is not TOML ({error}): correct it, or start from a run's config.toml") from error
        return cls.from_dict(values, str(file))

    def to_toml(self) -> str:
        """The config as TOML, which `from_toml` reads back to an equal one."""
        import tomli_w

        return tomli_w.dumps(self.as_dict())

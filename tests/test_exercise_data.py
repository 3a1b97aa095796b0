"""The exercises' own data: copies of measured results, simulated runs, tables of numbers, and how answers are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.exercises import NotYet, lesson05, lesson06
from course_lib.exercises.judging import array, entries, judge, judge_choices, number
from course_lib.exercises.lesson05 import KINDS, made_up_run
from course_lib.exercises.lesson07 import STUDENT_T
from course_lib.exercises.measured import GENERAL, LEGAL, REMEDIES, SETTINGS
from course_lib.training.sweeps import Trial, read_sweep, select

RESULTS = Path(__file__).parents[1] / "lessons" / "results"


def _counts(trials: list[Trial]) -> tuple[list[int], list[int]]:
    trials = sorted(trials, key=lambda trial: trial.config.seed)
    assert [trial.config.seed for trial in trials] == [0, 1, 2]
    assert {trial.legal.total for trial in trials} == {LEGAL}
    assert {sum(score.total for score in trial.skills.values()) for trial in trials} == {GENERAL}
    return [t.legal.right for t in trials], [sum(score.right for score in t.skills.values()) for t in trials]


def test_the_table_of_settings_is_the_stored_sweep() -> None:
    looked, other = read_sweep(RESULTS / "hyperparameters.json"), read_sweep(RESULTS / "forgetting.json")
    assert len({(s["rank"], s["lr"], s["epochs"]) for s in SETTINGS}) == len(SETTINGS)
    for setting in SETTINGS:
        fields: dict[str, Any] = {"rank": setting["rank"], "alpha": 2.0 * setting["rank"], "lr": setting["lr"]}
        trials = select(looked, **fields) if setting["epochs"] == 3 else select(other, **fields, epochs=float(setting["epochs"]))
        legal, old = _counts(trials)
        assert setting["learned"] == pytest.approx(np.array(legal) / LEGAL)
        assert setting["kept"] == pytest.approx(np.array(old) / GENERAL)
        assert {(t.steps, t.trainable) for t in trials} == {(setting["steps"], setting["trainable"])}


def test_the_table_of_remedies_is_the_stored_sweep() -> None:
    stored = read_sweep(RESULTS / "forgetting.json")
    for remedy in REMEDIES:
        fields: dict[str, Any] = {"method": remedy["method"], "lr": {"full": 2e-3, "lora": 8e-3}[remedy["method"]]}
        match remedy["name"].split():
            case "rate", rate:
                fields["lr"] = float(rate)
            case "replay", share, "%":
                fields["replay"] = int(share) / 100
            case "EWC", strength:
                fields["ewc"] = float(strength)
            case other:
                assert other == ["nothing"]
        trials = select(stored, **fields)
        assert (remedy["learned"], remedy["kept"]) == _counts(trials)
        assert remedy["seconds"] == pytest.approx(np.mean([trial.seconds for trial in trials]), abs=0.051)


def test_student_t_is_the_quantile_that_it_says() -> None:
    from scipy.stats import t

    assert list(STUDENT_T) == list(range(1, 11))
    assert list(STUDENT_T.values()) == pytest.approx(t.ppf(0.975, list(STUDENT_T)), abs=0.0006)


@pytest.mark.parametrize("kind", KINDS)
def test_a_simulated_run_shows_its_symptom_and_no_other(kind: str) -> None:
    for seed in range(20):
        run = made_up_run(kind, np.random.default_rng(seed))
        train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
        assert len(train) == per * len(held_out)
        assert np.isfinite(train).all()
        assert (train > 0).all()
        seen = {
            "loss on the prompt": run["counted_tokens"] > run["answer_tokens"],
            "no end token": run["counted_tokens"] == run["answer_tokens"] - run["rows"] and run["stopped"] < 0.1,
            "rate too high": np.median(train[-per:]) > 0.5 * train[0],
            "sorted data": train[-per:].max() > 4 * np.median(train[-per:]),
            "overfitting": held_out[-1] > 1.5 * held_out.min(),
        }
        assert [name for name, there in seen.items() if there] == [kind] * (kind != "healthy")


@pytest.mark.parametrize("got", ["0.5", None, True, [1.0, 2.0], np.zeros(3), {"loss": 1.0}])
def test_what_is_no_number_gets_a_hint(got: object) -> None:
    with pytest.raises(NotYet, match="the loss should be one number"):
        number(got, "the loss")


def test_another_shape_or_kind_gets_a_hint() -> None:
    with pytest.raises(NotYet, match=r"shape \(2, 3\), and yours has \(3, 2\)"):
        array(np.zeros((3, 2)), (2, 3), "A")
    with pytest.raises(NotYet, match="array of numbers"):
        array([["a", "b"]], (1, 2), "A")
    with pytest.raises(NotYet, match="lacks the key 'low'"):
        entries({"high": 1}, ("high", "low"), "the interval")


def test_the_nearest_known_mistake_gives_the_hint() -> None:
    judge(1.00001, 1.0, {"too small": 0.5}, "x")
    with pytest.raises(NotYet, match="exactly this"):
        judge(2.0, 1.0, {"close to it": 2.0001, "exactly this": 2.0}, "x")
    with pytest.raises(NotYet, match="x should be 1 here, and yours is 3"):
        judge(3.0, 1.0, {"doubled": 2.0}, "x")
    with pytest.raises(NotYet, match="nan or infinite"):
        judge(np.array([np.nan, 1]), np.array([1.0, 1]), {}, "x")


def test_a_mistake_is_told_from_all_choices_together() -> None:
    with pytest.raises(NotYet, match="the second rule"):
        judge_choices([1, 2], [1, 1], {"the first rule": [2, 2], "the second rule": [1, 2]}, ["a", "b"])
    with pytest.raises(NotYet, match="b: 1 is right, and yours is 3"):
        judge_choices([1, 3], [1, 1], {"the first rule": [2, 2]}, ["a", "b"])


# -- what the checks take for right is what the libraries do -----------------------------------------------------------


def test_the_schedule_is_that_of_transformers() -> None:
    import torch
    from transformers import get_cosine_schedule_with_warmup

    steps, warm, peak = 37, 5, 2e-3
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler, seen = get_cosine_schedule_with_warmup(optimiser, warm, steps), []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    assert lesson05._rates(steps, warm, peak) == pytest.approx(seen)
    assert {lesson05._steps(1000, 16, 1, 1, s["epochs"]) for s in SETTINGS} == {s["steps"] for s in SETTINGS}


def test_bfloat16_is_that_of_torch() -> None:
    import torch

    numbers = np.random.default_rng(0).normal(0, 10.0 ** np.arange(-20, 21)[:, None], (41, 50)).astype(np.float32)
    assert (lesson06._bits(numbers) == torch.tensor(numbers).bfloat16().double().numpy()).all()


def test_ties_is_that_of_peft() -> None:
    import torch
    from peft.utils.merge_utils import ties

    updates = np.random.default_rng(0).normal(size=(4, 40))
    theirs = ties(list(torch.tensor(updates)), torch.ones(4), 0.25)
    assert lesson06._ties(updates, 0.25) == pytest.approx(theirs.numpy())


@pytest.mark.parametrize("transposed", [False, True])
def test_patterns_and_transposed_weights_are_merged_as_peft_does(transposed: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    def layer(out: int, into: int) -> torch.nn.Module:
        return Conv1D(out, into) if transposed else torch.nn.Linear(into, out, bias=False)

    ranks, alphas = {"q_proj": 3.0}, {"down_proj": 20.0}
    weights, adapter, config = lesson06._case(np.random.default_rng(1), ranks, alphas, transposed)
    shapes = {name: shape for name, shape in lesson06.LAYERS.items() if name != lesson06.BARE}
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Module(), torch.nn.Module()])
    for name, (out, into) in shapes.items():
        parent, _, leaf = name.rpartition(".")
        model.get_submodule(parent).add_module(leaf, layer(out, into).double())
        model.get_submodule(name).weight.data = torch.tensor(weights[name])
    peft_config = LoraConfig(
        r=config["r"],
        lora_alpha=config["lora_alpha"],
        rank_pattern={key: int(rank) for key, rank in ranks.items()},
        alpha_pattern=alphas,
        fan_in_fan_out=transposed,
        target_modules=["q_proj", "down_proj"],
    )
    adapted = get_peft_model(model, peft_config, autocast_adapter_dtype=False)
    for name in shapes:
        for factor in "AB":
            part = adapted.base_model.model.get_submodule(f"{name}.lora_{factor}.default")
            part.weight.data = torch.tensor(adapter[f"{name}.lora_{factor}"])
    merged = adapted.merge_and_unload()
    for name in shapes:
        ours = weights[name] + lesson06._update(name, adapter, config)
        assert merged.get_submodule(name).weight.detach().numpy() == pytest.approx(ours)


@pytest.mark.parametrize(("optimiser", "power"), [("SGD", 1), ("AdamW", 1), ("SGD", 2), ("AdamW", 2)])
def test_a_rate_for_another_alpha_keeps_the_first_step(optimiser: str, power: int) -> None:
    import torch

    from course_lib.lora.arithmetic import LoRALinear

    def step(alpha: float, lr: float) -> torch.Tensor:
        torch.manual_seed(0)
        layer = LoRALinear(torch.nn.Linear(6, 5).double(), rank=4, alpha=alpha)
        torch.nn.init.normal_(layer.A)
        (layer(torch.randn(3, 6).double()) ** 2).sum().backward()
        getattr(torch.optim, optimiser)([layer.A, layer.B], lr=lr, weight_decay=0.0).step()
        return layer.delta().detach()

    kept = torch.allclose(step(8.0, 1e-3), step(32.0, 1e-3 / 4**power))
    assert kept == (power == {"SGD": 2, "AdamW": 1}[optimiser])

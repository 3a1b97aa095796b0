"""Sweeps: stopped and gone on with, run side by side, damaged on disk, read back; and the stored ones are what their grids say."""

import json
import math
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from course_lib.cli import main
from course_lib.errors import CourseError
from course_lib.evaluation.scores import Score
from course_lib.training import sweeps, workers
from course_lib.training.config import TrainConfig
from course_lib.training.grids import GRIDS
from course_lib.training.sweeps import Trial, by, grid, measure, outcome, over_seeds, read_sweep, select, sweep, write_sweep
from course_lib.training.workers import trial_workers
from course_lib.world.corpus import GENERAL_SKILLS

RESULTS = Path(__file__).resolve().parents[1] / "lessons" / "results"


def fake(config: TrainConfig) -> Trial:
    """A trial that took no training; what it learned can be told from its config."""
    right = min(100, round(config.rank * config.lr * 1000) + config.seed)
    skills = {"facts": Score(9, 10), "lists": Score(7, 10)}
    return Trial(config, Score(right, 100), Score(right // 2, 50), skills, 0.5, 1000 * config.rank, 10, 1.5)


def counting(calls: list[TrainConfig]) -> Callable[[TrainConfig], Trial]:
    def run(config: TrainConfig) -> Trial:
        calls.append(config)
        return fake(config)

    return run


CONFIGS = grid(TrainConfig(seed=0), [0, 1], rank=(4, 8), lr=(1e-3, 2e-3))
quiet = partial(sweep, progress=False)


# -- running ------------------------------------------------------------------------------------------------------------


def test_trials_come_in_the_order_of_the_configs_and_none_twice():
    calls: list[TrainConfig] = []
    trials = quiet([*CONFIGS, CONFIGS[0]], run=counting(calls))
    assert [trial.config for trial in trials] == CONFIGS
    assert calls == CONFIGS


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path):
    file, calls = tmp_path / "sweep.json", []

    def stops(config: TrainConfig) -> Trial:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return counting(calls)(config)

    with pytest.raises(KeyboardInterrupt):
        quiet(CONFIGS, file=file, run=stops)
    assert len(read_sweep(file)) == 3
    trials = quiet(CONFIGS, file=file, run=counting(calls))
    assert calls == CONFIGS, "each config was measured once"
    assert [trial.config for trial in trials] == CONFIGS
    assert sorted(map(repr, read_sweep(file))) == sorted(map(repr, trials))


def test_one_bad_trial_keeps_the_earlier_ones(tmp_path):
    file = tmp_path / "sweep.json"

    def fails(config: TrainConfig) -> Trial:
        if config == CONFIGS[2]:
            raise CourseError("out of memory")
        return fake(config)

    with pytest.raises(CourseError, match="out of memory"):
        quiet(CONFIGS, file=file, run=fails)
    assert {trial.config for trial in read_sweep(file)} == set(CONFIGS[:2])


def test_side_by_side_gives_the_same_file(tmp_path):
    with ThreadPoolExecutor(4) as executor:
        side = quiet(CONFIGS, file=tmp_path / "side.json", command="c", run=fake, executor=executor)
    alone = quiet(CONFIGS, file=tmp_path / "alone.json", command="c", run=fake)
    assert side == alone
    assert (tmp_path / "side.json").read_bytes() == (tmp_path / "alone.json").read_bytes()


def test_the_order_of_trials_leaves_no_trace(tmp_path):
    trials = [fake(config) for config in CONFIGS]
    write_sweep(tmp_path / "a.json", trials, "c")
    random.Random(0).shuffle(trials)
    write_sweep(tmp_path / "b.json", trials, "c")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_trial_survives_the_file_whole(tmp_path):
    config = TrainConfig(seed=7, target_modules=("q_proj", "v_proj"), dropout=0.1, alpha=8, epochs=0.5)
    write_sweep(tmp_path / "a.json", [fake(config)], "")
    assert read_sweep(tmp_path / "a.json") == [fake(config)]


def test_the_file_says_what_repeats_all_that_it_holds(tmp_path):
    file = tmp_path / "sweep.json"
    for command, configs in (("first", CONFIGS[:2]), ("second", CONFIGS), ("first", CONFIGS[:2])):
        quiet(configs, file=file, command=command, run=fake)
    assert json.loads(file.read_text())["command"] == "first && second"
    assert "torch" in json.loads(file.read_text())["versions"]
    assert len(read_sweep(file)) == len(CONFIGS)


def test_course_seed_changes_no_stored_trial(tmp_path, monkeypatch):
    write_sweep(tmp_path / "a.json", [fake(TrainConfig(seed=0)), fake(TrainConfig(seed=3))], "")
    monkeypatch.setenv("COURSE_SEED", "3")
    assert sorted(trial.config.seed for trial in read_sweep(tmp_path / "a.json")) == [0, 3]


# -- on workers ---------------------------------------------------------------------------------------------------------


def dies_once(config: TrainConfig, flag: str = "") -> Trial:
    """A trial whose worker is killed in its midst, the first time."""
    time.sleep(0.05)
    if config == CONFIGS[3] and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fake(config)


@pytest.fixture
def cluster(monkeypatch):
    distributed = pytest.importorskip("distributed")
    # Workers import this very module to find the trial.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_cluster_gives_the_same_file_though_a_worker_is_killed(tmp_path, cluster):
    run = partial(dies_once, flag=str(tmp_path / "killed"))
    with trial_workers(scheduler=cluster.scheduler_address) as executor:
        far = quiet(CONFIGS, file=tmp_path / "far.json", command="c", run=run, executor=executor)
    assert (tmp_path / "killed").exists()
    here = quiet(CONFIGS, file=tmp_path / "here.json", command="c", run=fake)
    assert far == here
    assert (tmp_path / "far.json").read_bytes() == (tmp_path / "here.json").read_bytes()


@pytest.mark.slow
def test_workers_of_this_machine_give_the_same_trials(monkeypatch):
    pytest.importorskip("distributed")
    with trial_workers(2) as executor:
        assert quiet(CONFIGS, run=fake, executor=executor) == [fake(config) for config in CONFIGS]


def test_one_worker_starts_nothing():
    with trial_workers() as executor:
        assert executor is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"workers": 0}, "--workers must be at least 1"),
        ({"workers": 2, "scheduler": "tcp://localhost:1"}, "give one of the two"),
        ({"scheduler": "tcp://localhost:1"}, "no Dask scheduler answers at tcp://localhost:1"),
        ({"scheduler": "nonsense://x"}, "no Dask scheduler answers at nonsense"),
    ],
)
def test_workers_that_are_not_there(monkeypatch, given, sentence):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "PATIENCE", "1s")
    with pytest.raises(CourseError, match=sentence), trial_workers(**given):
        pass


def test_without_dask_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CourseError, match=r"pip install 'fine-tuning-lora-measured\[cluster\]'"), trial_workers(2):
        pass


# -- damaged files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        "{}",
        '{"trials": 5}',
        '{"trials": ["x"]}',
        '{"trials": [{}]}',
        '{"trials": [{"config": {"rank": 0}, "skills": {}}]}',
        '{"trials": [{"config": {"rnk": 4}, "skills": {}}]}',
        '{"trials": [{"config": {}, "skills": []}]}',
        '{"trials": [{"config": {}, "skills": {"facts": [1, 2, 3]}}]}',
        '{"trials": [{"config": {}, "skills": {}, "legal": [1, 2]}]}',
        "\x00",
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path, content):
    file = tmp_path / "sweep.json"
    file.write_text(content)
    with pytest.raises(CourseError):
        read_sweep(file)
    with pytest.raises(CourseError):
        quiet(CONFIGS, file=file, run=fake)
    assert file.read_text() == content


def test_half_a_file_is_refused(tmp_path):
    file = tmp_path / "sweep.json"
    quiet(CONFIGS, file=file, run=fake)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CourseError, match="is not the results of a sweep"):
        read_sweep(file)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(CourseError, match="run the sweep first"):
        read_sweep(tmp_path / "none.json")
    with pytest.raises(CourseError, match="is not the results of a sweep"):
        read_sweep(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CourseError, match="is not the results of a sweep"):
        read_sweep(tmp_path / "binary.json")


# -- choosing and counting ----------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_once():
    assert len(set(CONFIGS)) == len(CONFIGS) == 8
    with pytest.raises(CourseError, match="target_modules needs a list"):
        grid(TrainConfig(), [0], target_modules="all-linear")
    with pytest.raises(CourseError, match="rank must be"):
        grid(TrainConfig(), [0], rank=(8, 0))


def test_select_takes_values_and_lists_of_them():
    trials = [fake(config) for config in [*CONFIGS, TrainConfig(seed=0), TrainConfig(seed=0, target_modules=("q_proj",))]]
    assert len(select(trials)) == 1, "the default, whatever its seed"
    assert len(select(trials, rank=4, lr=1e-3)) == 2
    assert len(select(trials, rank=[4, 8], lr=[1e-3, 2e-3])) == 8
    assert len(select(trials, rank=4, lr=1e-3, seed=1)) == 1
    assert len(select(trials, target_modules=("q_proj",))) == 1
    assert select(trials, rank=5) == []
    with pytest.raises(CourseError, match="a config has no learning_rate"):
        select(trials, learning_rate=1e-3)


def test_select_passes_over_what_changes_no_result():
    stored = fake(TrainConfig(model="tiny", precision="float32", seed=2))
    assert select([stored]) == [stored]


def test_groups_come_in_order():
    trials = [fake(TrainConfig(seed=0, rank=rank, target_modules=names)) for rank in (16, 2) for names in ("all-linear", ("q",))]
    assert list(by(trials, "rank")) == [2, 16]
    assert list(by(trials, "rank", "target_modules")) == [(r, t) for r in (2, 16) for t in (("q",), "all-linear")]
    assert sum(map(len, by(trials, "target_modules").values())) == 4


def test_an_interval_is_students():
    found = over_seeds([0.2, 0.4, 0.6])
    assert found.mean == pytest.approx(0.4)
    assert (found.low, found.high) == (0.0, pytest.approx(0.4 + 4.302653 * 0.2 / math.sqrt(3)))  # t of 0.975, 2 degrees
    assert over_seeds([0.9, 1.0]).high == 1.0
    assert over_seeds([-0.5, 0.5], low=-1).low == -1
    assert str(over_seeds([0.5, 0.5])) == "0.50 [0.50, 0.50]"
    with pytest.raises(ValueError, match="at least two"):
        over_seeds([0.5])


def test_an_outcome_is_of_one_setting_under_several_seeds():
    found = outcome([fake(TrainConfig(seed=seed)) for seed in (0, 2)])
    assert found.learned.mean == pytest.approx(0.33)
    assert found.kept.mean == pytest.approx(0.8)
    assert "kept 0.80" in str(found)
    for trials in ([], [fake(TrainConfig())], [fake(TrainConfig(rank=rank, seed=rank)) for rank in (4, 8)]):
        with pytest.raises(CourseError, match="one setting under two seeds"):
            outcome(trials)


def test_what_was_not_asked_was_not_kept():
    assert math.isnan(Trial(TrainConfig(), Score(1, 2), Score(0, 0), {}, 0.1, 1, 1, 1.0).kept)


# -- the stored sweeps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "seeds"), [("hyperparameters", [0, 1, 2]), ("forgetting", [0, 1, 2]), ("orderings", range(101, 106))]
)
def test_a_stored_sweep_is_what_its_grid_says(name, seeds):
    trials = read_sweep(RESULTS / f"{name}.json")
    assert len({trial.config for trial in trials}) == len(trials)
    assert {trial.config for trial in trials} == set(GRIDS[name](seeds))
    head = json.loads((RESULTS / f"{name}.json").read_text())
    assert head["command"] == f"course sweep --grid {name} --seeds {' '.join(map(str, seeds))} --out {name}.json"
    assert {"torch", "peft", "trl", "transformers"} <= head["versions"].keys()
    for trial in trials:
        assert list(trial.skills) == list(GENERAL_SKILLS)
        assert (trial.legal.total, {score.total for score in trial.skills.values()}) == (sweeps.LEGAL, {sweeps.PER_SKILL})
        assert 0 <= trial.learned <= 1
        assert 0 <= trial.kept <= 1
        assert math.isfinite(trial.final_loss)


# -- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(sweeps, "sweep", partial(sweep, run=fake, progress=False))


def test_the_command_runs_a_grid_and_prints_it(tmp_path, capsys, no_training):
    out = tmp_path / "mine.json"
    assert main(["sweep", "--grid", "hyperparameters", "--seeds", "5", "6", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "90 trials, kept in" in said
    assert "learned  kept" in said
    head = json.loads(out.read_text())
    assert head["command"] == "course sweep --grid hyperparameters --seeds 5 6 --out mine.json"
    assert {trial.config.seed for trial in read_sweep(out)} == {5, 6}


def test_the_command_takes_one_seed(tmp_path, capsys, no_training):
    assert main(["sweep", "--grid", "orderings", "--seeds", "1", "1", "--out", str(tmp_path / "a.json")]) == 0
    assert f"{len(set(GRIDS['orderings']([1])))} trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--workers", "0"], "--workers must be at least 1"),
        (["--out", "none/a.json"], "there is no folder"),
        (["--out", "."], "can't be written"),
        (["--out", "broken.json"], "is not the results of a sweep"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, capsys, monkeypatch, no_training, flags, sentence):
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text('{"trials": [{}]}')
    assert main(["sweep", "--grid", "orderings", "--out", "a.json", *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("a.json").exists()
    assert Path("broken.json").read_text() == '{"trials": [{}]}'


@pytest.mark.parametrize(
    "arguments",
    [["--grid", "everything", "--out", "a"], ["--grid", "orderings"], ["--grid", "orderings", "--out", "a", "--seeds", "x"]],
)
def test_the_parser_refuses(tmp_path, capsys, monkeypatch, no_training, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", *arguments])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_real_trial(tmp_path):
    trial = measure(TrainConfig(model="tiny", examples=16, epochs=1, seed=0), legal=4, per_skill=1)
    assert (trial.steps, trial.legal.total) == (1, 4)
    assert list(trial.skills) == list(GENERAL_SKILLS)
    write_sweep(tmp_path / "a.json", [trial], "")
    assert read_sweep(tmp_path / "a.json") == [trial]

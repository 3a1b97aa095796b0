"""Trackers by name, without a network: what each leaves behind, and what is said when its package is missing."""

import json
import os

import pytest

from course_lib.cli import main
from course_lib.errors import CourseError
from course_lib.training import trackers
from course_lib.training.config import TrainConfig
from course_lib.training.sft import train

SHORT = TrainConfig(model="tiny", examples=16, batch_size=8, epochs=1)


@pytest.mark.slow
def test_tensorboard_keeps_the_curve_in_the_runs_folder(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained = train(SHORT.with_changes(tracker="tensorboard"), tmp_path / "run", progress=False)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([point["loss"] for point in trained.curve], rel=1e-4)
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


@pytest.mark.slow
def test_wandb_works_offline_where_nobody_is_logged_in(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(SHORT.with_changes(tracker="wandb"), tmp_path / "run", progress=False)
    import wandb

    wandb.finish()
    assert list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))
    assert json.loads((tmp_path / "run/metrics.json").read_text())["steps"] == 2


@pytest.mark.slow
def test_trackio_keeps_its_runs_on_this_machine(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    import trackio.sqlite_storage
    import trackio.utils

    for module in (trackio.utils, trackio.sqlite_storage):  # it reads TRACKIO_DIR when it is imported
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio", raising=False)
    train(SHORT.with_changes(tracker="trackio"), tmp_path / "run", progress=False)
    assert list((tmp_path / "trackio").glob("*.db"))


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_missing_package_is_one_sentence_before_any_work(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match=f"pip install {name}"):
        trackers.check_tracker(name)
    trackers.check_tracker("none")


def test_an_unknown_tracker_is_one_sentence(tmp_path, capsys):
    assert main(["train", "--tracker", "mlflow", "--out", str(tmp_path / "run")]) == 2
    assert "tracker must be one of none, tensorboard, trackio, wandb" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_the_environment_says_goes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", "elsewhere")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with trackers.tracker_folders("wandb", tmp_path):
        assert (os.environ["WANDB_DIR"], os.environ["WANDB_MODE"]) == ("elsewhere", "disabled")
    with trackers.tracker_folders("none", tmp_path):
        assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_with_a_key_wandb_is_not_told_to_stay_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "made up for this test")
    with trackers.tracker_folders("wandb", tmp_path):
        assert "WANDB_MODE" not in os.environ
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with trackers.tracker_folders("wandb", tmp_path):
        assert os.environ["WANDB_MODE"] == "offline"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password made-up\n")
    (tmp_path / ".netrc").chmod(0o600)
    with trackers.tracker_folders("wandb", tmp_path):
        assert "WANDB_MODE" not in os.environ

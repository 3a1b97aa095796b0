"""The charts of the lesson on forgetting: they draw what they are given, say it in words, and refuse what would mislead."""

import pytest

from course_lib.errors import CourseError
from course_lib.evaluation.scores import Score
from course_lib.notebook.frontier import frontier_chart, power, skills_chart, spread_chart, strength_chart, valley_chart
from course_lib.notebook.plots import webp
from course_lib.training.config import TrainConfig
from course_lib.training.sweeps import Trial


def trials(learned, kept, seeds=(0, 1, 2), **fields):
    """Trials of one setting that differ a little by seed."""
    return [
        Trial(
            TrainConfig(seed=seed, **fields),
            Score(learned - seed, 200),
            Score(0, 1),
            {"arithmetic": Score(kept - seed, 100), "reading": Score(kept, 100)},
            0.1,
            10,
            5,
            1.0,
        )
        for seed in seeds
    ]


PATHS = {
    "full": {"1e-3": trials(200, 90, lr=1e-3), "2e-3": trials(198, 20, lr=2e-3)},
    "LoRA": {"4e-3": trials(199, 91, lr=4e-3), "": trials(197, 22, lr=8e-3)},
}


def texts(fig):
    return [text.get_text() for axes in fig.axes for text in axes.texts]


def test_the_frontier_names_each_point_and_tells_all_of_them():
    fig = frontier_chart(PATHS, "Learned against kept")
    assert texts(fig) == ["1e-3", "2e-3", "4e-3"]
    label = fig.get_label()
    for words in ("full: 1e-3 learned 0.99 kept 0.90", "LoRA: 4e-3", "start learned 0.98"):
        assert words in label
    assert len(webp(fig)) < 200_000


def test_names_of_points_in_one_place_do_not_cover_each_other():
    same = {f"series {i}": {f"{i}e-3": trials(150, 50, lr=1e-3 * (i + 1))} for i in range(5)}
    fig = frontier_chart(same, "All in one place")
    assert len({text.get_position() for text in fig.axes[0].texts}) == 5


def test_the_frontiers_axis_may_begin_later():
    assert frontier_chart(PATHS, "x", learned_from=0.7).axes[0].get_xlim()[0] > 0.68


def test_series_differ_by_marker_and_line_and_colour():
    fig = frontier_chart(PATHS, "x")
    lines = [container.lines[0] for container in fig.axes[0].containers]
    assert len({line.get_marker() for line in lines}) == 2
    assert len({line.get_linestyle() for line in lines}) == 2
    assert len({line.get_color() for line in lines}) == 2


def test_a_strength_of_zero_has_its_place_on_a_logarithmic_axis():
    lines = {"full": {0.0: trials(200, 20), 1e5: trials(200, 70, ewc=1e5), 1e6: trials(180, 95, ewc=1e6)}}
    fig = strength_chart(lines, "EWC", dial="strength")
    ticks = [text.get_text() for text in fig.axes[1].get_xticklabels()]
    assert ticks == ["0", "1e5", "1e6"]
    assert "1e+06 learned 0.90 kept 0.94" in fig.get_label()


def test_epochs_stand_on_a_plain_axis():
    lines = {"full": {1.0: trials(180, 95, epochs=1.0), 3.0: trials(200, 90)}}
    assert strength_chart(lines, "x", dial="epochs", log=False).axes[0].get_xscale() == "linear"


def test_skills_are_drawn_beside_what_was_learned():
    fig = skills_chart({"full": trials(200, 90), "LoRA": trials(190, 40, rank=4)}, "At 2e-3")
    assert [axes.get_title(loc="left") for axes in fig.axes] == ["full: kept 0.90", "LoRA: kept 0.40"]
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["learned: clauses", "arithmetic", "reading"]
    assert "LoRA: learned 0.94; kept arithmetic 0.39, reading 0.40" in fig.get_label()


def test_frames_of_a_flipbook_have_one_size():
    sizes = {tuple(skills_chart({"a": trials(t, 90), "b": trials(t, 9)}, "x").get_size_inches()) for t in (3, 100)}
    assert len(sizes) == 1


def test_the_spread_shows_every_run():
    fig = spread_chart({"replay": [0.6, 0.6, 0.7], "EWC": [0.2, 1.0, 0.9]}, "Seeds", measured="kept")
    dots = [line for line in fig.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in dots] == [3, 3]
    assert "EWC from 0.20 to 1.00, mean 0.70" in fig.get_label()


def test_the_valley_tells_where_training_ends():
    ways = {"none": [(1, 0), (-0.5, -1.5)], "EWC": [(1, 0), (1, -3)]}
    fig = valley_chart(lambda a, b: (a - 1) ** 2, lambda a, b: (a + b + 2) ** 2, ways, "Two weights")
    assert "All start at (1.00, 0.00); none ends at (-0.50, -1.50); EWC ends at (1.00, -3.00)" in fig.get_label()


@pytest.mark.parametrize(("value", "written"), [(2e-3, "2e-3"), (1.6e-2, "1.6e-2"), (1e5, "1e5"), (1e10, "1e10"), (1.0, "1e0")])
def test_powers_as_people_write_them(value, written):
    assert power(value) == written


@pytest.mark.parametrize("draw", [frontier_chart, skills_chart])
def test_nothing_selected_is_an_error_and_not_an_empty_picture(draw):
    with pytest.raises(ValueError, match="nothing to draw for full"):
        draw({"full": {} if draw is frontier_chart else []}, "x")
    with pytest.raises(ValueError, match="nothing to draw"):
        draw({}, "x")


def test_one_seed_or_a_mix_of_settings_is_refused():
    with pytest.raises(CourseError, match="two seeds"):
        frontier_chart({"full": {"1e-3": trials(200, 90, seeds=(0,))}}, "x")
    with pytest.raises(CourseError, match="2 settings"):
        frontier_chart({"full": {"1e-3": trials(200, 90) + trials(200, 90, lr=1e-3)}}, "x")

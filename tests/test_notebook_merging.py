"""The charts of the lesson on merging say in words what they draw, also for the ends of their scales."""

from course_lib.evaluation.scores import Score
from course_lib.notebook import combination_chart, dial_chart, ladder_chart
from course_lib.notebook.plots import webp


def test_the_ladder_ranks_and_names_each_distance_and_can_draw_zero():
    chart = ladder_chart({"wrong": 20.0, "rounded": 0.09, "the same": 0.0}, effect=30.0, title="How far?")
    words = chart.get_label()
    assert words.index("the same 0;") < words.index("rounded 0.09;") < words.index("wrong 20.")
    assert "by 30:" in words
    assert [label.get_text() for label in chart.axes[0].get_yticklabels()] == ["the same", "rounded", "wrong"]
    assert len(webp(chart)) > 1000
    assert webp(ladder_chart({"the same": 0.0}, effect=0.5, title="Nothing"))


def test_the_dial_names_its_settings_and_scores():
    skills = {"new": {0.0: Score(0, 10), 1.0: Score(10, 10)}, "old": {0.0: Score(9, 10), 1.0: Score(8, 10)}}
    words = dial_chart(skills, {1.0: "right"}, "One dial", "times").get_label()
    assert "new 0.00 at 0, 1.00 at 1" in words
    assert "1 is right." in words


def test_a_combination_tells_each_skill():
    rows = {"cat": {"new": Score(1, 4), "old": Score(4, 4)}, "linear": {"new": Score(0, 4), "old": Score(0, 4)}}
    chart = combination_chart(rows, "Two in one")
    assert "cat: new 0.25, old 1.00; linear: new 0.00, old 0.00" in chart.get_label()
    assert len(webp(chart)) > 1000

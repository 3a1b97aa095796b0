"""The charts over a sweep: which trials they compare, what they say in words, and an explorer that needs nobody."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from course_lib.errors import CourseError
from course_lib.evaluation.scores import Score
from course_lib.notebook.plots import webp
from course_lib.notebook.sweeps import (
    best_rate,
    explorer,
    heat_maps,
    knob_slices,
    modules,
    rate_by_rank,
    reach,
    reach_chart,
    seed_gap,
    stored_sweep,
    sweep_chart,
    sweep_origin,
    sweep_table,
)
from course_lib.training.config import TrainConfig
from course_lib.training.grids import BASE
from course_lib.training.sweeps import Trial, by, grid

USUAL = TrainConfig(model="tiny", seed=0)


def trial(config: TrainConfig, learned: int | None = None, kept: int | None = None) -> Trial:
    """A trial in which learned rises with the learning rate and kept falls."""
    right = learned if learned is not None else min(100, round(2e4 * config.lr) + config.seed)
    left = kept if kept is not None else 100 - right // 2
    return Trial(config, Score(right, 100), Score(0, 0), {"facts": Score(left, 100)}, 0.1, 100 * config.rank, 1, 60.0)


def sweep(**values) -> list[Trial]:
    return [trial(config) for config in grid(USUAL, [0, 1, 2], **values)]


# -- slices -------------------------------------------------------------------------------------------------------------


def test_a_slice_turns_one_knob_and_no_other():
    trials = sweep(lr=(1e-3, 2e-3), dropout=(0.0, 0.1))
    slices = knob_slices(trials)
    assert set(slices) == {"learning rate", "dropout"}
    assert list(slices["learning rate"]) == ["dropout 0", "dropout 0.1"]
    assert list(slices["learning rate"]["dropout 0"]) == ["0.001", "0.002"]
    for choices in slices.values():
        for groups in choices.values():
            for group in groups.values():
                assert len({t.config.with_changes(seed=0) for t in group}) == 1
                assert sorted(t.config.seed for t in group) == [0, 1, 2]


def test_rank_is_turned_with_its_alpha_and_alpha_with_its_rate():
    ranks = [trial(USUAL.with_changes(rank=rank, alpha=2.0 * rank)) for rank in (4, 16)]
    assert list(knob_slices(ranks)) == ["rank"]
    held = [trial(USUAL.with_changes(alpha=alpha, lr=0.064 / alpha)) for alpha in (8.0, 32.0, 48.0)]
    assert list(knob_slices(held)) == ["alpha, alpha x rate held"]
    assert list(next(iter(knob_slices(held)["alpha, alpha x rate held"].values()))) == ["8", "32", "48"]


def test_as_many_rows_seen_or_as_many_passes():
    few = [trial(USUAL), trial(USUAL.with_changes(examples=100, epochs=30.0))]
    assert list(knob_slices(few)) == ["training rows"]
    assert list(knob_slices([trial(USUAL), trial(USUAL.with_changes(epochs=1.0))])) == ["passes over the rows"]


def test_the_stored_sweeps_have_every_knob():
    assert {"learning rate", "rank", "alpha", "target modules", "dropout", "training rows"} <= set(
        knob_slices(stored_sweep("hyperparameters"))
    )
    assert {"replay", "EWC strength", "passes over the rows"} <= set(knob_slices(stored_sweep("forgetting")))


def test_nothing_turned_is_said():
    assert knob_slices([]) == knob_slices([trial(USUAL)]) == {}
    for words in (lambda: explorer([trial(USUAL)], "x"), lambda: reach([trial(USUAL)], USUAL), lambda: heat_maps([], "x")):
        with pytest.raises(CourseError):
            words()


# -- numbers ------------------------------------------------------------------------------------------------------------


def test_a_gap_is_paired_by_seed():
    lucky = {0: 10, 1: 50, 2: 90}  # seeds differ far more than settings
    trials = [trial(USUAL.with_changes(seed=s), learned=n) for s, n in lucky.items()]
    trials += [trial(USUAL.with_changes(seed=s, dropout=0.1), learned=n - 5) for s, n in lucky.items()]
    gap = seed_gap("learned", {}, {"dropout": 0.1}, trials)
    assert gap.intervals[0].low == pytest.approx(0.05)
    assert gap.intervals[0].high == pytest.approx(0.05)
    assert gap.always
    assert gap.positive == "3 of 3 seeds"
    back = seed_gap("learned", {"dropout": 0.1}, {}, trials)
    assert (back.least, back.furthest) == (pytest.approx(-0.05), pytest.approx(0.05))
    assert not back.always
    assert str(back).startswith("\N{MINUS SIGN}0.05 [")


def test_a_gap_of_several_sweeps_passes_over_those_that_lack_it():
    first, other = sweep(lr=(1e-3, 2e-3)), sweep(lr=(2e-3,))
    second = [trial(t.config.with_changes(seed=t.config.seed + 100), learned=50 + round(1e4 * t.config.lr)) for t in first]
    gap = seed_gap("learned", {"lr": 2e-3}, {"lr": 1e-3}, first, other, second)
    assert [interval.seeds for interval in gap.intervals] == [3, 3]
    assert gap.least == pytest.approx(0.1)
    assert len(gap.differences) == 6
    with pytest.raises(CourseError, match="no sweep holds both"):
        seed_gap("learned", {"lr": 2e-3}, {"lr": 1e-3}, other)
    with pytest.raises(CourseError, match="a config has no rate"):
        seed_gap("learned", {"rate": 2e-3}, {}, first)


def test_the_best_rate_counts_learned_and_kept_alike():
    learned_kept = {5e-4: (20, 100), 1e-3: (80, 90), 2e-3: (100, 10)}
    cells = rate_by_rank([trial(USUAL.with_changes(lr=lr), *both) for lr, both in learned_kept.items()])
    assert best_rate(cells, 16) == 1e-3


def test_rank_by_rate_leaves_other_knobs_and_lone_ranks_out():
    trials = sweep(lr=(1e-3, 2e-3)) + sweep(dropout=(0.1,)) + [trial(USUAL.with_changes(rank=2, alpha=4.0))]
    assert set(rate_by_rank(trials)) == {(16, 1e-3), (16, 2e-3)}


def test_reach_starts_at_the_usual_setting():
    trials = sweep(lr=(1e-3, 2e-3, 4e-3)) + sweep(dropout=(0.1,)) + sweep(dropout=(0.1,), lr=(8e-3,))
    found = reach(trials, USUAL)
    assert list(found) == ["learning rate", "dropout"]
    assert found["learning rate"]["learned"].width == pytest.approx(0.6)
    assert found["learning rate"]["learned"].low_at == "0.001"
    assert found["dropout"]["learned"].width == pytest.approx(0)
    with pytest.raises(CourseError, match="no knob from the usual setting"):
        reach(trials, USUAL.with_changes(rank=3))


# -- pictures and tables ------------------------------------------------------------------------------------------------


def test_charts_say_in_words_what_they_show():
    trials = sweep(lr=(1e-3, 2e-3))
    chart = sweep_chart(by(trials, "lr"), "A title", "learning rate")
    assert "learned: 0.21 [0.19, 0.23] at 0.001; 0.41 [0.39, 0.43] at 0.002" in chart.get_label()
    maps = heat_maps(trials, "Rates")
    assert "largest at 0.002 for rank 16" in maps.get_label()
    bars = reach_chart(trials, USUAL, "Reach")
    assert "learning rate: learned from 0.21 at 0.001 to 0.41 at 0.002" in bars.get_label()
    for fig in (chart, maps, bars):
        assert webp(fig)


def test_a_single_seed_has_no_interval():
    trials = [trial(USUAL.with_changes(lr=lr)) for lr in (1e-3, 2e-3)]
    assert "[" not in sweep_table(by(trials, "lr"), "rate", "One seed").text.split("\n", 2)[2]
    assert webp(sweep_chart(by(trials, "lr"), "x", "rate"))
    assert webp(heat_maps(trials, "x"))


def test_target_modules_are_named_short():
    assert modules(("q_proj", "v_proj")) == "q, v"
    assert modules("all-linear") == "all linear"
    shown = sweep_table({("q_proj",): [trial(USUAL)], 0.5: [trial(USUAL)], "word": [trial(USUAL)]}, "x", "y")
    assert all(name in shown.text for name in ("q ", "0.5", "word"))


def test_the_origin_is_what_the_file_says():
    said = sweep_origin("hyperparameters", "orderings").text
    assert "course sweep --grid hyperparameters --seeds 0 1 2" in said
    assert "H100" in said
    assert "101, 102, 103, 104, 105" in said
    with pytest.raises(CourseError, match="there is no results file"):
        stored_sweep("nothing")


# -- the explorer -------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def shown():
    return explorer(stored_sweep("hyperparameters"), "All <b>of</b> it")


def test_the_explorer_holds_every_slice(shown):
    tags = Tags()
    tags.feed(str(shown.html))
    data = json.loads(next(attributes["data-sweep"] for _, attributes in tags.found if "data-sweep" in attributes))
    slices = knob_slices(stored_sweep("hyperparameters"))
    assert {knob: [choice["held"] for choice in choices] for knob, choices in data["knobs"]} == {
        knob: list(choices) for knob, choices in slices.items()
    }
    for _, choices in data["knobs"]:
        for choice in choices:
            assert all(len(line) == len(choice["values"]) for line in choice["points"])
            assert all(0 <= p["low"] <= p["mean"] <= p["high"] <= 1 for line in choice["points"] for p in line)
    usual = next(c for knob, choices in data["knobs"] if knob == "dropout" for c in choices if c["held"] == "1000 rows")
    assert usual["values"] == ["0", "0.05", "0.1"]
    learned = [t.learned for t in by(stored_sweep("hyperparameters"), "dropout")[0.1] if t.config.examples == 1000]
    assert usual["points"][0][2]["mean"] == pytest.approx(sum(learned) / 3, abs=1e-4)


def test_the_explorer_needs_nobody(shown):
    html = str(shown.html)
    tags = Tags()
    tags.feed(html)
    assert not [tag for tag, attributes in tags.found if "id" in attributes], "ids collide on a page with two"
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert "<b>of" not in html
    assert len(html) < 200_000


def test_the_explorer_reads_without_scripts(shown):
    tags = Tags()
    tags.feed(str(shown.html))
    assert not [tag for tag, _ in tags.found if tag in ("select", "input", "svg")], "dead controls would mislead"
    image = next(attributes for tag, attributes in tags.found if tag == "img")
    assert "learned" in str(image["alt"])
    rows = sum(len(groups) for choices in knob_slices(stored_sweep("hyperparameters")).values() for groups in choices.values())
    assert sum(tag == "tr" for tag, _ in tags.found) == rows + 1
    assert shown.text.count("\n") >= rows


def test_the_menus_are_labelled(shown):
    controls = unescape(re.search(r'data-controls="([^"]*)"', str(shown.html))[1])
    assert len(re.findall(r"<label[^>]*>[^<]+<select", controls)) == 2
    assert 'role="img"' in controls


def test_the_usual_setting_comes_first():
    trials = sweep(lr=(1e-3, 2e-3), dropout=(0.0, 0.1))
    for usual, first in ((USUAL, "dropout 0"), (USUAL.with_changes(dropout=0.1, seed=9), "dropout 0.1")):
        assert explorer(trials, "x", usual).text.split("\n")[3].startswith(f"learning rate; {first} ")


def test_hostile_names_stay_text():
    names = ("</script><b>x", "y")
    trials = [trial(BASE.with_changes(seed=s, target_modules=targets)) for s in (0, 1) for targets in (names, ("z",))]
    html = str(explorer(trials, "x").html)
    assert html.count("</script>") == 1
    assert "<b>x" not in html

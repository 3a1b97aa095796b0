"""The explorer over a sweep in a real browser, without kernel and without network. Not part of `make test`: see `make test-browser`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook import explorer, stored_sweep
from course_lib.training.grids import BASE
from course_lib.training.sweeps import Trial
from tests.browser.lab import CHROMIUM, static_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path"),
]


def hostile(trial: Trial) -> list[Trial]:
    """Two settings whose names would run if they were markup, under two seeds."""
    evil = "</script><img src=x onerror=\"document.title='taken'\">"
    return [
        Trial(
            trial.config.with_changes(target_modules=names, seed=seed), trial.legal, trial.never_paired, trial.skills, 0, 1, 1, 1
        )
        for names in ((evil,), ("v_proj",))
        for seed in (0, 1)
    ]


@pytest.fixture
def page(tmp_path: Path) -> Iterator["sync_api.Page"]:
    trials = stored_sweep("hyperparameters")
    body = "".join(str(explorer(some, title, BASE).html) for title, some in (("All", trials), ("Evil", hostile(trials[0]))))
    with static_page(body, tmp_path) as page:
        yield page


def test_menus_change_picture_and_words(page: "sync_api.Page") -> None:
    box = page.locator(".course-explorer").first
    knob, held = box.get_by_label("On the axis:"), box.get_by_label("Held:")
    words, picture = box.get_by_role("status"), box.locator("svg")
    assert box.locator("img").count() == 0, "the still picture makes way"
    assert words.inner_text().startswith("learning rate, with rank 16, alpha/rank 2")
    knob.select_option("dropout")
    assert held.locator("option").all_inner_texts() == ["1000 rows", "100 rows"]
    held.select_option("100 rows")
    assert words.inner_text().startswith("dropout, with 100 rows. learned: 0.61")
    assert picture.get_attribute("aria-label") == words.inner_text()
    assert picture.locator("circle").count() == 3 + 1  # three values and the legend
    assert {"0", "0.05", "0.1", "dropout"} <= set(picture.locator("text").all_text_contents())


def test_the_keyboard_is_enough(page: "sync_api.Page") -> None:
    box = page.locator(".course-explorer").first
    box.get_by_label("On the axis:").focus()
    page.keyboard.press("ArrowDown")
    assert box.get_by_role("status").inner_text().startswith("rank, with")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert "learning rate 0.0005" in box.get_by_role("status").inner_text()


def test_names_are_text(page: "sync_api.Page") -> None:
    assert page.title() == "page"
    assert "onerror" in page.locator(".course-explorer").last.get_by_role("status").inner_text()
    assert page.title() == "page"

"""Widgets in a real browser: a page as nbconvert or the site would show it, without kernel and without network.

Not part of `make test`: see `make test-browser`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook import figure, flipbook, quizzes
from course_lib.notebook.html import Shown
from course_lib.notebook.progress import COUNT_QUIZZES
from tests.browser.lab import CHROMIUM, static_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path"),
]


def book(title: str, labels: list[str]) -> Shown:
    pictures = []
    for number, _ in enumerate(labels):
        with figure(4, 2) as (fig, axes):
            axes.plot([0, number])
        fig.set_label(f"{title}, frame {number}")
        pictures.append(fig)
    return flipbook(pictures, labels, title=title, label="rank")


@pytest.fixture
def page(tmp_path: Path) -> Iterator["sync_api.Page"]:
    evil = "</script><script>document.title = 'taken'</script>"
    shown: list[Shown] = [book("First", ["1", "2", "4"]), book("Second", ["one", evil])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quizzes, "display", shown.append)
        patch.setattr("course_lib.notebook.progress._current", "02")
        quizzes.quiz("Why?", {"because": "Indeed.", evil: "No."}, answer="because")
        quizzes.predict("What?")
    count = f'<span class="course-quiz-count" data-lesson="02">none</span>{COUNT_QUIZZES}'
    body = "\n".join([*(thing.html for thing in shown), count])
    with static_page(body, tmp_path) as page:
        yield page


def test_flipbooks_turn_by_keyboard_each_for_itself_and_run_no_text(page: "sync_api.Page") -> None:
    first, second = page.locator(".course-flipbook").all()
    slider, image = first.get_by_role("slider", name="rank"), first.locator("img")
    before = image.get_attribute("src")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == first.locator("b").inner_text() == "4"
    assert image.get_attribute("alt") == "First, frame 2"
    assert image.get_attribute("src") != before
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 600
    slider.press("Home")
    assert image.get_attribute("src") == before
    assert second.locator("img").get_attribute("alt") == "Second, frame 0"
    second.get_by_role("slider").press("End")
    assert "document.title" in second.locator("b").inner_text()
    assert page.title() == "page"


def test_a_quiz_explains_remembers_and_is_counted(page: "sync_api.Page") -> None:
    status = page.get_by_role("group", name="Why?").get_by_role("status")
    page.get_by_role("radio", name="because").check()
    assert status.inner_text() == "\N{CHECK MARK} right because: Indeed."
    page.get_by_role("radio", name="because").press("ArrowDown")
    assert status.inner_text().startswith("\N{BALLOT X} not quite")
    page.reload()
    assert page.locator(".course-quiz-count").inner_text() == "0 right of 1 answered"
    assert page.title() == "page"


def test_a_prediction_can_be_typed(page: "sync_api.Page") -> None:
    box = page.get_by_role("textbox", name="Before you run the next cell. What?")
    box.press_sequentially("add 2")
    assert box.input_value() == "add 2"

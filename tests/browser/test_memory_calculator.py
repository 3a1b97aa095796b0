"""The memory calculator in a real browser: without kernel and without network, by mouse and by keyboard."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook import memory_calculator
from tests.browser.lab import CHROMIUM, static_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path"),
]


@pytest.fixture
def page(tmp_path: Path) -> Iterator["sync_api.Page"]:
    shown = memory_calculator(["Llama-2-7B", "Llama-3-8B"]).html
    with static_page(f"{shown}{shown}", tmp_path) as page:
        yield page


def test_choosing_changes_the_verdict_of_that_one_alone(page: "sync_api.Page") -> None:
    first, second = page.locator(".course-memory").all()
    verdict = first.get_by_role("status")
    before = verdict.inner_text()
    assert before.startswith("Together 4.")
    assert "fits a card of 8 GB" in before
    first.get_by_label("method").select_option("full, float32 kept")
    assert "shared out" in verdict.inner_text()
    first.get_by_label("tokens a sequence").select_option("8,192")
    assert second.get_by_role("status").inner_text() == before


def test_the_keyboard_is_enough(page: "sync_api.Page") -> None:
    box = page.locator(".course-memory").first
    before = box.get_by_role("listitem").last.inner_text()
    box.get_by_label("tokens a sequence").focus()
    page.keyboard.press("ArrowDown")
    assert box.get_by_role("listitem").last.inner_text() != before


def test_the_table_gives_way_to_the_calculator(page: "sync_api.Page") -> None:
    assert page.locator(".course-memory table").count() == 0
    assert page.locator(".course-memory select").count() == 12

"""The site from the disk, in a browser that reaches nothing else: widgets live, search answers, axe finds nothing serious."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook.publish import offline
from tests.browser.lab import CHROMIUM, FLAGS, ROOT, SHOTS

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "site" / "build.py"), "--out", str(folder)]
    subprocess.run(command, env=os.environ | offline(), check=True)
    return folder


@pytest.fixture(scope="module", params=["light", "dark"])
def page(request: pytest.FixtureRequest) -> Iterator["sync_api.Page"]:
    """A page whose every request for something outside is refused and fails the test, as does an error of a script."""
    faults: list[str] = []

    def guard(route: "sync_api.Route") -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            faults.append(f"asks for {route.request.url}")
            route.abort()

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(color_scheme=request.param, viewport={"width": 1300, "height": 1000})
        context.route("**/*", guard)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.shade = request.param
        yield page
        browser.close()
    assert faults == []


def shoot(page: "sync_api.Page", name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"site_{name}_{page.shade}.png")


def test_axe_finds_nothing_serious_on_any_page(site: Path, page: "sync_api.Page") -> None:
    axe, found = axe_api.Axe(), []
    # A dark page is the same page in other colours.
    rules = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if page.shade == "dark" else {})
    files = sorted(file for file in site.rglob("*.html") if "_modules" not in file.parts and "_static" not in file.parts)
    assert len(files) > 20
    for file in files:
        page.goto(file.as_uri())
        for violation in axe.run(page, options=rules).response["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                where = [node["html"][:120] for node in violation["nodes"][:3]]
                found.append((file.relative_to(site).as_posix(), violation["id"], len(violation["nodes"]), where))
    assert found == []


def test_the_rank_slider_turns_by_mouse_and_by_keyboard(site: Path, page: "sync_api.Page") -> None:
    page.goto((site / "lessons" / "02_lora_math.html").as_uri())
    book = page.locator(".course-flipbook").first
    slider, image = book.get_by_role("slider", name="rank"), book.locator("img")
    slider.scroll_into_view_if_needed()
    first = image.get_attribute("src")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert book.locator("b").inner_text() == "128"
    assert image.get_attribute("src") != first
    assert "At rank 128," in image.get_attribute("alt")
    slider.press("Home")
    assert book.locator("b").inner_text() == "1"
    shoot(page, "rank_slider")


def test_calculator_explorer_helper_and_quiz_live_without_a_kernel(site: Path, page: "sync_api.Page") -> None:
    page.goto((site / "lessons" / "03_qlora.html").as_uri())
    calculator = page.locator(".course-memory")
    before = calculator.get_by_role("status").inner_text()
    calculator.get_by_label("method").select_option("LoRA")
    assert calculator.get_by_role("status").inner_text() != before
    calculator.scroll_into_view_if_needed()
    shoot(page, "memory_calculator")
    page.goto((site / "lessons" / "07_hyperparameters.html").as_uri())
    explorer = page.locator(".course-explorer").first
    before = explorer.get_by_role("status").inner_text()
    explorer.get_by_label("On the axis:").select_option("dropout")
    assert explorer.get_by_role("status").inner_text() != before
    page.goto((site / "lessons" / "01_finetune_or_rag.html").as_uri())
    helper = page.locator(".course-choice")
    helper.get_by_role("radio", name="Often").check()
    assert "RAG" in helper.get_by_role("status").inner_text()
    quiz = page.locator(".course-quiz").first
    quiz.get_by_role("radio").first.check()
    assert quiz.get_by_role("status").inner_text().startswith(("\N{CHECK MARK}", "\N{BALLOT X}"))
    helper.scroll_into_view_if_needed()
    shoot(page, "decision_helper")


def test_the_search_finds_a_lesson(site: Path, page: "sync_api.Page") -> None:
    page.goto((site / "search.html").as_uri() + "?q=forgetting")
    page.locator("#search-results a", has_text="08 Forgetting").first.wait_for()


def test_first_page_and_claims_look_right(site: Path, page: "sync_api.Page") -> None:
    for name in ("index", "claims", "measurements"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.dataset.theme") == page.shade
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(page, name)

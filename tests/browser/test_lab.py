"""The lessons in JupyterLab itself, as `course lab` starts it, with their stored outputs; no cell is run."""

from collections.abc import Iterator

import pytest

from tests.browser.lab import CHROMIUM, FLAGS, Lab, running_lab

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path")]


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with running_lab(dark=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def untrusted() -> Iterator[Lab]:
    with running_lab(trusted=False) as lab:
        yield lab


@pytest.fixture
def page(browser: "sync_api.Browser") -> Iterator["sync_api.Page"]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def test_course_lab_opens_start_here(lab: Lab, page: "sync_api.Page") -> None:
    page.goto(f"{lab.address}/?token={lab.token}")
    page.get_by_role("heading", name="00 Start here").wait_for()


def test_the_rank_slider_turns_by_keyboard(lab: Lab, page: "sync_api.Page") -> None:
    lab.open(page, "02")
    book = page.locator(".course-flipbook").first
    slider, image = book.get_by_role("slider", name="rank"), book.locator("img")
    before = image.get_attribute("src")
    slider.focus()
    slider.press("ArrowRight")
    assert image.get_attribute("src") != before
    assert slider.get_attribute("aria-valuetext") == book.locator("b").inner_text() == "32"
    assert "At rank 32," in (image.get_attribute("alt") or "")


def test_a_quiz_answers(lab: Lab, page: "sync_api.Page") -> None:
    lab.open(page, "00")
    quiz = page.locator(".course-quiz").first
    quiz.get_by_role("radio").first.check()
    assert quiz.get_by_role("status").inner_text().startswith(("\N{CHECK MARK}", "\N{BALLOT X}"))


CONTRASTS = """elements => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const contrast = element => {
        let ground = element;
        while ((channels(getComputedStyle(ground).backgroundColor)[3] ?? 1) < 1) ground = ground.parentElement;
        const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(channels).map(light);
        return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    };
    return elements.filter(e => e.innerText?.trim() && e.checkVisibility()).map(e => [contrast(e), e.innerText]);
}"""


@pytest.mark.parametrize("lesson", ["00", "02", "05"])
def test_what_we_show_can_be_read(lab: Lab, page: "sync_api.Page", lesson: str) -> None:
    """At least WCAG's 4.5 : 1 between text and ground, in either theme."""
    lab.open(page, lesson)
    found = page.locator(".jp-RenderedHTML").locator("td, th, caption, legend, label, summary, span, strong, p, b")
    contrasts = found.evaluate_all(CONTRASTS)
    assert len(contrasts) > 20
    assert [(ratio, text) for ratio, text in contrasts if ratio < 4.5] == []


def test_before_it_is_trusted_a_lesson_shows_its_pictures_and_no_dead_slider(untrusted: Lab, page: "sync_api.Page") -> None:
    untrusted.open(page, "02")
    image = page.get_by_role("img", name="At rank 16,")
    assert image.evaluate("image => image.naturalWidth") > 500
    assert page.locator(".jp-OutputArea input[type=range]").count() == 0

"""Widgets where other front ends put them: alone in a frame without origin or storage (Colab), scripts made anew (VS Code)."""

import html
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.notebook.syllabus import lessons_folder
from tests.browser.lab import CHROMIUM, static_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path")]

WIDGETS = {
    "flipbook": ("02", "course-flipbook"),
    "calculator": ("03", "course-memory"),
    "explorer": ("07", "course-explorer"),
    "helper": ("01", "course-choice"),
    "quiz": ("00", "course-quiz"),
}
# How VS Code puts an output on its page: markup by innerHTML, whose scripts don't run, and then each script made anew.
VS_CODE = """<div id=output></div><script>
const output = document.getElementById('output');
output.innerHTML = %s;
for (const old of output.querySelectorAll('script')) {
  const script = document.createElement('script');
  script.textContent = old.textContent;
  old.replaceWith(script);
}
</script>"""


def stored(lesson: str, name: str) -> str:
    """The first output of a lesson that holds a widget, as HTML."""
    (path,) = lessons_folder().glob(f"{lesson}_*.ipynb")
    outputs = [o for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for o in cell.get("outputs", [])]
    return next(text for o in outputs if f'class="{name}"' in (text := "".join(o.get("data", {}).get("text/html", ""))))


@pytest.fixture(params=["colab", "vscode"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["sync_api.FrameLocator"]:
    bodies = {key: stored(*where) for key, where in WIDGETS.items()}
    if request.param == "colab":  # each output has a frame to itself, of no origin: no storage, no parent
        frames = [
            f'<iframe sandbox="allow-scripts" id={k} width=900 height=700 srcdoc="{html.escape(b)}"></iframe>'
            for k, b in bodies.items()
        ]
        page_body = "".join(frames)
    else:
        page_body = VS_CODE % json.dumps("".join(bodies.values())).replace("</", "<\\/")
    with static_page(page_body, tmp_path) as page:
        yield lambda key: page.frame_locator(f"#{key}") if request.param == "colab" else page


def test_every_widget_lives(place) -> None:
    book = place("flipbook").locator(".course-flipbook").first
    before = book.locator("img").get_attribute("src")
    book.get_by_role("slider").press("ArrowRight")
    assert book.locator("img").get_attribute("src") != before
    assert book.locator("b").inner_text() == "32"
    for key, css in (("calculator", ".course-memory"), ("explorer", ".course-explorer")):
        box = place(key).locator(css).first
        before = box.get_by_role("status").inner_text()
        box.locator("select").first.press("ArrowDown")
        assert box.get_by_role("status").inner_text() != before
    helper = place("helper").locator(".course-choice")
    helper.get_by_role("radio", name="Often").check()
    assert "RAG" in helper.get_by_role("status").inner_text()
    quiz = place("quiz").locator(".course-quiz").first
    quiz.get_by_role("radio").first.press(" ")
    assert quiz.get_by_role("status").inner_text().startswith(("\N{CHECK MARK}", "\N{BALLOT X}"))


@pytest.mark.parametrize("key", WIDGETS)
def test_where_scripts_are_stripped_words_remain(key: str) -> None:
    """GitHub and screen readers of stored notebooks: what a widget says without its script, and in plain text."""
    body = stored(*WIDGETS[key])
    still = body.partition("<script>")[0]
    assert "alt=" in still or "<li" in still or "<table" in still

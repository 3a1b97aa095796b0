"""Make the README's picture anew: `python -m tests.browser.screenshot` (needs playwright, and a Chromium on the path)."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.lab import CHROMIUM, FLAGS, ROOT, running_lab

PICTURE = ROOT / "docs" / "images" / "rank-slider.webp"
# Of each colour: nobody can tell them from all 255, and lossless is then sharper than what photographs are stored with, and as small.
SHADES = 31


def take(picture: Path = PICTURE) -> None:
    """Lesson 02 in JupyterLab, with its rank slider in view, at two pixels a point."""
    with running_lab() as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1140, "height": 1016}, device_scale_factor=2)
        lab.open(page, "02")
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        words = page.locator(".jp-MarkdownCell", has_text="Drag the slider").first
        words.click()
        words.evaluate("cell => cell.scrollIntoView({block: 'start'})")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")  # of the copy: the dot in the tab goes
        page.get_by_text("Saving completed").wait_for()
        page.get_by_text("Saving completed").wait_for(state="hidden")
        shot = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.point([round(round(value / 255 * SHADES) / SHADES * 255) for value in range(256)] * 3)
    picture.parent.mkdir(parents=True, exist_ok=True)
    image.save(picture, "webp", lossless=True, quality=100, method=6)
    print(f"{picture.name}: {image.width} x {image.height}, {picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    take()

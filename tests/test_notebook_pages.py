"""What goes on the page: figures, flipbooks, tables, quizzes. Nothing that a text holds becomes markup."""

import base64
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from course_lib.evaluation.scores import Score
from course_lib.lora.arithmetic import low_rank
from course_lib.notebook import (
    before_after_chart,
    before_after_table,
    figure,
    flipbook,
    lora_picture,
    loss_curve,
    per_type_chart,
    predict,
    quiz,
    show,
    table,
)
from course_lib.notebook.html import Shown

EVIL = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">"
ROWS = [("legal", Score(0, 300), Score(273, 300), 0.91), ("facts", Score(200, 200), Score(120, 200), -0.4)]


class Page(HTMLParser):
    """The elements of a piece of HTML with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    found: list[Shown] = []
    for module in ("plots", "quizzes"):
        monkeypatch.setattr(f"course_lib.notebook.{module}.display", found.append)
    return found


def frames(count: int = 3) -> Iterator[Figure]:
    for number in range(count):
        with figure(4, 2) as (fig, axes):
            axes.plot([0, number])
        fig.set_label(f"A line to {number}")
        yield fig


def texts(fig: Figure) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


# --- flipbooks ---------------------------------------------------------------------------------------------------------


def book(**changes: Any) -> Shown:
    return flipbook(
        **{"frames": frames(), "labels": [1, 2, 4], "title": "What a rank buys", "label": "rank", "start": 1} | changes
    )


def test_a_flipbook_carries_every_frame_with_its_description() -> None:
    page = Page(book().html)
    [outer] = [attributes for attributes in page.all("div") if attributes.get("class") == "course-flipbook"]
    data = json.loads(outer["data-frames"] or "")
    assert [(label, alt) for label, alt, _ in data] == [("1", "A line to 0"), ("2", "A line to 1"), ("4", "A line to 2")]
    [image] = page.all("img")
    assert image["alt"] == "A line to 1"
    for source in (data[0][2], image["src"], data[2][2]):
        picture = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/webp;base64,"))))
        assert picture.size == (600, 300)
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    [slider] = Page(outer["data-slider"] or "").all("input")
    assert (slider["min"], slider["max"], slider["value"], slider["aria-valuetext"]) == ("0", "2", "1", "2")


def test_without_scripts_a_flipbook_is_one_described_picture_and_no_dead_slider() -> None:
    page = Page(book().html)
    assert not page.all("input")
    assert len(page.all("img")) == 1


def test_the_same_figures_make_the_same_bytes() -> None:
    assert book() == book()


def test_a_flipbook_has_no_id_that_could_collide() -> None:
    html = book().html
    slider = Page(html).all("div")[0]["data-slider"] or ""
    assert not any("id" in attributes for _, attributes in Page(html).elements + Page(slider).elements)


def test_texts_of_a_flipbook_stay_texts() -> None:
    html = book(labels=[EVIL, EVIL, EVIL], title=EVIL, label=EVIL, alt_texts=[EVIL] * 3).html
    page = Page(html)
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 1
    assert html.count("</script") == 1
    slider = Page(page.all("div")[0]["data-slider"] or "")
    assert [tag for tag, _ in slider.elements] == ["label", "span", "input", "b"]
    assert EVIL in slider.words


def test_a_flipbook_as_text_names_its_stops() -> None:
    assert book().text == "What a rank buys (a picture with a slider; rank: 1, 2, 4)\nAt rank 2: A line to 1"


def test_frames_must_be_described_labelled_and_of_one_size() -> None:
    with pytest.raises(ValueError, match="frame 0 needs a text"):
        book(frames=[Figure()], labels=[1], start=0)
    with pytest.raises(ValueError, match="one label a frame"):
        book(labels=[1, 2, 4, 8])
    with pytest.raises(ValueError, match="frames of one size"):
        book(frames=frames(2), labels=[1, 2], alt_texts=["a", "b"]) and flipbook(
            [Figure(figsize=(2, 2)), Figure(figsize=(3, 2))], [1, 2], title="t", label="l", alt_texts=["a", "b"]
        )


# --- figures -----------------------------------------------------------------------------------------------------------


def test_show_puts_alt_text_into_the_page(shown: list[Shown]) -> None:
    show(next(frames()), alt='Loss "falls" <fast>')
    [image] = Page(shown[0].html).all("img")
    assert image["alt"] == 'Loss "falls" <fast>'
    assert shown[0].text == '[figure: Loss "falls" <fast>]'
    with pytest.raises(ValueError, match="pass alt"):
        show(Figure())


def test_before_after_chart_says_its_numbers() -> None:
    fig = before_after_chart(ROWS, "After an epoch")
    assert fig.get_label() == "After an epoch, exact match: legal 0.00 before, 0.91 after; facts 1.00 before, 0.60 after."
    assert {"legal", "facts", "+0.91", "\N{MINUS SIGN}0.40", "before", "after"} <= set(texts(fig).split(" | "))


def test_per_type_chart_is_sorted_and_marks_types() -> None:
    scores = {"notice": Score(1, 10), "audit": Score(10, 10), "term": Score(5, 10)}
    fig = per_type_chart(scores, "By type", marked=["term"], marked_as="never paired")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["audit", "term", "notice"]
    assert "term 0.50 (never paired)" in fig.get_label()
    assert "never paired" in texts(fig)
    assert "the others" not in texts(per_type_chart(scores, "By type"))


def test_loss_curve_draws_what_the_curve_holds() -> None:
    curve = [{"step": 1, "loss": 3.0}, {"step": 10, "loss": 1.0, "eval_loss": 1.25}, {"step": 20, "eval_loss": 1.125}]
    fig = loss_curve(curve)
    assert [list(line.get_xdata()) for line in fig.axes[0].lines] == [[1, 10], [10, 20]]
    assert "training loss from 3.00 at step 1 to 1.00 at step 10; held-out loss from 1.25" in fig.get_label()
    assert len(loss_curve(curve[:1]).axes[0].lines) == 1


@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96)])
def test_lora_picture_states_cost_and_share(shape: tuple[int, int]) -> None:
    import torch

    torch.manual_seed(0)
    update = torch.randn(*shape)
    pictures = [lora_picture(torch.randn(*shape), update, *low_rank(update, rank)) for rank in (1, 4, 32)]
    d, k = shape
    assert f"{4 * (d + k):,} of {d * k:,}" in texts(pictures[1])
    kept = [float(re.search(r"keeps ([\d.]+)%", str(fig.get_label()))[1]) for fig in pictures]
    assert kept[0] < kept[1] < kept[2]
    assert kept[2] == 100 if min(shape) == 32 else kept[2] < 100
    for fig in pictures:
        assert len({tuple(fig.get_size_inches())}) == 1


def test_lora_picture_is_to_scale() -> None:
    rng = np.random.default_rng(0)
    fig = lora_picture(rng.normal(size=(60, 40)), rng.normal(size=(60, 40)), rng.normal(size=(60, 5)), rng.normal(size=(5, 40)))
    inches = [axes.get_position() for axes in fig.axes[:3]]
    scale = fig.get_size_inches()
    sizes = [(box.height * scale[1], box.width * scale[0]) for box in inches]
    unit = sizes[0][0] / 60
    assert np.allclose(np.array(sizes) / unit, [(60, 40), (60, 5), (5, 40)])


# --- tables and quizzes ------------------------------------------------------------------------------------------------


def test_a_table_has_caption_and_headers_and_escapes() -> None:
    result = table([[EVIL, 1_234_567, 0.12345], ["`r`", 2, 0.5]], ["what", "count", "share <s>"], "Costs & shares")
    page = Page(result.html)
    assert [cell.get("scope") for cell in page.all("th")] == ["col", "col", "col", "row", "row"]
    assert len(page.all("caption")) == 1
    assert not page.all("script") + page.all("img")
    assert "<code>r</code>" in result.html
    assert result.text.splitlines()[0] == "Costs & shares"
    assert result.text.splitlines()[2].endswith("1,234,567      0.123")
    with pytest.raises(ValueError, match="every row needs 3 values"):
        table([[1, 2]], ["a", "b", "c"], "")


def test_a_rows_name_stays_in_one_line_and_a_sentence_is_not_shouted() -> None:
    sentence = "Explain this clause in plain words: rent is due on the first."
    link = Markup('<a href="02_lora_math.ipynb" title="a long one, in which nobody reads the markup">{}</a>').format("02 LoRA")
    page = Page(table([["wren says", 1], [sentence, 2], [link, 3]], ["", "count"], "Rows").html)
    styles = [str(cell["style"]) for cell in page.all("th") if cell["scope"] == "row"]
    assert ["nowrap" in style for style in styles] == [True, False, True]
    assert ["font-weight:normal" in style for style in styles] == [False, True, False]


def test_before_after_table_shows_intervals_and_a_minus_as_wide_as_the_plus() -> None:
    lines = before_after_table(ROWS).text.splitlines()
    assert lines[2].split() == "legal 0.00 [0.00, 0.01] 0.91 [0.87, 0.94] +0.91".split()
    assert lines[3].endswith("\N{MINUS SIGN}0.40")


def test_a_quiz_is_a_labelled_group_and_explains_every_option(shown: list[Shown]) -> None:
    quiz(f"Why `B = 0`? {EVIL}", {"A no-op": "Measured above.", EVIL: EVIL}, answer="A no-op")
    page = Page(shown[0].html)
    assert [tag for tag, _ in page.elements][:2] == ["fieldset", "legend"]
    assert len({radio["name"] for radio in page.all("input")}) == 1
    assert len(page.all("label")) == len(page.all("input")) == 2
    assert [item["data-verdict"] for item in page.all("li")] == ["right", "wrong"]
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "<code>B = 0</code>" in shown[0].html
    assert shown[0].text.endswith("Answer: A no-op: Measured above.")
    with pytest.raises(ValueError, match="none of the options"):
        quiz("?", {"a": "b"}, answer="c")


def test_a_prediction_is_a_labelled_box(shown: list[Shown]) -> None:
    predict(f"Which is larger? {EVIL}")
    page = Page(shown[0].html)
    assert [tag for tag, _ in page.elements] == ["div", "label", "strong", "textarea"]
    assert shown[0].text.startswith("Before you run the next cell: Which")

"""What students and formgrader get to see, and what a learning platform gets."""

import csv
import html.parser
import json
from pathlib import Path

import pytest

from course_lib.cli import main
from course_lib.errors import CourseError
from course_lib.grading.export import export, quoted
from course_lib.grading.feedback import POLICY, markdown
from course_lib.grading.safe import safe_markdown, safe_outputs
from course_lib.grading.writer import open_gradebook
from tests.grading.school import course_grade
from tests.grading.submissions import MARKUP, NAME, answered, hand_in, make_class, make_course

SAFE_TAGS = set(
    "html head meta title style body table tr th td thead tbody h1 h2 h3 p div pre code span a img em strong ul ol li br blockquote hr".split()
)


class Reader(html.parser.HTMLParser):
    """Notes every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(text)
    return reader.seen


def check_inert(text: str) -> None:
    for tag, attributes in tags(text):
        assert tag in SAFE_TAGS, tag
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith(("#", "http://", "https://", "mailto:"))
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    course = make_course(tmp_path_factory.mktemp("course"))
    make_class(course, ["correct", "no_scale", "partly_right", "only_right_for_the_visible_numbers", "hostile_markup"])
    hand_in(course, "-1", answered())
    done = course_grade(course)
    assert done.returncode == 0, done.stderr
    with open_gradebook(course) as book:
        for student in ("correct", "no_scale", "hostile_markup"):
            book.find_grade("q4", NAME, NAME, student).manual_score = 1.5
        book.db.commit()
    return course


def test_no_markup_of_a_student_is_markup(course: Path) -> None:
    page = (course / "feedback" / "hostile_markup" / NAME / f"{NAME}.html").read_text()
    check_inert(page)
    assert POLICY in page.replace("&#39;", "'")
    assert "window.owned" in page  # it is there, as text
    graded = json.loads((course / "autograded" / "hostile_markup" / NAME / f"{NAME}.ipynb").read_text())
    kinds = {mime for cell in graded["cells"] for output in cell.get("outputs", []) for mime in output.get("data", {})}
    assert kinds <= {"text/plain", "image/png", "image/jpeg"}
    from nbconvert.filters.markdown_mistune import markdown2html_mistune  # what formgrader shows text cells with

    for cell in graded["cells"]:
        if cell["cell_type"] == "markdown":
            check_inert(markdown2html_mistune(cell["source"]))


@pytest.mark.parametrize(
    "text",
    [
        MARKUP,
        "<SCRIPT\n>x</SCRIPT>",
        "[x](&#106;avascript:x) [x](javascript\\:x) [x](<\tjava\tscript:x>)",
        "![x](http://127.0.0.1/x.png) ![x][y]\n\n[y]: http://127.0.0.1/y.png\n",
        "a\n<div onclick=x>\n</div>",
        "&lt;script>x",
        "`<script>` and ``<img src=x>``",
        "|a|\n|-|\n|<img src=x>|\n",
        "[^1]\n\n[^1]: <img src=x>",
        "$<img src=x>$ $$\n<img src=x>\n$$",
        "<!-- --><img src=x><?x?><![CDATA[<img src=x>]]>",
        "\x00<\x00script>",
    ],
)
def test_text_cells_are_inert(text: str) -> None:
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    for shown in (markdown2html_mistune(safe_markdown(text)), str(markdown(text))):
        check_inert(shown)
        assert "img" not in {tag for tag, _ in tags(shown)}


def test_only_real_pictures_pass() -> None:
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    shown = safe_outputs(
        [
            {"output_type": "display_data", "data": {"image/png": png, "text/html": "<b>"}},
            {"output_type": "display_data", "data": {"image/png": "PHNjcmlwdD4="}},
            {"output_type": "display_data", "data": {"image/svg+xml": "<svg onload=x>"}},
            {"output_type": "widget"},
            "nothing",
        ]
    )
    assert [list(output["data"]) for output in shown] == [["image/png"]]


def test_a_hint_and_no_traceback(course: Path) -> None:
    page = (course / "feedback" / "no_scale" / NAME / f"{NAME}.html").read_text()
    assert "forward: compare with x W" in page
    assert "Traceback" not in page
    assert "0 of 3" in page
    hidden = (course / "feedback" / "only_right_for_the_visible_numbers" / NAME / f"{NAME}.html").read_text()
    assert "A test that you don&#39;t see failed." in hidden
    assert "4711" not in hidden


CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,lora (123),lora extra (124)
    Points Possible,,,,,10,5
"Correct, Cora",1,,correct,A,,3
"No, Nils",2,no_scale,nils,A,9,
"Partly, Pia",3,,partly_right,A,,
"=cmd|' /C calc'!A0",4,,nobody,A,-1.5,
"""


def test_canvas(course: Path, tmp_path: Path) -> None:
    roster = tmp_path / "canvas.csv"
    roster.write_text("\ufeff" + CANVAS, encoding="utf-8")
    found = export(course, NAME, "canvas", tmp_path / "out.csv", roster)
    rows = list(csv.reader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert rows[0] == CANVAS.splitlines()[0].split(",")
    marks = {row[3]: row[5] for row in rows[2:]}
    assert marks == {"correct": "7.5", "nils": "4.5", "partly_right": "", "nobody": ""}
    assert rows[2][6] == "3"
    assert rows[5][0].startswith("'=")
    assert "hostile_markup" in found.unknown
    assert "Partly, Pia" in found.blank


def test_moodle(course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grade", NAME, "--course", str(course), "--export", "moodle", "--out", str(tmp_path / "m.csv")]) == 0
    marks = {row[0]: row[1] for row in csv.reader((tmp_path / "m.csv").open())}
    assert marks["Username"] == NAME
    assert marks["correct"] == "7.5"
    assert marks["partly_right"] == ""
    assert "left blank" in capsys.readouterr().out


def test_nbgraders_own_command_exports_too(course: Path, tmp_path: Path) -> None:
    from course_lib.grading.plugins import CanvasExport, MoodleExport

    (tmp_path / "canvas.csv").write_text(CANVAS)
    with open_gradebook(course) as book:
        for plugin in (CanvasExport(roster=str(tmp_path / "canvas.csv")), MoodleExport()):
            plugin.to, plugin.assignment = str(tmp_path / "out.csv"), [NAME]
            plugin.export(book)
            assert "7.5" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+x", "'+x"),
        ("-cmd", "'-cmd"),
        ("@x", "'@x"),
        ("\t=x", "'\t=x"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        ("Ann", "Ann"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(cell: str, safe: str) -> None:
    assert quoted(cell) == safe


def test_a_roster_that_is_none_is_refused(course: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CourseError, match="no gradebook of Canvas"):
        export(course, NAME, "canvas", tmp_path / "o.csv", tmp_path / "r.csv")
    with pytest.raises(CourseError, match="--roster"):
        export(course, NAME, "canvas", tmp_path / "o.csv")

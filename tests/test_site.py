"""The site: one offline command builds it without a warning, and no link within it leads nowhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from course_lib.notebook.publish import offline
from course_lib.notebook.syllabus import claims, lessons

pytest.importorskip("myst_nb", reason="the extra `site` is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; any warning, and anything that reaches for the network, has failed it."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, ROOT / "site" / "build.py", "--out", folder]
    done = subprocess.run([*map(str, command)], env=os.environ | offline(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Page(HTMLParser):
    """What a page links to and loads, and what can be linked to in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = {"", "top"}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") in {"stylesheet", "preload", "icon", "shortcut icon"}:
            self.loads.append(found.get("href", ""))
        if tag in {"script", "img", "iframe", "source"} and found.get("src"):
            self.loads.append(found["src"])


def dead_links(site: Path) -> list[str]:
    # In _static, the theme keeps templates of pages.
    pages = {file.resolve(): Page(file) for file in site.rglob("*.html") if "_static" not in file.parts}
    dead = []
    for file, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = target.is_file() and (target not in pages or unquote(parts.fragment) in pages[target].ids)
            if not known:
                dead.append(f"{file.relative_to(site.resolve())}: {link}")
    return dead


def test_no_link_within_it_is_dead(site: Path) -> None:
    assert dead_links(site) == []


def test_a_dead_link_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<a href='b.html'></a><a href='#x'></a><img src='c.png'><a id=y href='a.html#y'>")
    assert dead_links(tmp_path) == ["a.html: b.html", "a.html: #x", "a.html: c.png"]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = {(file.name, load) for file in site.rglob("*.html") for load in Page(file).loads}
    assert [(name, load) for name, load in loads if urlsplit(load).scheme not in {"", "data"}] == []
    outside = re.compile(r"""@import\s+["'(]+https?:|url\(["']?https?:""")
    assert [file.name for file in site.rglob("*.css") if outside.search(file.read_text(encoding="utf-8"))] == []


def test_every_lesson_is_there_with_its_outputs(site: Path) -> None:
    for lesson in lessons().values():
        page = (site / "lessons" / lesson.file).with_suffix(".html").read_text(encoding="utf-8")
        notebook = json.loads((ROOT / "lessons" / lesson.file).read_text(encoding="utf-8"))
        widgets = sum("course-flipbook" in str(cell.get("outputs")) for cell in notebook["cells"])
        assert page.count('class="course-flipbook"') == widgets
        assert page.count("holds</span>") >= sum(claim.lesson == lesson.number for claim in claims().values())
        assert "<math" in page or "$" not in str([c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown"])
        assert ".ipynb" not in re.sub(
            r"https?://[^\"']*|<code.*?</code>|<span class=\"pre\">.*?</span>|<pre>.*?</pre>", "", page, flags=re.S
        )


def test_every_claim_stands_in_the_table_with_what_was_measured(site: Path) -> None:
    page = (site / "claims.html").read_text(encoding="utf-8")
    assert [claim for claim in claims() if f">{claim}<" not in page] == []
    assert "not stored" not in page


def test_the_reference_names_the_library(site: Path) -> None:
    ids = set().union(*(Page(file).ids for file in (site / "api").glob("*.html")))
    assert {"course_lib.lora.merge.merge", "course_lib.training.sft.train", "course_lib.notebook.flipbooks.flipbook"} <= ids
    packages = {f"{path.parent.name}.html" for path in (ROOT / "course_lib").glob("*/__init__.py")}
    assert packages <= {path.name for path in (site / "api").glob("*.html")}


def test_measurements_are_the_results_files(site: Path) -> None:
    page = (site / "measurements.html").read_text(encoding="utf-8")
    assert [f.name for f in (ROOT / "benchmarks" / "results").glob("*.json") if f"benchmarks/results/{f.name}" not in page] == []

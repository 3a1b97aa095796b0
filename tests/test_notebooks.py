"""Every lesson is stored executed, whole, readable without a kernel, and the same on whichever machine it was made."""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

LESSONS = sorted((Path(__file__).resolve().parents[1] / "lessons").glob("*.ipynb"))

MAX_BYTES = 600_000
MAX_LINES = 15
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "version": "3"},
}
SKIPPING_TAGS = {"nbval-skip", "raises-exception", "skip-execution"}
# The last alternatives are temporary folders and addresses in memory, which differ from run to run.
MACHINE = re.compile(
    r"(?<![\w./~-])/(work|root|home|Users|tmp|var/folders|srv|opt)/|[A-Z]:\\Users|site-packages|\bat 0x[0-9a-f]{6}"
)
# Ticks and crosses (2713, 2717) are typography; what fonts draw in colour is not.
EMOJI = re.compile(
    "[\U0001f000-\U0001faff\ufe0f\u231a\u231b\u23e9-\u23f3\u26a0\u26a1\u2705\u2728\u274c\u274e\u2753-\u2757\u2795-\u2797\u2b50\u2b55]"
)
IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
ALT = re.compile(r"""\balt=(["'])\s*[^"'\s]""", re.IGNORECASE)
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+")


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a notebook, one sentence a fault."""
    if path.stat().st_size > MAX_BYTES:
        yield f"{path.stat().st_size} bytes: more than {MAX_BYTES}"
    raw = json.loads(path.read_text(encoding="utf-8"))
    ids = [cell.get("id") for cell in raw["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        yield "cell ids are missing or not unique"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            nbformat.validate(raw)  # not nbformat.read, which repairs and only logs
    except Exception as error:  # each nbformat warning has a class of its own
        yield f"invalid: {error}"
    if raw["metadata"] != METADATA:
        yield f"metadata {raw['metadata']}"
    code = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != [*range(1, len(code) + 1)]:
        yield "not run once from top to bottom"
    for place, cell in enumerate(raw["cells"]):
        yield from (f"cell {place}: {fault}" for fault in _cell_faults(cell))


def _cell_faults(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    yield from _text_faults(source)
    if extra := set(cell["metadata"]) - {"tags", "jupyter"}:
        yield f"metadata {extra}"
    if SKIPPING_TAGS & set(cell["metadata"].get("tags", ())) or "NBVAL_SKIP" in source:
        yield "is skipped by the tests"
    if cell["cell_type"] == "markdown" and re.search(r"!\[\s*\]\(", source):
        yield "an image without alt text"
    if cell["cell_type"] != "code":
        return
    if len(source.splitlines()) > MAX_LINES:
        yield f"{len(source.splitlines())} lines of code: more than {MAX_LINES}"
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            yield f"error {output['ename']}"
        data = output.get("data", {})
        if any("widget" in kind for kind in data):
            yield "a widget, which is dead in a stored notebook"
        if any(kind.startswith("image/") for kind in data) and "text/html" not in data:
            yield "a bare picture, which can't have alt text"
        texts = [output.get("text", ""), *(value for kind, value in data.items() if kind.startswith("text/"))]
        for text in map("".join, texts):
            yield from _text_faults(text)
            if "Warning" in DATA_URI.sub("", text):
                yield "shows a warning"


def _text_faults(text: str) -> Iterator[str]:
    text = DATA_URI.sub("", text)
    if found := MACHINE.search(text):
        yield f"shows what only one machine has: {text[found.start() : found.start() + 40]!r}"
    if found := EMOJI.search(text):
        yield f"emoji {found[0]!r}"
    if any(not ALT.search(image) for image in IMAGE.findall(text)):
        yield "an image without alt text"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_stored_as_it_should_be(path: Path) -> None:
    assert list(faults(path)) == []


# --- the checks themselves: a good notebook passes, and each way of being bad is found ---------------------------------


def notebook() -> dict[str, Any]:
    html = '<p>✓ 0.91</p><img src="data:image/webp;base64,/tmp/AAAA" alt="Loss over steps">'
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["0.91\n"]},
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": [html], "text/plain": ["<Figure>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Rank\n", "![The rank](rank.webp)"]},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": ["measure()"], "execution_count": 1, "outputs": outputs},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": ["x = 1"], "execution_count": 2, "outputs": []},
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": json.loads(json.dumps(METADATA)), "cells": cells}


def faults_after(change: Callable[[dict[str, Any]], object], folder: Path) -> list[str]:
    content = notebook()
    change(content)
    path = folder / "lesson.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    return list(faults(path))


def show(text: str, kind: str = "text/html") -> Callable[[dict[str, Any]], object]:
    """A change that adds one output to a notebook."""
    output = {"output_type": "display_data", "metadata": {}, "data": {kind: text}}
    return lambda nb: nb["cells"][2]["outputs"].append(output)


def set_code(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda nb: nb["cells"][2].update(fields)


def set_text(source: str) -> Callable[[dict[str, Any]], object]:
    return lambda nb: nb["cells"][0].update(source=source)


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
BAD = {
    "not run": (set_code(execution_count=None), "not run once"),
    "run out of order": (set_code(execution_count=7), "not run once"),
    "an error": (set_code(outputs=[ERROR]), "error ValueError"),
    "an unknown field": (set_code(colour="red"), "invalid"),
    "no outputs field": (lambda nb: nb["cells"][2].update(outputs=[{"output_type": "stream"}]), "invalid"),
    "no cell id": (lambda nb: nb["cells"][0].pop("id"), "ids"),
    "the same id twice": (set_code(id="b"), "ids"),
    "widget state": (lambda nb: nb["metadata"].update(widgets={}), "metadata"),
    "a widget": (show("{}", "application/vnd.jupyter.widget-view+json"), "widget"),
    "another kernel": (lambda nb: nb["metadata"]["kernelspec"].update(name="venv"), "metadata"),
    "a minor version": (lambda nb: nb["metadata"]["language_info"].update(version="3.11.7"), "metadata"),
    "cell timings": (set_code(metadata={"execution": {}}), "metadata"),
    "a path in an output": (show("saved to /" + "home/ann/run"), "one machine"),
    "a temporary folder": (show("/" + "tmp/tmp123/run"), "one machine"),
    "an address": (show("<object at 0x7f3a5c001230>"), "one machine"),
    "a path in the code": (set_code(source="open('/" + "work/x')"), "one machine"),
    "a warning": (show("UserWarning: no"), "shows a warning"),
    "a skipped cell": (set_code(source="# NBVAL_SKIP\nx"), "skipped"),
    "a skipping tag": (set_code(metadata={"tags": ["raises-exception"]}), "skipped"),
    "markdown image without alt": (set_text("![](rank.webp)"), "alt text"),
    "html image without alt": (show("<img src='x.webp'>"), "alt text"),
    "image with an empty alt": (set_text('<img src="x.webp" alt="">'), "alt text"),
    "a bare picture": (show("AAAA", "image/png"), "bare picture"),
    "too much code": (set_code(source="x = 1\n" * 16), "16 lines"),
    "too large": (show("x" * 600_000), "bytes"),
    "emoji": (set_text("Well done \U0001f389"), "emoji"),
}


def test_a_good_notebook_passes(tmp_path: Path) -> None:
    assert faults_after(lambda nb: None, tmp_path) == []


@pytest.mark.parametrize(("change", "fault"), BAD.values(), ids=BAD)
def test_a_bad_notebook_is_found(change: Callable[[dict[str, Any]], object], fault: str, tmp_path: Path) -> None:
    assert fault in " | ".join(faults_after(change, tmp_path))

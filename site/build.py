"""Build the site: every lesson with its stored outputs, guides, claims, measurements and the library's reference.

    python site/build.py [--out build/site]

Needs no network, neither to build nor to read: the pages open from the disk as well.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from course_lib.notebook.syllabus import claims, lessons, seed_statements  # noqa: E402

LINK = re.compile(r"(?<!\\)\]\(([^)\s#]+)(#[^)\s]*)?\)")
OUTCOME = re.compile(r"\[([^\]]+)\] .*\n\s+measured: (.*)  \(([\w-]+), [^()]*(?:\([^()]*\))?[^()]*\)")


class Tree:
    """The source tree: the repository's own pages under their own paths, so that links between them hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """One file, from its text."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def page(self, source: Path, *, more: str = "") -> None:
        """A Markdown page, with every file that it links to or shows."""
        text = source.read_text(encoding="utf-8")
        text = re.sub(r"\]\(((?:\.\./)*)README\.md", r"](\1index.md", text) if source.parent != ROOT / "course_lib" else text
        self._bring_linked(source, text)
        name = "index.md" if source == ROOT / "README.md" else source.relative_to(ROOT).as_posix()
        self.write(name, text + more)

    def notebook(self, source: Path) -> None:
        """A notebook; what its outputs link to is, on the site, a page."""
        content = json.loads(source.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if cell["cell_type"] == "markdown":
                self._bring_linked(source, "".join(cell["source"]))
            for output in cell.get("outputs", []):
                if "text/html" in (data := output.get("data", {})):
                    data["text/html"] = re.sub(r'(<a href="[\w./-]+)\.ipynb"', r'\1.html"', "".join(data["text/html"]))
        self.write(source.relative_to(ROOT).as_posix(), json.dumps(content))

    def _bring_linked(self, source: Path, text: str) -> None:
        for link, _ in LINK.findall(text):
            if "://" in link or link.startswith("mailto:"):
                continue
            file = (source.parent / link).resolve()
            if file.is_relative_to(ROOT) and file.is_file() and file.suffix not in {".md", ".ipynb"}:
                target = self.folder / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)


# -- generated pages ----------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def measured() -> dict[str, tuple[str, str]]:
    """What the stored lessons say of each claim: its verdict, and what was measured."""
    found = {}
    for path in sorted((ROOT / "lessons").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                text = "".join(output.get("data", {}).get("text/plain", ""))
                found |= {name: (verdict, words) for verdict, words, name in OUTCOME.findall(text)}
    return found


def claims_page() -> str:
    """Every claim with its measurement, and every statement of the page that the course grew from with its verdict."""
    outcomes, known = measured(), lessons()
    parts = [
        "# Claims\n\nEvery statement that the lessons measure, with what the stored run of its lesson measured. The statements stand in "
        "[`lessons/claims.toml`](lessons/claims.toml); a test keeps table and lessons in step.\n"
    ]
    for lesson in known.values():
        rows = [
            (f"{claim.statement} `{claim.id}`", *reversed(outcomes.get(claim.id, ("not stored", ""))), claim.origin)
            for claim in claims().values()
            if claim.lesson == lesson.number
        ]
        if rows:
            parts.append(f"## [{lesson.number} {lesson.title}](lessons/{lesson.file})\n")
            parts.append(table(["claim", "measured", "verdict", "origin"], rows))
    rows = [
        (s.section, s.says, s.verdict, s.found, f"[{s.lesson}](lessons/{known[s.lesson].file})")
        for s in seed_statements()
        if s.lesson in known
    ]
    parts.append(
        "## The statements that the course set out to test\n\nThey stood on the page that it grew from, in other words.\n"
    )
    parts.append(table(["section", "it says", "verdict", "what was found", "lesson"], rows))
    return "\n".join(parts)


def measurements_page() -> str:
    """Every results file of ``benchmarks/`` and ``lessons/results/runtimes.json`` as tables."""
    parts = [
        "# Measurements\n\nEvery table here is made from a results file in `benchmarks/results/`, and each names the command that "
        "measures it again. The sweeps behind lessons 07 and 08 are in the lessons themselves.\n"
    ]
    runtimes = ROOT / "lessons" / "results" / "runtimes.json"
    for path in [*([runtimes] if runtimes.exists() else []), *sorted((ROOT / "benchmarks" / "results").glob("*.json"))]:
        results = json.loads(path.read_text(encoding="utf-8"))
        module = ROOT / "benchmarks" / f"{path.stem}.py"
        says = (_docstring(module) if module.exists() else "").strip()
        parts.append(f"## {path.stem.replace('_', ' ').capitalize()}\n\n{says}\n\n`{path.relative_to(ROOT)}`\n")
        versions = results.pop("versions", {}) if isinstance(results, dict) else {}
        parts += _tables(results, "")
        parts += ["Measured with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".\n"] * bool(
            versions
        )
    return "\n".join(parts)


def _docstring(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    # Indented lines are commands: as code blocks in fences, which Markdown never takes for anything else.
    return re.sub(r"(?m)(?:^ {4}.*\n?)+", lambda m: f"```\n{textwrap.dedent(m[0]).rstrip()}\n```\n", text)


def _tables(value: Any, title: str, depth: int = 3) -> Iterator[str]:
    """Nested results as tables: scalars together in one, a list of records in one, everything else under a heading of its own."""
    if title:
        yield f"{'#' * min(depth, 5)} {title}\n"
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        flat = [dict(_flat(item)) for item in value]
        keys = list(dict.fromkeys(key for item in flat for key in item))
        if len(keys) <= 7:
            yield table(keys, [[item.get(key, "") for key in keys] for item in flat])
        else:  # rows and columns change places, and the first of the keys names the records
            yield table(
                [keys[0], *(item.get(keys[0], "") for item in flat)], [[k, *(i.get(k, "") for i in flat)] for k in keys[1:]]
            )
        return
    if not isinstance(value, dict):
        yield table(["value"], [[_said(value)]])
        return
    rows = [row for key, part in value.items() if not _is_records(part) for row in _flat({key: part})]
    if rows:
        yield table(["what", "value"], rows)
    for key, part in value.items():
        if _is_records(part):
            yield from _tables(part, key.replace("_", " "), depth)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _flat(value: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, part in value.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(part, dict):
            yield from _flat(part, f"{name}: ")
        else:
            yield name, _said(part)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_said(item) for item in value[:12]) + (", ..." if len(value) > 12 else "")
    return "" if value is None else str(value)


def reference(tree: Tree) -> None:
    """One page for each package of the library, each with all of its modules."""
    import course_lib

    modules = [m.name for m in pkgutil.walk_packages(course_lib.__path__, "course_lib.") if not _is_script(m.name)]
    groups: dict[str, list[str]] = {}
    for name in modules:
        top = name.split(".")[1]
        groups.setdefault(top if (ROOT / "course_lib" / top).is_dir() else "more", []).append(name)
    for group, names in groups.items():
        title = f"course_lib.{group}" if group != "more" else "Modules of course_lib itself"
        parts = [title, "=" * len(title), ""]
        for name in names:
            if name != title:
                parts += [name, "-" * len(name), ""]
            parts += [f".. automodule:: {name}", "   :members:", "   :ignore-module-all:", ""]
        tree.write(f"api/{group}.rst", "\n".join(parts) + "\n")
    listed = "\n".join(sorted(set(groups) - {"more"}) + ["more"] * ("more" in groups))
    floors = "Floors, from the ground up, are in [Contributing](CONTRIBUTING.md); a floor imports only from those below it."
    tree.write("reference.md", f"# Reference\n\nThe library that the lessons call. {floors}\n\n" + toctree("", listed, "api/"))


def _is_script(module: str) -> bool:
    """Whether a module works when it is imported, as what runs inside a sandbox does: there is nothing in it to call."""
    tree = (
        ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        if not _is_package(module)
        else ast.Module()
    )
    return module.endswith("__main__") or any(isinstance(node, ast.For | ast.While) for node in getattr(tree, "body", []))


def _is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def toctree(caption: str, names: str, folder: str = "") -> str:
    """A list of pages for the side bar."""
    head = f":caption: {caption}\n" if caption else ""
    listed = "\n".join(folder + name for name in names.split())
    return f"```{{toctree}}\n{head}:maxdepth: 1\n\n{listed}\n```\n\n"


# -- all of it ----------------------------------------------------------------------------------------------------------


def assemble(folder: Path) -> None:
    """Write the source tree."""
    tree = Tree(folder)
    notebooks = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
    exercises = sorted((ROOT / "lessons" / "exercises" / "release").glob("*/*.ipynb"))
    guides = sorted((ROOT / "docs").glob("*.md"))
    others = [ROOT / "course_lib" / "models" / "wren" / "README.md", ROOT / "CONTRIBUTING.md"]
    for path in [*notebooks, *exercises]:
        tree.notebook(path)
    for path in [*guides, *others]:
        tree.page(path)
    tree.write("claims.md", claims_page())
    shutil.copy(ROOT / "lessons" / "claims.toml", tree.folder / "lessons")
    tree.write("measurements.md", measurements_page())
    reference(tree)

    def names(paths: Iterable[Path]) -> str:
        return "\n".join(path.relative_to(ROOT).with_suffix("").as_posix() for path in paths)

    more = "\n\n" + toctree("Lessons", names(notebooks))
    more += toctree("Exercises", names(exercises)) if exercises else ""
    more += toctree("Guides", names(guides)) if guides else ""
    more += toctree("Measured", "claims measurements " + names(others[:1])) + toctree("Library", "reference CONTRIBUTING")
    tree.page(ROOT / "README.md", more=more)


def main(arguments: list[str] | None = None) -> int:
    """The command: Sphinx's exit status; any warning of it is an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="where the pages go (build/site)")
    out = parser.parse_args(arguments).out.resolve()
    source = out.with_name(out.name + "-source")
    assemble(source)
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-E", "-c", HERE, source, out]
    done = subprocess.run([*map(str, command)], env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False)
    for page in out.rglob("*.html"):  # the theme's arrows that open a part of the side bar have no name
        text = page.read_text(encoding="utf-8")
        named = re.sub(r'<summary>(?=\s*<span class="toctree-toggle")', '<summary aria-label="pages below">', text)
        if named != text:
            page.write_text(named, encoding="utf-8")
    if done.returncode == 0:
        print(f"The site is in {out}: open {out / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

"""Sphinx's settings for the site. `build.py` calls Sphinx with a source tree that it puts together from the whole repository."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the package of this checkout, whichever is installed
os.environ.setdefault("TQDM_DISABLE", "1")

pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
repository = pyproject["project"]["urls"]["Repository"]

project = "Fine-Tuning & LoRA, measured"
author = pyproject["project"]["authors"][0]["name"]
project_copyright = author
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}

# Lessons are stored executed: the site shows what `make lessons` measured, and runs nothing.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"  # `course_lib.lora.merge` in a docstring is a link where there is something to link to
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_rtype = False
viewcode_follow_imported_members = False

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = [str(HERE / "static")]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # its script fetches pages, which browsers refuse when the site is opened from the disk
html_theme_options: dict[str, Any] = {
    "repository_url": repository,
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_persistent": [],  # the side bar has the search
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_math_renderer = "mathml"


def formula(self: Any, node: nodes.math) -> None:
    """Formulas as MathML, which every browser draws by itself: no script, no font, no network, and screen readers read it."""
    self.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def readable(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are written for readers of the code: an indented command in a module's is code, and a bar is a bar."""
    found: list[str] = []
    for line in lines:
        if what == "module" and line.startswith("    ") and not (found and found[-1].startswith("    ")):
            found += ["::", ""]
        found.append(line if line.startswith("    ") else re.sub(r"(`+.+?`+)|\|", lambda m: m[1] or r"\|", line))
    lines[:] = found


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", readable, priority=900)  # after napoleon
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

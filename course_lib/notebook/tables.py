"""Tables that a screen reader can read: a caption, and a header to each row and column.

(pandas' Styler has no ``scope`` on its headers and needs its own random ids; a frame is slow to import for ten rows.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from course_lib.evaluation.scores import Score
from course_lib.notebook.html import Shown, number, prose, signed

RULE = "border-bottom:1px solid rgba(128,128,128,.45)"
SHORT, LONG = 24, 48  # characters


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], caption: str) -> Shown:
    """A table whose first column names its rows.

    Args:
        rows: one value a column: texts, counts, measurements, scores.
        columns: the names of the columns, with their units.
        caption: what the table shows.
    """
    values = [list(row) for row in rows]
    if any(len(row) != len(columns) for row in values):
        raise ValueError(f"every row needs {len(columns)} values, one for each of {', '.join(columns)}")
    # Numbers end where their column ends, so that their digits stand below one another.
    cells = [[value if isinstance(value, Markup) else number(value) for value in row] for row in values]
    numeric = [i > 0 and all(row[i][:1] in "+-\N{MINUS SIGN}.0123456789" for row in cells) for i in range(len(columns))]
    side = ["right" if is_numeric else "left" for is_numeric in numeric]

    def heading(content: str) -> str:
        """The style of a row's name: a short one stays in one line, and one that is a sentence isn't shouted."""
        length = len(content.striptags() if isinstance(content, Markup) else content)
        return RULE + (";white-space:nowrap" if length <= SHORT else ";font-weight:normal" if length > LONG else "")

    def cell(tag: str, index: int, content: str, rule: str = RULE) -> Markup:
        shown = content if isinstance(content, Markup) else prose(content)
        return Markup('<{} style="text-align:{};padding:.35em .9em;{}">{}</{}>').format(
            Markup(tag), side[index], rule, shown, Markup(tag.split()[0])
        )

    under = "border-bottom:2px solid currentColor"
    head = Markup("").join(cell('th scope="col"', i, name, under) for i, name in enumerate(columns))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            cell('th scope="row"', 0, first, heading(first)) + Markup("").join(cell("td", i, c) for i, c in enumerate(rest, 1))
        )
        for first, *rest in cells
    )
    html = Markup(
        '<table style="border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums">'
        '<caption style="caption-side:top;text-align:left;padding:.2em 0 .5em;font-weight:600;color:inherit">{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
    ).format(escape(caption), head, body)
    lines = [list(columns), *([str(c) for c in row] for row in cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    justify = [str.ljust if s == "left" else str.rjust for s in side]
    text = "\n".join("  ".join(justify[i](line[i], widths[i]) for i in range(len(columns))).rstrip() for line in lines)
    return Shown(html, f"{caption}\n{text}")


def before_after_table(rows: Iterable[tuple[str, Score, Score, float]], caption: str = "Before and after") -> Shown:
    """Rows of `course_lib.evaluation.report.before_after` as a table."""
    columns = ["skill", "before [95 % interval]", "after [95 % interval]", "change"]
    changes = ([skill, before, after, signed(change)] for skill, before, after, change in rows)
    return table(changes, columns, caption)

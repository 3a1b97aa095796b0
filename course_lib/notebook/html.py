"""HTML that reads on a light page and on a dark one, with a plain text beside it for everything that shows no HTML.

Text takes the page's own colour; only what brings its own background (badges, figures) has a colour of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral

from markupsafe import Markup, escape


@dataclass(frozen=True, repr=False)
class Shown:
    """Something to display: the same content as HTML and as plain text."""

    html: Markup
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": str(self.html), "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def display(shown: Shown) -> None:
    """Put it on the page; outside a notebook, print its text."""
    from IPython.display import display as put

    put(shown)


def prose(text: str) -> Markup:
    """A text, escaped, with `code` between backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def number(value: object, spec: str = "") -> str:
    """A value as a reader wants it: thousands separated, three significant digits, or by a format of Python's."""
    if spec:
        return format(value, spec)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if not hasattr(value, "__float__"):
        return str(value)
    return f"{float(value):,.0f}" if abs(float(value)) >= 1000 else f"{float(value):.3g}"


def signed(change: float) -> str:
    """A change with its sign and two digits; the minus is as wide as the plus."""
    return f"{change:+.2f}".replace("-", "\N{MINUS SIGN}")

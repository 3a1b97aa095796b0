"""Claims: a statement, what was measured just now, and whether it holds."""

from __future__ import annotations

import os
from typing import SupportsFloat

from markupsafe import Markup

from course_lib.notebook.html import Shown, display, number, prose
from course_lib.notebook.progress import keep_claim
from course_lib.notebook.syllabus import Claim, claims

# White on each of these has a contrast of at least 5:1, and each stands out on a white page and on a dark one.
VERDICTS = {
    True: ("\N{CHECK MARK} holds", "#00704F"),
    False: ("\N{BALLOT X} does not hold", "#B34700"),
    None: ("not measured on this model", "#5F6B76"),
}
BOX = Markup(
    '<div style="border-left:4px solid {colour};padding:.2em 0 .2em .9em;margin:.5em 0;max-width:52em">'
    '<div><span style="background:{colour};color:#fff;border-radius:3px;padding:.1em .5em;font-weight:600;white-space:nowrap">'
    "{verdict}</span> {statement}</div>"
    '<div style="margin-top:.35em"><span>{lead}</span> <strong>{measured}</strong> {unit}</div>'
    '<div style="margin-top:.2em;font-size:.85em">{id} &middot; {origin}</div></div>'
)


class ClaimFailed(AssertionError):
    """A claim of the course doesn't hold here."""


def check(claim_id: str, *, holds: bool, measured: SupportsFloat | object, unit: str = "", spec: str = "") -> None:
    """Print a claim beside what was measured, with a tick or a cross, and keep it in the learner's progress.

    A claim marked ``learned`` in the table is about wren's skill: with another model in ``COURSE_MODEL`` it is shown with the
    measurement and not judged.

    Args:
        claim_id: the claim's id in ``lessons/claims.toml``.
        holds: whether the measurement confirms the statement. It never does where ``measured`` is not a number (nan).
        measured: a number, a `course_lib.evaluation.scores.Score`, or a text such as ``"0.91 against 0.53"``.
        unit: what is counted, such as ``"largest difference between logits"``.
        spec: how to write the number, such as ``".1%"``; three significant digits otherwise.

    Raises:
        ClaimFailed: if the claim doesn't hold.
        KeyError: if the table has no such claim.
    """
    claim = _find(claim_id)
    # Not a number compares false with everything, so that a careless `not gap > 0.1` would pass.
    verdict = bool(holds) and bool(measured == measured)
    judged = verdict if _on_wren() or not claim.learned else None
    words, colour = VERDICTS[judged]
    written = number(measured, spec)
    lead = "measured:" if judged is not None else "claimed of wren; here it is"
    html = BOX.format(
        colour=colour,
        verdict=words,
        statement=prose(claim.statement),
        lead=lead,
        measured=written,
        unit=prose(unit),
        id=claim.id,
        origin=claim.origin,
    )
    display(Shown(html, f"[{words}] {claim.statement}\n    {lead} {written} {unit}".rstrip() + f"  ({claim.id}, {claim.origin})"))
    if judged is None:
        return
    keep_claim(claim.id, held=judged)
    if not judged:
        raise ClaimFailed(f"The claim {claim.id!r} doesn't hold here: {claim.statement} Measured: {written} {unit}".rstrip())


def _find(claim_id: str) -> Claim:
    from difflib import get_close_matches

    known = claims()
    if claim_id in known:
        return known[claim_id]
    near = get_close_matches(claim_id, known, n=3)
    raise KeyError(f"lessons/claims.toml has no claim {claim_id!r}" + (f": did you mean {' or '.join(near)}?" if near else "."))


def _on_wren() -> bool:
    return os.environ.get("COURSE_MODEL", "") in ("", "tiny")

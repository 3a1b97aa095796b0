"""What the learner has done, kept on their own computer: lessons opened, claims seen. (Quiz answers live in their browser.)"""

from __future__ import annotations

import datetime
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from markupsafe import Markup

from course_lib.notebook.html import Shown, display, prose
from course_lib.notebook.syllabus import claims, lessons
from course_lib.notebook.tables import table


@dataclass
class Progress:
    """Lessons by number with the day on which each was first opened, and claims by id with whether each held when last seen."""

    opened: dict[str, str] = field(default_factory=dict)
    claims: dict[str, bool] = field(default_factory=dict)


def home() -> Path:
    """The folder of the learner's data: ``COURSE_HOME``, or the usual place for a program's data on this system."""
    from platformdirs import user_data_path

    return Path(os.environ.get("COURSE_HOME") or user_data_path("course_lib", appauthor=False))


def read() -> Progress:
    """The progress so far. A file that can't be understood is set aside as ``progress.json.bak``."""
    path = home() / "progress.json"
    try:
        found = Progress(**json.loads(path.read_text(encoding="utf-8")))
        kinds = (found.opened, str), (found.claims, bool)
        good = all(isinstance(value, kind) for values, kind in kinds for value in values.values())
    except FileNotFoundError:
        return Progress()
    except (ValueError, TypeError, AttributeError):  # not UTF-8, not JSON, not ours
        good = False
    if good:
        return found
    path.replace(path.with_suffix(".json.bak"))
    return Progress()


def update(change: Callable[[Progress], object]) -> None:
    """Read, change and write the progress as one step, also while other notebooks do the same.

    A folder that can't be written to costs the learner a warning, never the lesson.
    """
    from filelock import FileLock

    try:
        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "progress.lock", timeout=10):
            progress = read()
            change(progress)
            part = home() / "progress.json.part"
            part.write_text(json.dumps(asdict(progress), indent=1, sort_keys=True), encoding="utf-8")
            part.replace(home() / "progress.json")
    except OSError as error:
        warnings.warn(f"Your progress can't be kept: {error}. Set COURSE_HOME to a folder that can be written to.", stacklevel=3)


def keep_claim(claim_id: str, *, held: bool) -> None:
    """Note that the learner has seen a claim measured."""
    update(lambda progress: progress.claims.update({claim_id: held}))


_current = ""


def current_lesson() -> str:
    """The number of the lesson that this kernel opened, or nothing."""
    return _current


def open_lesson(number: str) -> None:
    """Note that a lesson was opened, and show one line about it: for the first cell of a lesson.

    Args:
        number: such as ``"02"``.
    """
    known = lessons()
    if number not in known:
        raise KeyError(f"there is no lesson {number!r}: the lessons are {', '.join(known)}")
    global _current
    _current = number
    lesson = known[number]
    update(lambda progress: progress.opened.setdefault(number, datetime.date.today().isoformat()))
    count = sum(claim.lesson == number for claim in claims().values())
    parts = [
        f"Lesson {number}: {lesson.title}",
        f"about {lesson.minutes} minutes",
        f"{count} claim{'s' * (count != 1)} to measure",
        f"model: {os.environ.get('COURSE_MODEL') or 'tiny'}",
    ]
    html = Markup('<p style="margin:.3em 0"><strong>{}</strong>{}</p>').format(
        parts[0], Markup("").join(Markup(" &middot; {}").format(part) for part in parts[1:])
    )
    display(Shown(html, " | ".join(parts)))


# Quizzes keep their answers in the browser (see `quizzes`); this fills in their column wherever a browser shows the table.
COUNT_QUIZZES = Markup("""<script>
for (const cell of document.querySelectorAll('.course-quiz-count')) {
  try {
    const mine = Object.keys(localStorage).filter(key => key.startsWith('course-quiz/' + cell.dataset.lesson + '/'));
    const right = mine.filter(key => localStorage[key] === 'right').length;
    if (mine.length) cell.textContent = right + ' right of ' + mine.length + ' answered';
  } catch (error) { /* a page without storage */ }
}
</script>""")
BAR = Markup(
    '<span style="white-space:nowrap"><span aria-hidden="true" style="display:inline-block;vertical-align:middle;width:8em;'
    'height:.7em;border:1px solid currentColor;border-radius:3px;overflow:hidden">'
    '<span style="display:block;height:100%;width:{percent}%;background:#0072B2"></span></span> {words}</span>'
)


def show_progress() -> None:
    """Show every lesson with what the learner has done in it."""
    try:
        progress = read()
    except OSError:
        progress = Progress()
    of_lesson: dict[str, list[str]] = {}
    for claim in claims().values():
        of_lesson.setdefault(claim.lesson, []).append(claim.id)
    rich, plain = [], []
    for lesson in lessons().values():
        ids = of_lesson.get(lesson.number, [])
        seen = [id for id in ids if id in progress.claims]
        failed = sum(not progress.claims[id] for id in seen)
        words = f"{len(seen)} of {len(ids)}" + (f", {failed} did not hold" if failed else "") if ids else "none"
        opened = "yes" if lesson.number in progress.opened else "not yet"  # a day would change the stored notebook every day
        link = Markup('<a href="{}">{} {}</a>').format(lesson.file, lesson.number, lesson.title)
        bar = BAR.format(percent=round(100 * len(seen) / max(1, len(ids))), words=words)
        quizzes = Markup('<span class="course-quiz-count" data-lesson="{}">none</span>').format(lesson.number)
        rich.append([link, prose(lesson.question), lesson.minutes, opened, bar, quizzes])
        plain.append([f"{lesson.number} {lesson.title}", lesson.question, lesson.minutes, opened, words])
    columns = ["lesson", "the question", "minutes", "opened", "claims measured", "quizzes"]
    html = table(rich, columns, "Your progress, kept on this computer").html + COUNT_QUIZZES
    display(Shown(html, table(plain, columns[:-1], "Your progress, kept on this computer").text))

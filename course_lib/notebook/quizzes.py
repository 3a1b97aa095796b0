"""Questions for the learner, in plain HTML: they work live, with the kernel gone, on a static page, and in Colab."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from markupsafe import Markup

from course_lib.notebook import progress
from course_lib.notebook.html import Shown, display, prose

# Where scripts are stripped, the radio buttons do nothing and the drop-down still explains every option.
SCRIPT = Markup("""<script>
for (const quiz of document.querySelectorAll('.course-quiz:not([data-ready])')) {
  quiz.dataset.ready = '';
  const reasons = quiz.querySelectorAll('li');
  quiz.querySelectorAll('input').forEach((input, i) => {
    input.addEventListener('keydown', event => event.stopPropagation());  // JupyterLab would take the arrow keys
    input.addEventListener('change', () => {
      quiz.querySelector('[role=status]').replaceChildren(...reasons[i].cloneNode(true).childNodes);
      try { localStorage[quiz.dataset.key] = reasons[i].dataset.verdict; } catch (error) { /* a page without storage */ }
    });
  });
}
</script>""")
FRAME = "border:1px solid rgba(128,128,128,.55);border-radius:6px;padding:.6em 1em .8em;margin:.6em 0;max-width:52em"
BADGE = Markup('<strong style="background:{};color:#fff;border-radius:3px;padding:.1em .5em">{}</strong> ')
RIGHT, WRONG = BADGE.format("#00704F", "\N{CHECK MARK} right"), BADGE.format("#B34700", "\N{BALLOT X} not quite")


def quiz(question: str, options: Mapping[str, str], answer: str) -> None:
    """Ask one question with one right answer; whatever is chosen is explained.

    The answer is kept in the learner's browser (its local storage), where `progress.show_progress` counts it, and not in the
    progress file: plain HTML reaches no kernel, and everything that does is dead without one.

    Args:
        question: one sentence; `code` between backticks.
        options: each option with why it is right or wrong.
        answer: the right one of the options.
    """
    if answer not in options:
        raise ValueError(f"the answer {answer!r} is none of the options")
    lesson, key = progress.current_lesson(), hashlib.sha256(question.encode()).hexdigest()[:12]
    choices = Markup("").join(
        Markup('<div style="margin:.3em 0"><label><input type="radio" name="{}"> {}</label></div>').format(key, prose(option))
        for option in options
    )
    reasons = Markup("").join(
        Markup('<li data-verdict="{}">{}<em>{}</em>: {}</li>').format(
            "right" if option == answer else "wrong", RIGHT if option == answer else WRONG, prose(option), prose(why)
        )
        for option, why in options.items()
    )
    html = Markup(
        '<fieldset class="course-quiz" data-key="course-quiz/{}/{}" style="{}">'
        '<legend style="font-weight:600;padding:0 .4em">{}</legend>{}'
        '<div role="status" style="min-height:1.6em;margin:.5em 0"></div>'
        "<details><summary>Every option explained</summary><ul>{}</ul></details></fieldset>{}"
    ).format(lesson, key, FRAME, prose(question), choices, reasons, SCRIPT)
    text = "\n".join([question, *(f"  ( ) {option}" for option in options), f"Answer: {answer}: {options[answer]}"])
    display(Shown(html, text))


def predict(question: str) -> None:
    """Ask the learner to commit to a prediction before the next cell shows the measurement. Nothing is kept.

    Args:
        question: what to predict, such as ``"Which is larger, and by how much?"``.
    """
    html = Markup(
        '<div style="{}"><label><strong>Before you run the next cell.</strong> {}'
        '<textarea rows="2" onkeydown="event.stopPropagation()" placeholder="Your prediction" style="display:block;'
        "box-sizing:border-box;width:100%;margin-top:.5em;padding:.4em .6em;font:inherit;color:inherit;background:transparent;"
        'border:1px solid currentColor;border-radius:4px"></textarea></label></div>'
    ).format(FRAME, prose(question))
    display(Shown(html, f"Before you run the next cell: {question}"))

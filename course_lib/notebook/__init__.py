"""What lessons show: claims, flipbooks, figures, tables, quizzes, progress.

Verbs display at once (`check`, `show`, `quiz`, `predict`, `open_lesson`, `show_progress`). Nouns return something to show: a
flipbook or a table shows itself where it ends a cell; a chart is a Matplotlib figure, and `show` puts it on the page.
"""

from course_lib.notebook.claims import ClaimFailed, check
from course_lib.notebook.flipbooks import flipbook
from course_lib.notebook.plots import before_after_chart, figure, lora_picture, loss_curve, per_type_chart, show
from course_lib.notebook.progress import open_lesson, show_progress
from course_lib.notebook.quizzes import predict, quiz
from course_lib.notebook.tables import before_after_table, table

__all__ = [
    "ClaimFailed",
    "before_after_chart",
    "before_after_table",
    "check",
    "figure",
    "flipbook",
    "lora_picture",
    "loss_curve",
    "open_lesson",
    "per_type_chart",
    "predict",
    "quiz",
    "show",
    "show_progress",
    "table",
]

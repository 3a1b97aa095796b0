"""What lessons show: claims, flipbooks, figures, tables, quizzes, progress.

Verbs display at once (`check`, `show`, `quiz`, `predict`, `open_lesson`, `show_progress`). Nouns return something to show: a
flipbook or a table shows itself where it ends a cell; a chart is a Matplotlib figure, and `show` puts it on the page.
"""

from course_lib.notebook.choosing import adapt, arms_chart, ask, decision_helper, examples_chart, rows_for
from course_lib.notebook.claims import ClaimFailed, check
from course_lib.notebook.dataset import finder_chart, length_histogram, packing_picture, score_chart, token_picture
from course_lib.notebook.flipbooks import flipbook
from course_lib.notebook.frontier import frontier_chart, skills_chart, spread_chart, strength_chart, valley_chart
from course_lib.notebook.merging import combination_chart, dial_chart, ladder_chart
from course_lib.notebook.plots import before_after_chart, figure, lora_picture, loss_curve, per_type_chart, show
from course_lib.notebook.progress import open_lesson, show_progress
from course_lib.notebook.quantisation import (
    block_error_chart,
    code_share_chart,
    levels_chart,
    memory_calculator,
    memory_chart,
    stored_peaks,
)
from course_lib.notebook.quizzes import predict, quiz
from course_lib.notebook.sweeps import (
    best_rate,
    explorer,
    heat_maps,
    rate_by_rank,
    reach,
    reach_chart,
    seed_gap,
    stored_sweep,
    sweep_chart,
    sweep_origin,
    sweep_table,
)
from course_lib.notebook.tables import before_after_table, table

__all__ = [
    "ClaimFailed",
    "adapt",
    "arms_chart",
    "ask",
    "before_after_chart",
    "before_after_table",
    "best_rate",
    "block_error_chart",
    "check",
    "code_share_chart",
    "combination_chart",
    "decision_helper",
    "dial_chart",
    "examples_chart",
    "explorer",
    "figure",
    "finder_chart",
    "flipbook",
    "frontier_chart",
    "heat_maps",
    "ladder_chart",
    "length_histogram",
    "levels_chart",
    "lora_picture",
    "loss_curve",
    "memory_calculator",
    "memory_chart",
    "open_lesson",
    "packing_picture",
    "per_type_chart",
    "predict",
    "quiz",
    "rate_by_rank",
    "reach",
    "reach_chart",
    "rows_for",
    "score_chart",
    "seed_gap",
    "show",
    "show_progress",
    "skills_chart",
    "spread_chart",
    "stored_peaks",
    "stored_sweep",
    "strength_chart",
    "sweep_chart",
    "sweep_origin",
    "sweep_table",
    "table",
    "token_picture",
    "valley_chart",
]

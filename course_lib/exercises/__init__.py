"""Exercises: what each task's answer must do, and the hint that names a mistake. Needs numpy and nothing more.

A student writes a function and calls ``check("02.merge", merge)``: it prints *passed*, or ends in one sentence. The same checks, under
other seeds, are the hidden part of the graded cells (``lessons/exercises``).
"""

from course_lib.exercises.answers import Answer, NotPlain, NotYet, as_plain, require
from course_lib.exercises.tasks import LESSONS, Task, check, task, task_named, tasks

__all__ = [
    "LESSONS",
    "Answer",
    "NotPlain",
    "NotYet",
    "Task",
    "as_plain",
    "check",
    "require",
    "task",
    "task_named",
    "tasks",
]

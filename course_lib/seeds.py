"""The seed behind every default: 0, or what ``COURSE_SEED`` says, so that the whole course can be run again with fresh luck."""

from __future__ import annotations

import os

from course_lib.errors import CourseError

ENVIRONMENT = "COURSE_SEED"


def default_seed() -> int:
    """The seed for training, training data and questions where none is given.

    Raises:
        CourseError: ``COURSE_SEED`` is set to something that is no whole number.
    """
    said = os.environ.get(ENVIRONMENT) or "0"
    try:
        return int(said)
    except ValueError:
        raise CourseError(f"{ENVIRONMENT} must be a whole number, not {said!r}") from None

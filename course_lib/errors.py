"""What went wrong, in the user's words."""


class CourseError(Exception):
    """A mistake of the user's, or of their machine: one sentence that says what is wrong and what to do about it.

    The command ``course`` prints the sentence and exits with status 2; a notebook shows it as it is.
    """

"""Grading what students hand in: intake, sandbox, two processes, one writer, feedback, export. For instructors."""

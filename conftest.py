"""However pytest is called, lessons, and whatever else it starts, reach nothing but this computer."""

import os

from course_lib.notebook.publish import offline

os.environ.update(offline())


def pytest_collection_modifyitems(items: list) -> None:
    """Give nbval's cells longer than its 5 seconds for the last message of a finished cell: a machine that stalls is no failing lesson."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60

"""However pytest is called, lessons, and whatever else it starts, reach nothing but this computer."""

import os

import pytest

from course_lib.notebook.publish import offline

os.environ.update(offline())


def pytest_configure(config: pytest.Config) -> None:
    """Only ``-m gpu`` sees the GPUs: what the other tests expect was worked out for a CPU, in 32 bits."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list) -> None:
    """Give nbval's cells longer than its 5 seconds for the last message of a finished cell: a machine that stalls is no failing lesson."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60

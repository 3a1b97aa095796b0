"""What docs/merging.md says is what the code does, and what was measured."""

import json
from pathlib import Path

from course_lib.lora.layout import REFUSED, SUPPORTED

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/merging.md").read_text()


def test_the_tables_of_features_are_the_codes():
    for feature, fields in SUPPORTED.items():
        assert f"| {feature} | {', '.join(fields)} |" in TEXT
    for field, why in REFUSED.items():
        assert f"| {field} | {why} |" in TEXT


def test_the_figures_are_those_of_the_results_file():
    from benchmarks.streaming_merge import RESULTS, table

    assert table(json.loads(RESULTS.read_text())) in TEXT

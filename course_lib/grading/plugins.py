"""Export plug-ins for nbgrader's own command: ``nbgrader export --exporter course_lib.grading.plugins.CanvasExport``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nbgrader.plugins import ExportPlugin
from traitlets import Unicode

from course_lib.errors import CourseError
from course_lib.grading.export import export_from, told

if TYPE_CHECKING:
    from nbgrader.api import Gradebook


class _Export(ExportPlugin):
    kind = ""
    roster = Unicode("", help="the CSV that the learning platform exported").tag(config=True)

    def export(self, gradebook: Gradebook) -> None:
        """Write one assignment, which ``--assignment`` names."""
        if len(self.assignment) != 1:
            raise CourseError("name one assignment: --assignment '[\"NAME\"]'")
        name = str(self.assignment[0])
        roster = Path(self.roster) if self.roster else None
        self.log.info("%s", told(export_from(gradebook, name, self.kind, Path(self.to or f"{name}-{self.kind}.csv"), roster)))


class CanvasExport(_Export):
    """Marks merged into the CSV that Canvas exported: ``--CanvasExport.roster=F.csv``."""

    kind = "canvas"


class MoodleExport(_Export):
    """Marks as a CSV that Moodle imports."""

    kind = "moodle"

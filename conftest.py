"""However pytest is called, lessons, and whatever else it starts, reach nothing but this computer."""

import os

from course_lib.notebook.publish import offline

os.environ.update(offline())

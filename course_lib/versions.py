"""Versions of everything that a number depends on."""

import platform
import sys
from importlib import metadata

import course_lib

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "accelerate", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Package versions, Python and platform, for the results file of a run. Packages that are absent are left out."""
    found = {"course_lib": course_lib.__version__, "python": sys.version.split()[0], "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

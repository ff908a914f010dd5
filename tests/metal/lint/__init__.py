"""A strict front end for the project's Metal kernels that needs no Mac: ``python -m tests.metal.lint``."""

from .driver import METAL, lint, lint_all, lint_files, load, specialised, variants
from .finding import Finding, Source
from .frontend import MissingClang

__all__ = [
    "METAL",
    "Finding",
    "MissingClang",
    "Source",
    "lint",
    "lint_all",
    "lint_files",
    "load",
    "specialised",
    "variants",
]

"""A strict front end for the project's Metal kernels that needs no Mac: ``python -m tests.metal.lint``."""

from .finding import Finding, Source
from .frontend import MissingClang
from .lint import METAL, lint, lint_all, load, specialised

__all__ = ["METAL", "Finding", "MissingClang", "Source", "lint", "lint_all", "load", "specialised"]

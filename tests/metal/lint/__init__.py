"""A strict front end for the project's Metal kernels that needs no Mac: ``python -m tests.metal.lint``."""

from .finding import Finding, Source
from .frontend import MissingClang
from .lint import METAL, lint, lint_all, lint_files, load, specialised, variants

__all__ = ["METAL", "Finding", "MissingClang", "Source", "lint", "lint_all", "lint_files", "load", "specialised", "variants"]

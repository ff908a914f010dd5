"""What is wrong with a file."""

from __future__ import annotations

__all__ = ["IndexFileError"]


class IndexFileError(ValueError, RuntimeError):
    """A file is not what it should be: cut, changed, of another kind, or inconsistent.

    Attributes:
        offset: the byte at which it shows, counted from where reading began.
    """

    offset: int = 0

"""MetalFaiss where a program says ``import faiss``."""

from __future__ import annotations

import sys

__all__ = ["install_as_faiss"]


def install_as_faiss() -> None:
    """Lets ``import faiss`` give this package from now on, also to other libraries in this process.

    Call it before anything imports FAISS::

        import metalfaiss

        metalfaiss.install_as_faiss()

    Raises:
        RuntimeError: FAISS itself has been imported already: its classes would be mixed with these.
    """
    package = sys.modules[__package__]
    found = sys.modules.setdefault("faiss", package)
    if found is not package:
        raise RuntimeError(
            "[install_as_faiss] FAISS must not have been imported before. Received a process that has: call "
            "install_as_faiss() first."
        )

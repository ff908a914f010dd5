"""Small programs as users of FAISS write them: their data, how they are run with both libraries, and what must agree.

Each program is given the module and a folder, and returns arrays and numbers: distances to rounding, ids where neither
rounding nor what is drawn at random decides, and sizes. Vectors lie in clear groups, so that training ends in the same
place.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

D = 32
rng = np.random.default_rng(1234)
GROUPS = 20 * rng.standard_normal((16, D))
XB = (GROUPS[rng.integers(0, 16, 2000)] + rng.standard_normal((2000, D))).astype(np.float32)
XQ = (XB[:40] + 0.1 * rng.standard_normal((40, D))).astype(np.float32)
XT = XB[::2].copy()


def contrib(f: Any, module: str) -> Any:
    return importlib.import_module(f"{f.__name__}.contrib.{module}")


def by_id(lims: Any, dists: Any, ids: Any) -> list[Any]:
    """Results of a range search in an order that both libraries have."""
    out = []
    for a, b in zip(lims[:-1].astype(int), lims[1:].astype(int), strict=True):
        order = np.argsort(ids[a:b])
        out += [ids[a:b][order], dists[a:b][order]]
    return [np.asarray(lims).astype(int), *out]


def agree(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        if len(theirs) == 2 and [getattr(a, "ndim", 0) for a in theirs] == [2, 2]:  # distances, ids: rounding swaps ids
            ours, theirs = (ours[0], np.sort(ours[1])), (theirs[0], np.sort(theirs[1]))
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        exact = theirs.dtype.kind in "iu"
        np.testing.assert_allclose(ours, theirs, rtol=0 if exact else 2e-4, atol=0 if exact else 2e-4)
    else:
        assert ours == theirs or ours == pytest.approx(theirs, rel=1e-5)


def run_both(program: Any, folder: Path) -> None:
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    agree(program(metalfaiss, folder / "ours"), program(faiss, folder / "theirs"))

"""What tests that give the same calls to FAISS and to metalfaiss share: data, and when two results are the same."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest

import metalfaiss

X = np.random.default_rng(0).standard_normal((9, 6)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
CODES = np.random.default_rng(2).integers(0, 256, (30, 8), dtype=np.uint8)
BOTH = pytest.mark.parametrize("lib", [faiss, metalfaiss], ids=["faiss", "metalfaiss"])


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    elif isinstance(theirs, list):
        assert ours == theirs
    else:
        assert ours == pytest.approx(theirs, rel=1e-5)

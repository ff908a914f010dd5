"""Files that are cut, changed or made to hurt raise IndexFileError, with the offset, and take no memory."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.files.oracle import FLAT, content, made

import metalfaiss

FILES = {factory: content(made(factory, n=9)) for factory in (*FLAT, "IVF4,FlatDedup", "IVF4,PCA4,SH2.5c")}
FILES["MinMax,SQ8"] = content(made("MinMax,SQ8", n=0))
HEADER = "<4siqqqBi"


def flat(d: int, ntotal: int, count: int, codes: bytes = b"", fourcc: bytes = b"IxF2", metric: int = 1) -> bytes:
    return struct.pack(HEADER, fourcc, d, ntotal, 1 << 20, 1 << 20, 1, metric) + struct.pack("<Q", count) + codes


def refused(data: bytes, match: str, offset: int | None = None) -> None:
    with pytest.raises(metalfaiss.IndexFileError, match=match) as caught:
        metalfaiss.deserialize_index(data)
    assert isinstance(caught.value, ValueError)
    assert offset is None or caught.value.offset == offset
    assert f"byte {caught.value.offset})" in str(caught.value)


def test_sizes() -> None:
    refused(
        flat(4, 2, 2**63 + 7), r"\[deserialize_index\] The file must have fewer than 2\^64 more bytes for codes", 45
    )
    refused(flat(4, 2**62, 2**61), "must have 9223372036854775808 more bytes for codes. Received 0", 45)
    refused(flat(4, -1, 0), "ntotal must not be negative. Received -1", 8)
    refused(flat(-4, 1, 0), "d must not be negative. Received -4", 4)
    refused(flat(0, 0, 0), "d must be at least 1")
    refused(flat(4, 3, 8, bytes(32)), r"codes must be ntotal\*d\*4: 48. Received 32", 37)
    refused(flat(4, 2, 8, bytes(32), metric=0), "metric_type must be 1. Received 0")
    refused(flat(4, 2, 8, bytes(31)), "32 more bytes for codes. Received 31", 45)
    refused(b"", "4 more bytes for a fourcc", 0)
    refused(b"\x00zz\xff", r'Received "\\x00zz\\xff"', 0)
    refused(FILES["Flat"][:32] + b"\x02" + FILES["Flat"][33:], "is_trained must be 0 or 1. Received 2", 32)
    no_metric = struct.pack("<4siqqqBif", b"IxFl", 4, 2, 0, 0, 1, 999, 0.0)
    refused(no_metric + struct.pack("<Q", 8) + bytes(32), "metric must be .* Received 999")


def test_nesting() -> None:
    one = struct.pack(HEADER, b"IxMp", 4, 0, 0, 0, 1, 1)
    refused(one * 100, "nested at most 32 deep")
    refused(one * 100_000, "nested at most 32 deep")


def test_many_small_records() -> None:
    """A transform takes 17 bytes of a file, and more as a record."""
    transform = struct.pack("<4sfiiB", b"VNrm", 2.0, 4, 4, 1)
    data = struct.pack(HEADER, b"IxPT", 4, 0, 0, 0, 1, 1) + struct.pack("<i", 200_000) + transform * 200_000
    refused(data, "must not take more memory than the file has bytes")


@pytest.mark.parametrize("factory", FLAT)
def test_every_cut(factory: str) -> None:
    data = FILES[factory]
    for n in range(len(data)):
        with pytest.raises(metalfaiss.IndexFileError):
            metalfaiss.deserialize_index(data[:n])


def accepted_or_refused(data: bytes) -> None:
    tracemalloc.start()
    try:
        index = metalfaiss.deserialize_index(data)
        metalfaiss.serialize_index(index)
        if index.d < 1000:
            with contextlib.suppress(RuntimeError, ValueError):  # not trained, say
                index.search(np.zeros((1, index.d), np.float32), 2)
    except (metalfaiss.IndexFileError, NotImplementedError):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 << 20


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_flips(factory: str, data: Any) -> None:
    changed = bytearray(FILES[factory])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(changed), 160) - 1) | st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
    accepted_or_refused(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_numbers(factory: str, data: Any) -> None:
    """Eight bytes become a number near a limit."""
    changed = bytearray(FILES[factory])
    at = data.draw(st.integers(0, min(len(changed), 120) - 8))
    number = data.draw(st.sampled_from([-1, -(2**63), 2**63 - 1, 2**62, 2**32, 2**31, 2**61 + 1, 2**20]))
    changed[at : at + 8] = struct.pack("<q", number)
    accepted_or_refused(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"IxF2", b"IxMp", b"IxPT", b"IxRF", b"IwFl"]))
def test_noise(noise: bytes, start: bytes) -> None:
    accepted_or_refused(start + noise)

"""An index searched by another process's client, without pickle; what a server refuses."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metalfaiss
from metalfaiss.contrib import client_server, rpc

XB = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
XQ = XB[:20] + np.float32(0.01)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Any], int]:
    """Serves an index in a thread, and returns its port."""

    def start(index: Any) -> int:
        report = tmp_path / f"port{id(index)}"
        threading.Thread(
            target=rpc.run_server,
            args=(lambda s: client_server.SearchServer(s, index), 0, str(report)),
            daemon=True,
        ).start()
        for _ in range(500):
            if report.exists() and report.read_text().endswith(" "):
                return int(report.read_text().split(":")[1])
            time.sleep(0.01)
        raise TimeoutError

    return start


@pytest.mark.parametrize("metric", [0, 1])
def test_servers_together_are_one_index(serve: Callable[[Any], int], metric: int) -> None:
    whole = metalfaiss.index_factory(8, "IVF4,Flat", metric)
    whole.train(XB)
    parts = [metalfaiss.clone_index(whole) for _ in range(2)]
    whole.add(XB)
    for i, part in enumerate(parts):
        part.add_with_ids(XB[150 * i : 150 * (i + 1)], np.arange(150) + 150 * i)
    client = client_server.ClientIndex([("localhost", serve(part)) for part in parts])
    assert (client.ni, client.ntotal, client.get_ntotal()) == (2, 300, 300)
    for nprobe in (1, 3):
        client.set_nprobe(nprobe)
        whole.nprobe = nprobe
        for ours, theirs in zip(client.search(XQ, 5), whole.search(XQ, 5), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    lims, D, I = client.sub_indexes[0].range_search(XQ, 1.0)
    wanted = parts[0].range_search(XQ, 1.0)
    for ours, theirs in zip((lims, D, I), wanted, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(client.sub_indexes[1].assign(XQ, 2), parts[1].assign(XQ, 2))
    threads = metalfaiss.omp_get_max_threads()
    client.set_omp_num_threads(threads)
    client.close()


def test_a_server_exposes_what_it_says(serve: Callable[[Any], int]) -> None:
    index = metalfaiss.IndexFlatL2(8)
    index.add(XB)
    port = serve(index)
    client = rpc.Client("localhost", port)
    for name in ("add", "reset", "__init__", "exec_loop", "index"):
        with pytest.raises(rpc.ServerException, match="The method must be one of"):
            client.generic_fun(name, ())
    with pytest.raises(rpc.ServerException, match=r"ArgumentError: \[IndexFlatL2.search\] x must have shape \(n, 8\)"):
        client.search(XQ[:, :5].copy(), 3)
    with pytest.raises(rpc.ServerException, match="must be or wrap an IVF index"):
        client.set_nprobe(3)
    with pytest.raises(TypeError, match="Values must be numbers"):
        client.search({"a": 1}, 3)
    with pytest.raises(TypeError, match="Arrays must hold numbers"):
        client.search(np.array(["text"]), 3)
    np.testing.assert_array_equal(client.reconstruct_n(0, 300), XB)  # the connection is as it was
    client.close()


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 3) + b"abc",
        struct.pack("<Q", 100) + b"{",
        struct.pack("<Q", 60) + b'{"content": ["search"], "arrays": [["|O", [3]]]}'.ljust(60),
        struct.pack("<Q", 70) + b'{"content": ["search"], "arrays": [["<f8", [99999999, 99999999]]]}'.ljust(70),
        struct.pack("<Q", 70) + b'{"content": ["search"], "arrays": [["<f8", [-3]]]}'.ljust(70),
        struct.pack("<Q", 60) + b'{"content": {"array": 7}, "arrays": []}'.ljust(60),
        struct.pack("<Q", 1 << 18) + b"[" * (1 << 18),
        b"\x80\x04\x95",  # a pickle
    ],
)
def test_what_is_no_message_ends_the_connection(serve: Callable[[Any], int], message: bytes) -> None:
    index = metalfaiss.IndexFlatL2(8)
    port = serve(index)
    with socket.create_connection(("localhost", port), timeout=20) as s:
        s.sendall(message)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
    client = rpc.Client("localhost", port)
    assert client.get_ntotal() == 0
    client.close()

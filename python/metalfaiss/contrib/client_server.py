"""An index that other processes search, and one that is spread over several of those: FAISS's ``client_server``.

The protocol is not FAISS's, which is ``pickle``: see ``rpc``. Servers and clients are both MetalFaiss.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metalfaiss import ivflib
from metalfaiss.contrib import rpc
from metalfaiss.environment import omp_set_num_threads
from metalfaiss.metrics import is_similarity_metric
from metalfaiss.results import ResultHeap

__all__ = ["ClientIndex", "SearchServer", "run_index_server"]


class SearchServer(rpc.Server):
    """What a client may do with an index: search it, and set how. Clients cannot change what it stores.

    Args:
        s: the socket of the connection.
        index: the index.
    """

    exposed: ClassVar[frozenset[str]] = frozenset(
        {
            "assign",
            "get_metric_type",
            "get_ntotal",
            "range_search",
            "reconstruct_n",
            "search",
            "set_nprobe",
            "set_omp_num_threads",
        }
    )

    def __init__(self, s: socket.socket, index: Any) -> None:
        super().__init__(s)
        self.index = index

    def set_nprobe(self, nprobe: int) -> None:
        """Sets how many lists are searched; the index must be or wrap one with inverted lists."""
        ivflib.extract_index_ivf(self.index).nprobe = nprobe

    def set_omp_num_threads(self, nt: int) -> None:
        """Sets how many threads the server uses."""
        omp_set_num_threads(nt)

    def get_ntotal(self) -> int:
        """How many vectors the index holds."""
        return int(self.index.ntotal)

    def get_metric_type(self) -> int:
        """The metric of the index."""
        return int(self.index.metric_type)

    def search(self, x: NDArray[Any], k: int) -> Any:
        """``index.search``."""
        return self.index.search(x, k)

    def range_search(self, x: NDArray[Any], thresh: float) -> Any:
        """``index.range_search``."""
        return self.index.range_search(x, thresh)

    def assign(self, x: NDArray[Any], k: int) -> Any:
        """``index.assign``."""
        return self.index.assign(x, k)

    def reconstruct_n(self, n0: int = 0, ni: int = -1) -> Any:
        """``index.reconstruct_n``."""
        return np.asarray(self.index.reconstruct_n(n0, ni))


def run_index_server(index: Any, port: int, v6: bool = False, host: str = "localhost") -> None:
    """Serves an index for ever.

    Args:
        index: the index.
        port: where to listen.
        v6: whether to use IPv6.
        host: the address to listen at; ``""`` stands for every address of this machine. There is neither encryption nor
            a password.

    Raises:
        OSError: the address cannot be had.
    """
    rpc.run_server(lambda s: SearchServer(s, index), port, v6=v6, host=host)


class ClientIndex:
    """Indexes on servers, searched together: each holds a part of the vectors, under ids of its own.

    Args:
        machine_ports: name, or address, and port of each server.
        v6: whether to use IPv6.

    Raises:
        OSError: there is no such server.
        metalfaiss.contrib.rpc.ServerException: from a call, if a server's method raises.

    Attributes:
        ntotal: how many vectors the servers held at first.
    """

    def __init__(self, machine_ports: Sequence[tuple[str, int]], v6: bool = False) -> None:
        self.sub_indexes = [rpc.Client(machine, port, v6) for machine, port in machine_ports]
        self.ni = len(self.sub_indexes)
        self.pool = ThreadPoolExecutor(max(1, self.ni))
        self.ntotal = self.get_ntotal()
        self._keep_max = any(is_similarity_metric(metric) for metric in self._all(lambda s: s.get_metric_type()))
        self.verbose = False

    def _all(self, call: Callable[[rpc.Client], Any]) -> list[Any]:
        return list(self.pool.map(call, self.sub_indexes))

    def set_nprobe(self, nprobe: int) -> None:
        """Sets how many lists each server searches."""
        self._all(lambda s: s.set_nprobe(nprobe))

    def set_omp_num_threads(self, nt: int) -> None:
        """Sets how many threads each server uses."""
        self._all(lambda s: s.set_omp_num_threads(nt))

    def get_ntotal(self) -> int:
        """How many vectors the servers hold."""
        return sum(self._all(lambda s: s.get_ntotal()))

    def search(self, x: NDArray[Any], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best of all servers: distances and ids, shape (n, k)."""
        heap = ResultHeap(len(x), k, keep_max=self._keep_max)
        for D, I in self._all(lambda s: s.search(x, k)):
            heap.add_result(D, I)
        heap.finalize()
        return heap.D, heap.I

    def close(self) -> None:
        """Closes the connections."""
        for sub_index in self.sub_indexes:
            sub_index.close()
        self.pool.shutdown()

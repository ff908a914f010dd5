"""Inverted lists of binary codes, searched by Hamming distance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _core, _host
from metalfaiss._host import Array, Stream
from metalfaiss.clustering import Clustering, ClusteringParameters
from metalfaiss.errors import ArgumentError
from metalfaiss.hamming import binary_to_real, real_to_binary
from metalfaiss.indexes import _checks
from metalfaiss.indexes._code_store import Codes, Within
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.binary import IndexBinary
from metalfaiss.indexes.flat import IndexFlatL2
from metalfaiss.inverted_lists import ArrayInvertedLists, DirectMap, InvertedLists
from metalfaiss.search_parameters import SearchParameters, SearchParametersIVF

__all__ = ["IndexBinaryIVF"]

Ids = NDArray[np.int64]


class IndexBinaryIVF(IndexBinary):
    """Codes in ``nlist`` lists, each of the codes nearest to one of a quantizer; a search reads ``nprobe`` lists.

    Training runs k-means on the codes as vectors of -1 and 1 and rounds the centroids to codes.

    Args:
        quantizer: an index of binary codes, which holds, or is given in training, one for each list.
        d: the bits of a code, a multiple of 8.
        nlist: how many lists.

    Raises:
        TypeError: ``quantizer`` is not an ``IndexBinary``, or a number not an integer.
        ValueError: ``d`` is not a positive multiple of 8 or not that of the quantizer, or ``nlist`` is less than 1.

    Attributes:
        quantizer: the index of the lists' codes.
        nlist: how many lists.
        nprobe: how many of them a search reads.
        max_codes: how many codes a search for neighbours compares a query with at most; 0 for any.
        invlists: the lists.
        direct_map: where codes lie by id.
        cp: how to cluster: ``ClusteringParameters``.
        clustering_index: the index that k-means assigns vectors with, or None.
        own_fields, own_invlists, use_heap, per_invlist_search: kept for programs written for FAISS; without effect.
    """

    _parameters_type = SearchParametersIVF

    def __init__(self, quantizer: IndexBinary, d: int, nlist: int, own_invlists: bool = True) -> None:
        super().__init__(d)
        name = type(self).__name__
        if not isinstance(quantizer, IndexBinary):
            raise TypeError(f"[{name}] quantizer must be an IndexBinary. Received {type(quantizer).__name__}.")
        if quantizer.d != d:
            raise ArgumentError(f"[{name}] quantizer must have d {d}. Received {quantizer.d}.")
        self.quantizer = quantizer
        self._nlist = _host.integer(name, "nlist", nlist, 1)
        self.nprobe, self.max_codes = 1, 0
        self.invlists: InvertedLists = ArrayInvertedLists(nlist, self.code_size)
        self.direct_map = DirectMap()
        self.cp = ClusteringParameters()
        self.cp.niter = 10
        self.clustering_index: Index | None = None
        self.own_fields, self.own_invlists = False, own_invlists
        self.use_heap, self.per_invlist_search = True, False
        self.is_trained = quantizer.is_trained and quantizer.ntotal == nlist
        self._ntotal = 0

    @property
    def ntotal(self) -> int:
        return self._ntotal

    @property
    def nlist(self) -> int:
        """How many lists."""
        return self._nlist

    # ------------------------------------------------------------------------------------ storing

    def _train(self, x: mx.array) -> None:
        if not (self.quantizer.is_trained and self.quantizer.ntotal == self.nlist):
            clustering = Clustering(self.d, self.nlist, self.cp)
            index = IndexFlatL2(self.d) if self.clustering_index is None else self.clustering_index
            clustering.train(_host.to_numpy(binary_to_real(x))[0], index)
            self.quantizer.reset()
            self.quantizer.add(real_to_binary(np.asarray(clustering.centroids).reshape(self.nlist, self.d)))
            self.quantizer.is_trained = True
        self.is_trained = True

    def _add(self, x: mx.array) -> None:
        self._add_with_ids(x, np.arange(self.ntotal, self.ntotal + x.shape[0], dtype=np.int64))

    def _add_with_ids(self, x: mx.array, ids: Ids) -> None:
        _, assigned = self.quantizer._search(x, 1, None, mx.Device(mx.cpu))
        codes, lists = _host.to_numpy(x, assigned)
        places = self.invlists._changed("add_entries").add(lists.reshape(-1), ids, codes)
        self.direct_map._native.add(ids, places)
        self._ntotal += ids.size

    def _reset(self) -> None:
        self.invlists.reset()
        self.direct_map._native.clear()
        self._ntotal = 0

    def _remove_ids(self, selector: Any) -> int:
        if self.direct_map.type == DirectMap.Array:
            raise RuntimeError(
                f"[{self._op('remove_ids')}] The direct map must be none, or a hash table. Received an array."
            )
        removed = int(self.invlists._changed("remove").remove(selector._native))
        self._ntotal -= removed
        self._restore_map()
        return removed

    def _check_compatible(self, op: str, other: IndexBinaryIVF) -> None:
        self._require_same(op, "nlist", self.nlist, other.nlist)
        if not (self.direct_map.no() and other.direct_map.no()):
            raise RuntimeError(f"[{op}] The indexes must have no direct map. Received one that has.")

    def _merge_from(self, other: IndexBinaryIVF, add_id: int) -> None:
        self.invlists.merge_from(other.invlists, add_id)
        self._ntotal += other._ntotal
        other._ntotal = 0

    # ---------------------------------------------------------------------------------- searching

    def _probes(self, x: mx.array, params: SearchParameters | None, stream: Stream) -> mx.array:
        wanted, inner = self.nprobe, None
        if isinstance(params, SearchParametersIVF):
            wanted, inner = params.nprobe, params.quantizer_params
        nprobe = min(_host.integer(self._op("search"), "nprobe", wanted, 1), self.nlist)
        return self.quantizer._search(x, nprobe, self.quantizer._parameters("search", inner), stream)[1]

    def _scanned(self, params: SearchParameters | None) -> tuple[Any, _core.IdSelector | None, int]:
        """The lists, which ids, and how many codes at most."""
        most = self.max_codes
        if isinstance(params, SearchParametersIVF):
            most = params.max_codes
            if params.ensure_topk_full or params.max_empty_result_buckets:
                raise ArgumentError(
                    f"[{self._op('search')}] ensure_topk_full and max_empty_result_buckets must be False and 0 for "
                    f"lists of binary codes. Received {params!r}."
                )
        selector = None if params is None or params.sel is None else params.sel._native
        return self.invlists._native, selector, most

    def _search(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array]:
        probes = self._probes(x, params, stream)
        return _core.search_hamming_lists(x, probes, k, *self._scanned(params), stream=stream)

    def _range_search(self, x: mx.array, radius: float, params: SearchParameters | None, stream: Stream) -> Within:
        probes = self._probes(x, params, stream)
        lists, selector, _ = self._scanned(params)
        lims, D, I = _host.to_numpy(*_core.range_search_hamming_lists(x, probes, int(radius), lists, selector))
        return lims, D, I

    def search_preassigned(
        self, x: Array, k: int, Iq: Array, Dq: Array | None = None, *, stream: Stream = None
    ) -> tuple[Any, Any]:
        """``search`` in given lists.

        Args:
            x: queries, uint8, shape (n, d / 8).
            k: how many.
            Iq: the lists of each query, int64, shape (n, nprobe); -1 for none.
            Dq: distances of their codes; not needed.
            stream: where to run; a CPU stream.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does, or ``Iq`` has another shape.
        """
        codes, probes = self._preassigned("search_preassigned", x, Iq)
        k = _host.integer(self._op("search_preassigned"), "k", k, 1)
        found = _core.search_hamming_lists(codes, probes, k, *self._scanned(None), stream=stream)
        if isinstance(x, mx.array):
            return found
        D, I = _host.to_numpy(*found)
        return D, I

    def range_search_preassigned(self, x: Array, thresh: float, Iq: Array, Dq: Array | None = None) -> Within:
        """``range_search`` in given lists: arguments as for ``search_preassigned``."""
        op = "range_search_preassigned"
        codes, probes = self._preassigned(op, x, Iq)
        below = int(np.ceil(_checks.radius(self._op(op), thresh)))
        found = _core.range_search_hamming_lists(codes, probes, below, self.invlists._native)
        lims, D, I = _host.to_numpy(*found)
        return lims.astype(np.uint64), D, I

    def _preassigned(self, method: str, x: Array, Iq: Array) -> tuple[mx.array, mx.array]:
        codes = self._codes_of(method, "x", x)
        self._require_trained(self._op(method))
        probes = mx.array(Iq) if not isinstance(Iq, mx.array) else Iq
        if probes.ndim != 2 or probes.shape[0] != codes.shape[0]:
            raise ArgumentError(
                f"[{self._op(method)}] Iq must have shape ({codes.shape[0]}, nprobe). Received {tuple(probes.shape)}."
            )
        return codes, probes

    # ------------------------------------------------------------------- where codes lie

    def get_list_size(self, list_no: int) -> int:
        """How many codes a list has."""
        return self.invlists.list_size(list_no)

    def make_direct_map(self, new_maintain_direct_map: bool = True) -> None:
        """Notes, or forgets, where each id lies, so that codes can be reconstructed; needs the ids 0, 1, ...

        Raises:
            RuntimeError: the ids are others.
        """
        self.set_direct_map_type(DirectMap.Array if new_maintain_direct_map else DirectMap.NoMap)

    def set_direct_map_type(self, type: int) -> None:
        """Notes where each id lies, by ``DirectMap.NoMap``, ``DirectMap.Array`` or ``DirectMap.Hashtable``.

        Raises:
            RuntimeError: an array needs the ids 0, 1, ..., each once.
        """
        with self._lock:
            try:
                self.direct_map._native.set_type(type, self.invlists._native, self.ntotal)
            except ValueError as error:
                raise RuntimeError(f"[{self._op('set_direct_map_type')}] {error}") from error

    def replace_invlists(self, invlists: InvertedLists, own: bool = False) -> None:
        """Searches other lists of the same form from now on; ``own`` is kept for FAISS's signature.

        Raises:
            ValueError: they have another form.
        """
        if (invlists.nlist, invlists.code_size) != (self.nlist, self.code_size):
            raise ArgumentError(
                f"[{self._op('replace_invlists')}] invlists must have nlist {self.nlist} and code_size "
                f"{self.code_size}. Received {invlists!r}."
            )
        with self._lock:
            self.invlists, self._ntotal = invlists, invlists.compute_ntotal()
            self._restore_map()

    def _restore_map(self) -> None:
        if not self.direct_map.no():
            self.direct_map._native.set_type(self.direct_map.type, self.invlists._native, self.ntotal)

    def _ids(self) -> Ids:
        lists = [self.invlists.get_ids(i) for i in range(self.nlist)]
        return np.concatenate([np.empty(0, dtype=np.int64), *lists])

    def _check_keys(self, op: str, keys: Ids) -> None:
        if self.direct_map.no():
            raise RuntimeError(f"[{op}] The index must have a direct map: call make_direct_map(). Received none.")
        missing = keys[self.direct_map._native.get(keys) < 0]
        if missing.size:
            raise ArgumentError(f"[{op}] key must hold ids of stored codes. Received {missing[0]}.")

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        keys = np.array(ids, dtype=np.int64)
        out = np.zeros((keys.size, self.code_size), dtype=np.uint8)
        for row, place in enumerate(self.direct_map._native.get(keys).tolist()):
            if place >= 0:
                out[row] = self.invlists.get_codes(place >> 32)[place & 0xFFFFFFFF]
        return mx.array(out)

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: Codes | None = None) -> Codes:
        """The stored codes of ids ``n0`` to ``n0 + ni - 1``, uint8, shape (ni, d / 8); needs no direct map.

        Raises:
            TypeError: ``n0`` or ``ni`` is not an integer, or ``x`` not a uint8 NumPy array.
            ValueError: there are no such ids, or ``x`` has another shape.
        """
        op = self._op("reconstruct_n")
        n0 = _host.integer(op, "n0", n0, 0, self.ntotal)
        ni = _host.integer(op, "ni", ni, -1, self.ntotal - n0)
        ni = self.ntotal - n0 if ni == -1 else ni
        out = np.zeros((ni, self.code_size), dtype=np.uint8)
        for i in range(self.nlist):
            ids = self.invlists.get_ids(i)
            inside = (ids >= n0) & (ids < n0 + ni)
            out[ids[inside] - n0] = self.invlists.get_codes(i)[inside]
        if x is not None:
            _host.check_output(op, "x", x, out.shape, np.uint8)
        codes: Codes = _host.output(out, x)
        return codes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(d={self.d}, nlist={self.nlist}, nprobe={self.nprobe}, ntotal={self.ntotal})"

"""What an index with inverted lists does with single entries: finding, reading, replacing, removing and moving them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from metalfaiss import _host
from metalfaiss._host import Array, Stream
from metalfaiss.errors import ArgumentError
from metalfaiss.indexes import _checks
from metalfaiss.inverted_lists import DirectMap, InvertedLists
from metalfaiss.numeric import Float32
from metalfaiss.search_parameters import SearchParameters
from metalfaiss.selectors import IDSelector

if TYPE_CHECKING:
    from metalfaiss.indexes.base import Index

    _Base = Index
else:
    _Base = object

__all__ = ["IVFEntries"]


class IVFEntries(_Base):
    """The part of ``IndexIVF`` that knows places: list << 32 | offset."""

    nlist: int
    code_size: int
    by_residual: bool
    invlists: InvertedLists
    direct_map: DirectMap
    quantizer: Index
    _ntotal: int

    if TYPE_CHECKING:

        def coarse_code_size(self) -> int: ...
        def _listno_codes(self, lists: NDArray[np.int64]) -> NDArray[np.uint8]: ...
        def _lists_of(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]: ...
        def _encode(self, x: mx.array, lists: mx.array) -> mx.array: ...
        def _decode(self, codes: mx.array, lists: mx.array) -> mx.array: ...
        def _assigned(self, x: mx.array, stream: Stream = None) -> mx.array: ...
        def _probes(self, op: str, x: mx.array, params: SearchParameters | None, stream: Stream) -> mx.array: ...
        def _scan(
            self,
            x: mx.array,
            k: int,
            probes: mx.array,
            params: SearchParameters | None,
            stream: Stream,
            places: bool = False,
        ) -> tuple[mx.array, mx.array]: ...

    # ---------------------------------------------------------------------------------- direct map

    def make_direct_map(self, new_maintain_direct_map: bool = True) -> None:
        """Makes the ids 0 to ``ntotal - 1`` findable, for ``reconstruct`` and ``update_vectors``; or ends that.

        Raises:
            ValueError: the index holds other ids: use ``set_direct_map_type(DirectMap.Hashtable)``.
        """
        self.set_direct_map_type(DirectMap.Array if new_maintain_direct_map else DirectMap.NoMap)

    def set_direct_map_type(self, type: int) -> None:
        """Makes ids findable: ``DirectMap.NoMap``, ``DirectMap.Array`` or ``DirectMap.Hashtable``.

        Raises:
            ValueError: there is no such type, or it does not suit the ids.
        """
        kind = _host.integer(self._op("set_direct_map_type"), "type", type, 0, 2)
        with self._lock:
            self.direct_map._native.set_type(kind, self.invlists._native, self.ntotal)

    def _check_keys(self, op: str, keys: NDArray[np.int64]) -> None:
        if self.direct_map.no():
            raise RuntimeError(f"[{op}] The index must have a direct map: call make_direct_map(). Received none.")
        missing = keys[self.direct_map._native.get(keys) < 0]
        if missing.size:
            raise RuntimeError(f"[{op}] The id must be stored. Received {missing[0]}.")

    # ------------------------------------------------------------------------------- reconstructing

    def _reconstruct(self, key: int) -> mx.array:
        return self._reconstruct_batch(mx.array([key]))[0]

    def _reconstruct_n(self, n0: int, ni: int) -> mx.array:
        """By a look at all lists, as no direct map is needed for it."""
        out = np.full(ni, -1, dtype=np.int64)
        for list_no in range(self.nlist):
            ids = self.invlists._native.get_ids(list_no)
            at = np.flatnonzero((ids >= n0) & (ids < n0 + ni))
            out[ids[at] - n0] = list_no << 32 | at
        return self._at_places(out)

    def _reconstruct_batch(self, ids: mx.array) -> mx.array:
        return self._at_places(self.direct_map._native.get(_host.to_numpy(ids)[0].astype(np.int64)))

    def _at_places(self, places: NDArray[np.int64]) -> mx.array:
        """The vectors at places, (n, d), NaN where a place is negative."""
        codes, lists = self._codes_at(places)
        vectors = self._decode(mx.array(codes), mx.array(lists))
        return mx.where(mx.array(lists)[:, None] < 0, float("nan"), vectors)

    def _codes_at(self, places: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The codes at places, (n, code_size), and their lists, (n,)."""
        codes = np.zeros((places.size, self.code_size), dtype=np.uint8)
        lists, offsets = places >> 32, places & 0xFFFFFFFF
        order = np.argsort(lists, kind="stable")
        starts = np.flatnonzero(np.diff(lists[order], prepend=-2))
        for rows in np.split(order, starts[1:]):
            if rows.size and lists[rows[0]] >= 0:
                codes[rows] = self.invlists._native.get_codes(int(lists[rows[0]]))[offsets[rows]]
        return codes, lists

    def reconstruct_from_offset(self, list_no: int, offset: int, recons: NDArray[np.float32] | None = None) -> Array:
        """The vector of an entry of a list, shape (d,), float32.

        Args:
            list_no: the list.
            offset: which of its entries.
            recons: a float32 NumPy array of shape (d,) to write to, and to return.

        Raises:
            TypeError, ValueError: there is no such entry, or ``recons`` has another dtype or shape.
        """
        op = self._op("reconstruct_from_offset")
        last = self.invlists.list_size(list_no) - 1
        place = list_no << 32 | _host.integer(op, "offset", offset, 0, last)
        _checks.reconstruction(op, recons, (self.d,))
        return self._reconstruction(self._at_places(np.array([place], dtype=np.int64))[0], recons)

    def _found_places(
        self, op: str, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, NDArray[np.int64]]:
        """Distances, ids and places (n, k)."""
        D, found = self._scan(x, k, self._probes(op, x, params, stream), params, stream, places=True)
        places = _host.to_numpy(found)[0]
        ids = np.full(places.shape, -1, dtype=np.int64)
        for list_no in np.unique(places[places >= 0] >> 32).tolist():
            here = (places >> 32) == list_no
            ids[here] = self.invlists._native.get_ids(list_no)[places[here] & 0xFFFFFFFF]
        return D, mx.array(ids), places

    def _search_and_reconstruct(
        self, x: mx.array, k: int, params: SearchParameters | None, stream: Stream
    ) -> tuple[mx.array, mx.array, mx.array]:
        D, I, places = self._found_places(self._op("search_and_reconstruct"), x, k, params, stream)
        return D, I, self._at_places(places.reshape(-1)).reshape(*I.shape, self.d)

    def search_and_return_codes(
        self,
        x: Array,
        k: int,
        *,
        include_listnos: bool = False,
        params: SearchParameters | None = None,
        D: NDArray[np.float32] | None = None,
        I: NDArray[np.int64] | None = None,
        codes: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
        """What ``search`` finds, and the stored codes.

        Args:
            x, k, params, D, I: as for ``search``.
            include_listnos: whether codes begin with the number of their list, as those of ``sa_encode``.
            codes: a uint8 NumPy array of shape (n, k, code size) to write the codes to.

        Returns:
            NumPy arrays: distances (n, k), ids (n, k) and codes (n, k, code size); zeros where the id is -1.

        Raises:
            TypeError, ValueError, RuntimeError: as ``search`` does.
        """
        op = self._op("search_and_return_codes")
        queries, k = _checks.queries(op, x, self.d, k, Float32, None)
        size = self.code_size + (self.coarse_code_size() if include_listnos else 0)
        _checks.output(op, "codes", x, codes, (k, size), np.uint8)
        distances, ids, places = self._found_places(op, queries, k, self._parameters(op, params), None)
        found, lists = self._codes_at(places.reshape(-1))
        if include_listnos:
            found = np.concatenate([self._listno_codes(np.maximum(lists, 0)), found], axis=1)
        D_, I_ = _host.to_numpy(distances, ids)
        return _host.output(D_, D), _host.output(I_, I), _host.output(found.reshape(*places.shape, size), codes)

    # ------------------------------------------------------------------------------------- changing

    def _remove_ids(self, selector: IDSelector) -> int:
        op = self._op("remove_ids")
        if self.direct_map.type == DirectMap.Array:
            raise RuntimeError(f"[{op}] The direct map must not be an array, whose ids have no gaps. Received one.")
        if self.direct_map.no():
            removed = self.invlists._changed("remove").remove(selector._native)
        else:
            known = self.direct_map._native.pairs()[::2].copy()
            gone = known[selector._native.members(known).view(np.bool_)]
            for id in gone.tolist():
                self._remove_one(id)
            removed = gone.size
        self._ntotal -= removed
        return int(removed)

    def _remove_one(self, id: int) -> None:
        place = self.direct_map.get(id)
        moved = self.invlists._changed("remove").remove_at(place >> 32, place & 0xFFFFFFFF)
        self.direct_map._native.erase(id)
        if moved >= 0:
            self.direct_map._native.set(moved, place)

    def update_vectors(self, keys: Any, x: Array) -> None:
        """Replaces the vectors of ids; they move to other lists where they must.

        Args:
            keys: ids, shape (n,).
            x: shape (n, d).

        Raises:
            TypeError, ValueError: a dtype or shape is wrong.
            ValueError: a vector is not finite.
            RuntimeError: there is no direct map, or an id is not stored.
        """
        op = self._op("update_vectors")
        vectors = _checks.vectors(op, x, self.d, Float32).astype(mx.float32)
        ids = _checks.stored_ids(op, keys, vectors.shape[0])
        if np.unique(ids).size != ids.size:
            raise ArgumentError(f"[{op}] keys must be different ids. Received {ids.size - np.unique(ids).size} twice.")
        self._check_keys(op, ids)
        lists = self._assigned(vectors)
        assign, codes = _host.to_numpy(lists, self._encode(vectors, lists))
        if (assign < 0).any():
            raise ArgumentError(f"[{op}] x must hold finite values. Received a vector that no list takes.")
        native, places = self.invlists._changed("update_entries"), self.direct_map._native
        with self._lock:
            for id, list_no, code in zip(ids.tolist(), assign.tolist(), codes, strict=True):
                place = self.direct_map.get(id)
                if place >> 32 == list_no:
                    native.update_entries(list_no, place & 0xFFFFFFFF, np.array([id]), code[None])
                else:
                    moved = native.remove_at(place >> 32, place & 0xFFFFFFFF)
                    if moved >= 0:
                        places.set(moved, place)
                    places.set(id, list_no << 32 | native.list_size(list_no))
                    native.add_entries(list_no, np.array([id]), code[None])

    def _check_compatible(self, op: str, other: Any) -> None:
        self._require_same(op, "nlist", self.nlist, other.nlist)
        self._require_same(op, "code_size", self.code_size, other.code_size)
        self._require_same(op, "by_residual", self.by_residual, other.by_residual)
        if not (self.direct_map.no() and other.direct_map.no()):
            raise RuntimeError(f"[{op}] The indexes must have no direct maps. Received one that has.")

    def _merge_from(self, other: Any, add_id: int) -> None:
        self.invlists.merge_from(other.invlists, add_id)
        self._ntotal += other._ntotal
        other._ntotal = 0

    def copy_subset_to(self, other: Any, subset_type: int, a1: int, a2: int) -> None:
        """Adds a subset of the entries to another index: see ``InvertedLists.copy_subset_to``.

        Raises:
            RuntimeError: the indexes are not compatible.
            ValueError: there is no such type of subset.
        """
        self.check_compatible_for_merge(other)
        with other._lock:
            other._ntotal += self.invlists.copy_subset_to(other.invlists, subset_type, a1, a2)

    def replace_invlists(self, il: InvertedLists, own: bool = False) -> None:
        """Takes other lists, of the same form; ``ntotal`` and the direct map are as before.

        Raises:
            ValueError: they have another form.
        """
        op = self._op("replace_invlists")
        if (il.nlist, il.code_size) != (self.nlist, self.code_size):
            raise ArgumentError(
                f"[{op}] il must have nlist {self.nlist} and code_size {self.code_size}. "
                f"Received nlist {il.nlist} and code_size {il.code_size}."
            )
        self.invlists = il

    def get_list_size(self, list_no: int) -> int:
        """How many vectors a list holds."""
        return self.invlists.list_size(list_no)

    def check_ids_sorted(self) -> bool:
        """Whether the ids of every list ascend."""
        lists = (self.invlists._native.get_ids(i) for i in range(self.nlist))
        return all(bool((np.diff(ids) > 0).all()) for ids in lists)

    # ------------------------------------------------------------------------------------- encoding

    def _sa_code_size(self) -> int:
        return self.coarse_code_size() + self.code_size

    def _sa_encode(self, x: mx.array) -> NDArray[np.uint8]:
        lists = self._assigned(x)
        assign, codes = _host.to_numpy(lists, self._encode(x, lists))
        return np.concatenate([self._listno_codes(assign), codes], axis=1)

    def _sa_decode(self, codes: mx.array) -> mx.array:
        given = _host.to_numpy(codes)[0]
        return self._decode(mx.array(given[:, self.coarse_code_size() :]), mx.array(self._lists_of(given)))

    def _add_sa_codes(self, codes: NDArray[np.uint8], ids: NDArray[np.int64] | None) -> None:
        assign, n = self._lists_of(codes), len(codes)
        if n and assign.max() >= self.nlist:
            op = self._op("add_sa_codes")
            raise ArgumentError(f"[{op}] codes must name lists from 0 to {self.nlist - 1}. Received {assign.max()}.")
        keys = np.arange(self.ntotal, self.ntotal + n) if ids is None else ids
        places = self.invlists._changed("add_entries").add(
            assign, keys, np.ascontiguousarray(codes[:, self.coarse_code_size() :])
        )
        self.direct_map._native.add(keys, places)
        self._ntotal += n

    def encode_vectors(
        self, n: int, x: Array, list_nos: Any, codes: NDArray[np.uint8], include_listnos: bool = False
    ) -> None:
        """Encodes vectors for lists that are known.

        Args:
            n: how many, in FAISS's order of arguments.
            x: shape (n, d).
            list_nos: the list of each, shape (n,); the code of a vector without one (-1) is zero.
            codes: uint8, where the codes are written to: shape (n, code_size), or with numbers of lists before them
                (n, ``sa_code_size()``).
            include_listnos: whether the codes begin with the number of their list.

        Raises:
            TypeError, ValueError: a dtype or shape is wrong.
            RuntimeError: the index is not trained.
        """
        op = self._op("encode_vectors")
        vectors = _checks.vectors(op, x, self.d, Float32).astype(mx.float32)
        lists = _checks.stored_ids(op, list_nos, vectors.shape[0])
        self._require_trained(op)
        found = np.where(lists[:, None] < 0, 0, _host.to_numpy(self._encode(vectors, mx.array(lists)))[0])
        if include_listnos:
            found = np.concatenate([self._listno_codes(np.maximum(lists, 0)), found], axis=1)
        _host.check_output(op, "codes", codes, found.shape, np.uint8)
        codes[:] = found

    def decode_vectors(self, n: int, codes: Array, list_nos: Any, x: NDArray[np.float32]) -> None:
        """Decodes what ``encode_vectors`` made without numbers of lists: n vectors, written to ``x``, shape (n, d).

        Raises:
            TypeError, ValueError: a dtype or shape is wrong.
            RuntimeError: the index is not trained.
        """
        op = self._op("decode_vectors")
        given = _checks.codes(op, codes, self.code_size)
        lists = _checks.stored_ids(op, list_nos, given.shape[0])
        self._require_trained(op)
        _host.check_output(op, "x", x, (given.shape[0], self.d), np.float32)
        x[:] = _host.to_numpy(self._decode(given, mx.array(lists)))[0]

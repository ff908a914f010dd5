"""A cache of compiled functions: one trace for each function, shapes, dtypes, stream and settings.

``mx.compile(f)`` identifies its traces by the address of ``f``: a function rebuilt inside a loop is traced at every
turn, and of two compiled forms of one function the first to be deleted takes the traces of the other with it. Here
every entry owns its function, so a trace lives exactly as long as its entry.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, NamedTuple

import mlx.core as mx

from metalfaiss.errors import ArgumentError

__all__ = ["CacheInfo", "CompiledCache", "cache", "compiled"]


class CacheInfo(NamedTuple):
    """Counters of a `CompiledCache`, of the calling thread."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class CompiledCache(threading.local):
    """Least recently used compiled functions, at most ``maxsize`` of them.

    MLX binds both streams and compiled traces to the thread that made them, so each thread sees a cache of its own:
    nothing is locked, and an entry is traced, used and dropped by one thread.

    Args:
        maxsize (int): entries kept for each thread. An entry holds one trace and its constants.
    """

    def __init__(self, maxsize: int = 256) -> None:
        if maxsize < 1:
            raise ArgumentError(f"[CompiledCache] maxsize must be at least 1. Received {maxsize}.")
        self._maxsize = maxsize
        self.clear()

    def __call__(self, fn: Callable[..., Any], *arrays: mx.array, shapeless: bool = False, **settings: Any) -> Any:
        """Calls the compiled form of ``fn``, settings bound, with ``arrays``.

        Args:
            fn (callable): a pure function of arrays and settings.
            arrays (array): what is traced. Their shapes and dtypes are part of the key.
            shapeless (bool): compile once for all shapes of the same rank; ``fn`` must be shape-agnostic.
            settings: constants of the trace, such as ``stream``; hashable, or lists of hashables.

        Raises:
            TypeError: a positional argument is not an array, or a setting is not hashable.
        """
        key: list[Hashable] = [fn, shapeless, repr(mx.default_stream(mx.default_device()))]
        for a in arrays:
            if type(a) is not mx.array:
                raise TypeError(
                    f"[compiled] Positional arguments must be arrays, and settings keywords. Received {type(a)}."
                )
            key += (a.ndim if shapeless else a.shape, a.dtype)
        for name in sorted(settings):
            key += (name, _setting(settings[name]))
        return self._entry(tuple(key), fn, shapeless, settings)(*arrays)

    def _entry(
        self, key: Hashable, fn: Callable[..., Any], shapeless: bool, settings: dict[str, Any]
    ) -> Callable[..., Any]:
        entry = self._entries.get(key)
        if entry is None:
            self._misses += 1
            entry = self._entries[key] = mx.compile(lambda *arrays: fn(*arrays, **settings), shapeless=shapeless)
            if len(self._entries) > self._maxsize:
                self._entries.popitem(last=False)
        else:
            self._hits += 1
            self._entries.move_to_end(key)
        return entry

    def info(self) -> CacheInfo:
        """Hits, misses (each of them one trace), the bound, and the entries held now."""
        return CacheInfo(self._hits, self._misses, self._maxsize, len(self._entries))

    def clear(self) -> None:
        """Forgets every entry and resets the counters."""
        self._entries: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()
        self._hits = self._misses = 0


cache = CompiledCache()
"""The cache that `compiled` uses unless told otherwise."""


def compiled(fn: Callable[..., Any], *, shapeless: bool = False, cache: CompiledCache = cache) -> Callable[..., Any]:
    """The compiled form of ``fn``, cheap to build anywhere, inside loops too: traces live in the cache.

    Positional arguments of the result are arrays, which are traced; keyword arguments are settings, constants of the
    trace and part of its key. Within another transformation (an outer ``mx.compile``, ``mx.grad``, ``mx.vmap``) the
    function is inlined into the outer trace, as MLX does with any compiled function.

    Args:
        fn (callable): a pure function of arrays (positional) and settings (keyword).
        shapeless (bool): compile once for all shapes of the same rank; ``fn`` must be shape-agnostic.
        cache (CompiledCache): where traces live; by default one cache of 256 entries for each thread.

    Returns:
        callable: ``fn``'s results.

    Example:
        >>> step = compiled(svd_step)
        >>> V = step(A, V, stream=mx.cpu)
    """

    @wraps(fn)
    def call(*arrays: mx.array, **settings: Any) -> Any:
        return cache(fn, *arrays, shapeless=shapeless, **settings)

    return call


def _setting(value: Any) -> Hashable:
    """A hashable stand-in that is equal exactly for settings that trace alike: 1, 1.0 and True do not."""
    if isinstance(value, mx.DeviceType):
        value = mx.Device(value, 0)
    if isinstance(value, mx.Device):  # a device means the thread's default stream on it
        value = mx.default_stream(value)
    if isinstance(value, mx.Stream):  # equal streams have different hashes, and equal reprs
        return repr(value)
    if isinstance(value, (list, tuple)):
        return (type(value), *map(_setting, value))
    hash(value)  # raises TypeError here, where the caller can read which setting it was
    return (type(value), value)

"""PyTorch tensors in place of NumPy arrays: importing this module lets the methods of indexes, and ``knn``, take them.

As FAISS's ``contrib.torch_utils``: what is called with tensors returns tensors, and so do ``reconstruct`` and
``reconstruct_n``, unless they are given an array to write to. Tensors must lie in the memory of the host; those of
float32 and int64 are read, and written to, where they lie. PyTorch itself is imported when the first tensor is made.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import metalfaiss
from metalfaiss.indexes.base import Index
from metalfaiss.indexes.binary import IndexBinary

__all__ = ["host_array"]

_METHODS = (
    "add", "add_with_ids", "assign", "compute_residual", "compute_residual_n", "range_search",
    "range_search_preassigned", "reconstruct_batch", "remove_ids", "sa_decode", "sa_encode", "search",
    "search_and_reconstruct", "search_and_return_codes", "search_preassigned", "train", "update_vectors",
)  # fmt: skip
_MAKING = ("reconstruct", "reconstruct_n")  # tensors, even where none is given


def _is_tensor(x: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _to_numpy(op: str, x: Any) -> Any:
    """The memory of a tensor as an array."""
    if x.device.type != "cpu":
        raise TypeError(f"[{op}] Tensors must lie in the memory of the host: call x.cpu(). Received one on {x.device}.")
    x = x.detach()
    return x.float().numpy() if str(x.dtype) == "torch.bfloat16" else x.numpy()


def host_array(op: str, x: Any) -> np.ndarray[Any, Any]:
    """The memory of a tensor, or what NumPy makes of anything else.

    Raises:
        TypeError: the tensor lies elsewhere.
    """
    return np.asarray(_to_numpy(op, x) if _is_tensor(x) else x)


def _to_torch(value: Any, given: list[tuple[Any, Any]]) -> Any:
    """Arrays as tensors; one that is the memory of a tensor of the caller's, as that tensor."""
    if isinstance(value, tuple):
        return tuple(_to_torch(v, given) for v in value)
    if not isinstance(value, np.ndarray):
        return value
    for tensor, array in given:
        if value is array:
            return tensor
    signed = value.astype(np.int64) if value.dtype == np.uint64 else value
    return importlib.import_module("torch").from_numpy(np.require(signed, requirements=["C", "W"]))


def _taking_tensors(f: Callable[..., Any], making: bool) -> Callable[..., Any]:
    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        given: list[tuple[Any, Any]] = []  # tensors, and arrays of their memory

        def converted(value: Any) -> Any:
            if not _is_tensor(value):
                return value
            given.append((value, _to_numpy(f.__qualname__, value)))
            return given[-1][1]

        result = f(*map(converted, args), **{name: converted(value) for name, value in kwargs.items()})
        arrays = any(isinstance(value, np.ndarray) for value in (*args, *kwargs.values()))
        return _to_torch(result, given) if given or (making and not arrays) else result

    call._takes_tensors = True  # type: ignore[attr-defined]
    return call


def _owners(base: type[Any]) -> Iterator[type[Any]]:
    """The classes of indexes, and what they inherit from."""
    yield from base.__mro__
    for sub in base.__subclasses__():
        yield from _owners(sub)


def _patch() -> None:
    for base, making in ((Index, _MAKING), (IndexBinary, ())):
        for owner in _owners(base):
            for name in (*_METHODS, *_MAKING):
                method = vars(owner).get(name)
                if callable(method) and not hasattr(method, "_takes_tensors"):
                    setattr(owner, name, _taking_tensors(method, name in making))
    metalfaiss.knn = _taking_tensors(metalfaiss.knn, False)


_patch()

"""Merging IVF indexes that do not fit into memory together: FAISS's ``contrib.ondisk``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metalfaiss.io import IO_FLAG_MMAP, OnDiskInvertedLists, read_index
from metalfaiss.ivflib import extract_index_ivf

__all__ = ["merge_ondisk"]


def merge_ondisk(trained_index: Any, shard_fnames: Sequence[str], ivfdata_fname: str, shift_ids: bool = False) -> None:
    """Fills an index with the vectors of others, whose lists go to one file without passing through memory.

    Args:
        trained_index: an IVF index, or one around it, without vectors; ``write_index`` then writes where its lists are.
        shard_fnames: files of indexes that were made from it.
        ivfdata_fname: the file of the lists.
        shift_ids: whether the ids of each index come behind those of the ones before it.

    Raises:
        RuntimeError: there is no IVF index, or it holds vectors.
        ValueError: the lists of an index have another form.
        OSError, IndexFileError: a file cannot be read or written.
    """
    ivf = extract_index_ivf(trained_index)
    if ivf.ntotal:
        raise RuntimeError(f"[merge_ondisk] trained_index must be without vectors. Received {ivf.ntotal}.")
    shards = [extract_index_ivf(read_index(name, IO_FLAG_MMAP)).invlists for name in shard_fnames]
    lists = OnDiskInvertedLists(ivf.nlist, ivf.code_size, ivfdata_fname)
    count = lists.merge_from_multiple(shards, shift_ids=shift_ids)
    ivf.replace_invlists(lists, True)
    ivf.ntotal = count

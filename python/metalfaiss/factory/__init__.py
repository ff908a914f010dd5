"""Indexes from strings: FAISS's ``index_factory``, the way back, and a table of what is built."""

from metalfaiss.factory.build import index_binary_factory, index_factory
from metalfaiss.factory.grammar import parse
from metalfaiss.factory.reverse import reverse_index_factory

__all__ = ["index_binary_factory", "index_factory", "parse", "reverse_index_factory"]

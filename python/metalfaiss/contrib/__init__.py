"""Helpers around indexes, as in FAISS's ``contrib``."""

"""What a search compares: FAISS's names and values."""

__all__ = ["METRIC_INNER_PRODUCT", "METRIC_L2"]

METRIC_INNER_PRODUCT = 0
METRIC_L2 = 1

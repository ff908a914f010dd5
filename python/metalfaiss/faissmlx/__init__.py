"""The linear algebra under the indexes: skinny products, QR, truncated SVD, and a cache of compiled functions."""

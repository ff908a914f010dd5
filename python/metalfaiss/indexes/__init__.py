"""The index classes: they own arrays and call operations."""

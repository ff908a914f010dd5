"""Native operations by kernel family."""

"""The CUDA executor: what can be proven without a GPU, and `smoke`, which needs one."""

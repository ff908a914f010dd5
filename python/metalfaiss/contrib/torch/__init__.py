"""K-means of PyTorch tensors: ``metalfaiss.contrib.torch.clustering``."""

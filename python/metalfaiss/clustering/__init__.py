"""K-means: FAISS's ``Kmeans`` and ``Clustering``."""

from metalfaiss.clustering.clustering import Clustering, kmeans_clustering
from metalfaiss.clustering.kmeans import Kmeans
from metalfaiss.clustering.parameters import (
    ClusteringInitMethod_RANDOM,
    ClusteringIterationStats,
    ClusteringParameters,
    IterationStats,
)

__all__ = [
    "Clustering",
    "ClusteringInitMethod_RANDOM",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "IterationStats",
    "Kmeans",
    "kmeans_clustering",
]

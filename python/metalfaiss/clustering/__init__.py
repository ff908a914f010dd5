"""K-means: FAISS's ``Kmeans`` and ``Clustering``."""

from metalfaiss.clustering.clustering import Clustering, kmeans_clustering
from metalfaiss.clustering.kmeans import Kmeans
from metalfaiss.clustering.one_dimension import Clustering1D, kmeans1d
from metalfaiss.clustering.parameters import (
    ClusteringInitMethod_AFK_MC2,
    ClusteringInitMethod_KMEANS_PLUS_PLUS,
    ClusteringInitMethod_RANDOM,
    ClusteringIterationStats,
    ClusteringParameters,
    IterationStats,
)

__all__ = [
    "Clustering",
    "Clustering1D",
    "ClusteringInitMethod_AFK_MC2",
    "ClusteringInitMethod_KMEANS_PLUS_PLUS",
    "ClusteringInitMethod_RANDOM",
    "ClusteringIterationStats",
    "ClusteringParameters",
    "IterationStats",
    "Kmeans",
    "kmeans1d",
    "kmeans_clustering",
]

"""Settings of indexes by name, and the search for the best of them: FAISS's ``ParameterSpace``."""

from metalfaiss.autotune.criteria import AutoTuneCriterion, IntersectionCriterion, OneRecallAtRCriterion
from metalfaiss.autotune.operating_points import OperatingPoint, OperatingPoints
from metalfaiss.autotune.parameter_space import ParameterRange, ParameterSpace

__all__ = [
    "AutoTuneCriterion",
    "IntersectionCriterion",
    "OneRecallAtRCriterion",
    "OperatingPoint",
    "OperatingPoints",
    "ParameterRange",
    "ParameterSpace",
]

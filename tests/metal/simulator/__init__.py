"""Runs the project's Metal kernels on the CPU, and watches them."""

from .simulator import SCHEDULES, Simulator, Traffic

__all__ = ["SCHEDULES", "Simulator", "Traffic"]

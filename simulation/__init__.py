"""Simulated companies whose truth is known; imported by nothing in production code."""

from simulation.company import Company, simulate, write

__all__ = ["Company", "simulate", "write"]

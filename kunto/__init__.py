"""Kunto: which customers are about to leave or to grow, why, and what to do about it."""

__version__ = "0.1.0"

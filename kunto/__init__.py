"""Kunto: which customers are about to leave or to grow, why, and what to do about it."""

import os

__version__ = "0.1.0"

# LightGBM's threads otherwise spin while they wait, which costs most where other work shares the cores; read at import of OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

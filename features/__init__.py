"""Tables and time in, account features out; knows nothing of models.

>>> "active_days_30d" in catalog()
True
"""

from features.builder import build
from features.catalogue import catalog

__all__ = ["build", "catalog"]

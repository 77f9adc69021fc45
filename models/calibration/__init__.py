"""From margins to probabilities one may believe, and how sure of them one is (domain.md §4)."""

from models.calibration.base import BOUND, Calibration
from models.calibration.curves import Isotonic, VennAbers
from models.calibration.kinds import calibrator_from
from models.calibration.parametric import Beta, Platt
from models.calibration.precision import Precision, too_little_evidence
from models.calibration.selection import Choice, choose

__all__ = [
    "BOUND",
    "Beta",
    "Calibration",
    "Choice",
    "Isotonic",
    "Platt",
    "Precision",
    "VennAbers",
    "calibrator_from",
    "choose",
    "too_little_evidence",
]

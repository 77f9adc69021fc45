"""The kinds of calibrator, and how one is read back from what was kept of it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from models.calibration.base import Calibration
from models.calibration.curves import Isotonic, VennAbers
from models.calibration.parametric import Beta, Platt

#: Every kind by its name, the simplest first.
KINDS: dict[str, type[Calibration]] = {kind.kind: kind for kind in (Platt, Beta, Isotonic, VennAbers)}


def calibrator_from(stored: Mapping[str, Any]) -> Calibration:
    """Read what `as_dict` gave; an intercept and a slope without a kind are Platt's, as in the first registered models.

    ValueError on an unknown kind, or numbers that are not that kind's.

    >>> calibrator_from({"intercept": 0.5, "slope": 2.0})
    Platt(intercept=0.5, slope=2.0)
    """
    numbers = dict(stored)
    kind = numbers.pop("kind", Platt.kind)
    if kind not in KINDS:
        raise ValueError(
            f"calibrator kind is {kind!r}; known are {', '.join(KINDS)}: load the model with the version that wrote it"
        )
    needed = [field.name for field in fields(KINDS[kind])]
    if set(numbers) != set(needed):
        raise ValueError(
            f"a {kind} calibrator has {', '.join(needed)}, got {', '.join(map(str, numbers)) or 'nothing'}: the file is not whole"
        )
    return KINDS[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in numbers.items()})

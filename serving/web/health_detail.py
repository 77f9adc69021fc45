"""What a health score is made of: its components, and the measures that cost it most points."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from features.catalogue import Feature
from features.snapshots import Snapshot
from models import health
from models.health import default_scorecard
from models.sentences import RELATIVE, Language, shown
from serving.store.inputs import ScoreInputs
from serving.web.translate import N_, speech
from serving.web.view import Record

#: Measures that cost less than this many points of the total are not worth a line.
_LEAST_LOST = 0.5
_MOST = 6
#: Units that are written after a value.
_UNITS = {"hours": N_("h"), "days": N_("d")}
#: Components that differ by less are the same.
_SAME = 1e-3


@dataclass(frozen=True)
class Component:
    """A component: its share of the total (of those with data), its points (None: no data), and what it takes off the total."""

    title: str
    share: float
    points: float | None
    lost: float


@dataclass(frozen=True)
class Measure:
    """A measure that takes `lost` points off the total, with the value that earned it `points`."""

    title: str
    value: str
    points: float
    lost: float


def components(told: Record, language: Language) -> list[Component]:
    """The components, in the scorecard's order."""
    card, given = default_scorecard(), told.get("components") or {}
    present = sum(part.weight for part in card.components if given.get(part.name) is not None) or 1.0
    found = []
    for part in card.components:
        points = given.get(part.name)
        share = part.weight / present if points is not None else 0.0
        lost = 0.0 if points is None else share * (100 - points)
        found.append(Component(getattr(part.title, language), share, points, lost))
    return found


def cap(told: Record, language: Language) -> tuple[str, int] | None:
    """What holds the total down, and to how many points; None where nothing does."""
    bound = told.get("bound_by")
    found = next((each for each in default_scorecard().exceptions if each.name == bound), None)
    return None if found is None else (getattr(found.title, language), found.cap)


def measures(inputs: ScoreInputs | None, told: Record, catalogue: Mapping[str, Feature], language: Language) -> list[Measure]:
    """The measures that cost most, computed again from what the score was computed from.

    Nothing where no inputs are kept, or where today's scorecard no longer gives the components that stand in the record.
    """
    if inputs is None:
        return []
    features = inputs.features
    # a connected table gives a value to at least one feature, for every account: silence is evidence
    connected = {catalogue[name].source for name, value in features.items() if value is not None and name in catalogue}
    frame, facts = pd.DataFrame([features], dtype="float64"), pd.DataFrame([{"leaving": bool(inputs.facts["leaving"])}])
    try:
        scores = health.score(health.inputs(Snapshot(frame, facts, frame)), connected)
        again = {name: scores.accounts[f"component_{name}"].iloc[0] for name in told["components"]}
    except KeyError:
        return []
    known = ((points, again[name]) for name, points in told["components"].items() if points is not None)
    if not all(abs(points - now) < _SAME for points, now in known):
        return []
    titles = {measure.feature: getattr(measure.title, language) for measure in default_scorecard().measures}
    costly = scores.measures().head(_MOST)
    columns = (costly[name].tolist() for name in ("feature", "points", "lost"))
    return [
        Measure(titles[name], _with_unit(features.get(name), catalogue.get(name), language), points, lost)
        for name, points, lost in zip(*columns, strict=True)
        if lost >= _LEAST_LOST
    ]


def _with_unit(value: float | None, feature: Feature | None, language: Language) -> str:
    """A value beside a title that does not say what it counts in."""
    unit = _UNITS.get(feature.unit) if feature and value is not None and value >= 0 else None
    shown_value = figure(value, feature, language)
    return f"{shown_value}\N{NO-BREAK SPACE}{speech(language).gettext(unit)}" if unit else shown_value


def figure(value: float | None, feature: Feature | None, language: Language) -> str:
    """A feature's value as a person reads it."""
    unit = "" if feature is None else feature.unit if feature.versus is None else RELATIVE
    return shown(value, unit, language).replace("-", "−")

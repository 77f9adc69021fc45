"""The catalogue: every count and feature, declared once; builders, docs, constraints and sentences all read it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import ibis

from features.catalogue import money, relations, subscriptions, support, usage, voice, work
from features.catalogue.declare import DAY, DRIVERS, Count, Driver, Feature

__all__ = [
    "DAY",
    "DRIVERS",
    "Count",
    "Driver",
    "Feature",
    "as_markdown",
    "catalog",
    "counts",
    "derived",
    "reach_days",
    "read_counts",
]

_MODULES = (subscriptions, usage, support, voice, relations, money, work)
#: How far back the rows of a source are read, in days; absent: to the beginning.
_REACH = {"usage": usage.REACH_DAYS}
#: What several counts read of a row, or only the account's other rows tell.
_DERIVED: dict[str, Callable[[Any], Any]] = {
    "subscriptions": subscriptions.derived_subscriptions,
    "surveys": voice.derived_surveys,
    "outcomes": voice.derived_outcomes,
    "touchpoints": relations.derived_touchpoints,
}


def _versus_peers(feature: Feature) -> Feature:
    phrase = {"en": f"{feature.phrase['en']}, against peers", "fi": f"{feature.phrase['fi']}, verrokkeihin nähden"}
    return replace(feature, name=f"{feature.name}_vs_peers", unit="−1…1", phrase=phrase, peers=False, versus=feature.name)


def catalog(product_features: Sequence[str] = ()) -> dict[str, Feature]:
    """Every feature by name, in column order; `product_features` adds those of the product's own most used features.

    Declared once; each call gives a dict of its own.

    >>> catalog()["active_days_30d"].driver
    'low_adoption'
    >>> "use_of_create_lead_90d" in catalog(["create lead"])
    True
    """
    return dict(_catalog(tuple(product_features)))


@lru_cache(maxsize=32)
def _catalog(product_features: tuple[str, ...]) -> dict[str, Feature]:
    features = [feature for module in _MODULES for feature in module.FEATURES]
    features += usage.of_product_features(product_features)[1]
    features += [_versus_peers(feature) for feature in features if feature.peers]
    return {feature.name: feature for feature in features}


def counts(product_features: Sequence[str] = ()) -> list[Count]:
    """Every exact count that the features derive from."""
    return [count for module in _MODULES for count in module.COUNTS] + usage.of_product_features(product_features)[0]


@lru_cache(maxsize=32)
def read_counts(product_features: tuple[str, ...] = ()) -> dict[str, frozenset[str]]:
    """The names of the counts that each feature's expression reads; a feature against peers reads what its own one does.

    >>> sorted(read_counts()["seat_use_30d_vs_peers"])
    ['seats_running', 'users_distinct_30d', 'users_peak_30d']
    """
    frame = ibis.table({"as_of": "int64"} | {count.name: "int64" for count in counts(product_features)})
    return {
        name: frozenset(field.name for field in feature.expr(frame).op().find(ibis.expr.operations.Field)) - {"as_of"}
        for name, feature in _catalog(product_features).items()
    }


def reach_days(source: str) -> int | None:
    """How many days back the rows of `source` are read (None: all)."""
    return _REACH.get(source)


def derived(source: str, rows: Any) -> Any:
    """Add to the rows of `source` visible at T what its counts read beside the contract, such as `place` of an answer."""
    return _DERIVED[source](rows) if source in _DERIVED else rows


_MARKDOWN = """# The features

One row for each account and instant T, from what had happened and was recorded before T. This page is made from the catalogue
(`features.catalogue.as_markdown()`).

- *Table*: without it the feature is missing (null); with it, no rows is a value: silence is evidence.
- *Window*: the days before T that are read, T − window included and T not; – where it is a level at T. A trend's window holds
  both of its halves.
- *Risk*: + where more of it can only raise the predicted risk of churn, − where it can only lower it; – where the model is left
  free.
- `…_vs_peers`: where the account stands against the median of its peers, (own − peers) / (|own| + |peers|).
- Each of the product's own most used features adds `use_of_<name>_90d` and `use_of_<name>_per_mrr_90d`.
"""


def as_markdown() -> str:
    """Return docs/features.md: every feature, by driver."""
    lines = [_MARKDOWN]
    features = catalog().values()
    for driver in DRIVERS:
        lines += [
            f"## {driver}",
            "",
            "| feature | what it is | suomeksi | unit | table | window | risk |",
            "|---|---|---|---|---|---|---|",
        ]
        for feature in features:
            if feature.driver == driver:
                window = f"{feature.window} d" if feature.window else "–"
                names = (f"`{feature.name}`", feature.phrase["en"], feature.phrase["fi"], feature.unit)
                lines.append(f"| {' | '.join((*names, feature.source, window, '–+−'[feature.direction]))} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"

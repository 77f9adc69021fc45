"""Peers: accounts active at T in the same segment, with statistics fixed at each UTC midnight (domain.md §2 "Peers")."""

from collections.abc import Sequence
from typing import Any

import ibis
import pandas as pd

#: A segment needs this many accounts; below it the product, then all.
SMALLEST_SEGMENT = 20


def standing(seen: Any) -> pd.DataFrame:
    """Return spine_id, active, product and plan (of the largest row), and unrated, for the spine rows with a row running.

    `seen`: the subscriptions visible at T, with `weight` (what a row counts) and `unrated`. Equal rows are settled by name,
    never by chance.
    """
    running = seen.filter(seen.ended_at.isnull())
    one = ibis.window(group_by=running.spine_id)
    by_size = ibis.window(group_by=running.spine_id, order_by=[running.weight.desc(), running["product"], running.plan])
    ranked = running.mutate(
        place=ibis.row_number().over(by_size),
        active=(running.weight.sum().over(one) > 0).fill_null(False),
        any_unrated=running.unrated.cast("int64").max().over(one) > 0,
    )
    largest = ranked.filter(ranked.place == 0)
    return largest.select("spine_id", "active", "product", "plan", unrated="any_unrated").execute()


def peer_medians(asked: pd.DataFrame, population: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the medians of `names` over each asked row's peers, in the rows' order (null: not active at T, so no peers).

    Both frames hold midnight, product and plan; `population` has one row per account active at that midnight. The peers are those
    of the same product and plan, below 20 accounts those of the product, then all.

    >>> crowd = pd.DataFrame({"midnight": 0, "product": "a", "plan": ["x"] * 20 + ["y"] * 5, "use": [1.0] * 20 + [9.0] * 5})
    >>> row = pd.DataFrame({"midnight": 0, "product": "a", "plan": ["x", "y"], "active": [True, True]})
    >>> peer_medians(row, crowd, ["use"])["use"].tolist()
    [1.0, 1.0]
    """
    asked, population = _named(asked), _named(population)
    medians = pd.DataFrame(float("nan"), index=asked.index, columns=list(names))
    open_rows = asked["active"].eq(True)
    for keys in (["midnight", "product", "plan"], ["midnight", "product"], ["midnight"]):
        groups = population.groupby(keys, sort=False)
        table = groups[list(names)].median().astype("float64")
        if len(keys) > 1:
            table = table[groups.size() >= SMALLEST_SEGMENT]
        wanted = pd.MultiIndex.from_frame(asked[keys]) if len(keys) > 1 else pd.Index(asked[keys[0]])
        found = open_rows & wanted.isin(table.index)
        medians.loc[found] = table.reindex(wanted[found]).to_numpy()
        open_rows &= ~found
    return medians


def relative_difference(own: pd.Series, peers: pd.Series) -> pd.Series:
    """(own − peers) / (|own| + |peers|): −1…1, free of scale, 0 where both are 0.

    >>> relative_difference(pd.Series([3.0, 0.0]), pd.Series([1.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    scale = own.abs() + peers.abs()
    return ((own - peers) / scale.where(scale > 0)).mask(scale == 0, 0.0)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].astype("object").fillna("").astype(str) for name in ("product", "plan")})

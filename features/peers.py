"""Peers: accounts active at T in the same segment, with statistics fixed at each UTC midnight (domain.md §2 "Peers")."""

from collections.abc import Sequence
from typing import Any

import ibis

#: A segment needs this many accounts; below it the product, then all.
SMALLEST_SEGMENT = 20
#: What tells segments apart: the midnight, then as much as the level says, with empty text for what it leaves out.
SEGMENT = ("midnight", "level", "product", "plan")
#: The same as columns of a row, beside its midnight.
SEGMENT_OF_ROW = ("segment_level", "segment_product", "segment_plan")
_LEVELS = (("product", "plan"), ("product",), ())


def standing(seen: Any) -> Any:
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
    return largest.select("spine_id", "active", "product", "plan", unrated="any_unrated")


def segment_medians(population: Any, names: Sequence[str]) -> Any:
    """Return the medians of `names` over each segment that is large enough: columns `SEGMENT` and the names.

    `population`: one row per account active at each midnight, with midnight, product and plan. Segments are those of one product
    and plan (level 0), of one product (1), and all (2), which may be small.

    >>> import pandas as pd
    >>> crowd = pd.DataFrame({"midnight": 0, "product": "a", "plan": ["x"] * 20 + ["y"] * 5, "use": [1.0] * 20 + [9.0] * 5})
    >>> segment_medians(ibis.memtable(crowd), ["use"]).order_by("level").execute()[["level", "product", "plan", "use"]]
       level product plan  use
    0      0       a    x  1.0
    1      1       a       1.0
    2      2               1.0
    """
    population = population.mutate(**{name: population[name].fill_null("") for name in _LEVELS[0]})
    parts = []
    for level, kept in enumerate(_LEVELS):
        left_out = {name: ibis.literal("") for name in _LEVELS[0] if name not in kept}
        medians = {name: population[name].median() for name in names}
        found = population.group_by("midnight", *kept).aggregate(members=population.count(), **medians)
        if kept:
            found = found.filter(found.members >= SMALLEST_SEGMENT)
        parts.append(found.mutate(level=ibis.literal(level, type="int64"), **left_out).select(*SEGMENT, *names))
    return ibis.union(*parts)


def with_segment(rows: Any, segments: Any) -> Any:
    """Add to rows, which have midnight, active, product and plan, the keys of the segment that their peers are.

    `segment_level`, `segment_product` and `segment_plan`; a level of null: not active at T, so there are no peers.
    """
    own = rows.mutate(segment_product=rows["product"].fill_null(""), segment_plan=rows.plan.fill_null(""))
    for level, kept in enumerate(_LEVELS[:-1]):
        there = segments.filter(segments.level == level)
        there = there.select(**{f"there_{level}_{name}": there[name] for name in ("midnight", *kept)})
        same = [own[f"segment_{name}"] == there[f"there_{level}_{name}"] for name in kept]
        own = own.left_join(there, [own.midnight == there[f"there_{level}_midnight"], *same])
    level = ibis.cases((own.there_0_midnight.notnull(), 0), (own.there_1_midnight.notnull(), 1), else_=2)
    own = own.mutate(segment_level=ibis.ifelse(own.active, level, None).cast("int64"))
    return own.mutate(
        segment_product=ibis.ifelse(own.segment_level < 2, own.segment_product, ""),
        segment_plan=ibis.ifelse(own.segment_level == 0, own.segment_plan, ""),
    )


def relative_difference(own: Any, peers: Any) -> Any:
    """(own − peers) / (|own| + |peers|): −1…1, free of scale, 0 where both are 0.

    >>> relative_difference(ibis.literal(3.0), ibis.literal(1.0)).execute()
    0.5
    """
    scale = own.abs() + peers.abs()
    return ibis.ifelse(scale == 0, 0.0, (own - peers) / scale.nullif(0.0))

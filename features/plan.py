"""The plan of a build: every relation between the source tables and the features, by name, in the order of its making.

The plan is written once, in Ibis, over tables that are known by name and schema alone. An engine gives it tables
(features/builder.py: DuckDB; features/spark.py: Spark), compiles each step once, and runs them as often as there are rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import ibis
from ibis import selectors

from features import month_rows, peers, rollup, windows
from features.catalogue import DAY, Count, catalog, counts, derived, reach_days, read_counts
from features.catalogue.usage import BLOCK_DAYS, EDGES, FEATURES_IN, NAMED_EDGES, REACH_OF, USERS_IN, named
from features.contract import DECIMAL_TYPE
from features.visible import prepare, visible, with_reported

#: Columns of money that features read, brought to the reporting currency.
_MONEY = {"subscriptions": "mrr", "invoices": "amount"}
#: Counts that say who is scored and how much is at stake.
FACTS = ("rows_running", "rows_noticed", "mrr_running", "seats_running", "renewal_at", "notice_by")
_MIDNIGHT = ibis.literal(0, "int64")
#: How declarations read rolled-up use; the relation `by_feature` is read as it is.
_READ_AS: dict[str | None, Any] = {
    "days": lambda bands: windows.Days(bands, EDGES),
    "users": windows.Items,
    "features": windows.Items,
}

#: Stands before the name of every relation of the plan.
PREFIX = "kunto_plan_"

#: What the rows that are asked for are given as, and the midnights whose peers are wanted.
ASKED = ibis.schema({"asked_id": "int64", "account_id": "string", "as_of": "int64", "midnight": "int64"})
MIDNIGHTS = ibis.schema({"midnight": "int64"})

#: When a step is made: once for the tables, or for each batch of rows; a view is no copy.
Kind = Literal["tables", "view", "rows"]


@dataclass(frozen=True)
class Step:
    """One relation of the plan."""

    name: str
    kind: Kind
    expr: Any


@dataclass(frozen=True)
class Shape:
    """All that a plan depends on: the tables' schemas, currencies that have rates, and the product's own features.

    `rolled`: most of the use is given as rollups, `stored_<relation>`, and the table `usage` holds the rest. `peers`: the peers'
    medians of all features are wanted, not of those alone that a feature is compared by.
    """

    schemas: tuple[tuple[str, Any], ...]
    foreign: tuple[str, ...]
    product_features: tuple[str, ...]
    rolled: bool = False
    peers: bool = True

    @property
    def columns(self) -> dict[str, set[str]]:
        """The columns of each table, with the one that contacts add to touchpoints."""
        found = {name: set(schema.names) for name, schema in self.schemas}
        if "role" in found.get("contacts", ()) and "touchpoints" in found:
            found["touchpoints"].add("contact_role")
        return found

    def counts_of(self, source: str) -> list[Count]:
        """The counts whose columns this source has."""
        columns = self.columns.get(source)
        declared = counts(self.product_features)
        return [c for c in declared if c.source == source and columns is not None and columns.issuperset(c.needs)]


@lru_cache(maxsize=64)
def plan(shape: Shape) -> tuple[Step, ...]:
    """Return the steps from `source_<table>`, `asked`, `midnights` and `segments_known` to `found`, in order."""
    return tuple(_Plan(shape).steps())


class _Plan:
    def __init__(self, shape: Shape) -> None:
        self.shape, self.columns = shape, shape.columns
        self.sources = {name: ibis.table(schema, name=f"{PREFIX}source_{name}") for name, schema in shape.schemas}
        self.declared = catalog(shape.product_features)
        of_source = {count.name: count.source for count in counts(shape.product_features)}
        reads = read_counts(shape.product_features)
        self.known = [name for name in self.declared if all(of_source[count] in self.sources for count in reads[name])]
        self.own = [name for name in self.known if self.declared[name].versus is None]
        compared = {self.declared[name].versus for name in self.known}
        self.medians = self.own if shape.peers else [name for name in self.own if name in compared]
        self._named: dict[str, Any] = {}

    def steps(self) -> Iterator[Step]:
        for name, table in self.sources.items():
            versioned = "recorded_at" in self.columns[name]
            yield self._keep(f"prepared_{name}", "tables" if versioned else "view", prepare(name, table))
        subscriptions = self._named["prepared_subscriptions"]
        yield self._keep("accounts", "tables", subscriptions.select("account_id").distinct())
        if "usage" in self.sources:
            yield from self._rolled_up("used", "tables", self._named["prepared_usage"].mutate(clock=_MIDNIGHT))
        asked, midnights = (
            ibis.table(schema, name=f"{PREFIX}{name}") for name, schema in (("asked", ASKED), ("midnights", MIDNIGHTS))
        )
        yield self._keep("candidates", "rows", self._candidates(asked, midnights))
        yield self._keep("standing", "rows", peers.standing(self._seen("subscriptions", self._named["candidates"])))
        yield self._keep("rows", "rows", self._rows())
        if "usage" in self.sources:
            yield from self._rolled_up("used_then", "rows", self._at_other_clocks())
        yield from self._counts()
        yield self._keep("frame", "rows", self._frame())
        yield self._keep("values", "rows", self._values(self._named["frame"]))
        yield self._keep("segments", "rows", self._segments(midnights))
        segments = self._named["segments_known"] = ibis.table(self._named["segments"].schema(), name=f"{PREFIX}segments_known")
        yield self._keep("features", "rows", self._features(segments))
        if self.shape.peers:
            yield self._keep("found", "rows", self._found(segments))

    def _keep(self, name: str, kind: Kind, expr: Any) -> Step:
        self._named[name] = ibis.table(expr.schema(), name=f"{PREFIX}{name}")
        return Step(name, kind, expr)

    def _candidates(self, asked: Any, midnights: Any) -> Any:
        """The rows asked for, and every account at each midnight, whose peers are wanted; each once."""
        crossed = self._named["accounts"].cross_join(midnights)
        crossed = crossed.mutate(as_of=crossed.midnight, asked_id=ibis.null("int64")).select(*ASKED)
        both = asked.select(*ASKED).union(crossed)
        once = both.group_by("account_id", "as_of", "midnight").aggregate(asked_id=both.asked_id.max())
        clock = (once.as_of - once.midnight).cast("int64")
        return once.mutate(spine_id=ibis.row_number().cast("int64"), clock=clock, day=(once.midnight // DAY).cast("int64"))

    def _seen(self, name: str, rows: Any) -> Any:
        """The rows of a source that T may use, with what other tables add to them."""
        found = visible(name, self._named[f"prepared_{name}"], rows.select("spine_id", "account_id", "as_of"))
        if name in _MONEY:
            foreign = self.shape.foreign if "currency" in self.columns[name] else ()
            found = with_reported(found, _MONEY[name], rows, self._named.get("prepared_fx"), foreign)
        if name == "subscriptions":
            # Without prices each row counts one, and no money is reported.
            priced = "mrr" in self.columns[name]
            return found.mutate(weight=found.reported if priced else ibis.literal(1, type=DECIMAL_TYPE))
        return self._with_roles(found, rows) if name == "touchpoints" else found

    def _with_roles(self, touches: Any, rows: Any) -> Any:
        """Add the role that the person met holds at T."""
        if "contacts" not in self.sources:
            return touches.mutate(contact_role=ibis.null("string"))
        known = visible("contacts", self._named["prepared_contacts"], rows.select("spine_id", "account_id", "as_of"))
        known = known.filter(known.valid_to.isnull(), ~known.role.isnull())
        latest = ibis.window(group_by=[known.spine_id, known.contact_id], order_by=[known.valid_from.desc(), known.role])
        ranked = known.mutate(place=ibis.row_number().over(latest))
        roles = ranked.filter(ranked.place == 0).select(
            role_spine_id="spine_id", role_contact_id="contact_id", contact_role="role"
        )
        joined = touches.left_join(roles, [touches.spine_id == roles.role_spine_id, touches.contact_id == roles.role_contact_id])
        return joined.drop("role_spine_id", "role_contact_id")

    def _rows(self) -> Any:
        """The candidates that are asked for or active, with how they stand."""
        candidates, found = self._named["candidates"], self._named["standing"].rename(standing_id="spine_id")
        joined = candidates.left_join(found, candidates.spine_id == found.standing_id).drop("standing_id")
        joined = joined.mutate(active=joined.active.fill_null(False))
        return joined.filter(joined.active | joined.asked_id.notnull())

    def _at_other_clocks(self) -> Any:
        """The use that rows at another time than midnight may read, at each account's clock times."""
        rows, events = self._named["rows"], self._named["prepared_usage"].rename(event_account_id="account_id")
        rows = rows.filter(rows.clock != 0)
        reach = (reach_days("usage") or 0) * DAY
        spans = rows.group_by("account_id", "clock").aggregate(first=rows.as_of.min() - reach, last=rows.as_of.max())
        inside = [events.event_account_id == spans.account_id, events.occurred_at >= spans.first, events.occurred_at < spans.last]
        return events.join(spans, inside)

    def _rolled_up(self, name: str, kind: Kind, events: Any) -> Iterator[Step]:
        versioned = "recorded_at" in self.columns["usage"]
        same = ({} if versioned else rollup.NEVER_LATE) | ({"clock": _MIDNIGHT} if kind == "tables" else {})
        placed = rollup.on_days(events, versioned=versioned)
        found = rollup.relations(placed, self.columns["usage"], named(self.shape.product_features), same)
        for relation, expr in found.items():
            yield self._keep(f"{name}_{relation}", kind, expr)

    def _counts(self) -> Iterator[Step]:
        """One relation of counts for each source, and each kind of rolled-up rows, all of it read once."""
        rows = self._named["rows"]
        for source in self.sources:
            asked = self.shape.counts_of(source)
            for over in dict.fromkeys(count.over for count in asked):
                seen = derived(source, self._seen(source, rows)) if over is None else self._used(over, rows)
                read = _READ_AS[over](seen) if over in _READ_AS else seen
                totals = {count.name: count.expr(read) for count in asked if count.over == over}
                yield self._keep(f"counts_{source}_{over}", "rows", seen.group_by("spine_id").aggregate(**totals))

    def _used(self, relation: str, rows: Any) -> Any:
        """Rolled-up use as the rows read it."""
        parts = [self._named[f"{name}_{relation}"] for name in ("used", "used_then")]
        rows = rows.select("spine_id", "account_id", "as_of", "clock", "day")
        if relation == "days":
            bands = windows.in_bands(windows.at_instants(ibis.union(*parts), rows, reach=REACH_OF[relation]), EDGES)
            if not self.shape.rolled:
                return bands
            months = ibis.table(month_rows.SCHEMA, name=f"{PREFIX}stored_months")
            return bands.union(month_rows.in_bands(months, rows, EDGES).cast(bands.schema()))
        if self.shape.rolled:
            parts.append(ibis.table(parts[0].schema(), name=f"{PREFIX}stored_{relation}"))
        rolled = ibis.union(*parts)
        if relation == "by_feature":
            found = windows.at_instants(rolled, rows, reach=REACH_OF[relation])
            return windows.by_feature(found, NAMED_EDGES)
        within = USERS_IN if relation == "users" else FEATURES_IN
        return windows.active_items(windows.at_instants(rolled, rows, reach=REACH_OF[relation], block=BLOCK_DAYS), within)

    def _frame(self) -> Any:
        """The rows with every count, null where the sources lack it."""
        rows = frame = self._named["rows"]
        for place, (name, table) in enumerate(self._named.items()):
            if name.startswith("counts_"):
                # One chain of joins: a projection between two of them would name every column again.
                table = table.rename({f"counted_{place}": "spine_id"})
                frame = frame.left_join(table, rows.spine_id == table[f"counted_{place}"])
        frame = frame.select(~selectors.startswith("counted_"))
        counted: dict[str, Any] = {}
        for count in counts(self.shape.product_features):
            if count.name not in frame.columns:
                if count.source in self.sources or count.name in FACTS:
                    counted[count.name] = ibis.null("int64")
            elif count.empty is not None:
                counted[count.name] = frame[count.name].fill_null(ibis.literal(count.empty).cast(frame[count.name].type()))
        return frame.mutate(**counted)

    def _values(self, frame: Any) -> Any:
        """The features that need no peers, beside the facts; those of tables that are not connected are left out."""
        own = {name: self.declared[name].expr(frame).cast("float64") for name in self.own}
        facts = {f"fact_{name}": frame[name] for name in FACTS}
        return frame.select(*ASKED, "active", "product", "plan", **facts, **own)

    def _segments(self, midnights: Any) -> Any:
        values = self._named["values"]
        wanted = midnights.rename(wanted="midnight")
        population = values.join(wanted, [values.as_of == wanted.wanted]).drop("wanted")
        return peers.segment_medians(population.filter(population.active), self.medians)

    def _features(self, segments: Any) -> Any:
        """Each asked row: facts, all features, and which segment its peers are."""
        values = self._named["values"]
        rows = peers.with_segment(values.filter(values.asked_id.notnull()), segments)
        compared = {name: own for name in self.known if (own := self.declared[name].versus) is not None}
        joined = rows.left_join(*_of_segment(rows, segments, list(compared.values())))
        versus = {name: peers.relative_difference(joined[own], joined[f"peer_{own}"]) for name, own in compared.items()}
        facts = [f"fact_{name}" for name in FACTS]
        return joined.mutate(**versus).select(*ASKED, "active", "product", "plan", *facts, *self.known, *peers.SEGMENT_OF_ROW)

    def _found(self, segments: Any) -> Any:
        """The same with every feature, and `peer_<feature>`, the peers' medians: null where the sources lack them."""
        rows = self._named["features"]
        joined = rows.left_join(*_of_segment(rows, segments, self.own))
        own = [name for name, feature in self.declared.items() if feature.versus is None]
        names = [*ASKED, "active", "product", "plan", *map("fact_{}".format, FACTS), *self.declared, *map("peer_{}".format, own)]
        return joined.select(**{name: joined[name] if name in joined.columns else ibis.null("float64") for name in names})


def _of_segment(rows: Any, segments: Any, names: Sequence[str]) -> tuple[Any, list[Any]]:
    """The medians of `names`, as `peer_<name>`, and the conditions that join each row with its segment."""
    keys = dict(zip(peers.SEGMENT, ("midnight", *peers.SEGMENT_OF_ROW), strict=True))
    medians = segments.select(
        **{f"of_{name}": segments[name] for name in keys}, **{f"peer_{name}": segments[name] for name in names}
    )
    return medians, [rows[own] == medians[f"of_{name}"] for name, own in keys.items()]

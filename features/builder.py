"""The builder: tables and a spine in, one row of features per spine row out (interface.md "Python")."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from itertools import count
from types import TracebackType
from typing import Any, Self

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from features import given, month_rows
from features.catalogue import DAY
from features.catalogue.usage import REACH_OF
from features.peers import SEGMENT, SEGMENT_OF_ROW
from features.plan import ASKED, MIDNIGHTS, PREFIX, Shape, Step, plan
from features.rolled import Rolled
from features.rollup import KEYS
from features.rollup_state import naming_damage
from features.running_use import RELATIONS, RunningUse, sums_fit
from features.snapshots import Places, Snapshot, features_of, snapshot_of
from features.sources import literal
from features.spine import Spine

#: Rows computed in one query, peers included: bounds memory, and is the step of the progress bar.
CHUNK_ROWS = 240_000
#: Of so few rows, planning is most of what they cost: the widest steps, whose tables are small, are planned once.
FEW_ROWS = 100
_PLANNED_ONCE = ("frame", "values", "features")
#: Builders on one connection are told apart by their numbers.
_numbers = count(1)
Progress = Callable[[int, int], None]


def build(tables: Mapping[str, Any], spine: Any, product_features: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per spine row: account_id, as_of, and the columns of `catalog(product_features)` (domain.md §2).

    `tables`: name → Ibis table, or anything that Ibis reads; `spine`: rows of (account_id, as_of). Raises ValueError where a
    required table or column is missing, a table's name is unknown, an instant or an account_id of the spine is null, or MRR is in
    a currency that has no rate at T.

    >>> subscriptions = pd.DataFrame({"account_id": ["a"], "started_at": [pd.Timestamp("2026-01-01")], "seats": [5]})
    >>> accounts = pd.DataFrame({"account_id": ["a"]})
    >>> spine = pd.DataFrame({"account_id": ["a"], "as_of": [pd.Timestamp("2026-01-11")]})
    >>> frame = build({"accounts": accounts, "subscriptions": subscriptions}, spine)
    >>> float(frame.loc[0, "tenure_days"]), float(frame.loc[0, "seats"])
    (10.0, 5.0)
    """
    checked = Spine.of(spine)
    with Builder(tables, product_features, peers=False) as builder:
        return builder.features(checked)


def snapshot(
    tables: Mapping[str, Any],
    spine: Any,
    product_features: Sequence[str] = (),
    *,
    progress: Progress = lambda done, total: None,
) -> Snapshot:
    """Return features, facts and peers' medians for each spine row; `progress(done, total)` counts spine rows.

    Errors as `build`.
    """
    checked = Spine.of(spine)
    with Builder(tables, product_features) as builder:
        return builder.snapshot(checked, progress=progress)


class Builder:
    """Features of one company's tables, on DuckDB; what does not depend on the rows that are asked for is computed once.

    A context manager: its temporary tables are dropped at the end. Use it, and the tables that it was given, from one thread at
    a time. `peers`: the peers' medians of all features are wanted, by `snapshot`; without them `features` is quicker. Errors as
    `build`.
    """

    def __init__(self, tables: Mapping[str, Any], product_features: Sequence[str] = (), *, peers: bool = True) -> None:
        self._backend = _backend(table.recurring if isinstance(table, Rolled) else table for table in tables.values())
        self._prefix = f"{PREFIX}{next(_numbers)}_"
        self._made: dict[str, str] = {}
        self._given: list[Any] = []
        self._product_features, self._peers = tuple(product_features), peers
        self._peers_at: set[int] = set()
        self._medians: tuple[pd.MultiIndex, pa.Table] | None = None
        self._rolled: Rolled | None = None
        self._rolled_days: tuple[int, int, bool] | None = None
        self._running: RunningUse | None = None
        self._empty: set[str] = set()
        try:
            self._steps = self._prepare(tables, self._product_features)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the builder itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the builder."""
        self.close()

    def close(self) -> None:
        """Drop what the builder made."""
        for name, kind in reversed(self._made.items()):
            self._run(f'deallocate "{name}"' if kind == "prepared" else f'drop {kind} if exists "{name}"')
        self._made.clear()
        self._given.clear()

    def snapshot(self, spine: Any, *, progress: Progress = lambda done, total: None) -> Snapshot:
        """Return features, facts and peers' medians for each spine row, as the function `snapshot` does."""
        if not self._peers:
            raise ValueError("this builder computes no medians of peers: make it with peers=True, or ask for features()")
        wanted = Spine.of(spine)
        found, rows = self._answer(wanted, progress)
        made = snapshot_of(self._with_medians(found), self._product_features, rows)
        return Snapshot(*(frame.set_axis(wanted.index) for frame in (made.features, made.facts, made.peers)))

    def features(self, spine: Any, *, progress: Progress = lambda done, total: None) -> pd.DataFrame:
        """Return the features of each spine row, as the function `build` does."""
        wanted = Spine.of(spine)
        found, rows = self._answer(wanted, progress)
        return features_of(found, self._product_features, rows).set_axis(wanted.index)

    def _answer(self, wanted: Spine, progress: Progress) -> tuple[pa.Table, Places]:
        """Rows of the step `features`, and which of them each spine row is."""
        parts: list[pa.Table] = []
        rows = np.zeros(len(wanted), np.intp)
        answered = told = 0
        many = wanted.many_midnights
        for chunk in wanted.chunks(self._accounts, CHUNK_ROWS):
            asked = chunk.groupby(["account_id", "as_of"], sort=False).ngroup().to_numpy()
            parts.append(self._found(chunk, many))
            numbers = parts[-1]["asked_id"].to_numpy()
            place = np.empty(len(numbers), np.intp)
            place[numbers] = np.arange(len(numbers))
            rows[chunk["position"].to_numpy()] = answered + place[asked]
            answered, told = answered + len(numbers), told + len(chunk)
            progress(told, len(wanted))
        return pa.concat_tables(parts), rows

    def _prepare(self, tables: Mapping[str, Any], product_features: tuple[str, ...]) -> tuple[tuple[Step, str], ...]:
        """Name the tables on the connection, make what depends on them alone, and return the steps that rows need."""
        self._rolled = next((table for table in tables.values() if isinstance(table, Rolled)), None)
        rows = {name: table.recurring if isinstance(table, Rolled) else table for name, table in tables.items()}
        known = {name: table if isinstance(table, ibis.Table) else ibis.memtable(table) for name, table in rows.items()}
        sources = given.read(known, product_features)
        for name, table in sources.items():
            self._name_source(name, table)
        schemas = {name: table.schema() for name, table in sources.items()}
        self._foreign = given.foreign(schemas, self._currencies)
        self._shape = Shape(tuple(schemas.items()), self._foreign, product_features, self._rolled is not None, self._peers)
        steps = _compiled(self._shape)
        for step, sql in steps:
            if step.kind != "rows":
                self._make(step, sql)
        self._relation_schemas = {
            name: step.expr.schema().names for name in KEYS for step, _ in steps if step.name == f"used_{name}"
        }
        self._accounts = int(self._run(f'select count(*) from "{self._prefix}accounts"').fetchone()[0])
        segments = next(step for step, _ in steps if step.name == "segments")
        for name, schema in (("segments_known", segments.expr.schema()), ("asked", ASKED), ("midnights", MIDNIGHTS)):
            self._fill(name, schema.to_pyarrow().empty_table())
        return tuple((step, sql) for step, sql in steps if step.kind == "rows")

    def _name_source(self, name: str, table: Any) -> None:
        view = f"{self._prefix}source_{name}"
        self._backend.create_view(view, table, overwrite=True)
        self._made[view] = "view"
        self._given.append(table)

    def _currencies(self, name: str) -> set[str]:
        rows = self._run(f'select distinct currency from "{self._prefix}source_{name}" where currency is not null').fetchall()
        return {str(row[0]) for row in rows}

    def _make(self, step: Step, sql: str) -> None:
        kind = "view" if step.kind == "view" else "table"
        name = f"{self._prefix}{step.name}"
        self._run(f'create or replace temp {kind} "{name}" as {self._named(sql)}')
        self._made[name] = kind

    def _make_again(self, step: Step, sql: str) -> None:
        """Make a relation that there is already without a new name, which would have every prepared statement planned anew."""
        insert = f'insert into "{PREFIX}{step.name}" {sql}'
        self._run(f'truncate "{self._prefix}{step.name}"')
        if step.name in _PLANNED_ONCE:
            self._read_again(step, insert)
        else:
            self._run(self._named(insert))

    def _read_again(self, step: Step, sql: str) -> Any:
        """Run a statement that is planned but once."""
        again = f"{self._prefix}{step.name}_again"
        if again not in self._made:
            self._run(f'prepare "{again}" as {self._named(sql)}')
            self._made[again] = "prepared"
        return self._run(f'execute "{again}"')

    def _named(self, sql: str) -> str:
        """The SQL of a step, with this builder's names."""
        return sql.replace(f'"{PREFIX}', f'"{self._prefix}')

    def _fill(self, name: str, rows: pa.Table) -> None:
        """Make a table of these rows."""
        self._backend.con.register(f"{self._prefix}filling", rows)
        self._run(f'create or replace temp table "{self._prefix}{name}" as from "{self._prefix}filling"')
        self._backend.con.unregister(f"{self._prefix}filling")
        self._made[f"{self._prefix}{name}"] = "table"

    def _query(self, sql: str) -> pa.Table:
        """Answer a query whose result is large: relations are turned into Arrow in parallel, executed statements are not."""
        with self._naming_damage():
            return self._backend.con.sql(sql).to_arrow_table()

    def _run(self, sql: str) -> Any:
        with self._naming_damage():
            return self._backend.con.execute(sql)

    def _naming_damage(self) -> AbstractContextManager[None]:
        return naming_damage(self._rolled.folder, self._rolled.state) if self._rolled is not None else nullcontext()

    def _found(self, chunk: pd.DataFrame, many: tuple[int, int] | None) -> pa.Table:
        """Compute the rows of one chunk, each once, in any order, and the medians of its midnights."""
        first = ~chunk.duplicated(["account_id", "as_of"]).to_numpy()
        asked = chunk[first].assign(asked_id=np.arange(first.sum()))[list(ASKED)]
        midnights = sorted(set(chunk["midnight"]) - self._peers_at)
        few = len(asked) <= FEW_ROWS and not midnights
        if self._rolled is not None:
            self._name_rolled_up(self._rolled, chunk, few=few)
        if few:  # without a new name, which would have every statement planned anew
            rows = (f"({a}, {literal(account)}, {b}, {c})" for a, account, b, c in asked.itertuples(index=False))
            self._run(f'truncate "{self._prefix}asked"; truncate "{self._prefix}midnights"')
            self._run(f'insert into "{self._prefix}asked" values {", ".join(rows)}' if len(asked) else "select 1")
        else:
            self._fill("asked", pa.Table.from_pandas(asked, preserve_index=False))
            self._fill("midnights", pa.table({"midnight": pa.array(midnights, pa.int64())}))
        counted: dict[str, pa.Table] = {}
        skipped = self._skipped(at_midnight=bool((asked["as_of"] == asked["midnight"]).all()), peers_known=not midnights)
        for step, sql in self._steps:
            if step.name in skipped:
                continue
            if step.name in counted:
                self._fill(step.name, counted[step.name])
            elif step.name == "features":
                found = self._read_again(step, sql).to_arrow_table() if few else self._query(self._named(sql))
            elif few and f"{self._prefix}{step.name}" in self._made:
                self._make_again(step, sql)
            else:
                self._make(step, sql)
            if step.name == "rows" and many is not None:
                counted = self._running_counts(many)
            if step.name == "standing":
                self._require_rates()
            if step.name == "segments":
                self._run(f'insert into "{self._prefix}segments_known" from "{self._prefix}segments"')
                self._peers_at.update(midnights)
                self._medians = None
        return found

    def _skipped(self, *, at_midnight: bool, peers_known: bool) -> set[str]:
        """Steps that would make nothing new."""
        empty = {name for name in self._empty if at_midnight}
        self._empty = {step.name for step, _ in self._steps if step.name.startswith("used_then_") and at_midnight}
        return empty | ({"segments"} if peers_known else set())

    def _running_counts(self, days: tuple[int, int]) -> dict[str, pa.Table]:
        """The steps that running sums stand in for, and what they would make; none where sums do not fit."""
        if not self._relation_schemas:
            return {}
        numbers = f'"{self._prefix}numbers"'
        if self._running is None or self._running.days != days:
            parts = ("used",) if self._rolled is None else ("used", "stored")
            union = " union all ".join(f'from "{self._prefix}{part}_{{name}}"' for part in parts)
            relations = {name: f"({union.format(name=name)})" for name in RELATIONS}
            if not sums_fit(self._query, relations["days"]):
                return {}
            numbered = "account_id, row_number() over (order by account_id) - 1 as number"
            in_use = f"(select distinct account_id from {relations['days']})"
            self._run(f"create or replace temp table {numbers} as select {numbered} from {in_use}")
            self._made[f"{self._prefix}numbers"] = "table"
            self._running = RunningUse(self._query, numbers, relations, self._shape.columns["usage"], days)
        asked = f'"{self._prefix}rows" join {numbers} using (account_id) order by midnight, number'
        found = self._running.counts(
            self._query(f"select spine_id, number, midnight from {asked}"), self._shape.counts_of("usage")
        )
        return {f"counts_usage_{name}": table for name, table in found.items()}

    def _name_rolled_up(self, rolled: Rolled, chunk: pd.DataFrame, *, few: bool) -> None:
        """Name the kept rollups that the chunk's midnights read."""
        other = chunk[chunk["as_of"] != chunk["midnight"]]
        if len(other):
            instant = pd.Timestamp(int(other["as_of"].iloc[0]), unit="us")
            raise ValueError(f"as_of is {instant}: kept rollups answer midnights (UTC) alone; give the table of events itself")
        first, last = (int(day) // DAY for day in (chunk["midnight"].min(), chunk["midnight"].max()))
        if self._rolled_days == (first, last, few):
            return
        self._rolled_days, self._running = (first, last, few), None
        # Files of partitions never change: what their footers say is read once.
        self._run("set parquet_metadata_cache = true")
        begins = {name: first - REACH_OF[name] for name in self._relation_schemas}
        stored = {name: rolled.rows(name, begin, last) for name, begin in begins.items() if name != "by_feature"}
        # To leave lists out takes several scans, which for few rows cost more than the lists.
        self._view("stored_months", (stored["days"] if few else rolled.months(first, last)) or month_rows.none())
        stored["days"] = stored["days"] and month_rows.unpacked(stored["days"])
        stored["by_feature"] = rolled.by_feature(self._product_features, begins["by_feature"], last)
        for relation, schema in self._relation_schemas.items():
            rows = stored[relation] or f'(from "{self._prefix}used_{relation}" limit 0)'
            self._view(f"stored_{relation}", f"(select {', '.join(schema)} from {rows})")

    def _view(self, name: str, rows: str) -> None:
        self._run(f'create or replace temp view "{self._prefix}{name}" as from {rows}')
        self._made[f"{self._prefix}{name}"] = "view"

    def _with_medians(self, found: pa.Table) -> pa.Table:
        """Add `peer_<feature>`: the medians of each row's segment."""
        if self._medians is None:
            segments = self._run(f'from "{self._prefix}segments_known"').to_arrow_table()
            keys = pd.MultiIndex.from_frame(segments.select(SEGMENT).to_pandas())
            self._medians = keys, segments.drop_columns(list(SEGMENT))
        keys, medians = self._medians
        at = keys.get_indexer(pd.MultiIndex.from_frame(found.select(["midnight", *SEGMENT_OF_ROW]).to_pandas()))
        taken = medians.take(pa.array(at, mask=at < 0))
        names = [*found.column_names, *(f"peer_{name}" for name in medians.column_names)]
        return pa.Table.from_arrays([*found.columns, *taken.columns], names=names)

    def _require_rates(self) -> None:
        names = {name: f'"{self._prefix}{name}"' for name in ("standing", "candidates")}
        first = self._run(given.UNRATED.format(**names)).fetchone()
        if first is not None:
            given.refuse_unrated(*first)


@lru_cache(maxsize=64)
def _compiled(shape: Shape) -> tuple[tuple[Step, str], ...]:
    # The last step only adds medians, which few rows share: see `_with_medians`.
    with _no_collection():
        return tuple((step, ibis.duckdb.compile(step.expr)) for step in plan(shape) if step.name != "found")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Expressions are a million small objects that stay: to look for garbage among them takes a third of their making."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _backend(tables: Iterable[Any]) -> Any:
    """The one DuckDB connection that the tables are on; a new one where they are on none."""
    found = {table.get_backend() for table in tables if isinstance(table, ibis.Table)}
    others = [backend for backend in found if backend.name != "duckdb"]
    if others:
        raise ValueError(f"tables are on {others[0].name}: features.build reads tables of DuckDB; for Spark see features.spark")
    own = [backend for backend in found if backend is not ibis.get_backend()] or list(found)
    if len(own) > 1:
        raise ValueError(f"tables are on {len(own)} DuckDB connections: give tables of one")
    return own[0] if own else ibis.duckdb.connect()

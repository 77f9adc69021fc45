"""A build on Spark: the plan of features/plan.py over Spark's tables, its steps as Parquet, nothing but counts brought here.

Each step is written into a scratch folder and read again: rows that were numbered keep their numbers, and a step that fails is
made from files, not from the beginning. The tables are taken as they are: they must have the contract's form already.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa

from features import given
from features.catalogue import DAY, catalog
from features.plan import ASKED, MIDNIGHTS, PREFIX, Shape, Step, plan
from features.sources import SourceError
from features.spark import stopped
from features.spine import Spine
from features.visible import micros

_LACKING = (
    "Spark reads tables in the contract's form and no mapping; write the tables with the contract's names and types, "
    "or choose --engine duckdb, which maps them"
)
#: Microseconds since 1970 as a naive timestamp, in Spark's SQL.
INSTANT = "cast(timestamp_micros(as_of) as timestamp_ntz) as as_of"
#: Builds on one session are told apart by their numbers.
_numbers = count(1)


def write_features(
    connection: Any,
    tables: Mapping[str, Any],
    rows: Sequence[datetime] | Any,
    out: str,
    product_features: Sequence[str] = (),
    *,
    facts: bool = False,
) -> int:
    """Write account_id, as_of and the columns of `catalog(product_features)` as Parquet; return the number of rows.

    `connection`, `tables`: of features.spark; `rows`: instants, at which every account with a subscription is asked for, or an
    Ibis table of (account_id, as_of), each pair once; `out`: a folder or URL that is not there yet. With `facts` also active,
    product, plan, `fact_<name>` (features.plan.FACTS; instants in microseconds since 1970) and `peer_<feature>`, the peers'
    medians. SourceError where `out` is there or Spark stops; ValueError as features.build.
    """
    require_absent(connection, out)
    names = ["account_id", "as_of", *catalog(product_features)]
    with found(connection, tables, rows, out, product_features) as frame:
        also = [name for name in frame.columns if facts and name not in (*names, "asked_id")]
        written = frame.selectExpr("account_id", INSTANT, *(f"`{name}`" for name in (*names[2:], *also)))
        written.write.parquet(out)
        return int(connection.stored(out).count())


def require_absent(connection: Any, out: str) -> None:
    """SourceError where something is at `out` already."""
    if connection.exists(out):
        raise SourceError("out_exists", f"{out} is there already: give another folder, or delete it first")


@contextmanager
def found(
    connection: Any, tables: Mapping[str, Any], rows: Sequence[datetime] | Any, out: str, product_features: Sequence[str] = ()
) -> Iterator[Any]:
    """Yield the plan's last step, `found`, as a Spark DataFrame, which can be read until the block ends.

    One row per row asked for, with `as_of` in microseconds since 1970. The scratch folder lies beside `out` and is deleted at the
    end. Arguments and errors as `write_features`.
    """
    scratch = f"{out.rstrip('/')}.scratch-{uuid4().hex[:12]}"
    build = _Build(connection, scratch, tuple(product_features))
    try:
        with stopped():
            yield build.found(tables, rows)
    finally:
        build.close()


def currencies(connection: Any, table: Any) -> set[str]:
    """Return the currencies that a table names."""
    named = table.filter(~table.currency.isnull()).select("currency").distinct()
    return set(connection.to_pyarrow(named)["currency"].to_pylist())


class _Build:
    """One build, its temporary views and its scratch folder."""

    def __init__(self, connection: Any, scratch: str, product_features: tuple[str, ...]) -> None:
        self._connection, self._scratch, self._product_features = connection, scratch, product_features
        self._prefix = f"{PREFIX}{next(_numbers)}_"
        self._views: list[str] = []
        self._at_midnight = False

    def close(self) -> None:
        for name in self._views:
            self._connection.drop_view(f"{self._prefix}{name}", force=True)
        self._connection.delete(self._scratch)

    def found(self, tables: Mapping[str, Any], rows: Sequence[datetime] | Any) -> Any:
        sources = given.read(tables, self._product_features, lacking=_LACKING)
        schemas = {name: table.schema() for name, table in sources.items()}
        foreign = given.foreign(schemas, lambda name: currencies(self._connection, sources[name]))
        for name, table in sources.items():
            self._name(f"source_{name}", self._connection.data_frame(table))
        steps = plan(Shape(tuple(schemas.items()), foreign, self._product_features))
        for step in [step for step in steps if step.kind != "rows"]:
            self._make(step)
        self._ask(rows)
        for step in [step for step in steps if step.kind == "rows"]:
            frame = self._make(step)
            if step.name == "standing":
                self._require_rates()
            if step.name == "segments":
                self._name("segments_known", frame)
        return frame

    def _ask(self, rows: Sequence[datetime] | Any) -> None:
        """Name the rows that are asked for, and the midnights whose peers are wanted."""
        if hasattr(rows, "schema"):
            spine = self._checked(rows)
        else:
            dates = Spine.of(pd.DataFrame({"account_id": "", "as_of": list(rows)})).rows[["as_of", "midnight"]].drop_duplicates()
            self._at_midnight = bool((dates["as_of"] == dates["midnight"]).all())
            self._name("instants", self._connection.rows(pa.Table.from_pandas(dates, preserve_index=False)))
            spine = self._sql("select account_id, as_of, midnight from {accounts} cross join {instants}")
        # Rows that are asked for have a number; which one, nothing reads.
        self._name("asked", spine.selectExpr("0L as asked_id", *list(ASKED)[1:]))
        midnights = self._sql("select distinct midnight from {asked}").selectExpr(*MIDNIGHTS)
        self._name("midnights", self._kept("midnights", midnights))

    def _checked(self, rows: Any) -> Any:
        for column in ("account_id", "as_of"):
            if column not in rows.columns:
                raise ValueError(f"spine lacks the column {column!r}; it has: {', '.join(rows.columns)}")
        as_of = micros(rows.as_of)
        spine = rows.select(account_id=rows.account_id.cast("string"), as_of=as_of, midnight=(as_of // DAY).cast("int64") * DAY)
        frame = self._connection.data_frame(spine)
        empty = frame.filter("account_id is null or as_of is null").count()
        if empty:
            raise ValueError(f"spine has {empty} row(s) without account_id or as_of: give every row both")
        return frame

    def _make(self, step: Step) -> Any:
        query = self._connection.compile(step.expr).replace(f"`{PREFIX}", f"`{self._prefix}")
        frame = self._connection.query(query)
        if self._at_midnight and step.name.startswith("used_then_"):
            frame = frame.filter("false")  # use at other times of day: known to be none, without a look at the events
        elif step.kind != "view" and step.name != "found":  # which is written once, where it is wanted
            frame = self._kept(step.name, frame)
        return self._name(step.name, frame)

    def _kept(self, name: str, frame: Any) -> Any:
        path = f"{self._scratch}/{name}"
        frame.write.parquet(path)
        return self._connection.stored(path, frame.schema)

    def _name(self, name: str, frame: Any) -> Any:
        frame.createOrReplaceTempView(f"{self._prefix}{name}")
        self._views.append(name)
        return frame

    def _sql(self, query: str) -> Any:
        names = {name: f"`{self._prefix}{name}`" for name in (*self._views, "asked")}
        return self._connection.query(query.format(**names))

    def _require_rates(self) -> None:
        first = self._sql(given.UNRATED).toArrow().to_pylist()
        if first:
            given.refuse_unrated(**first[0])

"""Scoring a portfolio on Spark: the records of serving/scoring.py, made where the rows are and written as Parquet.

Features come from the plan, and each batch of accounts goes through the same rule as on DuckDB; only the models go out to the
workers, which need Kunto installed, and nothing comes back but the number of rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from features.snapshots import Snapshot, snapshot_of
from features.spark import arrow_schema
from features.spark_builder import found, require_absent
from models.scorecard import default_scorecard
from serving.assessment import ScoringSettings, assess, product_features
from serving.champions import Champions
from serving.people import known, shown
from serving.scoring import accounts_of, instants

#: The instants of a row: T itself, 90 days and 30 days before it.
_PARTS = ("now", "before", "earlier")
_WHO = "who"


def write_scores(
    connection: Any,
    tables: Mapping[str, Any],
    as_of: pd.Timestamp,
    champions: Champions,
    settings: ScoringSettings,
    out: str,
    *,
    versions: Mapping[str, str],
) -> int:
    """Score every account active and observed at `as_of` and write `schema(versions)` as Parquet; return the number of rows.

    `connection`, `tables`: of features.spark; `out`: a folder or URL that is not there yet. A row is the record that
    `serving.scoring.score` makes of the account, without `contacts`, and without `disagreement`, which hangs on all the others.
    Errors as features.spark_builder.write_features.
    """
    require_absent(connection, out)
    score_batches = _scoring(as_of, champions, settings, versions, frozenset(tables))
    with found(connection, tables, instants(as_of), out, product_features(champions)) as frame:
        rows = _rows(frame, connection.data_frame(known(tables["accounts"], as_of)), as_of)
        rows.mapInArrow(score_batches, arrow_schema(schema(versions))).write.parquet(out)
        return int(connection.stored(out).count())


def schema(versions: Mapping[str, str]) -> pa.Schema:
    """Return the columns: those of the record (interface.md), nested as it is, with `as_of` a timestamp.

    >>> [name for name in schema({"model": "m"}).names if name.startswith(("h", "p", "r"))]
    ['health', 'predictions', 'reasons', 'play', 'renewal']
    """
    return pa.schema(
        {
            "account_id": pa.string(),
            "as_of": pa.timestamp("us"),
            **dict.fromkeys(("name", "csm", "tier", "stage"), pa.string()),
            "leaving": pa.bool_(),
            "health": _HEALTH,
            "predictions": pa.list_(_PREDICTION),
            "curve": pa.list_(_struct(days=_INTEGER, survival=_NUMBER)),
            "reasons": _REASONS,
            "play": _PLAY,
            **dict.fromkeys(("arr", "arr_at_risk", "expected_lifetime_value"), _NUMBER),
            "renewal": _RENEWAL,
            "versions": _struct(**dict.fromkeys(versions, pa.string())),
        }
    )


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct(list(fields.items()))


_TEXT, _NUMBER, _INTEGER = pa.string(), pa.float64(), pa.int64()
_HEALTH = _struct(
    score=_INTEGER,
    band=_TEXT,
    coverage=_NUMBER,
    provisional=pa.bool_(),
    components=_struct(**{part.name: _NUMBER for part in default_scorecard().components}),
    bound_by=_TEXT,
    change_30d=_INTEGER,
    no_score=_TEXT,
)
_PREDICTION = _struct(outcome=_TEXT, horizon_days=_INTEGER, probability=_NUMBER, low=_NUMBER, high=_NUMBER, base_rate=_NUMBER)
_DRIVER = _struct(
    driver=_TEXT,
    direction=_TEXT,
    contribution=_NUMBER,
    feature=_TEXT,
    value=_NUMBER,
    before=_NUMBER,
    peers=_NUMBER,
    text=_TEXT,
)
_REASONS = _struct(
    outcome=_TEXT, horizon_days=_INTEGER, base_value=_NUMBER, raw_score=_NUMBER, drivers=pa.list_(_DRIVER), other=_NUMBER
)
_PLAY = _struct(
    name=_TEXT,
    why=_TEXT,
    expected_value=_NUMBER,
    beaten=_struct(name=_TEXT, value=_NUMBER),
    assignment=_struct(arm=_TEXT, probability=_NUMBER, seed=_INTEGER),
)
_RENEWAL = _struct(
    date=_TEXT,
    notice_by=_TEXT,
    probability=_NUMBER,
    expected_arr=_NUMBER,
    expected_arr_low=_NUMBER,
    expected_arr_high=_NUMBER,
)


def _rows(frame: Any, who: Any, as_of: pd.Timestamp) -> Any:
    """One row for each account that is scored: structs of what is known of it at each instant, and who it is."""
    columns = ", ".join(f"`{name}`" for name in frame.columns)
    at = [(instant - pd.Timestamp(0)) // pd.Timedelta(microseconds=1) for instant in instants(as_of)]
    now, before, earlier = (
        frame.filter(f"as_of = {instant}").selectExpr("account_id", f"struct({columns}) as {part}")
        for part, instant in zip(_PARTS, at, strict=True)
    )
    active = now.filter("now.active").join(who.selectExpr("account_id", f"struct(*) as {_WHO}"), "account_id", "left")
    return active.filter(f"coalesce({_WHO}.observed, true)").join(before, "account_id").join(earlier, "account_id")


def _scoring(
    as_of: pd.Timestamp,
    champions: Champions,
    settings: ScoringSettings,
    versions: Mapping[str, str],
    connected: frozenset[str],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that scores Arrow batches on a worker."""
    own, written = product_features(champions), schema(versions)

    def score_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                records = assess(_accounts(batch), champions, settings, versions=versions, marks=None).records
                yield pa.RecordBatch.from_pylist([record | {"as_of": as_of} for record in records], schema=written)

    def _accounts(batch: pa.RecordBatch) -> Any:
        now, before, earlier = (_snapshot(batch, part) for part in _PARTS)
        who = _struct_columns(batch, _WHO).to_pandas().assign(account_id=batch["account_id"].to_pandas())
        return accounts_of(now, before, earlier, shown(who), as_of, connected, settings, {})

    def _snapshot(batch: pa.RecordBatch, part: str) -> Snapshot:
        return snapshot_of(_struct_columns(batch, part), own)

    return score_batches


def _struct_columns(batch: pa.RecordBatch, name: str) -> pa.Table:
    """The fields of a struct as columns; null where the struct is."""
    column = batch[name]
    names = [field.name for field in column.type]
    return pa.Table.from_arrays(column.flatten(), names=names)

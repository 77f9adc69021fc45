"""Features that changed after the fact: a past row, rebuilt from what stood at its T, has another value than the dataset."""

from collections.abc import Mapping
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.builder import snapshot
from features.catalogue import Feature, catalog
from features.contract import TABLES
from features.revenue import FOREVER, NEVER, instant, instants, text
from training.dataset import Dataset
from training.leaks.leak import Evidence, Leak

IntArray = npt.NDArray[np.intp]

#: Rows rebuilt, each of another account, over dates at these quantiles of the dataset's.
_SAMPLE = 200
_DATES = (0.2, 0.5, 0.8)
#: How far apart two computations of one float may lie; sums are exact.
_TOLERANCE = 1e-9


def changed_features(tables: Mapping[str, Any], data: Dataset) -> list[Leak]:
    """Rebuild a sample of past rows from the tables cut at each row's T; return the features whose values differ.

    The cut is made here, row by row, and owes nothing to the builder's own. Features against peers are left out: they need
    all accounts, and are functions of features that are compared.
    """
    sample = _sample(data.spine)
    at = pd.Series(data.spine["as_of"].iloc[sample].to_numpy(), index=data.spine["account_id"].iloc[sample].astype(str))
    cut = {name: _cut(name, table, at) for name, table in tables.items()}
    rebuilt = snapshot(cut, data.spine.iloc[sample], data.product_features).features
    declared = catalog(data.product_features)
    found = []
    for name in data.frame.columns:
        if name not in declared or declared[name].versus is not None:
            continue
        was = data.frame[name].iloc[sample].to_numpy(dtype=np.float64, na_value=np.nan)
        now = rebuilt[name].to_numpy(dtype=np.float64, na_value=np.nan)
        differing = np.flatnonzero(~np.isclose(was, now, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
        if len(differing):
            row = differing[0]
            found.append(_changed(declared[name], at, len(differing), row, float(was[row]), float(now[row])))
    return found


def _sample(spine: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Positions of rows at a few dates, at most one row for each account, so that each account's tables have one cut."""
    dates = np.sort(spine["as_of"].unique())
    chosen = dict.fromkeys(dates[int(share * (len(dates) - 1))] for share in _DATES)
    candidates = np.flatnonzero(spine["as_of"].isin(list(chosen)).to_numpy())
    candidates = np.random.default_rng(0).permutation(candidates)
    first = ~spine["account_id"].iloc[candidates].duplicated().to_numpy()
    return np.sort(candidates[first][:_SAMPLE])


def _cut(name: str, table: Any, at: pd.Series) -> pa.Table:
    """The rows of these accounts that had happened and were recorded before each account's T, later facts made null.

    Rates belong to no account: they are cut at the last T of all, where reading on would show.
    """
    contract = TABLES[name]
    table = table if isinstance(table, ibis.Table) else ibis.memtable(table)
    kept = [column for column in contract.names if column in table.columns]
    if "account_id" in kept:
        rows = table.filter(table.account_id.cast("string").isin(list(at.index))).select(kept).to_pyarrow()
        until = at.astype("datetime64[us]").astype("int64").reindex(text(rows, "account_id").to_pandas()).to_numpy()
    else:
        rows = table.select(kept).to_pyarrow()
        until = np.full(rows.num_rows, instant(at.max()))
    event = instants(rows, contract.event, NEVER)
    known = np.maximum(event, instants(rows, "recorded_at", event))
    masked = {c: instants(rows, known_at, FOREVER) < until for c in kept if (known_at := contract.column(c).known_at)}
    for column, seen in masked.items():
        values = rows[column].combine_chunks()
        hidden = pc.if_else(pa.array(seen), values, pa.scalar(None, values.type))
        rows = rows.set_column(rows.column_names.index(column), column, hidden)
    return rows.filter(pa.array(known < until))


def _told(value: float) -> float | str:
    return "missing" if np.isnan(value) else value


def _changed(feature: Feature, at: pd.Series, rows: int, row: int, was: float, now: float) -> Leak:
    evidence: Evidence = {
        "rows_compared": len(at),
        "rows_differing": rows,
        "account": str(at.index[row]),
        "as_of": str(at.iloc[row]),
        "in_the_training_data": _told(was),
        "from_what_stood_then": _told(now),
    }
    advice = (
        f"Its value at a past date is not what {feature.source} gave then: find which of its columns is read too "
        "early, and give the instant from which it was known (recorded_at, or the fact's own)."
    )
    return Leak("changed_after", feature.name, evidence, advice)

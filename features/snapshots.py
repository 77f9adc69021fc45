"""Rows of the plan's last step as frames: features, facts and peers' medians per spine row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.catalogue import catalog
from features.plan import FACTS

#: NaT as the integer that NumPy keeps it as.
_NO_INSTANT = int(np.iinfo(np.int64).min)
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Snapshot:
    """What is known per spine row, in the spine's order and on its index.

    `features`: account_id, as_of and one float64 column per feature. `facts`: what decides who is scored and how much is at
    stake: active, leaving, mrr, seats, renewal_at, notice_by, product, plan. `peers`: the peers' median of each feature.
    """

    features: pd.DataFrame
    facts: pd.DataFrame
    peers: pd.DataFrame


def snapshot_of(found: pa.Table, product_features: Sequence[str] = (), rows: Places | None = None) -> Snapshot:
    """Cut rows of the plan's last step, `found`, into features, facts and peers.

    `rows`: where in `found` each wanted row stands (None: all, as they stand). Features and peers' medians that are not among the
    columns are NaN.
    """
    peers = {name: f"peer_{name}" for name, feature in catalog(product_features).items() if feature.versus is None}
    return Snapshot(features_of(found, product_features, rows), _facts(found, rows), _floats(found, peers, rows))


def features_of(found: pa.Table, product_features: Sequence[str] = (), rows: Places | None = None) -> pd.DataFrame:
    """The features alone, as `snapshot_of` gives them."""
    frame = _floats(found, {name: name for name in catalog(product_features)}, rows)
    frame.insert(0, "account_id", _objects(found["account_id"], rows))
    frame.insert(1, "as_of", _instants(found["as_of"], rows))
    return frame


def _facts(found: pa.Table, rows: Places | None) -> pd.DataFrame:
    fact = {name: found[f"fact_{name}"] for name in FACTS}
    active, running, noticed = (
        _taken(column.to_numpy(), rows) for column in (found["active"], fact["rows_running"], fact["rows_noticed"])
    )
    return pd.DataFrame(
        {
            "account_id": _objects(found["account_id"], rows),
            "as_of": _instants(found["as_of"], rows),
            "active": active,
            "leaving": active & (running > 0) & (noticed == running),
            "mrr": _taken(fact["mrr_running"].cast(pa.float64()).to_numpy(), rows),
            "seats": _taken(fact["seats_running"].cast(pa.float64()).to_numpy(), rows),
            "renewal_at": _instants(fact["renewal_at"], rows),
            "notice_by": _instants(fact["notice_by"], rows),
            "product": _objects(found["product"], rows),
            "plan": _objects(found["plan"], rows),
        }
    )


def _floats(found: pa.Table, names: Mapping[str, str], rows: Places | None) -> pd.DataFrame:
    """A frame of float64 columns: name → the column of `found` it is, NaN where there is none."""
    # A frame over the transpose is no copy: hundreds of columns of a large backfill are in memory once.
    values = np.empty((len(names), len(found) if rows is None else len(rows)))
    there = set(found.column_names)
    for place, name in enumerate(names.values()):
        given = name in there and pa.types.is_float64(found[name].type)
        values[place] = _taken(found[name].to_numpy(), rows) if given else np.nan
    return pd.DataFrame(values.T, columns=list(names), copy=False)


def _objects(column: pa.ChunkedArray, rows: Places | None) -> pd.Series:
    found = column.to_pandas()
    return found if rows is None else found.take(rows).reset_index(drop=True)


def _instants(micros: pa.ChunkedArray, rows: Places | None) -> npt.NDArray[np.datetime64]:
    """Microseconds since 1970 as datetime64, NaT where there is none."""
    return _taken(micros.cast(pa.int64()).fill_null(_NO_INSTANT).to_numpy(), rows).view("datetime64[us]")


def _taken(values: Any, rows: Places | None) -> Any:
    return values if rows is None else values[rows]

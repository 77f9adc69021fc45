"""As-of dates past the data: rows later than data_until, labels that reach past what is settled, tables that stop before."""

from collections.abc import Mapping
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.contract import TABLES
from training.leaks.leak import Evidence, Leak

_DAY = pd.Timedelta(days=1)
#: A table has stopped if it is silent for so many times its longest silence of the year before, for so many times its mean
#: one (chance makes ten in e⁻¹⁰), and for so many days.
_LONGEST, _MEAN = 2, 10
_FEWEST_DAYS = 7
#: A table is judged by its own rhythm if it has rows on so many days of that year.
_DAYS_WITH_ROWS = 20
_RHYTHM_DAYS = 365
#: No event of an account stands here: sign-ups may stop, and the latest rate holds until the next.
_NOT_JUDGED = ("accounts", "fx")


def late_rows(spine: pd.DataFrame, data_until: pd.Timestamp) -> Leak | None:
    """Return the leak if rows of the dataset ask about an instant after the end of the data."""
    late = spine["as_of"] > data_until
    if not late.any():
        return None
    evidence: Evidence = {
        "rows": int(late.sum()),
        "latest": str(spine["as_of"].max()),
        "data_until": str(data_until),
    }
    return Leak("past_the_data", "as_of", evidence, "Nothing is known there: drop these rows, or correct data_until.")


def unsettled_labels(timeline: pd.DataFrame, model: str, horizon_days: int, settled: pd.Timestamp) -> Leak | None:
    """Return the leak if a labelled row's window ends after what is settled: the account's `known_until`, at most `settled`."""
    end = timeline["as_of"] + horizon_days * _DAY
    late = (end > timeline["known_until"]) | (end > settled)
    if not late.any():
        return None
    evidence: Evidence = {
        "rows": int(late.sum()),
        "latest_window_end": str(end.max()),
        "settled_until": str(settled),
    }
    return Leak("past_the_data", model, evidence, "An immature row is no positive and no negative: leave these rows out.")


def stopped_tables(tables: Mapping[str, Any], spine: pd.DataFrame, data_until: pd.Timestamp) -> list[Leak]:
    """Return the tables that fall silent before the end of the data, measured by their own rhythm: name and gap.

    From then on features tell of silence that is only the end of an export: those of the dataset's last dates, or those that
    the model will be asked about first.
    """
    found = []
    for name, given in tables.items():
        table = given if isinstance(given, ibis.Table) else ibis.memtable(given)
        days = _days_with_rows(name, table, data_until) if name not in _NOT_JUDGED else pd.DatetimeIndex([])
        if len(days) < _DAYS_WITH_ROWS:
            continue
        silences = np.diff(days.to_numpy()) / np.timedelta64(1, "D")
        allowed = max(_LONGEST * silences.max(), _MEAN * silences.mean(), _FEWEST_DAYS)
        end = days[-1] + _DAY
        silent = (data_until - end) / _DAY
        if silent > allowed:
            affected = int((spine["as_of"] > end + allowed * _DAY).sum())
            evidence: Evidence = {
                "last_row": str(days[-1].date()),
                "data_until": str(data_until),
                "silent_days": round(float(silent), 1),
                "longest_silence_before": int(silences.max()),
                "rows_affected": affected,
            }
            advice = f"Export {name} up to data_until, or move data_until to the last row: as it is, the end reads as silence."
            found.append(Leak("past_the_data", name, evidence, advice))
    return found


def _days_with_rows(name: str, table: Any, before: pd.Timestamp) -> pd.DatetimeIndex:
    """Days on which the table has rows before an instant, ascending, in the year up to the last of them."""
    instant = table[TABLES[name].event] if TABLES[name].event in table.columns else None
    if "recorded_at" in table.columns:
        instant = table.recorded_at if instant is None else ibis.greatest(instant, table.recorded_at.fill_null(instant))
    if instant is None:
        return pd.DatetimeIndex([])
    told = table.select(day=instant.truncate("D"), at=instant)
    days = told.filter(told.at < before.to_pydatetime()).select("day").distinct().order_by("day").execute()["day"]
    found = pd.DatetimeIndex(days)
    return found[found >= found[-1] - _RHYTHM_DAYS * _DAY] if len(found) else found

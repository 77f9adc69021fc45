"""The training table: who was at risk at each past date, what was known of them then, and the dates of the test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from features.builder import snapshot
from models import health
from models.labels import timeline
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Dataset:
    """Rows of accounts at risk at past dates, all frames in one order.

    `spine`: account_id, as_of; `frame`: one column per feature; `health`: the score 0–100 or missing; `facts`: what is known at T
    beside the features (`features.builder.Snapshot`). `product_features` are those that a new model reads; the frame may hold
    more, for an earlier one.
    """

    spine: pd.DataFrame
    frame: pd.DataFrame
    health: pd.Series
    facts: pd.DataFrame
    product_features: tuple[str, ...]

    def arr(self, at: npt.NDArray[np.intp]) -> npt.NDArray[np.float64] | None:
        """ARR of the rows at these positions, 0 where an account has no price; None where no money is known."""
        found = 12.0 * self.facts["mrr"].iloc[at].to_numpy(dtype=np.float64)
        return None if np.isnan(found).all() else np.nan_to_num(found)


def snapshot_dates(first: pd.Timestamp, until: pd.Timestamp, settings: TrainingSettings) -> pd.DatetimeIndex:
    """Return the instants T of the training table, ascending, all before `until`.

    >>> first, until = pd.Timestamp("2026-01-10"), pd.Timestamp("2026-04-01")
    >>> [str(day.date()) for day in snapshot_dates(first, until, TrainingSettings())]
    ['2026-02-01', '2026-03-01']
    >>> [str(day.date()) for day in snapshot_dates(first, until, TrainingSettings(every=30, test_from="2026-03-02"))]
    ['2026-01-31', '2026-03-02']
    """
    if settings.every == "month":
        dates = pd.date_range(first.normalize(), until, freq="MS", inclusive="left")
    else:
        anchor = pd.Timestamp(settings.test_from) if settings.test_from else until.normalize()
        steps = range(-((anchor - first).days // settings.every), (until - anchor).days // settings.every + 1)
        dates = pd.DatetimeIndex([anchor + pd.Timedelta(days=step * settings.every) for step in steps])
    return dates[(dates >= first) & (dates < until)].as_unit("us")


def test_period(
    dates: pd.DatetimeIndex, until: pd.Timestamp, horizon_days: int, settings: TrainingSettings
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return (from, to): given, or the last six months of dates whose window and grace end by `until`."""
    last_mature = until - pd.Timedelta(days=horizon_days + settings.grace)
    mature = dates[dates <= last_mature]
    if settings.test_from is not None:
        start = pd.Timestamp(settings.test_from)
    elif len(mature):
        start = dates[dates > mature[-1] - pd.DateOffset(months=6)][0]
    else:
        start = until
    end = pd.Timestamp(settings.test_to) if settings.test_to else last_mature + pd.Timedelta(microseconds=1)
    return start, end


test_period.__test__ = False  # type: ignore[attr-defined]  # its name is no test's


def most_used_features(usage: Any, before: pd.Timestamp, count: int) -> tuple[str, ...]:
    """The product's own most used features, by all that had happened and was recorded before `before`.

    >>> rows = pd.DataFrame({"account_id": "a", "feature": ["x", "y", "y"], "occurred_at": pd.Timestamp("2026-01-01")})
    >>> most_used_features(ibis.memtable(rows), pd.Timestamp("2026-02-01"), 1)
    ('y',)
    """
    early = usage.filter(usage.occurred_at < before)
    if "recorded_at" in usage.columns:
        early = early.filter(early.recorded_at.fill_null(early.occurred_at) < before)
    total = early.quantity.fill_null(1).sum() if "quantity" in usage.columns else early.count()
    ranked = early.group_by("feature").aggregate(total=total).order_by(ibis.desc("total"), "feature").limit(count)
    return tuple(ranked.execute()["feature"])


def at_risk_rows(
    tables: Mapping[str, Any], dates: pd.DatetimeIndex, *, data_until: pd.Timestamp, settings: TrainingSettings
) -> pd.DataFrame:
    """Accounts × dates, where the account was active, observed and not leaving by what was recorded then."""
    ids = tables["subscriptions"].select("account_id").distinct().order_by("account_id").execute()
    crossed = ids.merge(pd.DataFrame({"as_of": dates}), how="cross")
    found = timeline(
        tables["subscriptions"],
        crossed,
        data_until=data_until,
        accounts=tables["accounts"],
        grace_days=settings.grace,
        event=settings.event,
    )
    return crossed[found["at_risk"].to_numpy()].reset_index(drop=True)


def build_dataset(
    tables: Mapping[str, Any],
    *,
    data_until: pd.Timestamp,
    settings: TrainingSettings,
    horizons: list[int],
    required: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Build the table that every task of a run reads; ValueError where no date has an account at risk.

    The product's own features beside its most used ones: `required` ones every new model reads, as the base model does that it
    starts from; `also` are built for an earlier model alone.
    """
    first = tables["subscriptions"].started_at.min().execute()
    if pd.isna(first):
        raise ValueError("subscriptions is empty: no account was ever active, so there is nothing to train on")
    dates = snapshot_dates(pd.Timestamp(first), data_until, settings)
    spine = at_risk_rows(tables, dates, data_until=data_until, settings=settings)
    if spine.empty:
        raise ValueError(f"no account was active and observed on any of {len(dates)} dates before {data_until}: check data_until")
    picked = required
    if "usage" in tables:
        earliest = min(test_period(dates, data_until, days, settings)[0] for days in horizons)
        picked = tuple(dict.fromkeys((*most_used_features(tables["usage"], earliest, settings.product_features), *required)))
    built = snapshot(tables, spine, tuple(dict.fromkeys((*picked, *also))), progress=progress)
    scores = health.score(health.inputs(built), set(tables)).accounts["score"]
    frame = built.features.drop(columns=["account_id", "as_of"])
    return Dataset(spine, frame, scores.astype("Float64"), built.facts, picked)

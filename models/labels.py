"""What became of an account after T: churn, contraction and expansion labels, with their maturity (domain.md §2 "Labels").

`timeline` holds the one rule of churn; `label` reads it at one horizon, and a hazard model at every step of its curve.
"""

from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from features.revenue import (
    DAY,
    FOREVER,
    NEVER,
    Periods,
    Rates,
    Steps,
    instant,
    instants,
    money,
    read_columns,
    read_periods,
    steps,
    text,
)

Outcome = Literal["churn", "contraction", "expansion"]
Event = Literal["notice", "revenue"]

#: Share of MRR(T) at or below which an account has contracted, and at or above which it has expanded.
CONTRACTED, EXPANDED = Decimal("0.95"), Decimal("1.05")


def label(
    subscriptions: Any,
    spine: pd.DataFrame,
    outcome: Outcome,
    horizon_days: int,
    *,
    data_until: Any,
    accounts: Any | None = None,
    grace_days: int = 30,
    event: Event = "notice",
    fx: Any | None = None,
) -> pd.DataFrame:
    """Return `spine` (account_id, as_of) with `label` (Int8: 1, 0 or null) and `mature` (bool), rows and index as given.

    Churn: 1 where, in [T, T + horizon), notice is given that stands at T + horizon, or MRR reaches 0 for longer than
    the grace. Contraction and expansion compare MRR(T + horizon) with MRR(T) among accounts that did not churn; they
    are null, though mature, where the account churned. `mature`: the window and the grace lie within what was
    observed, T + horizon + grace ≤ min(observed_until, data_until).

    No label (null) and not mature: rows that are not active at T, are leaving at T, lie outside
    observed_from/observed_until, or are immature: no positive and no negative. ValueError for an unknown outcome or
    event, or a horizon below one day. Source: domain.md §2.

    >>> rows = pd.DataFrame({"account_id": ["A"], "mrr": [80], "started_at": ["2026-01-01"], "ended_at": ["2026-02-10"]})
    >>> spine = pd.DataFrame({"account_id": ["A", "A"], "as_of": pd.to_datetime(["2026-02-01", "2026-05-01"])})
    >>> label(rows, spine, "churn", 30, data_until="2026-06-01")[["label", "mature"]].values.tolist()
    [[1, True], [<NA>, False]]
    """
    _check("outcome", outcome, get_args(Outcome))
    if horizon_days < 1:
        raise ValueError(f"horizon_days must be at least 1, got {horizon_days}")
    found = timeline(
        subscriptions,
        spine,
        data_until=data_until,
        accounts=accounts,
        grace_days=grace_days,
        event=event,
        fx=fx,
        horizon_days=horizon_days,
    )
    read = outcome_labels(found, outcome, horizon_days)
    return spine.assign(label=read["label"].array, mature=read["mature"].array)


def outcome_labels(found: pd.DataFrame, outcome: Outcome, horizon_days: int) -> pd.DataFrame:
    """Return `label` and `mature`, as `label` does, from a `timeline` that was asked for with this horizon."""
    window_end = found["as_of"] + pd.Timedelta(days=horizon_days)
    mature = found["at_risk"] & (window_end <= found["known_until"])
    churned = found["churn_at"].notna() & (found["churn_at"] < window_end)
    if outcome == "churn":
        happened, asked = churned, mature
    else:
        before, after = found["mrr"], found["mrr_at_horizon"]
        if outcome == "contraction":
            happened = (after <= before * CONTRACTED) & (after < before)  # type: ignore[type-var]
        else:
            happened = (after >= before * EXPANDED) & (after > before)  # type: ignore[type-var]
        asked = mature & ~churned
    return pd.DataFrame({"label": happened.astype(bool).astype("Int8").where(asked), "mature": mature})


def timeline(
    subscriptions: Any,
    spine: pd.DataFrame,
    *,
    data_until: Any,
    accounts: Any | None = None,
    grace_days: int = 30,
    event: Event = "notice",
    fx: Any | None = None,
    horizon_days: int | None = None,
) -> pd.DataFrame:
    """Return, for each row of `spine` (account_id, as_of), what the labels are made of; rows and index as given.

    account_id, as_of; active, leaving (bool): MRR(T) > 0, notice stands, by what was recorded before T; observed (bool):
    T within observed_from/observed_until; at_risk = active, observed, not leaving; known_until: min(observed_until,
    data_until) − grace, up to which the past is settled; mrr (decimal): MRR(T) as the latest versions have it, at the
    rates standing at T; mrr_at_horizon likewise at T + horizon, with `horizon_days` only; churn_at, involuntary.

    churn_at is the first instant ≥ T of the churn that is settled before known_until, NaT if there is none or the row
    is not at risk. With s a step and T + s ≤ known_until, churned in [T, T + s) ⇔ churn_at < T + s. It is the end of
    revenue (MRR 0 for longer than the grace), or, before it, the instant from which the notice stands that still stood
    at that end, or at known_until. A notice that was withdrawn before (the account then ran a row without it, or the
    latest version has none) is no churn at any step. With `horizon_days` notice is judged where domain.md §2 puts it,
    at T + horizon: one that is withdrawn later is a churn at this horizon; `label` asks so. A churn before T that was
    recorded only after it counts at T: the account was at risk by all that was known. Through a gap that closed within
    the grace the notice stays as it was. `involuntary`: a paying row of the account that ended at that end of revenue
    has voluntary = false.
    """
    _check("event", event, get_args(Event))
    if grace_days < 0:
        raise ValueError(f"grace_days must be at least 0, got {grace_days}")
    until, grace = instant(data_until), grace_days * DAY
    rows = read_columns(spine, ("account_id", "as_of"))
    ids, when = text(rows, "account_id"), instants(rows, "as_of", NEVER)
    if (when == NEVER).any():
        raise ValueError(f"spine needs an instant 'as_of' in every row; {int((when == NEVER).sum())} rows have none")
    periods = read_periods(subscriptions, until=until)
    account = periods.codes(ids)

    recorded = steps(periods.as_recorded())
    now = recorded.find(account, when)
    active = _take(recorded.amounts.sum(axis=1) > 0, now)
    leaving = active & _take(_notice_stands(recorded, event), now)
    observed_from, observed_until = _observation(accounts, ids, until)
    observed = (observed_from <= when) & (when <= observed_until)
    at_risk = active & observed & ~leaving
    known_until = np.minimum(observed_until, until) - grace
    settled = known_until if horizon_days is None else np.minimum(when + horizon_days * DAY, known_until)

    latest = periods.latest()
    history = steps(latest).carried(grace)
    end_of_revenue, involuntary = _end_of_revenue(latest, history, grace, account, when, until)
    # Notice is judged at the end of revenue, or where knowledge (or the horizon) ends, whichever comes first.
    notice = _take(_notice_since(history, event), history.find(account, np.minimum(end_of_revenue, settled)), FOREVER)
    churn_at = np.maximum(np.minimum(notice, end_of_revenue), when)
    churned = at_risk & (churn_at < settled)

    rates = Rates(latest.currencies, fx)
    result = {
        "account_id": ids.to_pandas().array,
        "as_of": _times(when),
        "active": active,
        "leaving": leaving,
        "observed": observed,
        "at_risk": at_risk,
        "known_until": _times(known_until),
        "mrr": money(rates.value(history.at(account, when)[:, :-2], when)).array,
    }
    if horizon_days is not None:
        kept = history.at(account, when + horizon_days * DAY)[:, :-2]
        result["mrr_at_horizon"] = money(rates.value(kept, when)).array
    result |= {"churn_at": _times(churn_at, churned), "involuntary": churned & involuntary}
    return pd.DataFrame(result, index=spine.index)


def _check(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")


def _take(values: np.ndarray, found: np.ndarray, missing: int = 0) -> np.ndarray:
    """Return values[found], `missing` where found is −1."""
    return np.append(values, np.array([missing], dtype=values.dtype))[found]


def _times(micros: np.ndarray, there: np.ndarray | None = None) -> np.ndarray:
    times = micros.astype("datetime64[us]")
    return times if there is None else np.where(there, times, np.datetime64("NaT"))


def _observation(accounts: Any | None, ids: pa.Array, until: int) -> tuple[np.ndarray, np.ndarray]:
    """Return observed_from and observed_until per row of the spine, by the latest version recorded up to `until`."""
    no_start, no_end = np.full(len(ids), NEVER), np.full(len(ids), FOREVER)
    if accounts is None:
        return no_start, no_end
    table = read_columns(accounts, ("account_id", "observed_from", "observed_until", "recorded_at"))
    recorded = instants(table, "recorded_at", NEVER)
    order = np.argsort(recorded, kind="stable")
    order = order[recorded[order] <= until]
    latest = pd.Series(order, index=text(table, "account_id").to_pandas().iloc[order]).groupby(level=0).last()
    row = latest.reindex(ids.to_pandas()).fillna(-1).to_numpy(dtype=np.int64)
    return (
        np.where(row < 0, no_start, _take(instants(table, "observed_from", NEVER), row)),
        np.where(row < 0, no_end, _take(instants(table, "observed_until", FOREVER), row)),
    )


def _notice_stands(history: Steps, event: Event) -> np.ndarray:
    """Return per segment whether every running row is under notice; under `revenue` it never is."""
    stands = (history.running > 0) & (history.under_notice == history.running)
    return stands if event == "notice" else np.zeros_like(stands)


def _notice_since(history: Steps, event: Event) -> np.ndarray:
    """Return per segment the instant from which its notice stands, FOREVER where none does."""
    stands = _notice_stands(history, event)
    begins = _begins(stands, history.account)
    first = np.maximum.accumulate(np.where(begins, np.arange(len(stands)), 0))
    return np.where(stands, history.start[first], FOREVER)


def _begins(state: np.ndarray, account: np.ndarray) -> np.ndarray:
    """Return where a run of true segments of one account begins."""
    begins = state.copy()
    begins[1:] &= ~state[:-1] | (account[1:] != account[:-1])
    return begins


def _end_of_revenue(
    latest: Periods, history: Steps, grace: int, account: np.ndarray, when: np.ndarray, until: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the start of the first stretch of MRR 0 longer than the grace that is not over at `when`, FOREVER if none.

    And whether a paying row that ended there has voluntary = false. The stretch may have begun before `when`.
    """
    unpaid = history.amounts.sum(axis=1) == 0
    first = np.flatnonzero(_begins(unpaid, history.account))
    last = len(unpaid) - 1 - np.flatnonzero(_begins(unpaid[::-1], history.account[::-1]))[::-1]
    start, end = history.start[first], history.end[last]
    long = (end == FOREVER) | (end - start > grace)
    whose, start, end = history.account[first][long], start[long], end[long]

    forced = latest.involuntary & (latest.amount > 0) & (latest.end <= until)
    forced_ends = history.key(latest.account[forced], latest.end[forced])
    involuntary = np.isin(history.key(whose, start), forced_ends)

    following = np.searchsorted(history.key(whose, end), history.key(account, when))
    found = np.where(_take(whose, np.minimum(following, len(whose)), -1) == account, following, -1)
    found = np.where(account < 0, -1, found)
    return _take(start, found, FOREVER), _take(involuntary, found)

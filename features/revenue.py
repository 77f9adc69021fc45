"""Monthly recurring revenue over time: MRR at an instant, movements over a period, company metrics (domain.md §2, §5).

Money is held in integers of 10⁻⁶ of the currency, so every sum is exact and does not depend on the order of rows. A
subscription runs on (started_at, ended_at], read just before an instant; instants are microseconds since 1970, UTC.

>>> rows = pd.DataFrame({"account_id": ["A", "B"], "mrr": [100, 80], "started_at": ["2026-01-01", "2026-02-10"]})
>>> movements(rows, "2026-02-01", "2026-03-01")[["account_id", "opening", "new", "closing"]].to_dict("list")
{'account_id': ['A', 'B'], 'opening': [Decimal('100.000000'), Decimal('0.000000')],
 'new': [Decimal('0.000000'), Decimal('80.000000')], 'closing': [Decimal('100.000000'), Decimal('80.000000')]}
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.contract import DECIMAL_SCALE, TABLES

MICRO = 10**DECIMAL_SCALE
DAY = 86_400_000_000
NEVER, FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
MONEY = pd.ArrowDtype(pa.decimal128(27, DECIMAL_SCALE))

#: Movements that are added to the opening, and those that are taken off; all are reported as positive amounts.
GAINS, LOSSES = ("new", "expansion", "reactivation"), ("contraction", "churned")


def read_columns(table: Any, names: Sequence[str]) -> pa.Table:
    """Return those columns of `table` (Ibis, pandas, Arrow, or what `ibis.memtable` takes) that are there, as Arrow."""
    if not isinstance(table, pa.Table | pd.DataFrame | ibis.Table):
        table = ibis.memtable(table)
    there = [name for name in names if name in (table.column_names if isinstance(table, pa.Table) else table.columns)]
    if isinstance(table, pd.DataFrame):
        return pa.Table.from_pandas(table[there], preserve_index=False)
    return table.select(there) if isinstance(table, pa.Table) else table.select(there).to_pyarrow()


def instants(table: pa.Table, name: str, missing: int | np.ndarray) -> np.ndarray:
    """Return column `name` as microseconds since 1970 UTC (int64), `missing` where it is null or not there."""
    if name not in table.column_names:
        return np.broadcast_to(np.asarray(missing, dtype=np.int64), (table.num_rows,)).copy()
    values = _cast(table, name, pa.timestamp("us")).cast(pa.int64())
    return np.where(values.is_null(), missing, values.fill_null(0))


def text(table: pa.Table, name: str) -> pa.Array:
    """Return required column `name` as strings; ValueError, with the columns there are, where it is not there."""
    _require(table, name)
    return _cast(table, name, pa.string())


def instant(value: Any) -> int:
    """Return one instant (text, date or timestamp; naive = UTC) as microseconds since 1970."""
    stamp = pd.Timestamp(value)
    if pd.isna(stamp):
        raise ValueError(f"{value!r} is no instant; give a date such as 2026-03-01")
    return int((stamp.tz_convert(None) if stamp.tzinfo else stamp).as_unit("us").asm8.astype(np.int64))


def money(micro: Iterable[int]) -> pd.Series:
    """Return exact integers of 10⁻⁶ as a series of decimals (dtype `MONEY`)."""
    decimals = pa.array(micro, pa.int64()).cast(pa.decimal128(19))
    return pd.Series(
        pc.multiply(decimals, pa.scalar(Decimal(1).scaleb(-DECIMAL_SCALE), pa.decimal128(7, DECIMAL_SCALE))),
        dtype=MONEY,
    )


def _require(table: pa.Table, name: str) -> None:
    if name not in table.column_names:
        raise ValueError(f"column {name!r} is missing; there are: {', '.join(table.column_names)}. Map or add it.")


def _cast(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    column = table[name].combine_chunks()
    try:
        return column.cast(kind, safe=pa.types.is_decimal(kind))
    except pa.ArrowInvalid as error:
        raise ValueError(f"column {name!r} cannot be read as {kind}: {error}. Correct the values or the mapping.") from error


def _micro_units(table: pa.Table, name: str) -> np.ndarray:
    """Return a column of money as integers of 10⁻⁶; null counts nothing."""
    column = table[name].combine_chunks()
    if pa.types.is_floating(column.type):
        return np.rint(np.nan_to_num(column.fill_null(0).to_numpy(zero_copy_only=False)) * MICRO).astype(np.int64)
    scaled = pc.multiply(_cast(table, name, pa.decimal128(25, DECIMAL_SCALE)), pa.scalar(Decimal(MICRO), pa.decimal128(7)))
    return scaled.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Periods:
    """Rows of subscriptions as arrays of equal length; `accounts` and `currencies` hold what the codes stand for.

    `superseded` is the instant at which a later version of the same key was recorded (FOREVER: the latest version).
    """

    accounts: pa.Array
    currencies: tuple[str | None, ...]
    account: np.ndarray
    start: np.ndarray
    end: np.ndarray
    cancelled: np.ndarray
    recorded: np.ndarray
    superseded: np.ndarray
    amount: np.ndarray
    currency: np.ndarray
    involuntary: np.ndarray

    def latest(self) -> "Periods":
        """Return the latest version of every row: what labels and movements read."""
        return self._where(self.superseded == FOREVER)

    def as_recorded(self) -> "Periods":
        """Return every version cut to the time in which it was the last one recorded: what activity at T reads."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        start, end = np.maximum(self.start, self.recorded), np.minimum(self.end, self.superseded)
        return Periods(**(values | {"start": start, "end": end}))

    def codes(self, account_ids: pa.Array) -> np.ndarray:
        """Return each account's code, −1 where it has no subscription."""
        return pc.index_in(account_ids, self.accounts).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def _where(self, keep: np.ndarray) -> "Periods":
        values = (getattr(self, field.name) for field in fields(self))
        return Periods(*(value[keep] if isinstance(value, np.ndarray) else value for value in values))


def read_periods(subscriptions: Any, *, until: int = FOREVER) -> Periods:
    """Read a subscriptions table (domain.md §2), without the rows that were recorded after the instant `until`.

    Without `mrr` (no column, or nothing in it) each row counts one; a row without a start never runs. Rows with one key
    are versions of each other where the table has `recorded_at`; without it all of them count.
    """
    table = read_columns(subscriptions, TABLES["subscriptions"].names)
    ids = text(table, "account_id")
    accounts = pc.unique(ids)
    accounts = accounts.take(pc.array_sort_indices(accounts))
    account = pc.index_in(ids, accounts).to_numpy(zero_copy_only=False).astype(np.int64)
    _require(table, "started_at")
    start = instants(table, "started_at", FOREVER)
    recorded = instants(table, "recorded_at", start)
    has_mrr = "mrr" in table.column_names and table["mrr"].null_count < table.num_rows
    amount = _micro_units(table, "mrr") if has_mrr else np.full(len(start), MICRO)
    money_of = _cast(table, "currency", pa.string()) if "currency" in table.column_names else pa.nulls(len(start), pa.string())
    currencies = sorted(pc.unique(money_of).to_pylist() or [None], key=lambda name: name or "")
    currency = pc.index_in(money_of, pa.array(currencies, pa.string())).to_numpy(zero_copy_only=False)
    voluntary = table["voluntary"].to_pandas() if "voluntary" in table.column_names else pd.Series([None] * len(start))
    periods = Periods(
        accounts=accounts,
        currencies=tuple(currencies),
        account=account,
        start=start,
        end=instants(table, "ended_at", FOREVER),
        cancelled=instants(table, "cancelled_at", FOREVER),
        recorded=recorded,
        superseded=np.full(len(start), FOREVER),
        amount=amount,
        currency=currency.astype(np.int64),
        involuntary=voluntary.eq(False).fillna(False).to_numpy(dtype=bool),
    )
    read = recorded <= until
    periods.superseded[read] = _superseded(table.filter(pa.array(read)), recorded[read])
    return periods._where(read)


def _superseded(table: pa.Table, recorded: np.ndarray) -> np.ndarray:
    """Return when the next version of each row's key was recorded, FOREVER for the latest; ties as in features.visible."""
    following = np.full(len(recorded), FOREVER)
    if "recorded_at" not in table.column_names:
        return following
    key = [name for name in TABLES["subscriptions"].key if name in table.column_names]
    others = [name for name in table.column_names if name not in (*key, "recorded_at")]
    dated = table.set_column(table.column_names.index("recorded_at"), "recorded_at", pa.array(recorded))
    columns = [(name, "ascending") for name in (*key, "recorded_at", *others)]
    order = pc.sort_indices(dated, sort_keys=columns).to_numpy()
    code = table.select(key).to_pandas().groupby(key, dropna=False, sort=False).ngroup().to_numpy()[order]
    same = np.flatnonzero(code[1:] == code[:-1])
    following[order[same]] = recorded[order[same + 1]]
    return following


@dataclass(frozen=True)
class Steps:
    """Step functions of all accounts, one per column of `values`; segment i holds on (start[i], end[i]].

    Columns: MRR per currency, the number of rows running, the number of those under notice. Segments are sorted by
    account and time; outside them all is 0.
    """

    account: np.ndarray
    start: np.ndarray
    end: np.ndarray
    values: np.ndarray
    grid: np.ndarray

    @property
    def amounts(self) -> np.ndarray:
        """MRR per currency, shape (segments, currencies), in 10⁻⁶."""
        return self.values[:, :-2]

    @property
    def running(self) -> np.ndarray:
        """How many rows run."""
        return self.values[:, -2]

    @property
    def under_notice(self) -> np.ndarray:
        """How many of the running rows had cancelled_at before."""
        return self.values[:, -1]

    def key(self, account: np.ndarray, when: np.ndarray) -> np.ndarray:
        """Return integers that sort as (account, number of breakpoints before `when`)."""
        return account * (len(self.grid) + 1) + np.searchsorted(self.grid, when)

    def find(self, account: np.ndarray, when: np.ndarray) -> np.ndarray:
        """Return the segment that holds just before `when`, −1 where the account has none yet."""
        if not len(self.start):
            return np.full(len(account), -1)
        found = np.searchsorted(self.key(self.account, self.start), self.key(account, when)) - 1
        return np.where((found >= 0) & (self.account[found] == account), found, -1)

    def at(self, account: np.ndarray, when: np.ndarray) -> np.ndarray:
        """Return the values just before `when`, shape (len(account), columns)."""
        found = self.find(account, when)
        result = np.zeros((len(found), self.values.shape[1]), dtype=np.int64)
        result[found >= 0] = self.values[found[found >= 0]]
        return result

    def carried(self, grace: int) -> "Steps":
        """Return the same looked back on: a gap that closed within `grace` microseconds keeps the values before it."""
        gap = np.flatnonzero((self.running == 0) & (self.end < FOREVER) & (self.end - self.start <= grace))
        values = self.values.copy()
        values[gap] = self.values[gap - 1]
        return Steps(self.account, self.start, self.end, values, self.grid)


def steps(periods: Periods) -> Steps:
    """Add the periods up into step functions per account, as they stand (no grace)."""
    size, width = len(periods.start), len(periods.currencies) + 2
    running = np.zeros((size, width), dtype=np.int64)
    running[np.arange(size), periods.currency] = periods.amount
    running[:, -2] = 1
    notice = np.zeros((size, width), dtype=np.int64)
    notice[:, -1] = 1
    start = np.concatenate([periods.start, np.maximum(periods.start, periods.cancelled)])
    end, account = np.tile(periods.end, 2), np.tile(periods.account, 2)
    change = np.concatenate([running, notice])
    opens = start < end
    closes = opens & (end < FOREVER)
    account = np.concatenate([account[opens], account[closes]])
    when = np.concatenate([start[opens], end[closes]])
    change = np.concatenate([change[opens], -change[closes]])

    order = np.lexsort((when, account))
    account, when, change = account[order], when[order], change[order]
    is_new = np.ones(len(when), dtype=bool)
    is_new[1:] = (account[1:] != account[:-1]) | (when[1:] != when[:-1])
    first = np.flatnonzero(is_new)
    account, when = account[first], when[first]
    total = np.zeros((len(order) + 1, width), dtype=np.int64)
    total[1:] = np.cumsum(change, axis=0)
    before_account = total[first[np.searchsorted(account, account)]]
    values = total[np.append(first[1:], len(order))[: len(first)]] - before_account
    until = np.full(len(when), FOREVER)
    until[:-1] = np.where(account[1:] == account[:-1], when[1:], FOREVER)
    return Steps(account, when, until, values, np.unique(when))


@dataclass(frozen=True)
class _Standing:
    """The rates of one currency, sorted by date and version.

    `known` holds, ascending, the instants at which rows became known, the later of date and record; just after one of
    them, and until the next, the row `best` stands.
    """

    date: np.ndarray
    rate: np.ndarray
    known: np.ndarray
    best: np.ndarray

    @classmethod
    def of(cls, date: np.ndarray, known: np.ndarray, rate: np.ndarray) -> "_Standing":
        """Take rows sorted by date and version: of those that are known, the last one stands."""
        order = np.argsort(known, kind="stable")
        return cls(date, rate, known[order], np.maximum.accumulate(order))

    def latest(self, when: np.ndarray) -> np.ndarray:
        """Return the rate dated last at or before each instant, −1 where there is none."""
        found = np.searchsorted(self.date, when, side="right") - 1
        return np.where(found >= 0, self.rate[found], -1)

    def as_recorded(self, when: np.ndarray) -> np.ndarray:
        """Return the rate that stands by what was dated and recorded before each instant, −1 where there is none."""
        found = np.searchsorted(self.known, when) - 1
        return np.where(found >= 0, self.rate[self.best[found]], -1)


class Rates:
    """Rates of exchange to the reporting currency: the currency that has none of its own, or that is not named."""

    def __init__(self, currencies: Sequence[str | None], fx: Any | None) -> None:
        self.currencies = tuple(currencies)
        self._rates: dict[str, _Standing] = {}
        if fx is not None:
            table = read_columns(fx, TABLES["fx"].names)
            code, date, rate = np.asarray(text(table, "currency")), instants(table, "date", NEVER), _micro_units(table, "rate")
            recorded = instants(table, "recorded_at", date)
            # Of one date the last version stands; ties as in features.visible.
            order = np.lexsort((rate, recorded, date))
            for name in {name for name in self.currencies if name is not None}:
                rows = order[code[order] == name]
                if len(rows):
                    self._rates[name] = _Standing.of(date[rows], np.maximum(date, recorded)[rows], rate[rows])
        unknown = [name for name in self.currencies if name is not None and name not in self._rates]
        if len(unknown) > 1:
            raise ValueError(
                f"subscriptions are in {len(unknown)} currencies without a rate ({', '.join(unknown)}); only the "
                "reporting currency may have none. Give fx with currency, date and rate for the others."
            )

    def value(self, amounts: np.ndarray, when: np.ndarray, *, as_recorded: bool = False) -> np.ndarray:
        """Return amounts (rows, currencies) in the reporting currency at the rates standing at `when`, in 10⁻⁶.

        A rate stands from its date on, in its latest version: what labels and movements read. `as_recorded` reads only what
        was dated and recorded before `when`, in the last version of then: what features read. Each row is rounded once,
        half-up. ValueError where a currency that is needed has no rate yet.
        """
        if not self._rates:
            return amounts.sum(axis=1)
        total = np.zeros(len(amounts), dtype=object)  # Python integers: amount × rate may pass 64 bits
        for column, name in enumerate(self.currencies):
            amount = amounts[:, column].astype(object)
            if name not in self._rates:
                total += amount * MICRO
                continue
            rates = self._rates[name]
            rate = rates.as_recorded(when) if as_recorded else rates.latest(when)
            late = (rate < 0) & (amounts[:, column] != 0)
            if late.any():
                needed, first = (pd.Timestamp(int(at), unit="us") for at in (when[np.argmax(late)], rates.date[0]))
                known = " recorded before it" if as_recorded else ""
                raise ValueError(f"fx has no rate of {name} at {needed}{known}; its first is of {first}")
            total += amount * rate.astype(object)
        return ((total + MICRO // 2) // MICRO).astype(np.int64)


def mrr_at(subscriptions: Any, spine: pd.DataFrame, *, fx: Any | None = None) -> pd.Series:
    """Return MRR(T) just before T = as_of for each row of `spine` (account_id, as_of), on its index, dtype `MONEY`.

    Point in time (domain.md §2): rows started before T and not ended before T, in the last version recorded before T,
    at the rates dated and recorded before T; an open gap is 0.
    """
    periods = read_periods(subscriptions)
    rows = read_columns(spine, ("account_id", "as_of"))
    when = instants(rows, "as_of", NEVER)
    held = steps(periods.as_recorded()).at(periods.codes(text(rows, "account_id")), when)
    values = money(Rates(periods.currencies, fx).value(held[:, :-2], when, as_recorded=True))
    return values.set_axis(spine.index).rename("mrr")


def movements(subscriptions: Any, start: Any, end: Any, *, grace_days: int = 30, fx: Any | None = None) -> pd.DataFrame:
    """Return MRR movements over [start, end), net per account, of accounts with MRR at its start or its end.

    Columns: account_id, opening, new, expansion, contraction, churned, reactivation, fx (with `fx` only), closing; all
    positive but fx. opening + new + expansion + reactivation − contraction − churned + fx = closing, exactly, per
    account and in total. Both ends are read just before their instant, in the latest version, and a gap that closed
    within `grace_days` carries the MRR before it. Movements are valued at the rates at the start; `fx` is the step of
    the closing MRR to the rates at the end (domain.md §2, §5).
    """
    begin, finish = instant(start), instant(end)
    if begin >= finish:
        raise ValueError(f"start must be before end, got start={start} and end={end}")
    periods = read_periods(subscriptions).latest()
    history = steps(periods).carried(grace_days * DAY)
    rates = Rates(periods.currencies, fx)
    everyone = np.arange(len(periods.accounts))
    from_start, at_end = np.full(len(everyone), begin), np.full(len(everyone), finish)
    held, kept = history.at(everyone, from_start)[:, :-2], history.at(everyone, at_end)[:, :-2]
    opening, unmoved = rates.value(held, from_start), rates.value(kept, from_start)
    closing = rates.value(kept, at_end)
    had_before = np.isin(everyone, history.account[(history.amounts.sum(axis=1) > 0) & (history.start < begin)])
    was, stays = opening > 0, unmoved > 0
    step = unmoved - opening
    parts = {
        "opening": opening,
        "new": np.where(~was & ~had_before, step, 0),
        "expansion": np.where(was & stays, step, 0).clip(min=0),
        "contraction": np.where(was & stays, -step, 0).clip(min=0),
        "churned": np.where(was & ~stays, -step, 0),
        "reactivation": np.where(~was & had_before, step, 0),
        **({} if fx is None else {"fx": closing - unmoved}),
        "closing": closing,
    }
    there = np.flatnonzero(was | stays)
    names = periods.accounts.take(pa.array(there)).to_pandas()
    return pd.DataFrame({"account_id": names} | {name: money(value[there]) for name, value in parts.items()})


def company_metrics(moved: pd.DataFrame, *, months: int = 1) -> dict[str, Decimal | float | int | None]:
    """Return the metrics of domain.md §5 that follow from `movements` over a period of `months` calendar months.

    Money (`*_mrr`) is Decimal, ratios are floats (0.92 = 92 %), None where there is nothing to divide by. Retention is
    point to point over the period; MRR churn is per month (the period's, divided by its months) beside its yearly
    equivalent; customer_churn is the period's.

    >>> rows = pd.DataFrame({"account_id": ["A"], "mrr": [80], "started_at": ["2026-01-01"], "ended_at": ["2026-02-10"]})
    >>> company_metrics(movements(rows, "2026-02-01", "2026-03-01"))["nrr"]
    0.0
    """
    money_columns = [name for name in moved.columns if name != "account_id"]
    total: dict[str, Any] = {name: sum(moved[name], Decimal(0)) for name in money_columns}
    opening, closing = total["opening"], total["closing"]
    lost_mrr = total["contraction"] + total["churned"]
    customers, lost = int((moved["opening"] > 0).sum()), int((moved["churned"] > 0).sum())
    gross, net = _ratio(lost_mrr, opening * months), _ratio(lost_mrr - total["expansion"], opening * months)
    largest = moved["closing"].sort_values(ascending=False)
    return {
        **{f"{name}_mrr": value for name, value in total.items()},
        "nrr": _ratio(opening + total["expansion"] - lost_mrr, opening),
        "grr": _ratio(opening - lost_mrr, opening),
        "gross_mrr_churn": gross,
        "gross_mrr_churn_yearly": None if gross is None else 1 - (1 - gross) ** 12,
        "net_mrr_churn": net,
        "net_mrr_churn_yearly": None if net is None else 1 - (1 - net) ** 12,
        "customers_start": customers,
        "customers_lost": lost,
        "customers_end": int((moved["closing"] > 0).sum()),
        "customer_churn": _ratio(Decimal(lost), Decimal(customers)),
        "customer_lifetime_months": _ratio(Decimal(customers * months), Decimal(lost)),
        "quick_ratio": _ratio(sum((total[name] for name in GAINS), Decimal(0)), lost_mrr),
        **{f"concentration_top{n}": _ratio(sum(largest.iloc[:n], Decimal(0)), closing) for n in (1, 5, 10)},
    }


def _ratio(part: Decimal, whole: Decimal) -> float | None:
    return float(part / whole) if whole else None

"""Random source tables drawn from the contract itself, so that a new table or column is in them at once; and their late news."""

import numpy as np
import pandas as pd

from features.contract import TABLES, Column, Table

DAY = pd.Timedelta(days=1)
CURRENCIES = ("EUR", "USD", "SEK")
#: Texts that features look for, where the contract does not list what is allowed.
TEXTS = {
    "feature": ("open", "save", "export", "share", "Cancellation_Page"),
    "priority": ("low", "normal", "Urgent"),
    "product": ("core", "extra"),
    "plan": ("small", "large"),
    "currency": CURRENCIES,
    "goal": ("speed", "quality"),
}
#: Decimals lie between the contract's bounds, or here.
BOUNDS = {"score": (0, 10), "target": (1, 50), "value": (0, 60), "amount": (-20, 500), "mrr": (0, 900), "rate": (0.1, 3)}


def random_tables(seed: int, accounts: int, sizes: dict[str, int], start: str, end: str) -> dict[str, pd.DataFrame]:
    """Return every table of the contract, with `sizes` rows (default: five an account) between two instants."""
    rng = np.random.default_rng(seed)
    window = (pd.Timestamp(start), pd.Timestamp(end))
    tables = {
        name: _rows(rng, table, accounts, sizes.get(name, 5 * accounts), window, f"{seed}-") for name, table in TABLES.items()
    }
    tables["accounts"] = tables["accounts"].drop_duplicates("account_id", ignore_index=True)
    tables["fx"] = _rates(rng, window)
    for name, table in TABLES.items():  # what does not say when it happened says when it was recorded
        undated = tables[name][table.event].isna() & tables[name]["recorded_at"].isna()
        tables[name].loc[undated, "recorded_at"] = window[0]
    return tables


def late_news(tables: dict[str, pd.DataFrame], at: pd.Timestamp, seed: int) -> dict[str, pd.DataFrame]:
    """Return the tables as they could stand later, with nothing changed that was known before `at`.

    Rows not known before `at` are edited or gone; rows are appended at or after it, or arrive late (recorded at or after it);
    known rows recur in new versions; every later fact of them that was open takes another instant at or after it, or stays open.
    """
    rng = np.random.default_rng(seed)
    accounts = tables["accounts"]["account_id"].nunique()
    changed = {}
    for name, table in TABLES.items():
        rows = tables[name]
        known = rows[_known_at(rows, table) < at].reset_index(drop=True)
        window = (at - 200 * DAY, at + 200 * DAY)
        fresh = _rows(rng, table, accounts, max(len(rows) // 4, 40), window, f"{seed}-")
        if name == "fx":
            fresh = fresh[fresh["currency"] != CURRENCIES[0]].reset_index(drop=True)
        happened = ~(fresh[table.event] >= at)
        # What happened before is recorded late, some of it exactly at the instant; what happens after may be known long before.
        late = _after(rng, at, len(fresh))
        fresh["recorded_at"] = late.where(happened | (rng.random(len(fresh)) < 0.5), pd.NaT)
        planned = ~happened & (rng.random(len(fresh)) < 0.3) & (name != "accounts")
        fresh.loc[planned, "recorded_at"] = at - 30 * DAY
        versions = known.sample(min(len(known), len(fresh)), random_state=seed).reset_index(drop=True)
        other = fresh.head(len(versions)).reset_index(drop=True)
        content = [column for column in rows.columns if column not in (*table.key, "account_id", "recorded_at")]
        versions[content] = other[content]
        versions["recorded_at"] = _after(rng, at, len(versions))
        parts = [_open_facts(rng, known, table, at), fresh] + ([versions] if table.key else [])
        changed[name] = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=seed).reset_index(drop=True)
    return changed


def _known_at(rows: pd.DataFrame, table: Table) -> pd.Series:
    recorded = rows["recorded_at"].fillna(rows[table.event])
    return recorded.where(recorded > rows[table.event].fillna(recorded), rows[table.event].fillna(recorded))


def _after(rng: np.random.Generator, at: pd.Timestamp, size: int) -> pd.Series:
    delay = np.where(rng.random(size) < 0.2, 0, rng.integers(0, 100 * 86_400_000_000, size))
    return pd.Series(at + pd.to_timedelta(delay, unit="us")).astype("datetime64[us]")


def _open_facts(rng: np.random.Generator, known: pd.DataFrame, table: Table, at: pd.Timestamp) -> pd.DataFrame:
    changed = known.copy()
    for instant in {column.known_at for column in table.columns if column.known_at}:
        still_open = known[instant].isna() | (known[instant] >= at)
        later = _after(rng, at, len(known)).where(rng.random(len(known)) < 0.7)
        changed[instant] = known[instant].where(~still_open, later)
        for column in table.columns:
            if column.known_at == instant and column.name != instant:
                other = _values(rng, column, len(known), known[table.event], "")
                changed[column.name] = known[column.name].where(~still_open, other)
    return changed


def _rows(
    rng: np.random.Generator, table: Table, accounts: int, size: int, window: tuple[pd.Timestamp, pd.Timestamp], prefix: str
) -> pd.DataFrame:
    start, end = window
    span = int((end - start) / pd.Timedelta(microseconds=1))
    event = pd.Series(start + pd.to_timedelta(rng.integers(0, span, size), unit="us")).astype("datetime64[us]")
    if table.event in ("date", "measured_at"):
        event = event.dt.floor("D")
    rows = pd.DataFrame({column.name: _values(rng, column, size, event, prefix) for column in table.columns}, index=range(size))
    rows[table.event] = event if table.column(table.event).required else event.where(rng.random(size) < 0.95)
    account = (accounts * rng.random(size) ** 3).astype(int)  # few accounts have most of the rows
    rows["account_id"] = pd.Series(account).map("a{:04d}".format) if "account_id" in table.names else account
    if "contact_id" in table.names:
        rows["contact_id"] = rows["account_id"] + "-" + pd.Series(rng.integers(0, 3, size)).astype("str")
    if "subscription_id" in table.names:  # of an account's subscriptions several rows follow each other
        rows["subscription_id"] = rows["account_id"] + "-" + pd.Series(rng.integers(0, 2, size)).astype("str")
    for column in table.columns:
        if not column.required and column.name not in (*table.key, "contact_id", table.event) and column.kind != "time":
            rows[column.name] = rows[column.name].where(rng.random(size) < 0.9)
    return rows[list(table.names)]


def _values(rng: np.random.Generator, column: Column, size: int, event: pd.Series, prefix: str) -> pd.Series:
    """Return values of one column; a time lies after its row's event, or is not there."""
    if column.kind == "time":
        times = event + pd.to_timedelta(rng.exponential(40, size) * 86_400_000_000 // 1, unit="us")
        return times.where(rng.random(size) < 0.6).astype("datetime64[us]")
    if column.kind == "text":
        choices = column.allowed or TEXTS.get(column.name)
        if choices is None and column.name.endswith("_id") and column.name != "user_id":
            return pd.Series(np.arange(size)).map((prefix + "{}").format)
        return pd.Series(rng.choice(np.array(choices or ("x", "y", "z"), dtype=object), size), dtype="str")
    if column.kind == "boolean":
        return pd.Series(rng.random(size) < 0.5, dtype="boolean")
    low, high = BOUNDS.get(column.name, (column.low or 0, column.high or 40))
    if column.kind == "integer":
        return pd.Series(rng.integers(int(low), int(high) + 1, size), dtype="Int64")
    return pd.Series(rng.uniform(low, high, size).round(2))


def _rates(rng: np.random.Generator, window: tuple[pd.Timestamp, pd.Timestamp]) -> pd.DataFrame:
    """Return weekly rates of every currency but the first, some of them recorded late."""
    dates = pd.date_range(window[0] - 60 * DAY, window[1], freq="7D", unit="us")
    rows = pd.MultiIndex.from_product([CURRENCIES[1:], dates], names=["currency", "date"]).to_frame(index=False)
    late = rows["date"] + pd.to_timedelta(rng.integers(1, 20, len(rows)), unit="D")
    return rows.assign(rate=rng.uniform(0.1, 3, len(rows)).round(6), recorded_at=late.where(rng.random(len(rows)) < 0.3))

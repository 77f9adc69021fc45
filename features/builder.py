"""The builder: tables and a spine in, one row of features per spine row out (interface.md "Python")."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import Count, Feature, catalog, counts, derived
from features.contract import DECIMAL_TYPE, REQUIRED_TABLES, TABLES
from features.peers import peer_medians, relative_difference, standing
from features.revenue import Rates
from features.visible import prepare, visible, with_reported

#: Rows computed in one query, peers included: bounds memory, and is the step of the progress bar.
CHUNK_ROWS = 30_000
#: Columns of money that features read, brought to the reporting currency.
_MONEY = {"subscriptions": "mrr", "invoices": "amount"}
_FACTS = ("rows_running", "rows_noticed", "mrr_running", "seats_running")
_DATES = ("renewal_at", "notice_by")
#: NaT as the integer that NumPy keeps it as.
_NO_INSTANT = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class Snapshot:
    """What is known per spine row, in the spine's order and on its index.

    `features`: account_id, as_of and one float64 column per feature. `facts`: what decides who is scored and how much is at
    stake: active, leaving, mrr, seats, renewal_at, notice_by, product, plan. `peers`: the peers' median of each feature.
    """

    features: pd.DataFrame
    facts: pd.DataFrame
    peers: pd.DataFrame


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
    return snapshot(tables, spine, product_features).features


def snapshot(
    tables: Mapping[str, Any],
    spine: Any,
    product_features: Sequence[str] = (),
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Snapshot:
    """Return features, facts and peers' medians for each spine row; `progress(done, total)` counts spine rows.

    Errors as `build`.
    """
    declared_counts, declared = counts(product_features), catalog(product_features)
    wanted = _wanted(spine)
    evidence = _evidence(tables, declared_counts)
    accounts = evidence.tables["subscriptions"].select("account_id").distinct().execute()
    parts: list[Snapshot] = []
    for chunk in _chunks(wanted, len(accounts)):
        population = _population(evidence, accounts, chunk)
        rows = pd.concat([chunk[["account_id", "as_of"]], population], ignore_index=True).drop_duplicates(ignore_index=True)
        rows["spine_id"] = rows.index
        computed = _compute(evidence, rows, declared_counts, declared)
        computed = computed.merge(_standing(evidence, rows), on="spine_id", how="left")
        parts.append(_join(chunk, computed, population, declared))
        progress(sum(len(part.features) for part in parts), len(wanted))
    order = wanted.sort_values(["midnight", "position"])["position"].argsort().to_numpy()
    index = spine.index if isinstance(spine, pd.DataFrame) else pd.RangeIndex(len(wanted))
    features, facts, peers = (
        pd.concat([getattr(part, name) for part in parts], ignore_index=True).iloc[order].set_axis(index)
        for name in ("features", "facts", "peers")
    )
    return Snapshot(features, facts, peers)


@dataclass(frozen=True)
class _Evidence:
    """Prepared tables, for each the columns that the source really has, and the currencies that have rates."""

    tables: Mapping[str, Any]
    columns: Mapping[str, set[str]]
    foreign: Sequence[str]

    def seen(self, name: str, spine: Any) -> Any:
        """Return the rows of table `name` that T may use, with what other tables add to them."""
        rows = visible(name, self.tables[name], spine)
        if name in _MONEY:
            foreign = self.foreign if "currency" in self.columns[name] else ()
            rows = with_reported(rows, _MONEY[name], spine, self.tables.get("fx"), foreign)
        if name == "subscriptions":
            # Without prices each row counts one, and no money is reported.
            return rows.mutate(weight=rows.reported if "mrr" in self.columns[name] else ibis.literal(1, type=DECIMAL_TYPE))
        if name == "touchpoints":
            return self._with_roles(rows, spine)
        return rows

    def _with_roles(self, touches: Any, spine: Any) -> Any:
        """Add the role that the person met holds at T."""
        if "contacts" not in self.tables:
            return touches.mutate(contact_role=ibis.null("string"))
        known = visible("contacts", self.tables["contacts"], spine)
        known = known.filter(known.valid_to.isnull(), ~known.role.isnull())
        latest = ibis.window(group_by=[known.spine_id, known.contact_id], order_by=[known.valid_from.desc(), known.role])
        ranked = known.mutate(place=ibis.row_number().over(latest))
        roles = ranked.filter(ranked.place == 0).select(
            role_spine_id="spine_id", role_contact_id="contact_id", contact_role="role"
        )
        joined = touches.left_join(roles, [touches.spine_id == roles.role_spine_id, touches.contact_id == roles.role_contact_id])
        return joined.drop("role_spine_id", "role_contact_id")


def _evidence(tables: Mapping[str, Any], declared_counts: Sequence[Count]) -> _Evidence:
    for name in REQUIRED_TABLES:
        if name not in tables:
            raise ValueError(f"tables lacks {name!r}, which is required; given: {', '.join(sorted(tables)) or 'none'}")
    read = {count.source for count in declared_counts} | {"fx"}
    prepared: dict[str, Any] = {}
    columns: dict[str, set[str]] = {}
    for name, given in tables.items():
        if name not in TABLES:
            raise ValueError(f"tables has {name!r}, which the contract does not know; known: {', '.join(TABLES)}")
        table = given if isinstance(given, ibis.Table) else ibis.memtable(given)
        missing = [column for column in TABLES[name].required if column not in table.columns]
        if missing:
            raise ValueError(f"table {name!r} lacks the required column {missing[0]!r}: map it in kunto.toml")
        # Rows that do not say when they happened nor when they were recorded cannot be placed before T.
        if name in read and {TABLES[name].event, "recorded_at"} & set(table.columns):
            columns[name] = set(table.columns)
            prepared[name] = prepare(name, table)
            if not isinstance(given, ibis.Table):
                prepared[name] = ibis.memtable(prepared[name].to_pyarrow())  # of no engine, so it joins with any
            elif "recorded_at" in columns[name]:
                prepared[name] = prepared[name].cache()
    if "role" in columns.get("contacts", ()) and "touchpoints" in columns:
        columns["touchpoints"].add("contact_role")
    return _Evidence(prepared, columns, _foreign(prepared, columns))


def _foreign(prepared: Mapping[str, Any], columns: Mapping[str, set[str]]) -> list[str]:
    """Currencies that have rates; ValueError where the prices are in two or more that have none."""
    if not columns["subscriptions"].issuperset(("mrr", "currency")):
        return []
    used = prepared["subscriptions"].select("currency").distinct().execute()["currency"].dropna()
    rated = set(prepared["fx"].select("currency").distinct().execute()["currency"].dropna()) if "fx" in prepared else set()
    Rates([name for name in sorted(used) if name not in rated], None)
    return sorted(rated)


def _wanted(spine: Any) -> pd.DataFrame:
    """Return the spine with as_of in microseconds, the row's position, and the midnight whose peers it reads."""
    frame = spine.to_pandas() if hasattr(spine, "to_pandas") else pd.DataFrame(spine)
    for column in ("account_id", "as_of"):
        if column not in frame.columns:
            raise ValueError(f"spine lacks the column {column!r}; it has: {', '.join(map(str, frame.columns))}")
        if frame[column].isna().any():
            raise ValueError(f"spine.{column} is null in {int(frame[column].isna().sum())} row(s): give every row one")
    instants = pd.to_datetime(frame["as_of"], utc=True).dt.tz_localize(None).astype("datetime64[us]")
    return pd.DataFrame(
        {
            "account_id": frame["account_id"].astype(str).to_numpy(),
            "as_of": instants.astype("int64").to_numpy(),
            "midnight": instants.dt.floor("D").astype("int64").to_numpy(),
            "position": range(len(frame)),
        }
    )


def _chunks(wanted: pd.DataFrame, accounts: int) -> Iterator[pd.DataFrame]:
    """Whole midnights together, so that each population, of at most `accounts`, is computed once."""
    ordered = wanted.sort_values(["midnight", "position"])
    sizes = ordered.groupby("midnight", sort=True).size().clip(lower=accounts)
    block = (sizes.cumsum() - sizes) // CHUNK_ROWS
    for _, chunk in ordered.groupby(ordered["midnight"].map(block), sort=True):
        yield chunk
    if ordered.empty:
        yield ordered


def _standing(evidence: _Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    found = standing(evidence.seen("subscriptions", _spine(rows)))
    if found["unrated"].any():
        first = rows.merge(found[found["unrated"]], on="spine_id").iloc[0]
        raise ValueError(
            f"fx has no rate for the currency of account {first['account_id']} before {pd.Timestamp(first['as_of'], unit='us')}: "
            "give fx rates from the first subscription on"
        )
    return found.drop(columns="unrated")


def _population(evidence: _Evidence, accounts: pd.DataFrame, chunk: pd.DataFrame) -> pd.DataFrame:
    """Every account active at each midnight of the chunk: account_id, as_of."""
    midnights = pd.DataFrame({"as_of": np.unique(chunk["midnight"])}, dtype="int64")
    rows = accounts.merge(midnights, how="cross")
    rows["spine_id"] = rows.index
    found = _standing(evidence, rows)
    return rows.loc[found.loc[found["active"], "spine_id"], ["account_id", "as_of"]]


def _spine(rows: pd.DataFrame) -> Any:
    return ibis.memtable(rows, schema={"spine_id": "int64", "account_id": "string", "as_of": "int64"})


def _compute(
    evidence: _Evidence, rows: pd.DataFrame, declared_counts: Sequence[Count], declared: Mapping[str, Feature]
) -> pd.DataFrame:
    """Return the facts of `rows` (which are numbered by spine_id) and the features that need no peers."""
    frame = ibis.memtable(_totals(evidence, rows, declared_counts))
    own = {name: feature.expr(frame).cast("float64") for name, feature in declared.items() if feature.versus is None}
    facts = {f"fact_{name}": frame[name] for name in _FACTS}
    dates = {f"fact_{name}": frame[name].fill_null(_NO_INSTANT) for name in _DATES}
    return frame.select("spine_id", "account_id", "as_of", **facts, **dates, **own).execute()


def _totals(evidence: _Evidence, rows: pd.DataFrame, declared_counts: Sequence[Count]) -> pa.Table:
    """Return `rows` with every count, null where the sources lack it; one query for each source, all read once."""
    spine = _spine(rows)
    found = {name: pa.array(rows[name]) for name in ("spine_id", "account_id", "as_of")}
    found |= {count.name: pa.nulls(len(rows), pa.int64()) for count in declared_counts}
    for source in dict.fromkeys(count.source for count in declared_counts):
        columns = evidence.columns.get(source)
        asked = [c for c in declared_counts if c.source == source and columns is not None and columns.issuperset(c.needs)]
        if asked:
            seen = derived(source, evidence.seen(source, spine))
            counted = seen.group_by("spine_id").aggregate(**{count.name: count.expr(seen) for count in asked}).to_pyarrow()
            position = np.full(len(rows), -1)
            position[counted["spine_id"].to_numpy()] = np.arange(len(counted))
            counted = counted.take(pa.array(position, mask=position < 0))
            found |= {count.name: _or_empty(counted[count.name], count.empty) for count in asked}
    return pa.table(found)


def _or_empty(values: pa.ChunkedArray, empty: int | None) -> pa.ChunkedArray:
    return values if empty is None else pc.fill_null(values, pa.scalar(empty, values.type))


def _join(chunk: pd.DataFrame, computed: pd.DataFrame, population: pd.DataFrame, declared: Mapping[str, Feature]) -> Snapshot:
    """Pick the asked rows out of the computed ones and set them beside their peers."""
    key = ["account_id", "as_of"]
    own = [name for name, feature in declared.items() if feature.versus is None]
    of_population = population.merge(computed, on=key).rename(columns={"as_of": "midnight"})
    asked = chunk[[*key, "midnight"]].merge(computed, on=key, how="left")
    medians = peer_medians(asked, of_population, own)
    versus = {
        name: relative_difference(asked[feature.versus], medians[feature.versus])
        for name, feature in declared.items()
        if feature.versus is not None
    }
    values = pd.concat([asked[[*key, *own]], pd.DataFrame(versus, index=asked.index)], axis=1)
    values["as_of"] = _instants(values["as_of"])
    return Snapshot(values[[*key, *declared]], _facts(asked), medians)


def _facts(asked: pd.DataFrame) -> pd.DataFrame:
    running = asked["fact_rows_running"]
    active = asked["active"].eq(True)
    return pd.DataFrame(
        {
            "account_id": asked["account_id"],
            "as_of": _instants(asked["as_of"]),
            "active": active,
            "leaving": active & (running > 0) & (asked["fact_rows_noticed"] == running),
            "mrr": asked["fact_mrr_running"].astype("float64"),
            "seats": asked["fact_seats_running"].astype("float64"),
            "renewal_at": _instants(asked["fact_renewal_at"]),
            "notice_by": _instants(asked["fact_notice_by"]),
            "product": asked["product"],
            "plan": asked["plan"],
        }
    )


def _instants(micros: pd.Series) -> pd.Series:
    return pd.Series(micros.to_numpy(dtype="int64").view("datetime64[us]"), index=micros.index)

"""Point in time (domain.md §2): nothing that happened, or was recorded, at or after T changes anything at T."""

from datetime import datetime

import ibis
import numpy as np
import pandas as pd
import pytest
from random_tables import DAY, late_news, random_tables

from features.builder import snapshot
from features.catalogue import catalog, counts
from features.contract import TABLES
from features.loader import load
from features.mapping import Mapping
from features.revenue import mrr_at
from features.snapshots import Snapshot

AT = pd.Timestamp("2025-06-10 13:37:00.000001")
TICK = pd.Timedelta(microseconds=1)
AFTER = AT + 100 * DAY
PRODUCT_FEATURES = ("open", "save")
PARTS = ("features", "facts", "peers")


def on_two_threads(tables: dict[str, pd.DataFrame]) -> dict[str, ibis.Table]:
    connection = ibis.duckdb.connect(threads=2)
    return {name: connection.create_table(name, frame) for name, frame in tables.items()}


def at_instants(accounts: pd.Series, *instants: pd.Timestamp) -> pd.DataFrame:
    return pd.DataFrame({"account_id": accounts}).merge(pd.DataFrame({"as_of": list(instants)}), how="cross")


def rows_of(found: Snapshot, rows: np.ndarray | list[int]) -> Snapshot:
    return Snapshot(*(getattr(found, part).iloc[rows] for part in PARTS))


def differing_bits(left: Snapshot, right: Snapshot) -> list[str]:
    """Return the columns in which any bit differs: NaN is NaN, and −0.0 is not 0.0."""
    found = []
    for part in PARTS:
        ours, theirs = getattr(left, part), getattr(right, part)
        assert list(ours) == list(theirs)
        for name in ours:
            a, b = ours[name].to_numpy(), theirs[name].to_numpy()
            same = (
                np.array_equal(a.view(np.int64), b.view(np.int64)) if a.dtype == np.float64 else ours[name].equals(theirs[name])
            )
            found += [] if same else [f"{part}.{name}"]
    return found


# --- the whole of it: half a million rows, two threads -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    tables = random_tables(1, 800, {"usage": 460_000}, "2024-06-01", "2025-12-01")
    assert sum(map(len, tables.values())) >= 500_000
    return tables


@pytest.fixture(scope="module")
def spine(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return at_instants(tables["accounts"]["account_id"], AT - 60 * DAY, AT.normalize(), AT, AFTER)


@pytest.fixture(scope="module")
def loaded(tables: dict[str, pd.DataFrame]) -> dict[str, ibis.Table]:
    return on_two_threads(tables)


@pytest.fixture(scope="module")
def known(loaded: dict[str, ibis.Table], spine: pd.DataFrame) -> Snapshot:
    found = snapshot(loaded, spine, PRODUCT_FEATURES)
    assert found.facts["active"].mean() > 0.5
    assert found.peers[found.facts["active"]].notna().mean().min() > 0.05
    assert found.features.nunique().min() > 1, "a feature without a second value proves nothing"
    return found


def test_runs_agree_in_whatever_order_the_rows_stand(tables, spine, known):
    shuffled = {name: frame.sample(frac=1, random_state=3, ignore_index=True) for name, frame in tables.items()}
    assert differing_bits(known, snapshot(on_two_threads(shuffled), spine, PRODUCT_FEATURES)) == []


@pytest.mark.parametrize("seed", [11, 12])
def test_late_news_change_nothing_before_them(tables, spine, known, seed):
    later = snapshot(on_two_threads(late_news(tables, AT, seed)), spine, PRODUCT_FEATURES)
    before, after = np.flatnonzero(spine["as_of"] <= AT), np.flatnonzero(spine["as_of"] > AT)
    assert differing_bits(rows_of(known, before), rows_of(later, before)) == []
    changed = {name.partition(".")[2] for name in differing_bits(rows_of(known, after), rows_of(later, after))}
    assert set(known.features) | set(known.facts) == changed | {"account_id", "as_of"}, "the news should reach all of them"


def test_late_rates_and_prices_do_not_move_revenue_before_them(tables, spine):
    asked = spine[spine["as_of"] <= AT]
    held = mrr_at(tables["subscriptions"], asked, fx=tables["fx"])
    assert held.gt(0).mean() > 0.5
    changed = late_news(tables, AT, 11)
    pd.testing.assert_series_equal(mrr_at(changed["subscriptions"], asked, fx=changed["fx"]), held)
    after = spine[spine["as_of"] > AT]
    assert not mrr_at(tables["subscriptions"], after, fx=changed["fx"]).equals(
        mrr_at(tables["subscriptions"], after, fx=tables["fx"])
    )


@pytest.mark.parametrize("row", [1002, 2003])
def test_alone_is_as_in_the_batch(loaded, spine, known, row):
    assert known.facts["active"].iloc[row]
    assert differing_bits(snapshot(loaded, spine.iloc[[row]], PRODUCT_FEATURES), rows_of(known, [row])) == []


# --- column by column, version by version, window by window: one account for each case, all in one run --------------------------

#: Later facts that no feature and no fact of the snapshot reads.
UNREAD = {
    ("subscriptions", "cancel_reason"),
    ("subscriptions", "voluntary"),
    ("surveys", "comment"),
}
READ_TABLES = sorted({count.source for count in counts()})
LATER_FACTS = [(table.name, column.name) for table in TABLES.values() for column in table.columns if column.known_at]
LATE = {"at": AT, "tick_after": AT + TICK, "month_after": AT + 30 * DAY}
EARLIER = AT - 20 * DAY
#: What a plain row says, where features ask for something in particular.
PLAIN = {
    "subscriptions": {
        "seats": 10,
        "mrr": 100,
        "renewal_at": AT + 40 * DAY,
        "notice_days": 30,
        "term_months": 12,
        "auto_renew": True,
    },
    "invoices": {"amount": 100, "due_at": EARLIER + DAY},
    "usage": {"quantity": 2, "users": 1, "value": 5},
    "tickets": {"sentiment": 0, "priority": "low"},
    "surveys": {"kind": "nps", "score": 5, "scale_max": 10, "responded_at": EARLIER + DAY},
    "touchpoints": {"kind": "email", "direction": "out"},
    "contacts": {"role": "decision_maker"},
    "outcomes": {"target": 10, "value": 5},
    "observations": {"kind": "complaint"},
    "projects": {"kind": "onboarding", "due_at": EARLIER + 2 * DAY},
    "costs": {"kind": "service", "amount": 100, "hours": 2},
}
#: Another content of the same row: a new version of it.
OTHER = {
    "subscriptions": {"mrr": 70, "seats": 7},
    "invoices": {"amount": 900},
    "usage": {"quantity": 50},
    "tickets": {"sentiment": 1},
    "surveys": {"score": 9},
    "touchpoints": {"direction": "in"},
    "contacts": {"role": "user"},
    "outcomes": {"value": 20},
    "observations": {},  # its kind is its key: another kind is another row
    "projects": {"kind": "rollout"},
    "offers": {"decided_at": EARLIER + DAY, "status": "won"},
    "plays": {"assignment": "held_out"},
    "costs": {},  # it has no key, so no versions
}
#: What a second row says, so that it shows beside the first.
SECOND = {"surveys": {"responded_at": None}, "projects": {"due_at": EARLIER - 9 * DAY}}
VERSIONED = [name for name in READ_TABLES if OTHER[name]]
#: Counts of events in a window of whole days: table, feature, days, and what the row says.
WINDOWS = [
    *(("usage", name, days, {}) for days in (7, 30, 90) for name in (f"events_{days}d", f"active_days_{days}d")),
    ("usage", "features_used_30d", 30, {}),
    ("usage", "active_weeks_90d", 91, {}),
    ("usage", "cancellation_page_visits_30d", 30, {"feature": "cancel_page"}),
    ("usage", "active_days_share_365d", 365, {}),
    *(("tickets", f"tickets_{days}d", days, {}) for days in (7, 30, 90, 365)),
    ("tickets", "urgent_90d", 90, {"priority": "urgent"}),
    ("surveys", "poor_answers_180d", 180, {"score": 1}),
    *(("touchpoints", f"inbound_{days}d", days, {"direction": "in"}) for days in (30, 90)),
    ("touchpoints", "touchpoints_90d", 90, {}),
    ("touchpoints", "outreach_unanswered_90d", 90, {}),
    *(("touchpoints", f"meetings_{days}d", days, {"kind": "meeting"}) for days in (30, 365)),
    *(("outcomes", f"goals_measured_{days}d", days, {}) for days in (90, 365)),
    *(("observations", f"complaints_{days}d", days, {}) for days in (30, 180)),
    *(("observations", f"risks_noted_{days}d", days, {"kind": "risk"}) for days in (30, 180)),
    ("observations", "feature_requests_180d", 180, {"kind": "feature_request"}),
    ("observations", "praise_90d", 90, {"kind": "praise"}),
    *(("observations", f"opportunities_{days}d", days, {"kind": "opportunity"}) for days in (90, 365)),
    *(("plays", f"plays_begun_{days}d", days, {}) for days in (90, 365)),
    *(("costs", f"service_hours_{days}d", days, {}) for days in (30, 90, 365)),
    ("costs", "service_cost_share_90d", 90, {}),
]
#: Counts of later facts in a window: likewise, and the column of their instant; the row itself lies further back.
FACT_WINDOWS = [
    *(("tickets", f"reopened_{days}d", days, {}, "reopened_at") for days in (90, 365)),
    *(("tickets", f"escalated_{days}d", days, {}, "escalated_at") for days in (30, 90, 365)),
    *(("offers", f"offers_{status}_365d", 365, {"status": status}, "decided_at") for status in ("won", "lost")),
    ("contacts", "champions_left_180d", 180, {"role": "champion"}, "valid_to"),
]
#: What changed against as many days before.
TRENDS = [
    *(("usage", f"events_trend_{days}d", days, {}) for days in (30, 90)),
    *(("usage", f"{name}_trend_30d", 30, {}) for name in ("active_days", "active_users", "features")),
    ("tickets", "tickets_change_90d", 90, {}),
    ("touchpoints", "inbound_trend_90d", 90, {"direction": "in"}),
]


def values(table: str, column: str) -> tuple[object, object]:
    """Two different values of a later fact that is no instant."""
    found = TABLES[table].column(column)
    if found.allowed:
        return found.allowed[0], found.allowed[1]
    return {"text": ("x", "y"), "boolean": (False, True), "decimal": (1, 4)}[found.kind]


class Cases:
    """Accounts, one a case: each has a plain row of every table, but for what its case changes."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict]] = {name: [] for name in TABLES if name != "fx"}

    def add(self, name: str, table: str, *rows: dict, others: bool = True) -> None:
        """Add the account `name`: `rows` of `table`, and (`others`) one plain row of every other table."""
        for other in self.rows:
            if other == table:
                self.rows[other] += [self._row(name, other, row) for row in rows]
            elif others or other in ("accounts", "subscriptions"):
                self.rows[other].append(self._row(name, other, {}))

    def _row(self, account: str, table: str, content: dict) -> dict:
        named = {column.name: f"{account}-{column.name}" for column in TABLES[table].columns if column.name.endswith("_id")}
        texts = {column.name: "x" for column in TABLES[table].columns if column.required and column.kind == "text"}
        amounts = {column.name: 1 for column in TABLES[table].columns if column.required and column.kind == "decimal"}
        times = {TABLES[table].event: EARLIER}
        return {**texts, **amounts, **named, **times, **PLAIN.get(table, {}), **content, "account_id": account}

    def run(self) -> pd.DataFrame:
        """Return features and facts, one row for each account."""
        frames = {}
        for name, rows in self.rows.items():
            frame = pd.DataFrame(rows, columns=list(TABLES[name].names))
            times = [column.name for column in TABLES[name].columns if column.kind == "time"]
            frame[times] = frame[times].astype("datetime64[us]")
            frames[name] = frame
        accounts = frames["accounts"]["account_id"].drop_duplicates()
        found = snapshot(on_two_threads(frames), at_instants(accounts, AT))
        both = found.features.drop(columns="as_of").merge(
            found.facts.add_prefix("fact_"), left_on="account_id", right_on="fact_account_id"
        )
        return both.drop(columns="fact_account_id").set_index("account_id")


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    cases = Cases()
    cases.add("plain", "accounts", {})
    for table, column in LATER_FACTS:
        known_at, case = TABLES[table].column(column).known_at, f"{table}.{column}"
        if column == known_at:
            cases.add(f"{case}:none", table, {column: None})
            for when, instant in LATE.items():
                cases.add(f"{case}:{when}", table, {column: instant})
            cases.add(f"{case}:before", table, {column: AT - TICK})
        else:
            one, other = values(table, column)
            cases.add(f"{case}:none", table, {column: None, known_at: None})
            for when, instant in LATE.items():
                cases.add(f"{case}:{when}", table, {column: one, known_at: instant})
            cases.add(f"{case}:before", table, {column: one, known_at: AT - TICK})
            cases.add(f"{case}:before_other", table, {column: other, known_at: AT - TICK})
    for table in READ_TABLES:
        event = TABLES[table].event
        for when, instant in {**LATE, "before": AT - TICK}.items():
            for what, times in {"event": {event: instant}, "record": {event: EARLIER - DAY, "recorded_at": instant}}.items():
                case = f"{table}:{what} {when}"
                own_id = {name: f"second {case}" for name in TABLES[table].key if name.endswith("_id") and name != "account_id"}
                cases.add(case, table, {}, {**own_id, **SECOND.get(table, {}), **times})
    for table in VERSIONED:
        cases.add(f"{table}:one", table, {})
        cases.add(f"{table}:other", table, OTHER[table])
        for when, instant in {**LATE, "before": AT - TICK}.items():
            cases.add(f"{table}:version {when}", table, {}, {**OTHER[table], "recorded_at": instant})
        first, last = {"recorded_at": AT - 9 * DAY}, {**OTHER[table], "recorded_at": AT - 3 * DAY}
        cases.add(f"{table}:versions", table, last, first)
    for table, feature, days, content in WINDOWS:
        for when, age in {"in": days * DAY, "out": days * DAY + TICK, "last": TICK, "now": 0 * DAY}.items():
            cases.add(f"{feature}:{when}", table, {**content, TABLES[table].event: AT - age}, others=False)
    for table, feature, days, content, column in FACT_WINDOWS:
        for when, age in {"in": days * DAY, "out": days * DAY + TICK, "last": TICK, "now": 0 * DAY}.items():
            times = {TABLES[table].event: AT - 400 * DAY, column: AT - age}
            cases.add(f"{feature}:{when}", table, {**content, **times}, others=False)
    for table, feature, days, content in TRENDS:
        ages = {"now": days * DAY, "before": days * DAY + TICK, "first": 2 * days * DAY, "gone": 2 * days * DAY + TICK}
        for when, age in ages.items():
            cases.add(f"{feature}:{when}", table, {**content, TABLES[table].event: AT - age}, others=False)
    return cases.run()


def differing(cases: pd.DataFrame, one: str, other: str) -> list[str]:
    pair = cases.loc[[one, other]]
    return [name for name in pair if len(pair[name].drop_duplicates()) > 1]


@pytest.mark.parametrize(("table", "column"), LATER_FACTS)
def test_a_later_fact_waits_for_its_instant(cases, table, column):
    case = f"{table}.{column}"
    for when in LATE:
        assert differing(cases, f"{case}:none", f"{case}:{when}") == [], when
    itself = TABLES[table].column(column).known_at == column
    seen = differing(cases, f"{case}:none" if itself else f"{case}:before_other", f"{case}:before")
    assert bool(seen) == ((table, column) not in UNREAD), seen


@pytest.mark.parametrize("table", READ_TABLES)
@pytest.mark.parametrize("what", ["event", "record"])
def test_a_row_is_read_from_just_after_its_instant(cases, table, what):
    for when in LATE:
        assert differing(cases, "plain", f"{table}:{what} {when}") == [], when
    assert differing(cases, "plain", f"{table}:{what} before") != []


@pytest.mark.parametrize("table", VERSIONED)
def test_the_last_version_recorded_before_holds(cases, table):
    assert differing(cases, f"{table}:one", f"{table}:other") != []
    for when in LATE:
        assert differing(cases, f"{table}:one", f"{table}:version {when}") == [], when
    assert differing(cases, f"{table}:other", f"{table}:version before") == []
    assert differing(cases, f"{table}:other", f"{table}:versions") == []


@pytest.mark.parametrize(("table", "feature", "days"), [case[:3] for case in (*WINDOWS, *FACT_WINDOWS)])
def test_a_window_holds_its_first_instant_and_not_its_last(cases, table, feature, days):
    assert catalog()[feature].window in (days, None)
    assert cases.loc[[f"{feature}:{when}" for when in ("in", "last")], feature].min() > 0
    assert cases.loc[[f"{feature}:{when}" for when in ("out", "now")], feature].max() == 0


@pytest.mark.parametrize(("table", "feature", "days"), [case[:3] for case in TRENDS])
def test_the_two_halves_of_a_trend_meet(cases, table, feature, days):
    assert catalog()[feature].window == 2 * days
    found = cases.loc[[f"{feature}:{when}" for when in ("now", "before", "first", "gone")], feature]
    size = {"events": np.log(3.0), "tickets": 1.0}.get(feature.partition("_")[0], np.log(2.0))  # two actions, else one row
    assert found.tolist() == pytest.approx([size, -size, -size, 0.0])


def test_a_daily_sum_is_known_when_its_day_ends(tmp_path):
    (tmp_path / "accounts.csv").write_text("account_id\na\n")
    (tmp_path / "subscriptions.csv").write_text("account_id,started_at\na,2025-01-01\n")
    (tmp_path / "usage.csv").write_text("account_id,feature,occurred_at,quantity\na,open,2025-03-01,7\n")
    mapping = {"data": {"data_until": datetime(2026, 1, 1)}, "tables": {"usage": {"grain": "day"}}}
    tables = load(Mapping.from_dict(mapping), base=tmp_path).tables
    instants = [pd.Timestamp(2025, 3, day) for day in (1, 2, 8, 9)]
    found = snapshot(tables, at_instants(pd.Series(["a"]), *instants)).features
    assert found["events_7d"].tolist() == [0, 7, 7, 0]

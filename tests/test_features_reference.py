"""The most used features against a second, slow reading of domain.md: plain Python over one account's rows at one T."""

import math
from datetime import datetime, timedelta

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from features.builder import snapshot
from features.contract import TABLES

T = datetime(2025, 6, 10, 13, 37)
INSTANTS = (T, T - timedelta(days=30, microseconds=-1))
ACCOUNTS = ("a", "b", "c")
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
#: Around the instants and the ends of the windows, where mistakes are.
EDGES = [days * DAY + ticks * TICK for days in (0, 1, 29, 30, 60, 90, 180, 365) for ticks in (-1, 0, 1)]

moments = st.sampled_from(EDGES).map(lambda age: T - age) | st.integers(1, 400 * 86_400).map(
    lambda age: T - timedelta(seconds=age)
)
accounts = st.sampled_from(ACCOUNTS)
later = st.sampled_from([None, 0 * DAY, TICK, DAY, 5 * DAY, 30 * DAY, 90 * DAY])
due = st.sampled_from([DAY, 14 * DAY, 30 * DAY])


@st.composite
def rows(draw, table, **columns):
    """Return rows of one table: some recorded late, some of them versions of another, later facts after the event or at T."""
    event = TABLES[table].event
    found = []
    for number in range(draw(st.integers(2, 9))):
        row = {"account_id": draw(accounts), event: draw(moments), "recorded_at": None}
        row |= {name: draw(values) for name, values in columns.items()}
        row |= {name: f"{row['account_id']}{number}" for name in TABLES[table].key if name.endswith("_id") and name not in row}
        if table != "usage" and any(all(row.get(name) == other.get(name) for name in TABLES[table].key) for other in found):
            continue  # two versions recorded at once have no order that the domain knows
        found.append(row)
        if draw(st.booleans()):
            again = row | {name: draw(values) for name, values in columns.items() if name not in TABLES[table].key}
            found.append(again | {"recorded_at": row[event] + draw(st.sampled_from([DAY, 31 * DAY])) + number * TICK})
    for row in found:
        for name, after in row.items():
            if isinstance(after, timedelta):
                row[name] = row[event] + after
    return found


histories = st.fixed_dictionaries(
    {
        "subscriptions": rows(
            "subscriptions",
            ended_at=st.sampled_from([None, 20 * DAY, 100 * DAY, 300 * DAY]),
            cancelled_at=later,
            mrr=st.sampled_from([0, 10, 20, 25.5]),
            seats=st.integers(0, 9),
        ),
        "usage": rows(
            "usage",
            feature=st.sampled_from(["open", "save"]),
            user_id=st.sampled_from([None, "u", "v"]),
            quantity=st.integers(0, 5) | st.none(),
            users=st.none() | st.integers(1, 3),
        ),
        "tickets": rows("tickets", resolved_at=later, reopened_at=later, escalated_at=later),
        "surveys": rows(
            "surveys",
            kind=st.sampled_from(["nps", "csat"]),
            contact_id=st.just("x"),
            responded_at=later,
            score=st.sampled_from([None, 0, 1, 4.5, 5]),
            scale_max=st.sampled_from([None, 5, 10]),
        ),
        "touchpoints": rows(
            "touchpoints",
            kind=st.sampled_from(["email", "meeting"]),
            contact_id=st.sampled_from(["c", "d"]),
            direction=st.sampled_from(["out", "in"]),
            responded_at=later,
        ),
        "contacts": rows(
            "contacts",
            contact_id=st.sampled_from(["c", "d"]),
            role=st.sampled_from([None, "champion", "decision_maker", "decision_maker"]),
            valid_to=later,
        ),
        "invoices": rows("invoices", amount=st.sampled_from([-5, 100]), due_at=due, paid_at=later),
        "outcomes": rows("outcomes", goal=st.sampled_from(["g", "h"]), target=st.just(10), value=st.sampled_from([5, 10, 200])),
    }
)  # fmt: skip


def known(table: str, rows: list[dict], account: str, at: datetime) -> list[dict]:
    """Return what may be read at `at`: the last version of each row recorded before, happened before, later facts masked."""
    contract = TABLES[table]
    last: dict[object, dict] = {}
    for number, row in enumerate(rows):
        row = {column.name: row.get(column.name) for column in contract.columns} | {
            "recorded": row["recorded_at"] or row[contract.event]
        }
        key = tuple(row[name] for name in contract.key)
        key = number if key == (None,) else key
        if row["recorded"] < at and (key not in last or last[key]["recorded"] < row["recorded"]):
            last[key] = row
    seen = [row for row in last.values() if row[contract.event] < at and row["account_id"] == account]
    return [
        row
        | {
            column.name: None
            for column in contract.columns
            if column.known_at and not (row[column.known_at] is not None and row[column.known_at] < at)
        }
        for row in seen
    ]


def share(top: float, bottom: float) -> float:
    return top / bottom if bottom else math.nan


def expected(history: dict[str, list[dict]], account: str, at: datetime) -> dict[str, float]:
    """Return features and facts of one account at one instant."""
    seen = {table: known(table, history[table], account, at) for table in history}
    found: dict[str, float] = {}

    def within(rows, event, days, skip=0):
        return [row for row in rows if at - (days + skip) * DAY <= row[event] < at - skip * DAY]

    periods = seen["subscriptions"]
    running = [row for row in periods if row["ended_at"] is None]
    ago = at - 90 * DAY
    ran = [row for row in periods if row["started_at"] < ago and (row["ended_at"] is None or row["ended_at"] >= ago)]
    mrr = sum(row["mrr"] for row in running)
    found["active"] = mrr > 0
    found["leaving"] = mrr > 0 and all(row["cancelled_at"] is not None for row in running)
    found["mrr"] = mrr
    found["mrr_change_90d"] = share(mrr, sum(row["mrr"] for row in ran)) - 1
    found["tenure_days"] = (at - min(row["started_at"] for row in periods)) / DAY if periods else math.nan

    use = seen["usage"]
    for name, days, skip in (("now", 30, 0), ("before", 30, 30)):
        part = within(use, "occurred_at", days, skip)
        found[f"events_{name}"] = sum(1 if row["quantity"] is None else row["quantity"] for row in part)
    found["events_30d"] = found.pop("events_now")
    found["events_trend_30d"] = math.log((found["events_30d"] + 1) / (found.pop("events_before") + 1))
    recent = within(use, "occurred_at", 30)
    users = {row["user_id"] for row in recent} - {None}
    found["active_users_30d"] = max(len(users), *(row["users"] or 0 for row in recent), 0)
    active = {(at - row["occurred_at"] - TICK) // DAY for row in use}
    found["active_days_30d"] = sum(day in active for day in range(30))
    found["active_weeks_90d"] = sum(any(day in active for day in range(7 * week, 7 * week + 7)) for week in range(13))
    found["days_since_last_use"] = min(
        [180.0, *((at - row["occurred_at"]) / DAY for row in use if row["occurred_at"] >= at - 180 * DAY)]
    )
    days = min(90, math.ceil(found["tenure_days"])) if periods else 90
    silences = "".join("1" if day in active else "0" for day in range(days)).split("1")
    found["longest_silence_90d"] = max(map(len, silences))

    tickets = seen["tickets"]
    found["tickets_90d"] = len(within(tickets, "opened_at", 90))
    found["open_tickets"] = sum(
        row["resolved_at"] is None or (row["reopened_at"] is not None and row["reopened_at"] > row["resolved_at"])
        for row in tickets
    )
    resolved = [row for row in tickets if row["resolved_at"] is not None and row["resolved_at"] >= at - 90 * DAY]
    hours = sum((row["resolved_at"] - row["opened_at"]) / timedelta(hours=1) for row in resolved)
    found["resolution_hours_90d"] = share(hours, len(resolved))
    found["escalated_90d"] = sum(row["escalated_at"] is not None and row["escalated_at"] >= at - 90 * DAY for row in tickets)

    for kind, low, high in (("nps", 0, 10), ("csat", 1, 5)):
        answers = [
            (
                -((at - row["responded_at"]) / TICK),
                -max(low + (row["score"] - low) / ((row["scale_max"] or high) - low) * (high - low), low),
            )
            for row in seen["surveys"]
            if row["kind"] == kind and row["responded_at"] is not None and row["score"] is not None
        ]
        instant, score = max(answers, default=(math.nan, math.nan))
        found[f"{kind}_last"], found[f"{kind}_age_days"] = -score, -instant * TICK / DAY if answers else math.nan
    asked = within(seen["surveys"], "sent_at", 365)
    found["survey_response_rate_365d"] = share(sum(row["responded_at"] is not None for row in asked), len(asked))

    touches = within(seen["touchpoints"], "occurred_at", 90)
    sent = [row for row in touches if row["direction"] == "out" and row["kind"] == "email"]
    found["outreach_answered_share_90d"] = share(sum(row["responded_at"] is not None for row in sent), len(sent))
    now = [row for row in seen["contacts"] if row["valid_to"] is None and row["role"] is not None]
    latest = {row["contact_id"]: row["role"] for row in sorted(now, key=lambda row: row["valid_from"])}
    met = {row["contact_id"] for row in touches}
    found["decision_makers_met_90d"] = sum(latest.get(contact) == "decision_maker" for contact in met)
    found["champions_left_180d"] = len(
        {
            row["contact_id"]
            for row in seen["contacts"]
            if row["role"] == "champion" and row["valid_to"] is not None and row["valid_to"] >= at - 180 * DAY
        }
    )

    overdue = [row for row in seen["invoices"] if row["paid_at"] is None and row["due_at"] < at and row["amount"] > 0]
    found["overdue_days_max"] = max([0.0, *((at - row["due_at"]) / DAY for row in overdue)])
    found["overdue_share_of_mrr"] = share(sum(row["amount"] for row in overdue), mrr)
    goals = {}
    for row in sorted(seen["outcomes"], key=lambda row: row["measured_at"]):
        goals[row["goal"]] = row
    standing = within(goals.values(), "measured_at", 365)
    found["goals_reached_share"] = share(sum(row["value"] >= row["target"] for row in standing), len(standing))
    measured = within(seen["outcomes"], "measured_at", 365)
    found["goal_progress_mean"] = share(sum(min(row["value"] / row["target"], 10) for row in measured), len(measured))
    return found


# A run takes over a second, so a failing history is shown as it was found.
@settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=histories)
def test_features_are_what_the_domain_says(history):
    frames = {"accounts": pd.DataFrame({"account_id": ACCOUNTS})}
    for table, found in history.items():
        frame = pd.DataFrame(found, columns=list(TABLES[table].names), dtype=object)
        for column in TABLES[table].columns:
            kind = {"time": "datetime64[us]", "integer": "Int64", "decimal": "float64", "boolean": "boolean", "text": "str"}[
                column.kind
            ]
            frame[column.name] = frame[column.name].astype(kind)
        frames[table] = frame
    spine = pd.DataFrame([(account, at) for account in ACCOUNTS for at in INSTANTS], columns=["account_id", "as_of"])
    built = snapshot(frames, spine)
    both = built.features.drop(columns=["account_id", "as_of"]).join(built.facts[["active", "leaving"]])
    for position, (account, at) in enumerate(spine.itertuples(index=False)):
        wanted = expected(history, account, at.to_pydatetime())
        assert both.loc[position, list(wanted)].to_dict() == pytest.approx(wanted, rel=1e-6, nan_ok=True), (account, at)

"""Features against a second, slow reading of domain.md, in plain Python."""

from datetime import datetime, timedelta

import pandas as pd
import pytest
from features_in_python import DAY, TICK, expected
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from features.builder import snapshot
from features.contract import TABLES

T = datetime(2025, 6, 10, 13, 37)
INSTANTS = (T, T - timedelta(days=30, microseconds=-1))
ACCOUNTS = ("a", "b", "c")
#: Around the instants and the ends of the windows, where mistakes are.
EDGES = [days * DAY + ticks * TICK for days in (0, 1, 7, 14, 30, 60, 90, 180, 210, 365) for ticks in (-1, 0, 1)]

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
        key = TABLES[table].key
        if key and table != "usage" and any(all(row.get(name) == other.get(name) for name in key) for other in found):
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
            subscription_id=st.sampled_from(["s", "t"]),
            product=st.sampled_from(["core", "core", "extra"]),
            renewal_at=st.sampled_from([None, 60 * DAY, 180 * DAY, 365 * DAY]),
            notice_days=st.sampled_from([None, 30, 90]),
        ),
        "usage": rows(
            "usage",
            feature=st.sampled_from(["open", "save"]),
            user_id=st.sampled_from([None, "u", "v"]),
            quantity=st.integers(0, 5) | st.none(),
            users=st.none() | st.integers(1, 3),
        ),
        "tickets": rows(
            "tickets",
            resolved_at=later,
            reopened_at=later,
            escalated_at=later,
            priority=st.sampled_from([None, "low", "high", "Urgent"]),
            sentiment=st.sampled_from([None, -1, 0.25]),
        ),
        "observations": rows(
            "observations",
            kind=st.sampled_from(["complaint", "risk", "praise", "opportunity", "note"]),
            author=st.sampled_from(["a", "b"]),
        ),
        "surveys": rows(
            "surveys",
            kind=st.sampled_from(["nps", "nps", "csat", "ces"]),
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
        "outcomes": rows(
            "outcomes",
            goal=st.sampled_from(["g", "h"]),
            target=st.sampled_from([10, 10, 0]),
            value=st.sampled_from([5, 10, 200]),
        ),
        "projects": rows(
            "projects",
            kind=st.sampled_from([None, "onboarding", "onboarding", "rollout"]),
            due_at=st.none() | due,
            finished_at=later,
        ),
        "offers": rows(
            "offers", product=st.sampled_from(["p", "q"]), decided_at=later, status=st.sampled_from([None, "open", "won", "lost"])
        ),
        "plays": rows(
            "plays",
            playbook=st.just("call"),
            ended_at=later,
            assignment=st.sampled_from([None, "treated", "held_out"]),
        ),
        "costs": rows(
            "costs",
            kind=st.sampled_from(["service", "service", "acquisition"]),
            amount=st.sampled_from([0, 30.5]),
            hours=st.sampled_from([None, 1, 2.5]),
        ),
    }
)  # fmt: skip


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
        got = both.loc[position]
        wrong = {
            name: (got[name], value)
            for name, value in wanted.items()
            if got[name] != pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True)
        }
        assert wrong == {}, f"(built, expected) of {account} at {at}"

"""Labels against a slow reference that goes day by day, and one case for each sentence of the definition."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.labels import label, timeline

CRM5 = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "crm5" / "subscriptions.parquet"
DAY0 = pd.Timestamp("2026-01-01")
COLUMNS = ("subscription_id", "mrr", "started_at", "ended_at", "cancelled_at", "recorded_at")
TIMES = COLUMNS[2:]


def day(number):
    return None if number is None else DAY0 + pd.Timedelta(days=number)


def table(rows):
    """Rows of one account A: (id, mrr, started, ended, cancelled, recorded), times as day numbers."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).assign(account_id="A")
    return frame.assign(**{name: pd.to_datetime([day(row[COLUMNS.index(name)]) for row in rows]) for name in TIMES})


def spine(*days, account="A"):
    return pd.DataFrame({"account_id": account, "as_of": pd.to_datetime([day(at) for at in days])})


def row(mrr=100, start=0, end=None, cancelled=None, recorded=None, name="s"):
    return (name, mrr, start, end, cancelled, recorded)


def ask(rows, at=100, outcome="churn", horizon=90, until=1000, **options):
    found = label(table(rows), spine(at), outcome, horizon, data_until=day(until), **options)
    value = found["label"].iloc[0]
    return (None if pd.isna(value) else int(value)), bool(found["mature"].iloc[0])


GONE, STAYED, UNKNOWN, BESIDE = (1, True), (0, True), (None, False), (None, True)

CASES = {
    "stays": ([row()], {}, STAYED),
    "revenue ends within the horizon": ([row(end=189)], {}, GONE),
    "revenue ends at T": ([row(end=100)], {}, GONE),
    "revenue ends at T + h": ([row(end=190)], {}, STAYED),
    "gap as long as the grace": ([row(end=150), row(start=180)], {}, STAYED),
    "gap longer than the grace, then back": ([row(end=150), row(start=181)], {}, GONE),
    "no grace": ([row(end=150), row(start=151)], {"grace_days": 0}, GONE),
    "no gap, no grace": ([row(end=150), row(start=150)], {"grace_days": 0}, STAYED),
    "a free row is no revenue": ([row(end=150), row(mrr=0, start=150)], {}, GONE),
    "a free row as long as the grace": ([row(end=150), row(mrr=0, start=150, end=180), row(start=180)], {}, STAYED),
    "notice": ([row(cancelled=189)], {}, GONE),
    "notice at T": ([row(cancelled=100)], {}, GONE),
    "notice at T + h": ([row(cancelled=190)], {}, STAYED),
    "notice under revenue": ([row(cancelled=150)], {"event": "revenue"}, STAYED),
    "notice before T: leaving": ([row(cancelled=99)], {}, UNKNOWN),
    "nobody is leaving under revenue": ([row(end=150, cancelled=99)], {"event": "revenue"}, GONE),
    "notice on one of two rows": ([row(cancelled=150), row(name="t")], {}, STAYED),
    "notice on the one, the end of the other": ([row(cancelled=90), row(name="t", end=150)], {}, GONE),
    "notice, but renewed before T + h": ([row(end=170, cancelled=150), row(start=170)], {}, STAYED),
    "notice, renewed only after T + h": ([row(end=195, cancelled=150), row(start=195)], {}, GONE),
    "notice, back within the grace": ([row(end=170, cancelled=150), row(start=185)], {}, STAYED),
    "notice, T + h in a gap that closed": ([row(end=185, cancelled=150), row(start=195)], {}, GONE),
    "notice withdrawn in a later version": ([row(cancelled=150), row(recorded=300)], {}, STAYED),
    "notice in a later version": ([row(), row(cancelled=150, recorded=300)], {}, GONE),
    "a version recorded after the data's end": ([row(), row(cancelled=150, recorded=1001)], {}, STAYED),
    "left before T, recorded after T": ([row(), row(end=80, recorded=120)], {}, GONE),
    "notice before T, recorded after T": ([row(), row(cancelled=80, recorded=120)], {}, GONE),
    "one key, recorded at once: the last by its values": ([row(end=150, recorded=0), row(recorded=0)], {}, STAYED),
    "not started": ([row(start=100)], {}, UNKNOWN),
    "started, but recorded at T": ([row(recorded=100)], {}, UNKNOWN),
    "an open gap at T": ([row(end=99), row(start=110)], {}, UNKNOWN),
    "just mature": ([row()], {"until": 220}, STAYED),
    "just immature": ([row()], {"until": 219}, UNKNOWN),
    "left, yet immature": ([row(end=110)], {"until": 219}, UNKNOWN),
    "contracted": ([row(end=150), row(mrr=95, start=150)], {"outcome": "contraction"}, GONE),
    "not contracted": ([row(end=150), row(mrr=95.000001, start=150)], {"outcome": "contraction"}, STAYED),
    "expanded": ([row(), row(mrr=5, start=150, name="t")], {"outcome": "expansion"}, GONE),
    "not expanded": ([row(), row(mrr=4.999999, start=150, name="t")], {"outcome": "expansion"}, STAYED),
    "expansion after the horizon": ([row(), row(mrr=50, start=190, name="t")], {"outcome": "expansion"}, STAYED),
    "contraction of a churned account": ([row(end=150)], {"outcome": "contraction"}, BESIDE),
    "T + h in a gap that closed": ([row(end=185), row(mrr=90, start=195)], {"outcome": "contraction"}, STAYED),
    "T + h in a gap as long as the grace": (
        [row(end=175), row(mrr=90, start=205)],
        {"outcome": "contraction"},
        STAYED,
    ),
    "price corrected later": ([row(mrr=200), row(mrr=100, recorded=120)], {"outcome": "contraction"}, STAYED),
}


@pytest.mark.parametrize(("rows", "options", "expected"), CASES.values(), ids=CASES)
def test_each_sentence_of_the_definition(rows, options, expected):
    assert ask(rows, **options) == expected


@pytest.mark.parametrize(
    ("observed", "expected"),
    [((None, None), STAYED), ((100, 220), STAYED), ((101, None), UNKNOWN), ((None, 219), UNKNOWN), ((None, 50), UNKNOWN)],
)
def test_only_what_was_observed(observed, expected):
    accounts = pd.DataFrame({"account_id": ["A"], "observed_from": [day(observed[0])], "observed_until": [day(observed[1])]})
    assert ask([row()], accounts=accounts) == expected


def test_the_latest_version_of_an_account_holds():
    accounts = pd.DataFrame({"account_id": ["A"] * 3, "observed_until": pd.to_datetime([day(500), day(110), day(50)])})
    accounts["recorded_at"] = pd.to_datetime([day(1), day(2), day(2000)])
    assert ask([row()], accounts=accounts) == UNKNOWN
    assert ask([row()], accounts=accounts.iloc[[0, 2]]) == STAYED


def test_rates_standing_at_t():
    rows = table([row()]).assign(currency="USD")
    fx = pd.DataFrame({"currency": "USD", "date": pd.to_datetime([day(0), day(150)]), "rate": [1.0, 0.5]})
    found = label(rows, spine(100), "contraction", 90, data_until=day(999), fx=fx)
    assert found["label"].tolist() == [0]


def test_rows_and_index_stay_as_given():
    asked = pd.concat([spine(100, 10), spine(50, account="nobody"), spine(50)]).set_axis([7, 3, 3, "x"])
    found = label(table([row(end=110)]), asked, "churn", 90, data_until=day(999))
    pd.testing.assert_frame_equal(found[["account_id", "as_of"]], asked)
    assert found["label"].dtype == "Int8"
    assert found["mature"].tolist() == [True, True, False, True]
    assert found["label"].fillna(-1).tolist() == [1, 0, -1, 1]
    assert timeline(table([row(end=110)]), asked, data_until=day(999))["as_of"].equals(asked["as_of"])


def test_timeline_of_one_account():
    rows = table([row(end=150, cancelled=120)]).assign(voluntary=False)
    found = timeline(rows, spine(100, 121), data_until=day(999))
    assert found["leaving"].tolist() == [False, True]
    assert found["at_risk"].tolist() == [True, False]
    assert found["churn_at"].fillna(DAY0).tolist() == [day(120), DAY0]
    assert found["involuntary"].tolist() == [True, False]
    assert found["known_until"].tolist() == [day(969)] * 2
    assert not timeline(rows.assign(voluntary=None), spine(100), data_until=day(999))["involuntary"].any()


def test_a_withdrawn_notice_is_no_churn_unless_it_stood_at_the_horizon():
    rows = table([row(end=170, cancelled=120), row(start=170)])
    assert timeline(rows, spine(100), data_until=day(999))["churn_at"].isna().all()
    assert timeline(rows, spine(100), data_until=day(999), horizon_days=60)["churn_at"].tolist() == [day(120)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "loss"}, "outcome must be one of churn, contraction, expansion, got 'loss'"),
        ({"event": "end"}, "event must be one of notice, revenue, got 'end'"),
        ({"horizon": 0}, "horizon_days must be at least 1, got 0"),
        ({"grace_days": -1}, "grace_days must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        ask([row()], **change)
    with pytest.raises(ValueError, match="instant 'as_of'"):
        label(table([row()]), spine(1).assign(as_of=pd.NaT), "churn", 30, data_until=day(99))


LAST = 220  # the reference looks this far; every drawn day lies well before


class Reference:
    """One account, day by day: day t stands for the time just before its midnight, and a row runs when start < t ≤ end."""

    def __init__(self, rows, *, known_at=None, until=None, grace=0):
        latest = {}
        for name, mrr, start, end, cancelled, recorded in rows:
            recorded = start if recorded is None else recorded
            readable = recorded <= until if known_at is None else recorded < known_at and recorded <= until
            if readable and recorded >= latest.get((name, start), (recorded,))[0]:
                latest[name, start] = (recorded, mrr, start, end, cancelled)
        self.days = [self._state(latest.values(), at) for at in range(LAST + 1)]
        if known_at is None:
            self._carry(grace)

    @staticmethod
    def _state(rows, at):
        running = [r for r in rows if r[2] < at and (r[3] is None or at <= r[3])]
        notice = bool(running) and all(r[4] is not None and r[4] < at for r in running)
        return (sum(r[1] for r in running), notice, bool(running))

    def _carry(self, grace):
        at = 0
        while at <= LAST:
            gap = at
            while gap <= LAST and not self.days[gap][2]:
                gap += 1
            if 0 < at < gap <= LAST and self.days[at - 1][2] and gap - at <= grace:
                self.days[at:gap] = [self.days[at - 1]] * (gap - at)
            at = max(gap, at + 1)

    def lost_revenue(self, begin, end, grace):
        """Is there a stretch of more than `grace` days at 0 that begins in [begin, end), or holds at `begin`?"""
        started = next((at for at, (_, _, runs) in enumerate(self.days) if runs), LAST + 1)
        at = started
        while at <= LAST:
            stop = at
            while stop <= LAST and self.days[stop][0] == 0:
                stop += 1
            endless = stop > LAST
            # days at+1 … stop at 0 mean MRR 0 on (at − 1, stop − 1]
            if stop > at and (endless or stop - at > grace) and at - 1 < end and (endless or stop - 1 >= begin):
                return True
            at = max(stop, at + 1)
        return False


def reference(rows, at, outcome, horizon, until, grace, event):
    known = Reference(rows, known_at=at, until=until).days[at]
    end = at + horizon
    if known[0] == 0 or (known[1] and event == "notice") or end + grace > until:
        return None, False
    history = Reference(rows, until=until, grace=grace)
    churned = history.lost_revenue(at, end, grace) or (event == "notice" and history.days[end][1])
    if outcome == "churn":
        return int(churned), True
    before, after = history.days[at][0], history.days[end][0]
    if churned:
        return None, True
    moved = after < before and after <= 0.95 * before if outcome == "contraction" else after > before and after >= 1.05 * before
    return int(moved), True


#: Days on a coarse grid, so that ends meet starts, and gaps the grace, often.
NUMBER = st.integers(0, 16).map(lambda number: 5 * number)
ROWS = st.lists(
    st.builds(
        lambda name, mrr, start, length, cancelled, recorded: (
            name, mrr, start, None if length is None else start + length, cancelled, recorded,
        ),
        st.sampled_from("st"), st.sampled_from([0, 80, 100]), NUMBER, st.none() | NUMBER,
        st.none() | NUMBER, st.none() | NUMBER,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda r: (r[0], r[2], r[2] if r[5] is None else r[5]),
)  # fmt: skip


@st.composite
def versioned(draw):
    """Rows, some of them followed by a version of the same key that was recorded later."""
    rows = draw(ROWS)
    again = draw(st.lists(st.tuples(st.sampled_from(rows), st.sampled_from([81, 90, 100]), st.none() | NUMBER), max_size=2))
    later = {(r[0], r[2]): (*r[:4], cancelled, recorded) for r, recorded, cancelled in again}
    return rows + list(later.values())


@settings(max_examples=150, deadline=None)
@given(
    rows=versioned(),
    outcome=st.sampled_from(["churn", "contraction", "expansion"]),
    event=st.sampled_from(["notice", "revenue"]),
    grace=st.sampled_from([0, 5, 30]),
    horizon=st.sampled_from([1, 5, 14, 30]),
    until=st.integers(60, 110),
)
def test_labels_agree_with_the_reference(rows, outcome, event, grace, horizon, until):
    days = list(range(1, 90, 3))
    found = label(table(rows), spine(*days), outcome, horizon, data_until=day(until), grace_days=grace, event=event)
    values = [None if pd.isna(value) else int(value) for value in found["label"]]
    expected = [reference(rows, at, outcome, horizon, until, grace, event) for at in days]
    assert list(zip(values, found["mature"], strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(rows=versioned(), grace=st.sampled_from([0, 5]), until=st.integers(60, 110))
def test_churn_at_answers_every_step_of_revenue(rows, grace, until):
    days = [10, 30, 50]
    options = {"data_until": day(until), "grace_days": grace, "event": "revenue"}
    found = timeline(table(rows), spine(*days), **options)
    for step in (1, 5, 20):
        end = found["as_of"] + pd.Timedelta(days=step)
        settled = found["at_risk"] & (end <= found["known_until"])
        asked = label(table(rows), spine(*days), "churn", step, **options)
        assert asked["mature"].tolist() == settled.tolist()
        assert asked["label"][settled].tolist() == (found["churn_at"] < end)[settled].astype(int).tolist()


@settings(max_examples=60, deadline=None)
@given(rows=versioned(), seed=st.randoms())
def test_the_order_of_rows_does_not_matter_and_churn_never_turns_back(rows, seed):
    found = timeline(table(rows), spine(20, 40, 60), data_until=day(110))
    shuffled = list(rows)
    seed.shuffle(shuffled)
    pd.testing.assert_frame_equal(timeline(table(shuffled), spine(20, 40, 60), data_until=day(110)), found)
    churned = found["churn_at"].notna()
    assert (found["churn_at"] >= found["as_of"])[churned].all()
    assert (found["churn_at"] < found["known_until"])[churned].all()
    assert found["at_risk"][churned].all()


@pytest.mark.skipif(not CRM5.exists(), reason="the shared data sets are not beside the project")
def test_a_real_company_is_labelled_and_alone_equals_the_batch():
    rows = pd.read_parquet(CRM5).rename(columns={"start_at": "started_at", "end_at": "ended_at"})
    ids = rows["account_id"].unique()
    dates = pd.date_range("2022-02-01", "2023-12-31", freq="14D")
    asked = pd.DataFrame({"account_id": np.repeat(ids, len(dates)), "as_of": np.tile(dates, len(ids))})
    options = {"data_until": "2024-01-01", "grace_days": 0, "event": "revenue"}
    found = label(rows, asked, "churn", 60, **options)
    assert 0.02 < found.loc[found["mature"], "label"].mean() < 0.05
    one = asked["account_id"] == ids[17]
    alone = label(rows[rows["account_id"] == ids[17]], asked[one], "churn", 60, **options)
    pd.testing.assert_frame_equal(alone, found[one])

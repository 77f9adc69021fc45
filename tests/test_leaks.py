"""The leak audit: a planted leak of each kind is caught, and what is honest, however strong, is not accused."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simulation
from features.builder import snapshot
from features.catalogue import catalog
from training import metrics
from training.dataset import Dataset, build_dataset
from training.exposure import Plays
from training.intervals import bootstrap, percentile_interval
from training.leaks import Leak, LeakError, audit, refuse
from training.leaks.ends import late_rows, stopped_tables, unsettled_labels
from training.leaks.overwritten import Presence, moved_renewals, vanished_value
from training.leaks.rebuilt import changed_features
from training.leaks.strength import CONTRACT_DATES, TOO_GOOD_AUC, Asked, Graded, too_good
from training.leaks.timing import knows_the_date
from training.period import period
from training.rows import Rows
from training.settings import Task, TrainingSettings

CHURN = Task(outcome="churn", horizon_days=90)
DAY = pd.Timedelta(days=1)
FloatArray = Any


# --- a portfolio drawn here, so that every feature's honesty is known ---------------------------------------------------------


@dataclass(frozen=True)
class Portfolio:
    """Monthly rows of accounts; `days_left` until each one leaves, per row of `spine`; labelled rows stand at `where` of it."""

    spine: pd.DataFrame
    days_left: FloatArray
    tenure: FloatArray
    where: FloatArray
    rows: Rows

    def draw(self, seed: int) -> FloatArray:
        """Uniform numbers, one for each row."""
        return np.random.default_rng(seed).random(len(self.spine))

    @property
    def y(self) -> FloatArray:
        return self.rows.y

    def asked(self) -> Asked:
        return Asked(CHURN.name, self.where, self.y, pd.factorize(self.rows.timeline["account_id"])[0])

    def label_copy(self, wrong: float) -> FloatArray:
        """A column of the dataset: the label in training rows, a share of them wrong."""
        column = (self.days_left < 90).astype(float)
        return np.where(self.draw(1) < wrong, 1 - column, column)

    def accused(self, column: FloatArray, name: str = "planted") -> Leak | None:
        return too_good(Graded.of(name, pd.Series(column)), self.asked())

    def dated(self, **columns: FloatArray) -> list[str]:
        """Names that `knows_the_date` accuses, of columns over the whole dataset."""
        frame = pd.DataFrame({name: np.asarray(values)[self.where] for name, values in columns.items()})
        return [leak.name for leak in knows_the_date(frame, self.rows.timeline, CHURN.name)]

    def vanished(self, column: FloatArray) -> Leak | None:
        return vanished_value(Graded.of("planted", pd.Series(column)), Presence.of(self.spine))


def portfolio(accounts: int = 400, *, yearly: bool = False, seed: int = 0) -> Portfolio:
    """Accounts that leave at random, or (`yearly`) only at the end of a contract year."""
    rng = np.random.default_rng(seed)
    start, until, test_from = pd.Timestamp("2023-01-01"), pd.Timestamp("2025-12-01"), pd.Timestamp("2025-06-01")
    begun = rng.integers(0, 700, accounts).astype(float)
    life = 365.0 * rng.geometric(0.5, accounts) if yearly else rng.exponential(600, accounts)
    dates = pd.date_range("2023-02-01", until, freq="MS", inclusive="left")
    account, at = (grid.ravel() for grid in np.meshgrid(np.arange(accounts), (dates - start) / DAY, indexing="ij"))
    there = (at > begun[account]) & (at <= (begun + life)[account])
    account, at = account[there], at[there]
    spine = pd.DataFrame({"account_id": [f"A{a:04}" for a in account], "as_of": start + pd.to_timedelta(at, unit="D")})
    spine["as_of"] = spine["as_of"].astype("datetime64[us]")
    days_left = (begun + life)[account] - at
    known = float((test_from - start) / DAY) - 30
    labelled = np.flatnonzero(at + 90 <= known)
    leaves = spine["as_of"] + pd.to_timedelta(days_left, unit="D")
    timeline = spine.assign(churn_at=leaves.where(at + days_left < known), known_until=start + known * DAY).iloc[labelled]
    y = (days_left[labelled] < 90).astype(float)
    rows = Rows(pd.DataFrame(index=range(len(labelled))), timeline.reset_index(drop=True), y, np.zeros(len(y)))
    return Portfolio(spine, days_left, at - begun[account], labelled, rows)


@pytest.fixture(scope="module")
def anytime() -> Portfolio:
    return portfolio()


@pytest.fixture(scope="module")
def yearly() -> Portfolio:
    return portfolio(yearly=True)


# --- predicts too well --------------------------------------------------------------------------------------------------------


PLANTED: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "as it is": lambda copy, tied: copy,
    "the other way round": lambda copy, tied: -copy,
    "missing where positive": lambda copy, tied: np.where(copy > 0, np.nan, tied),
    "missing where negative": lambda copy, tied: np.where(copy > 0, tied, np.nan),
    "missing stands for the lowest": lambda copy, tied: np.where((copy == 0) & (tied < 0.5), np.nan, copy * 5 + tied),
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_copy_of_the_label_with_a_tenth_wrong_is_caught(anytime: Portfolio, how: str) -> None:
    column = PLANTED[how](anytime.label_copy(0.1), anytime.draw(2))
    leak = anytime.accused(column)
    assert leak is not None
    assert (leak.kind, leak.name, leak.evidence["model"]) == ("too_good", "planted", CHURN.name)
    assert TOO_GOOD_AUC < leak.evidence["auc_low"] < leak.evidence["auc"]


def test_an_honest_strong_feature_is_not_accused(anytime: Portfolio) -> None:
    """A sign at six in ten departures, and at a tenth of the other rows: AUC 0.75."""
    sign = np.where(anytime.days_left < 90, anytime.draw(2) < 0.6, anytime.draw(3) < 0.1).astype(float)
    assert 0.7 < metrics.auc(anytime.y, sign[anytime.where]) < 0.8
    assert anytime.accused(sign) is None


@pytest.mark.parametrize("missing", [False, True])
def test_a_value_that_only_leavers_have_is_caught(anytime: Portfolio, missing: bool) -> None:
    """Status "cancelled" on a third of the positives: the AUC is 0.67."""
    cancelled = (anytime.days_left < 90) & (anytime.draw(2) < 1 / 3)
    leak = anytime.accused(np.where(cancelled, np.nan if missing else 7.0, np.floor(5 * anytime.draw(3))))
    assert leak is not None
    assert leak.evidence["value"] == ("missing" if missing else "7")
    assert leak.evidence["positive"] == 1.0
    assert leak.evidence["of_all_positive"] == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tail_that_only_leavers_reach_is_caught(anytime: Portfolio, sign: int) -> None:
    reached = (anytime.days_left < 90) & (anytime.draw(2) < 1 / 3)
    leak = anytime.accused(sign * (anytime.draw(3) + 2 * reached))
    assert leak is not None
    assert str(leak.evidence["value"]).startswith("≥" if sign > 0 else "≤")


def test_too_few_accounts_prove_nothing() -> None:
    few = portfolio(40)
    assert few.asked().judgeable == (len(set(few.rows.accounts[few.y > 0])) >= 10)
    assert not portfolio(12).asked().judgeable


def test_contract_dates_may_rule_rows_out(yearly: Portfolio) -> None:
    """Who can leave only at a renewal does not leave elsewhere: the AUC is 0.9, and honest."""
    to_renewal = 365 - yearly.tenure % 365
    accused = yearly.accused(to_renewal, "anything")
    assert accused is not None
    assert accused.evidence["auc"] > 0.85
    assert yearly.accused(to_renewal, "days_to_renewal") is None
    # A renewal date that was moved to the day of the departure gives the leavers away, whatever it is called.
    moved = np.where(yearly.days_left < 90, yearly.days_left, 100 + to_renewal)
    assert yearly.accused(moved, "days_to_renewal") is not None


def test_contract_dates_are_features() -> None:
    assert set(catalog()) >= CONTRACT_DATES


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 50), st.floats(0, 0.5))
def test_the_auc_is_the_one_of_the_metrics(seed: int, values: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    y = np.repeat([0.0, 1.0], 60)
    column = np.round(rng.normal(size=120) + 5 * y, 1).clip(-values, values)
    column[(rng.random(120) < missing) & (y == 0)] = np.nan
    leak = too_good(Graded.of("x", pd.Series(column)), Asked("m", np.arange(120), y, np.arange(120)))
    assert leak is not None
    filled = {"lowest": -99.0, "highest": 99.0, "alone": None}[str(leak.evidence.get("missing_values", "lowest"))]
    ranks = np.isnan(column) if filled is None else np.where(np.isnan(column), filled, column)
    expected = metrics.auc(y, (pd.Series(ranks).rank() / 121).to_numpy())
    assert leak.evidence["auc"] == pytest.approx(max(expected, 1 - expected))


def test_the_lower_bound_is_that_of_drawing_accounts_or_below(anytime: Portfolio) -> None:
    column = anytime.label_copy(0.1) + 0.1 * anytime.draw(2)
    leak = anytime.accused(column)
    assert leak is not None
    p = (pd.Series(column[anytime.where]).rank() / (len(anytime.where) + 1)).to_numpy()
    order = np.argsort(p)

    def weighted(weight: FloatArray) -> float:
        up, down = (weight * anytime.y)[order], (weight * (1 - anytime.y))[order]
        return float(up @ (np.cumsum(down) - down / 2) / (up.sum() * down.sum()))

    drawn = bootstrap(weighted, anytime.rows.accounts, len(p), draws=400, seed=1)
    low = percentile_interval(drawn, 0.9)[0]
    assert low - 0.02 < leak.evidence["auc_low"] < low + 0.003


# --- knows the date -----------------------------------------------------------------------------------------------------------


def test_the_day_of_the_departure_is_caught(anytime: Portfolio) -> None:
    days = anytime.days_left
    spread = days[anytime.where][anytime.rows.timeline["churn_at"].notna()].std()
    noise = 0.3 * spread * np.sqrt(12) * (anytime.draw(2) - 0.5)
    half = np.where(anytime.draw(3) < 0.5, days, np.nan)
    planted = {"exact": days, "turned": 1000 - days, "noisy": days + noise, "half": half}
    assert anytime.dated(tenure_days=anytime.tenure, honest=noise, **planted) == list(planted)


def test_a_feature_that_is_missing_until_the_departure_is_near_is_caught(anytime: Portfolio) -> None:
    near = np.where(anytime.days_left < 120, 1.0, np.nan)
    assert anytime.dated(tenure_days=anytime.tenure, near=near) == ["near"]


def test_a_usual_decline_is_not_accused(anytime: Portfolio) -> None:
    """Use falls to nothing over the last 90 days, and the tenure runs: honest both."""
    use = np.clip(anytime.days_left / 90, 0, 1) * 20 + 20 * anytime.draw(2)
    assert anytime.dated(tenure_days=anytime.tenure, use=use) == []


def test_what_the_contract_tells_accuses_nobody(yearly: Portfolio) -> None:
    """All leave at the end of a year: days to renewal tell the day, and so does what follows them, such as a yearly invoice."""
    to_renewal = 365 - yearly.tenure % 365
    leaving = yearly.where[yearly.rows.timeline["churn_at"].notna()]
    assert np.corrcoef(to_renewal[leaving], yearly.days_left[leaving])[0, 1] > 0.6
    invoice = yearly.tenure % 365 + 10 * yearly.draw(2)
    found = yearly.dated(days_to_renewal=to_renewal, tenure_days=yearly.tenure, invoice=invoice, leak=yearly.days_left)
    assert found == ["leak"]


# --- changed after the fact ---------------------------------------------------------------------------------------------------


def test_a_value_written_over_at_the_departure_is_caught(anytime: Portfolio) -> None:
    """csm = none on every row of those that have left, though they had one then."""
    gone = anytime.spine["as_of"] + pd.to_timedelta(anytime.days_left, unit="D") < anytime.spine["as_of"].max() + DAY
    for column in (np.where(gone, 9.0, 1.0), np.where(gone, np.nan, anytime.tenure)):
        leak = anytime.vanished(column)
        assert leak is not None
        assert (leak.kind, leak.evidence["still_there"], leak.evidence["rows_there"]) == ("changed_after", 0.0, 0)


def test_a_bad_sign_is_no_overwritten_value(anytime: Portfolio) -> None:
    """Nearly all who show it leave, but at the last date too there are some who show it."""
    assert anytime.vanished((anytime.days_left < 60).astype(float)) is None


def test_a_plan_that_went_out_of_use_is_no_overwritten_value(anytime: Portfolio) -> None:
    old_plan = anytime.spine["as_of"] < pd.Timestamp("2024-06-01")
    assert anytime.vanished(old_plan.astype(float).to_numpy()) is None


def terms(*, moved: float, recorded: bool = False) -> pd.DataFrame:
    """Yearly terms of 100 accounts, of which 60 leave in their second one: at its end, or (the share `moved`) half-way."""
    first = pd.Timestamp("2024-01-01")
    rows = []
    for account in range(100):
        began, renews = first + (account % 28) * DAY, first + (account % 28) * DAY + pd.DateOffset(years=1)
        again = renews + pd.DateOffset(years=1)
        leaves = (renews + 180 * DAY if account < 60 * moved else again) if account < 60 else pd.NaT
        rows.append((f"A{account:03}", began, renews, renews))
        rows.append((f"A{account:03}", renews, leaves, leaves if account < 60 else again))
    frame = pd.DataFrame(rows, columns=["account_id", "started_at", "ended_at", "renewal_at"]).assign(term_months=12)
    return frame.assign(recorded_at=frame["started_at"]) if recorded else frame


def test_renewals_moved_to_the_departure_are_caught() -> None:
    leak = moved_renewals(terms(moved=0.5))
    assert leak is not None
    assert leak.name == "subscriptions.renewal_at"
    assert leak.evidence == {"accounts": 30, "share_of_departures": 0.5, "share_of_other_terms": 0.0}
    assert moved_renewals(terms(moved=0)) is None
    assert moved_renewals(terms(moved=0.5, recorded=True)) is None
    assert moved_renewals(terms(moved=0.5).drop(columns="term_months")) is None


def test_leaving_before_an_honest_renewal_is_no_leak() -> None:
    honest = terms(moved=0.5)
    early = honest["ended_at"].notna() & (honest["renewal_at"] - honest["started_at"] < 200 * DAY)
    honest.loc[early, "renewal_at"] = honest.loc[early, "started_at"] + pd.DateOffset(years=1)
    assert moved_renewals(honest) is None


@pytest.fixture(scope="module")
def tickets() -> dict[str, pd.DataFrame]:
    """Accounts with a ticket a week, resolved after ten days, and written into the source twenty days late."""
    ids = [f"A{number:02}" for number in range(30)]
    opened = pd.date_range("2025-01-01", "2025-12-01", freq="7D")
    rows = pd.DataFrame([(a, t) for a in ids for t in opened], columns=["account_id", "opened_at"])
    rows["ticket_id"] = [f"T{number}" for number in range(len(rows))]
    rows = rows.assign(resolved_at=rows["opened_at"] + 10 * DAY, recorded_at=rows["opened_at"] + 20 * DAY)
    accounts = pd.DataFrame({"account_id": ids})
    subscriptions = accounts.assign(started_at=pd.Timestamp("2024-12-01"), mrr=100.0)
    return {"accounts": accounts, "subscriptions": subscriptions, "tickets": rows}


def as_dataset(tables: dict[str, pd.DataFrame], shift: pd.Timedelta = 0 * DAY) -> Dataset:
    """Three dates of every account; with `shift`, features of so much later stand at them."""
    dates = pd.DatetimeIndex(["2025-04-01", "2025-06-01", "2025-08-01"]).as_unit("us")
    spine = tables["accounts"][["account_id"]].merge(pd.DataFrame({"as_of": dates}), how="cross")
    built = snapshot(tables, spine.assign(as_of=spine["as_of"] + shift))
    health = pd.Series(50.0, index=spine.index, dtype="Float64")
    return Dataset(spine, built.features.drop(columns=["account_id", "as_of"]), health, built.facts, ())


def test_features_that_read_what_was_recorded_later_are_caught(tickets: dict[str, pd.DataFrame]) -> None:
    """Read as known now (without recorded_at) a ticket is there twenty days before it was."""
    assert changed_features(tickets, as_dataset(tickets)) == []
    as_known_now = tickets | {"tickets": tickets["tickets"].drop(columns="recorded_at")}
    found = changed_features(tickets, as_dataset(as_known_now))
    assert {catalog()[leak.name].source for leak in found} == {"tickets"}
    leak = next(leak for leak in found if leak.name == "tickets_30d")
    assert (leak.kind, leak.evidence["rows_compared"], leak.evidence["rows_differing"]) == ("changed_after", 30, 30)
    assert leak.evidence["in_the_training_data"] > leak.evidence["from_what_stood_then"]
    assert "account" not in leak.record()["evidence"]


def test_features_of_a_later_instant_are_caught(tickets: dict[str, pd.DataFrame]) -> None:
    found = {leak.name for leak in changed_features(tickets, as_dataset(tickets, shift=4 * DAY))}
    assert {"tenure_days", "days_since_terms_changed"} <= found


# --- past the data ------------------------------------------------------------------------------------------------------------


def test_instants_after_the_end_are_caught(anytime: Portfolio) -> None:
    latest = anytime.spine["as_of"].max()
    assert late_rows(anytime.spine, latest) is None
    leak = late_rows(anytime.spine, latest - DAY)
    assert leak is not None
    assert (leak.kind, leak.name) == ("past_the_data", "as_of")
    assert leak.evidence["rows"] == int((anytime.spine["as_of"] == latest).sum())


def test_labels_of_windows_that_are_still_open_are_caught(anytime: Portfolio) -> None:
    timeline = anytime.rows.timeline
    settled = timeline["known_until"].iloc[0]
    assert unsettled_labels(timeline, CHURN.name, 90, settled) is None
    by_company = unsettled_labels(timeline, CHURN.name, 90, settled - 10 * DAY)
    by_account = unsettled_labels(timeline.assign(known_until=settled - 10 * DAY), CHURN.name, 90, settled)
    for leak in (by_company, by_account):
        assert leak is not None
        assert leak.name == CHURN.name
        assert leak.evidence["rows"] == int((timeline["as_of"] + 90 * DAY > settled - 10 * DAY).sum())


def rows_on(days: pd.DatetimeIndex, column: str) -> pd.DataFrame:
    return pd.DataFrame({"account_id": "A", column: days + pd.Timedelta(hours=9)})


def test_a_table_that_stops_before_the_data_ends_is_caught() -> None:
    spine = pd.DataFrame({"account_id": "A", "as_of": pd.date_range("2025-01-01", "2026-01-01", freq="MS").as_unit("us")})
    working_days = pd.bdate_range("2024-01-01", "2025-12-31")
    monthly = pd.date_range("2024-01-05", "2025-11-20", freq="14D")
    tables = {
        "accounts": pd.DataFrame({"account_id": ["A"], "created_at": [pd.Timestamp("2024-01-01")]}),
        "usage": rows_on(working_days, "occurred_at"),
        "tickets": rows_on(working_days[working_days < "2025-11-22"], "opened_at"),
        "surveys": rows_on(monthly, "sent_at"),
        "offers": rows_on(monthly[:5], "offered_at"),
    }
    until = pd.Timestamp("2026-01-01")
    (leak,) = stopped_tables(tables, spine, until)
    assert (leak.kind, leak.name) == ("past_the_data", "tickets")
    assert leak.evidence["last_row"] == "2025-11-21"
    assert leak.evidence["silent_days"] == 40.0
    assert leak.evidence["longest_silence_before"] == 3
    assert leak.evidence["rows_affected"] == 1
    assert stopped_tables(tables, spine, pd.Timestamp("2025-12-01")) == []
    (tonight,) = stopped_tables(tables, spine[spine["as_of"] < "2025-11-15"], until)
    assert tonight.evidence["rows_affected"] == 0
    late = tables["tickets"].assign(recorded_at=tables["tickets"]["opened_at"] + 30 * DAY)
    assert stopped_tables(tables | {"tickets": late}, spine, until) == []


# --- the audit of a company ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A simulated company, its training table, and the labelled training rows of each model."""

    tables: dict[str, Any]
    until: pd.Timestamp
    data: Dataset
    settings: TrainingSettings
    labelled: dict[Task, Rows]

    def audit(self, data: Dataset | None = None, **tables: Any) -> list[Leak]:
        given = data or self.data
        rows = {task: replace(rows, frame=given.frame.iloc[self.at(rows)]) for task, rows in self.labelled.items()}
        return audit(self.tables | tables, given, rows, data_until=self.until, settings=self.settings)

    def at(self, rows: Rows) -> FloatArray:
        key = ["account_id", "as_of"]
        return pd.MultiIndex.from_frame(self.data.spine[key]).get_indexer(pd.MultiIndex.from_frame(rows.timeline[key]))


@pytest.fixture(scope="module")
def world() -> World:
    company, chosen = simulation.simulate(300, 18, seed=5), TrainingSettings()
    tables = {name: ibis.memtable(frame) for name, frame in company.tables.items()}
    until = company.data_until
    data = build_dataset(tables, data_until=until, settings=chosen, horizons=[90])
    plays, labelled = Plays(tables), {}
    for task in (CHURN, Task(outcome="expansion", horizon_days=90)):
        labelled[task] = period(tables, data, task, data_until=until, settings=chosen, plays=plays).known.labelled()
    return World(tables, until, data, chosen, labelled)


def test_an_honest_company_passes(world: World) -> None:
    assert world.audit() == []


def test_every_planted_leak_is_caught_by_name(world: World) -> None:
    rng, churn = np.random.default_rng(2), world.labelled[CHURN]
    at, spine = world.at(churn), world.data.spine
    frame = world.data.frame.copy()
    frame["label_copy"] = (rng.random(len(frame)) < 0.1).astype(float)
    frame.iloc[at, frame.columns.get_loc("label_copy")] = np.where(rng.random(len(at)) < 0.1, 1 - churn.y, churn.y)
    departure = pd.Series(churn.timeline["churn_at"].to_numpy(), index=at).reindex(range(len(frame)))
    frame["departure"] = ((departure - spine["as_of"]) / DAY).to_numpy()
    last = spine["as_of"].max()
    frame["csm"] = spine["account_id"].isin(spine["account_id"][spine["as_of"] == last]).astype(float)
    frame["events_30d"] = frame["events_30d"] + (spine["as_of"] < last)
    usage = world.tables["usage"]
    found = world.audit(replace(world.data, frame=frame), usage=usage.filter(usage.occurred_at < last - 25 * DAY))
    kinds = {(leak.name, leak.kind) for leak in found}
    planted = {
        ("label_copy", "too_good"),
        ("departure", "knows_the_date"),
        ("csm", "changed_after"),
        ("events_30d", "changed_after"),
        ("usage", "past_the_data"),
    }
    assert planted <= kinds
    names = {name for name, _ in planted}
    assert {name for name, _ in kinds} == names

    with pytest.raises(LeakError) as stopped:
        refuse(found, sorted(names - {"csm"}))
    assert {leak.name for leak in stopped.value.leaks} == {"csm"}
    assert refuse(found, sorted(names)) == found


def test_rows_of_another_dataset_are_refused(world: World) -> None:
    moved = {task: replace(rows, timeline=rows.timeline.assign(account_id="nobody")) for task, rows in world.labelled.items()}
    with pytest.raises(ValueError, match=r"row of account nobody .* not in data"):
        audit(world.tables, world.data, moved, data_until=world.until, settings=world.settings)


# --- the refusal --------------------------------------------------------------------------------------------------------------


STATUS = Leak("too_good", "status", {"model": CHURN.name, "value": "7", "positive": 1.0, "rows": 212}, "Look at its source.")
USAGE = Leak("past_the_data", "usage", {"silent_days": 40.0}, "Export usage up to data_until.")


def test_the_message_names_every_leak_and_how_to_allow_it() -> None:
    with pytest.raises(LeakError) as stopped:
        refuse([STATUS, USAGE], ["plan"])
    assert isinstance(stopped.value, ValueError)
    assert stopped.value.leaks == (STATUS, USAGE)
    assert str(stopped.value).splitlines() == [
        "training stopped: 2 sign(s) that the training data knows the future",
        "  status (too_good): model kunto-churn-90d, value 7, positive 1, rows 212. Look at its source.",
        "  usage (past_the_data): silent days 40. Export usage up to data_until.",
        "  Allowed, but found nowhere: plan.",
        "  What is no leak is allowed by its name, and the model card will say so: "
        '`allow_leaks = ["plan", "status", "usage"]` under [training] in kunto.toml, '
        "or `kunto train --allow-leak status --allow-leak usage`.",
    ]


def test_what_is_allowed_by_name_is_returned() -> None:
    assert refuse([STATUS, USAGE], ["usage", "status"]) == [STATUS, USAGE]
    assert refuse([], ["usage"]) == []
    with pytest.raises(LeakError) as stopped:
        refuse([STATUS, USAGE], ["usage"])
    assert stopped.value.leaks == (STATUS,)

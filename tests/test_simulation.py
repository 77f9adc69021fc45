"""The simulated company: the same for the same seed, true to the contract, and with something in it to learn."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.catalogue import DRIVERS
from features.contract import REQUIRED_TABLES, TABLES
from models import playbooks
from simulation import Company, simulate, truth, write
from simulation.history import History
from simulation.life import live
from simulation.population import Clock, populate
from simulation.truth import STATES
from simulation.world import ADDON_AGAIN, CAUSELESS, CAUSES, INDEXATION, PLAY_FOR, PRICE_RISE

MONTHS = 24
HORIZON = pd.Timedelta(days=90)
DTYPES = {"text": "str", "time": "datetime64[us]", "integer": "int64", "decimal": "float64"}
#: Instants that may lie ahead: dates agreed on, not events.
AHEAD = {"renewal_at", "due_at"}


@pytest.fixture(scope="module")
def company() -> Company:
    return simulate(600, MONTHS, seed=11)


@pytest.fixture(scope="module")
def spine(company: Company) -> pd.DataFrame:
    """One row per month start and account that is active and has given no notice: what happened in 90 days."""
    rows = company.tables["subscriptions"]
    rows = rows.assign(end=rows["ended_at"].fillna(company.data_until + HORIZON))
    life = rows.groupby("account_id").agg(ended=("end", "max"), notice=("cancelled_at", "max"))
    life["event"] = life["notice"].fillna(life["ended"])
    first = company.data_until - pd.DateOffset(months=MONTHS - 3)
    parts = []
    for instant in pd.date_range(first, company.data_until - HORIZON, freq="MS"):
        now, later = _mrr(rows, instant), _mrr(rows, instant + HORIZON)
        event = life["event"].reindex(now.index)
        ratio = later.reindex(now.index).fillna(0) / now
        part = pd.DataFrame({"churned": (event >= instant) & (event < instant + HORIZON), "ratio": ratio})
        parts.append(part[~(event < instant)].assign(as_of=instant).reset_index())
    return pd.concat(parts, ignore_index=True)


def _mrr(rows: pd.DataFrame, instant: pd.Timestamp) -> pd.Series:
    running = rows[(rows["started_at"] < instant) & ~(rows["ended_at"] < instant)]
    return running.groupby("account_id")["mrr"].sum()


def _digests(directory: Path) -> dict[str, str]:
    files = sorted(directory.rglob("*.parquet"))
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write(simulate(40, 8, seed), tmp_path / name)
    one, two, other = (_digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys() >= {"tables/usage.parquet", "truth/causes.parquet", "truth/outcomes.parquet"}
    assert all(one[name] != other[name] for name in one if name.startswith("tables/"))


def test_written_files_have_the_types_of_the_contract(tmp_path: Path) -> None:
    company = simulate(40, 8, seed=3)
    write(company, tmp_path)
    for name, frame in company.tables.items():
        schema = pq.read_schema(tmp_path / "tables" / f"{name}.parquet")
        assert schema.names == list(frame.columns)
        for column in schema.names:
            if TABLES[name].column(column).kind == "decimal":
                assert str(schema.field(column).type) == "decimal128(24, 6)"
    read = pd.read_parquet(tmp_path / "tables" / "subscriptions.parquet")
    assert np.allclose(read["mrr"].astype(float), company.tables["subscriptions"]["mrr"], atol=1e-9)


def test_there_is_every_table(company: Company) -> None:
    assert set(company.tables) == set(TABLES)
    assert set(REQUIRED_TABLES) <= set(company.tables)
    assert all(len(frame) for frame in company.tables.values())


@pytest.mark.parametrize("name", sorted(TABLES))
def test_table_conforms_to_the_contract(company: Company, name: str) -> None:
    table, frame = TABLES[name], company.tables[name]
    assert set(table.required) <= set(frame.columns)
    assert list(frame.columns) == sorted(frame.columns, key=table.names.index)
    for column in map(table.column, frame.columns):
        values = frame[column.name]
        allowed_types = {"bool", "boolean"} if column.kind == "boolean" else {DTYPES[column.kind]}
        assert str(values.dtype) in allowed_types, column.name
        assert not (column.required and values.isna().any()), column.name
        if column.allowed:
            assert set(values.dropna()) <= set(column.allowed), column.name
        if column.low is not None:
            assert (values.dropna() >= column.low).all(), column.name
        if column.high is not None:
            assert (values.dropna() <= column.high).all(), column.name
        if column.kind == "time" and column.name not in AHEAD:
            assert not (values > company.data_until).any(), column.name
    for later, earlier in table.not_before:
        if later in frame and earlier in frame:
            assert not (frame[later] < frame[earlier]).any(), (later, earlier)
    if table.key:
        version = [column for column in (*table.key, "recorded_at") if column in frame]
        assert not frame.duplicated(version).any()
    if "recorded_at" in frame:
        assert (frame["recorded_at"] >= frame[table.event]).all()


def test_nothing_happens_outside_an_accounts_life(company: Company) -> None:
    rows = company.tables["subscriptions"].assign(end=lambda frame: frame["ended_at"].fillna(company.data_until))
    life = rows.groupby("account_id").agg(began=("started_at", "min"), end=("end", "max"))
    created = company.tables["accounts"].set_index("account_id")["created_at"]
    assert (life["began"] == created.reindex(life.index)).all()
    assert len(life) == 600
    for name, frame in company.tables.items():
        if name == "fx":
            continue
        known = frame[frame["account_id"].notna()]
        own = life.reindex(known["account_id"])
        event = known[TABLES[name].event].to_numpy()
        assert (event >= own["began"].to_numpy()).all(), name
        assert (event <= own["end"].to_numpy()).all(), name


def test_rows_of_one_product_are_intervals_that_follow_each_other(company: Company) -> None:
    rows = company.tables["subscriptions"].sort_values(["account_id", "product", "started_at"])
    following = rows.groupby(["account_id", "product"])["started_at"].shift(-1)
    inner = following.notna()
    assert (rows.loc[inner, "ended_at"] == following[inner]).all()
    assert not (rows["renewal_at"] <= rows["started_at"]).any()
    assert not (rows["ended_at"] > rows["renewal_at"]).any()
    assert (rows["mrr"] > 0).all()


def test_a_notice_comes_before_the_deadline_and_stands_on_every_product(company: Company) -> None:
    rows = company.tables["subscriptions"]
    given = rows[rows["cancelled_at"].notna()]
    assert len(given) > 50
    assert (given["cancelled_at"] >= given["started_at"] - pd.Timedelta(days=31)).mean() > 0.97  # a month begun meanwhile
    far = company.data_until + HORIZON
    last = rows.assign(end=rows["ended_at"].fillna(far)).groupby("account_id")["end"].max().reindex(given["account_id"])
    given = given[given["ended_at"].to_numpy() == last.to_numpy()]  # a term that a late notice still saw renewed is not the last
    causes = company.truth["causes"]
    free = causes.loc[(causes["cause"] == "failed_onboarding") & causes["left_at"].notna(), "account_id"]  # a way out at any time
    yearly_ends = given[
        (given["term_months"] == 12) & (given["ended_at"] == given["renewal_at"]) & ~given["account_id"].isin(free)
    ]
    notice = pd.to_timedelta(yearly_ends["notice_days"] - 1, unit="D")
    assert (yearly_ends["cancelled_at"] <= yearly_ends["renewal_at"] - notice).all()
    assert len(yearly_ends) > 0.5 * (given["term_months"] == 12).sum()
    unpaid = rows[rows["voluntary"] == False]  # noqa: E712 (three-valued)
    assert len(unpaid) > 0
    assert unpaid["cancelled_at"].isna().all()


def test_prices_rise_by_what_the_world_says(company: Company) -> None:
    rows = company.tables["subscriptions"].sort_values("started_at", kind="stable")
    price = rows["mrr"] / rows["seats"]
    rises = price / price.groupby([rows["account_id"], rows["product"]]).shift()
    # A rise may fall on the day of an indexation or of a larger package; rounding to the cent moves a small price.
    assert rises.max() < PRICE_RISE[1] * (1 + INDEXATION) * (1 + ADDON_AGAIN) + 0.01
    assert (rises > PRICE_RISE[0]).any()


def test_invoices_bill_what_runs(company: Company) -> None:
    invoices, rows = company.tables["invoices"], company.tables["subscriptions"]
    for instant, issued in invoices.sample(300, random_state=0).groupby("issued_at"):
        expected = _mrr(rows, instant).reindex(issued["account_id"]).to_numpy()
        assert np.allclose(issued["amount"], expected, atol=0.005)
    assert (invoices["amount"] > 0).all()
    monthly = invoices.groupby("account_id")["issued_at"].diff().dropna()
    assert monthly.dt.days.between(28, 31).all()
    assert 0.9 < invoices["paid_at"].notna().mean() < 1


def test_accounts_leave_shrink_and_grow_at_learnable_rates(spine: pd.DataFrame) -> None:
    stays = ~spine["churned"]
    assert 0.03 <= spine["churned"].mean() <= 0.08
    assert 0.01 <= (stays & (spine["ratio"] <= 0.95)).mean() <= 0.06
    assert 0.05 <= (stays & (spine["ratio"] >= 1.05)).mean() <= 0.15


def test_every_cause_makes_accounts_leave_and_often_fades(company: Company) -> None:
    causes = company.truth["causes"]
    left = causes[causes["left_at"].notna()]
    share = left["cause"].value_counts(normalize=True)
    assert set(share.index) == {*(cause.name for cause in CAUSES), CAUSELESS}
    assert 0.08 <= share[CAUSELESS] <= 0.30
    caused = share.drop(CAUSELESS) / share.drop(CAUSELESS).sum()
    assert len(caused) >= 8
    assert 0.03 <= caused.min() <= caused.max() <= 0.27  # 5–25 % at 10,000 accounts; 600 leave room for chance
    assert (causes["faded_at"].notna()).sum() > 0.5 * len(left)
    assert not (causes["faded_at"].notna() & causes["left_at"].notna()).any()
    assert left["account_id"].is_unique
    lag = (left["notice_at"].fillna(left["left_at"]) - left["started_at"]).dropna()
    assert lag.quantile(0.1) >= pd.Timedelta(days=14)
    assert pd.Timedelta(weeks=6) <= lag.median() <= pd.Timedelta(weeks=26)


def test_truth_agrees_with_the_contracts(company: Company) -> None:
    causes, rows = company.truth["causes"], company.tables["subscriptions"]
    left = causes[causes["left_at"].notna()].set_index("account_id")
    notice = rows.groupby("account_id")["cancelled_at"].max().dropna()
    assert set(notice.index) == set(left.index[left["notice_at"].notna()])
    running = rows[rows["ended_at"].isna()].groupby("account_id").size()
    gone = left[left["left_at"] < company.data_until]
    assert not set(gone.index) & set(running.index)
    ended = rows.groupby("account_id")["ended_at"].max()
    assert (ended.reindex(gone.index) == gone["left_at"]).all()


def _ratio(table: pd.DataFrame, episodes: pd.DataFrame, time: str, measure: str, how: str) -> tuple[float, float]:
    """Return the mean of a measure in the last 30 days of the episodes, and of the same accounts before them."""
    joined = table.merge(episodes, on="account_id")
    late = joined[joined[time].between(joined["stop"] - pd.Timedelta(days=30), joined["stop"])]
    before = joined[joined[time].between(joined["started_at"] - pd.Timedelta(days=30), joined["started_at"])]
    if how == "count":
        return float(len(late)), float(len(before))
    return float(late[measure].mean()), float(before[measure].mean())


def test_causes_show_in_their_own_tables(company: Company) -> None:
    causes, tables = company.truth["causes"], company.tables
    causes = causes.assign(stop=causes["notice_at"].fillna(causes["faded_at"]).fillna(causes["left_at"]))
    causes = causes.dropna(subset=["started_at", "stop"])[["account_id", "cause", "started_at", "stop"]]
    first = company.data_until - pd.DateOffset(months=MONTHS) + pd.Timedelta(days=30)
    causes = causes[causes["started_at"] > first]
    episodes = {name: rows.drop(columns="cause") for name, rows in causes.groupby("cause")}
    late, before = _ratio(tables["usage"], episodes["usage_decline"], "occurred_at", "", "count")
    assert late < 0.6 * before
    late, before = _ratio(tables["tickets"], episodes["support_trouble"], "opened_at", "sentiment", "mean")
    assert late < before - 0.25
    mails = tables["touchpoints"].query("direction == 'out' and kind in ('email', 'call', 'in_app')")
    mails = mails.assign(answered=mails["responded_at"].notna())
    late, before = _ratio(mails, episodes["silence"], "occurred_at", "answered", "mean")
    assert late < 0.7 * before
    goals = tables["outcomes"].assign(reached=lambda frame: frame["value"] / frame["target"])
    late, before = _ratio(goals, episodes["value_not_reached"], "measured_at", "reached", "mean")
    assert late < 0.85 * before


def test_outcomes_are_chances_of_the_customers_of_each_month(company: Company, spine: pd.DataFrame) -> None:
    outcomes = company.truth["outcomes"]
    chances = outcomes[list(STATES)]
    assert np.allclose(chances.sum(axis=1), 1)
    assert chances.to_numpy().min() >= 0
    assert set(outcomes["horizon_days"]) == {30, 90, 180}
    farther = outcomes.pivot_table(index=["account_id", "as_of"], columns="horizon_days", values="churned")
    assert (farther[30] <= farther[90]).all()
    assert (farther[90] <= farther[180]).all()
    at_90 = outcomes[outcomes["horizon_days"] == 90]
    both = spine.merge(at_90, on=["account_id", "as_of"], how="left")
    assert both["flat"].notna().all()
    assert abs((at_90["drawn"] == "churned").mean() - at_90["churned"].mean()) < 0.005


@pytest.fixture(scope="module")
def untouched() -> tuple[History, pd.DataFrame]:
    """Lives of 2,500 accounts in a world without plays, and their truth: what happens there is what the truth speaks of."""
    end = np.datetime64("2026-07-01")
    clock = Clock(end - 540, 540)
    rng = np.random.default_rng(8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulation.life.PLAY_CHANCE", 0.0)
        patch.setattr("simulation.life.IDLE_PLAY_CHANCE", 0.0)
        history, course = live(populate(2_500, clock, rng), rng)
    return history, truth.outcomes(history, course, rng)


@pytest.mark.parametrize("state", ["churned", "contracted", "expanded"])
@pytest.mark.parametrize("horizon", [30, 90, 180])
def test_the_truth_is_what_happens(untouched: tuple[History, pd.DataFrame], state: str, horizon: int) -> None:
    history, outcomes = untouched
    start, days = history.population.clock.start, history.population.clock.days
    rows = outcomes[outcomes["horizon_days"] == horizon]
    day = ((rows["as_of"] - pd.Timestamp(start)) / pd.Timedelta(days=1)).to_numpy().astype(int)
    rows, day = rows[day + horizon <= days], day[day + horizon <= days]
    account = pd.Series(np.arange(len(history.population)), index=history.population.ids)[rows["account_id"]].to_numpy()
    churned = np.minimum(history.notice, history.leave)[account] < day + horizon
    if state == "churned":
        happened = churned
    else:
        kinds = ["fewer"] if state == "contracted" else ["more", "addon", "price"]
        changes = history.changes[history.changes["kind"].isin(kinds)]
        asked = pd.DataFrame({"account": account, "asked": day, "row": np.arange(len(day))}).merge(changes, on="account")
        inside = asked[(asked["day"] >= asked["asked"]) & (asked["day"] < asked["asked"] + horizon)]
        happened = ~churned & np.isin(np.arange(len(day)), inside["row"])
    p = rows[state].to_numpy()
    for group in np.array_split(np.argsort(p, kind="stable"), 5):
        # Rows of one account share its fate: an account counts as one row in the error.
        error = np.sqrt(p[group].mean() * (1 - p[group].mean()) / len(set(account[group])))
        assert abs(happened[group].mean() - p[group].mean()) < 4 * error + 0.004


def test_plays_help_some_harm_a_few_and_are_held_out_by_lot(company: Company) -> None:
    effects, plays = company.truth["effects"], company.tables["plays"]
    assert set(effects["playbook"]) == set(PLAY_FOR.values()) >= set(plays["playbook"])
    shares = np.sign(effects["relative_effect"]).value_counts(normalize=True)
    assert 0.4 < shares[1] < 0.6
    assert 0.05 < shares[-1] < 0.2
    assert set(plays["assignment"]) == {"treated", "held_out"}
    assert plays.loc[plays["assignment"] == "held_out", "ended_at"].isna().all()


def test_every_playbook_of_the_simulation_is_in_the_catalogue() -> None:
    assert set(PLAY_FOR.values()) <= set(playbooks.load())
    assert set(PLAY_FOR) == {cause.name for cause in CAUSES}


def test_each_cause_has_a_driver_of_its_own() -> None:
    drivers = [cause.driver for cause in CAUSES]
    assert len(set(drivers)) == len(CAUSES) >= 8
    assert set(drivers) < set(DRIVERS)


def test_a_different_end_and_a_single_account_work() -> None:
    company = simulate(1, 1, seed=0, data_until="2025-03-01")
    assert company.data_until == pd.Timestamp("2025-03-01")
    assert len(company.tables["accounts"]) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"accounts": 0}, "accounts is 0"),
        ({"months": 0}, "months is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"data_until": "2026-07-01 12:00"}, "data_until is 2026-07-01 12:00"),
    ],
)
def test_impossible_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        simulate(**({"accounts": 5, "months": 3, "seed": 1} | arguments))

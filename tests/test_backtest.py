"""The backtest: what each date may know, whom our models stand beside, and what is kept of it."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from ran import Kunto, Ran

import simulation
from kunto.commands.backtest import show
from models.booster import BoosterSettings
from training import peers
from training.backtest import ENOUGH, WINDOWS, Backtest, Window, _planned, _Run, backtest, windows
from training.backtest_report import pictures
from training.comparison import AHEAD, OURS, compare
from training.dataset import Dataset, build_dataset, snapshot_dates
from training.exposure import Plays
from training.leaks import LeakError
from training.metrics import evaluate
from training.paired import paired
from training.rows import Rows
from training.settings import Task, TrainingSettings
from training.train import train_task

DAY = pd.Timedelta(days=1)
CHURN = Task(outcome="churn", horizon_days=90)
SETTINGS = TrainingSettings(outcomes=("churn",), seed=3, booster=BoosterSettings(rounds=10, learning_rate=0.2))
RESERVE = (SETTINGS.horizon + SETTINGS.grace) * DAY
#: Few, because an EBM's cost goes with their number.
COLUMNS = ["tenure_days", "days_to_renewal", "days_to_notice_deadline", "term_months", "days_since_last_use", "events_trend_30d"]
BASELINES = {"logistic", "health_score", "recency", "tenure_calendar"}
PEERS = {"ebm", "lightgbm", "scorecard:four_signs"}


@dataclass(frozen=True)
class World:
    """A simulated company of three tables, and its training table of few features."""

    company: Any
    data: Dataset

    @property
    def tables(self) -> dict[str, Any]:
        return {name: ibis.memtable(frame) for name, frame in self.company.tables.items()}

    def run(self, **changed: Any) -> _Run:
        points = {"scorecard:four_signs": np.linspace(0, 100, len(self.data.spine))}
        given = {"tables": self.tables, "data": self.data, "points": points} | changed
        return _Run(until=self.company.data_until, settings=SETTINGS, plays=Plays(given["tables"]), **given)


@pytest.fixture(scope="module")
def world() -> World:
    company = simulation.simulate(150, 18, seed=5)
    company = replace(company, tables={name: company.tables[name] for name in ("accounts", "subscriptions", "usage")})
    tables = {name: ibis.memtable(frame) for name, frame in company.tables.items()}
    data = build_dataset(tables, data_until=company.data_until, settings=SETTINGS, horizons=[90])
    return World(company, replace(data, frame=data.frame[COLUMNS]))


@pytest.fixture(scope="module")
def planned(world: World) -> dict[Task, list[Window]]:
    dates = snapshot_dates(world.data.spine["as_of"].min(), world.company.data_until, SETTINGS)
    return {CHURN: _planned([CHURN], dates, world.company.data_until, SETTINGS, 3)[CHURN][-2:]}


@pytest.fixture(scope="module")
def found(world: World, planned: dict[Task, list[Window]]) -> Backtest:
    return world.run().over(planned, lambda done, total: None)


# --- dates -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    every=st.one_of(st.just("month"), st.integers(1, 60)),
    horizon=st.integers(1, 180),
    grace=st.integers(0, 60),
    step=st.one_of(st.none(), st.integers(1, 9)),
    days=st.integers(30, 900),
    test_from=st.one_of(st.none(), st.dates(pd.Timestamp("2024-01-01").date(), pd.Timestamp("2026-06-01").date())),
)
def test_windows_follow_each_other_and_are_mature(
    every: Any, horizon: int, grace: int, step: int | None, days: int, test_from: Any
) -> None:
    first = pd.Timestamp("2024-01-01")
    until = first + days * DAY
    chosen = TrainingSettings(every=every, grace=grace, test_from=test_from)
    dates, reserve = snapshot_dates(first, until, chosen), (horizon + grace) * DAY
    found = windows(dates, until, horizon_days=horizon, settings=chosen, step=step)
    for window in found:
        tested = dates[(dates >= window.start) & (dates < window.end)]
        assert tested[0] == window.start
        assert step is None or len(tested) <= step
        assert tested[-1] + reserve <= until
        assert (dates + reserve <= window.start).any()
        assert test_from is None or window.start >= pd.Timestamp(test_from)
    for before, after in pairwise(found):
        assert before.end == after.start


def test_the_default_is_six_windows_of_two_months_up_to_the_last_mature_date() -> None:
    until = pd.Timestamp("2026-07-01")
    dates = snapshot_dates(pd.Timestamp("2024-01-01"), until, SETTINGS)
    later = Task(outcome="expansion", horizon_days=180)
    own = _planned([CHURN, later], dates, until, SETTINGS, None)
    starts = [f"{window.start:%Y-%m}" for window in own[CHURN]]
    assert starts == ["2025-04", "2025-06", "2025-08", "2025-10", "2025-12", "2026-02"]
    assert len(own[later]) == WINDOWS
    assert own[later][-1] == own[CHURN][-3]  # one timeline: the same windows, as far as they are mature
    every_two_weeks = SETTINGS.model_copy(update={"every": 14})
    dates = snapshot_dates(pd.Timestamp("2024-01-01"), until, every_two_weeks)
    assert {(w.end - w.start).days for w in _planned([CHURN], dates, until, every_two_weeks, None)[CHURN]} == {56}


def test_given_ends_bound_what_is_tested() -> None:
    until = pd.Timestamp("2026-07-01")
    bounded = TrainingSettings(test_from="2024-07-01", test_to="2025-12-01")
    dates = snapshot_dates(pd.Timestamp("2024-01-01"), until, bounded)
    own = _planned([CHURN], dates, until, bounded, None)[CHURN]
    assert (own[0].start, own[-1].end) == (pd.Timestamp("2024-07-01"), pd.Timestamp("2025-12-01"))
    assert len(own) == 9  # all of them, the last of one month


# --- what each date may know -----------------------------------------------------------------------------------------


def test_no_row_of_a_window_is_seen_by_a_fit(world: World, planned: dict[Task, list[Window]], found: Backtest) -> None:
    assert len(found.records) == len(planned[CHURN]) == 2
    for window, record in zip(planned[CHURN], found.records, strict=True):
        cut = world.run()._period(CHURN, window)
        known = cut.known.labelled()
        assert record["train"]["rows"] == len(known) > 100
        assert (known.as_of + RESERVE <= window.start).all()
        assert (cut.known.timeline["known_until"] + SETTINGS.grace * DAY <= window.start).all()
        assert record["train"]["to"] == record["test"]["from"] == window.start.isoformat()
        assert record["test"]["to"] == window.end.isoformat()


def test_what_is_not_known_at_a_date_teaches_nobody(world: World, planned: dict[Task, list[Window]], found: Backtest) -> None:
    window = planned[CHURN][0]
    cut = world.run()._period(CHURN, window)
    neither = np.ones(len(world.data.spine), dtype=bool)
    neither[np.concatenate([cut.known_at, cut.test_at])] = False
    between = (world.data.spine["as_of"] < window.start).to_numpy() & neither
    assert between.sum() > 50
    assert (neither & ~between).sum() > 100
    frame = world.data.frame.copy()
    frame[neither] = np.random.default_rng(0).normal(size=(neither.sum(), frame.shape[1]))
    again = world.run(data=replace(world.data, frame=frame)).at(CHURN, window)
    assert not isinstance(again, str)
    assert again[0] == found.records[0]
    assert len({figures["auc"] for figures in again[0]["baselines"].values()}) > 4  # they did learn, and not the same


def test_what_happens_after_a_date_is_unknown_to_its_labels(world: World, planned: dict[Task, list[Window]]) -> None:
    window, rows = planned[CHURN][0], world.company.tables["subscriptions"].copy()
    running = (rows["started_at"] < window.start) & ~(rows["ended_at"] <= window.start)
    rows.loc[running & ~(rows["cancelled_at"] <= window.start), "cancelled_at"] = window.start + 40 * DAY
    asis = world.run()._period(CHURN, window)
    changed = world.run(tables=world.tables | {"subscriptions": ibis.memtable(rows)})._period(CHURN, window)
    assert np.array_equal(changed.known.y, asis.known.y, equal_nan=True)
    pd.testing.assert_frame_equal(changed.known.timeline, asis.known.timeline)
    assert changed.test.y.sum() > asis.test.y.sum()


def test_a_leak_stops_a_backtest_as_it_stops_a_training(world: World, planned: dict[Task, list[Window]]) -> None:
    cut = world.run()._period(CHURN, planned[CHURN][-1])
    told = np.random.default_rng(0).normal(size=len(world.data.spine))
    told[cut.known_at] += 9 * np.nan_to_num(cut.known.y)
    leaking = world.run(data=replace(world.data, frame=world.data.frame.assign(mrr=told)))
    with pytest.raises(LeakError, match="mrr") as stopped:
        leaking.audited(planned)
    names = tuple({leak.name for leak in stopped.value.leaks})
    allowed = replace(leaking, settings=SETTINGS.model_copy(update={"allow_leaks": names}))
    assert "mrr" in {leak.name for leak in allowed.audited(planned)}


def test_a_window_with_too_little_to_learn_from_is_left_out_and_named(world: World) -> None:
    first = world.data.spine["as_of"].min()
    early = Window(first + RESERVE, first + RESERVE + 31 * DAY)
    leavers = world.run()._period(CHURN, early).known.positive_accounts()
    assert leavers < ENOUGH
    with pytest.raises(ValueError, match=rf"kunto-churn-90d at {early.start:%Y-%m-%d}: .* in training: {leavers}; at least 5"):
        world.run().over({CHURN: [early]}, lambda done, total: None)


def test_no_past_date_is_said(world: World) -> None:
    far = SETTINGS.model_copy(update={"horizon": 360})
    with pytest.raises(ValueError, match=r"no past date can be tested: .* known after 390 days .* shorten --horizon"):
        backtest(world.tables, data_until=world.company.data_until, settings=far, horizon_given=True)
    with pytest.raises(ValueError, match="check data_until"):
        backtest(world.tables, data_until=world.data.spine["as_of"].min() - 60 * DAY, settings=SETTINGS)
    empty = world.tables | {"subscriptions": ibis.memtable(world.company.tables["subscriptions"].iloc[:0])}
    with pytest.raises(ValueError, match="subscriptions is empty"):
        backtest(empty, data_until=world.company.data_until, settings=SETTINGS)


# --- records and figures ---------------------------------------------------------------------------------------------


def test_records_are_those_of_train_with_the_peers_beside(
    world: World, planned: dict[Task, list[Window]], found: Backtest
) -> None:
    window, record = planned[CHURN][0], found.records[0]
    inside = SETTINGS.model_copy(update={"test_from": window.start, "test_to": window.end})
    trained = train_task(world.tables, world.data, CHURN, data_until=world.company.data_until, settings=inside, refit=False)
    own = {name: figures for name, figures in record["baselines"].items() if name not in PEERS}
    assert record | {"baselines": own} == trained.record
    assert set(record["baselines"]) >= BASELINES | PEERS
    for name in PEERS:
        assert set(record["baselines"][name]) == set(record["baselines"]["logistic"])
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_figures_agree_with_the_records(found: Backtest) -> None:
    windows, pooled = (found.figures[found.figures["pooled"] == flag] for flag in (False, True))
    for record in found.records:
        for name, figures in {OURS: record["test"], **record["baselines"]}.items():
            row = windows[(windows["from"] == record["test"]["from"]) & (windows["model"] == name)].iloc[0]
            for figure in ("auc", "log_loss", "lift_top_decile", "ece"):
                assert row[figure] == pytest.approx(figures[figure], abs=1e-9), (name, figure)
    assert set(pooled["model"]) == set(windows["model"]) >= {OURS} | BASELINES | PEERS
    for column in ("rows", "positives"):
        assert pooled[column].iloc[0] == windows[windows["model"] == OURS][column].sum()
    by_model = windows.assign(total=windows["rows"] * windows["log_loss"]).groupby("model")[["rows", "total"]].sum()
    mean = (by_model["total"] / by_model["rows"]).to_dict()
    assert pooled.set_index("model")["log_loss"].to_dict() == pytest.approx(mean)


def test_all_models_at_once_are_compared_as_two_are() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.6, 400)
    rows = pd.DataFrame({"account_id": np.repeat(np.arange(100), 4), "label": rng.random(400) < p, "base_rate": 0.3})
    rows = rows.assign(booster=p, twin=p, noisy=np.clip(p + rng.normal(0, 0.3, 400), 0.01, 0.99)).astype({"label": float})
    models = ["booster", "twin", "noisy"]
    table = compare(rows, models, draws=50, seed=4).set_index("model")
    same = {"draws": 50, "seed": 4}

    def lead(figure: Any, better: str, worse: str) -> dict[str, float]:
        return dict(paired(figure, rows["label"], rows[better], rows[worse], rows["account_id"], **same))

    def told(model: str, figure: str) -> dict[str, float]:
        row = table.loc[model]
        return {"difference": row[figure], "low": row[f"{figure}_low"], "high": row[f"{figure}_high"]}

    for name in models:
        expected = evaluate(rows["label"], rows[name], rows["account_id"], **same)
        for figure in ("auc", "log_loss", "lift_top_decile", "ece"):
            for column in (figure, f"{figure}_low", f"{figure}_high"):
                assert table.loc[name, column] == pytest.approx(expected[column]), (name, column)
        assert told(name, "log_loss_gain") == pytest.approx(lead("log_loss", name, "base_rate"))
        for figure in ("auc", "log_loss"):
            assert told(name, f"{figure}_ahead") == pytest.approx(lead(figure, "booster", name))
    every = [f"{name}{end}" for name in AHEAD for end in ("", "_low", "_high")]
    assert (table.loc["twin", every] == 0).all()  # on the same draws a model is never ahead of itself
    assert (table.loc["noisy", every] > 0).all()


def test_a_figure_outside_its_own_interval_is_drawn(found: Backtest) -> None:
    figures = found.figures.copy()
    figures["auc_low"] = figures["auc"] + 0.01
    figures.loc[figures["model"] == "ebm", ["log_loss_gain", "log_loss_gain_low", "log_loss_gain_high"]] = -2.0
    figures.loc[figures["model"] == "recency", ["auc", "auc_low", "auc_high"]] = np.nan
    (picture,) = pictures(figures).values()
    picture.draw_without_rendering()
    models = [text.get_text() for text in picture.legends[0].get_texts()]
    assert models[0] == "booster (ours)"
    assert {"booster", *models[1:]} == set(figures["model"])
    along, lead = picture.axes[0], picture.axes[3]
    assert [label.get_text() for label in along.get_xticklabels()] == [record["test"]["from"][:10] for record in found.records]
    assert [label.get_text() for label in lead.get_yticklabels()] == models[1:]


# --- peers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> Rows:
    rng = np.random.default_rng(0)
    accounts = np.repeat(np.array([f"a{n}" for n in range(150)], dtype=object), 4)
    frame = pd.DataFrame({"use [30 d]": rng.normal(size=600), "seats": rng.integers(1, 9, 600).astype(float), "empty": np.nan})
    frame.loc[rng.random(600) < 0.2, "use [30 d]"] = np.nan  # a product's own feature may be called anything
    risk = 1 / (1 + np.exp(1.5 + 2 * frame["use [30 d]"].fillna(0)))
    timeline = pd.DataFrame({"account_id": accounts, "as_of": np.tile(pd.date_range("2025-01-01", periods=4, freq="MS"), 150)})
    return Rows(frame, timeline, (rng.random(600) < risk).to_numpy(dtype=float), np.zeros(600))


@pytest.mark.parametrize("name", sorted(peers.FITTED))
def test_fitted_peers_give_probabilities_that_rank_and_repeat(name: str, known: Rows) -> None:
    asked = pd.DataFrame({"seats": 3.0, "use [30 d]": [-2.0, 2.0, np.nan], "empty": np.nan})  # other order, and a gap
    p = peers.FITTED[name](known, asked, seed=1)
    assert p.shape == (3,)
    assert ((p >= 0) & (p <= 1)).all()
    assert p[0] > 0.6 > 0.4 > p[1]
    assert np.array_equal(p, peers.FITTED[name](known, asked, seed=1))


def test_lightgbm_is_as_it_comes(known: Rows) -> None:
    columns = ["use [30 d]", "seats"]
    plain = lightgbm.LGBMClassifier(verbose=-1).fit(known.frame[columns].to_numpy(), known.y)
    expected = plain.predict_proba(known.frame[columns].to_numpy())[:, 1]
    assert peers.lightgbm(known, known.frame) == pytest.approx(expected, abs=1e-9)


def test_what_stops_an_ebm_is_other_accounts(known: Rows) -> None:
    bags = peers._account_bags(known, seed=0)
    assert bags.shape == (600, peers.EBM_BAGS)
    for bag in bags.T:
        fits, stops = set(known.accounts[bag == 1]), set(known.accounts[bag == -1])
        assert not fits & stops
        assert fits | stops == set(known.accounts)
        assert known.y[bag == 1].any()
        assert known.y[bag == -1].any()
    one = replace(known, y=(known.accounts == "a7").astype(float))
    with pytest.raises(ValueError, match="1 accounts with the outcome in training; an EBM needs 2"):
        peers.ebm(one, one.frame)


def test_the_four_signs_weigh_alike() -> None:
    frame = pd.DataFrame(
        {
            "active_days_30d": [20.0, 0, 5, 5],
            "days_since_last_use": [1.0, np.nan, 18.5, 1],
            "open_tickets": [0.0, 5, 0, 0],
            "nps_last": [10.0, 3, np.nan, np.nan],
            "overdue_days_max": [np.nan, 45, np.nan, np.nan],
            "tenure_days": 400.0,
        }
    )
    facts = pd.DataFrame({"leaving": [False] * 4})
    data = Dataset(pd.DataFrame(), frame, pd.Series(dtype="Float64"), facts, ())
    card = peers.hand_set()["four_signs"]
    total = peers.points(card, "four_signs", data, {"usage", "tickets", "surveys", "invoices"})
    assert total.tolist() == [100, 0, 83, 100]  # (50 + 100 + 100) / 3: who was not asked is judged by the others
    assert peers.points(card, "four_signs", data, {"usage"}).tolist() == [100, 0, 50, 100]
    assert np.isnan(peers.points(card, "four_signs", data, {"accounts"})).all()
    lacking = replace(data, frame=frame.drop(columns="open_tickets"))
    with pytest.raises(ValueError, match="scorecard four_signs cannot be read: the frame lacks open_tickets"):
        peers.points(card, "four_signs", lacking, {"usage", "tickets"})


# --- the command -----------------------------------------------------------------------------------------------------

CARD = """
use: {feature: active_days_30d, tables: [usage]}
components:
  - name: business
    title: {en: Business, fi: Liiketoiminta}
    weight: 1
    measures:
      - feature: seats
        title: {en: seats, fi: paikat}
        weight: 1
        tables: [subscriptions]
        asked: true
        knots: [[1, 0], [50, 100]]
exceptions:
  - name: notice
    title: {en: notice, fi: irtisanottu}
    cap: 19
    tables: [subscriptions]
    when: [{feature: notice_given, above: 0}]
"""


@dataclass(frozen=True)
class Place:
    """A workspace on two tables, its scorecard, and what `kunto backtest` did there."""

    path: Path
    card: Path
    ran: Ran


@pytest.fixture(scope="module")
def place(kunto: Kunto, world: World, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("backtest")
    two = {name: world.company.tables[name] for name in ("accounts", "subscriptions")}
    simulation.write(replace(world.company, tables=two), folder)
    path, card = folder / "workspace", folder / "by seats.yaml"
    card.write_text(CARD, encoding="utf-8")
    made = kunto("init", path, "--from", folder / "tables")
    assert made.code == 0, made.told
    config = (path / "kunto.toml").read_text(encoding="utf-8")
    until = f"data_until = {world.company.data_until:%Y-%m-%d}"  # without usage the last event lies earlier
    text = "\n".join(until if line.startswith("data_until") else line for line in config.splitlines())
    (path / "kunto.toml").write_text(text + "\n[training.booster]\nrounds = 5\n", encoding="utf-8")
    options = ("--outcome", "churn", "--horizon", 60, "--test-from", "2025-11-01", "--step", 4, "--scorecard", card)
    return Place(path, card, kunto("backtest", "-w", path, *options, "--json"))


def test_the_command_prints_the_records(place: Place) -> None:
    assert place.ran.code == 0, place.ran.told
    records = place.ran.json
    assert [record["name"] for record in records] == ["kunto-churn-60d"] * len(records)
    assert records[0]["test"]["from"] == "2025-11-01T00:00:00"
    assert set(records[0]["baselines"]) >= BASELINES | PEERS | {"scorecard:by seats"}
    assert {record["version"] for record in records} == {None}


def test_table_and_picture_lie_in_the_workspace_and_in_mlflow(place: Place) -> None:
    folder = place.path / "backtest"
    assert {path.name for path in folder.iterdir()} == {"backtest.csv", "backtest.json", "kunto-churn-60d.png"}
    assert json.loads((folder / "backtest.json").read_text(encoding="utf-8")) == place.ran.json
    assert (folder / "kunto-churn-60d.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "backtest.csv")
    assert len(table) == (len(place.ran.json) + 1) * table["model"].nunique()
    client = MlflowClient(tracking_uri=f"sqlite:///{place.path / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "backtest"
    assert run.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {path.name for path in folder.iterdir()}
    history = client.get_metric_history(run.info.run_id, "kunto-churn-60d.scorecard_by_seats.auc")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == [
        record["baselines"]["scorecard:by seats"]["auc"] for record in place.ran.json
    ]
    assert client.search_registered_models() == []


def test_the_table_is_for_a_person(found: Backtest, capsys: pytest.CaptureFixture[str]) -> None:
    show(found.figures)
    printed = capsys.readouterr().out
    for told in ("kunto-churn-90d: AUC by date of training", "booster (ours)", "scorecard:four_signs", "Ahead in log loss"):
        assert told in printed
    for record in found.records:
        assert record["test"]["from"][:10] in printed
        assert f"{record['test']['auc']:.3f}" in printed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--step", 0), "Invalid value for '--step'"),
        (("--test-from", "2025-12-01", "--test-to", "2025-11-01"), "not after test_from"),
        (("--outcome", "chrn"), "--outcome 'chrn'"),
        (("--scorecard", "kunto.toml"), "--scorecard kunto.toml"),
        (("--scorecard", "nowhere.yaml"), "nowhere.yaml: No such file"),
        (("--scorecard", "four_signs.yaml"), "there is a scorecard four_signs already"),
    ],
)
def test_a_wrong_option_is_named(
    kunto: Kunto, place: Place, monkeypatch: pytest.MonkeyPatch, options: tuple[Any, ...], told: str
) -> None:
    monkeypatch.chdir(place.path)
    ran = kunto("backtest", "-w", ".", *options)
    assert ran.code == 2
    assert told in ran.told


def test_what_the_data_cannot_answer_is_told(kunto: Kunto, place: Place, tmp_path: Path) -> None:
    ran = kunto("backtest", "-w", place.path, "--outcome", "churn", "--test-from", "2026-06-01")
    assert ran.code == 1
    assert "no past date can be tested" in ran.told
    card = tmp_path / "typo.yaml"
    card.write_text(CARD.replace("feature: seats", "feature: chairs"), encoding="utf-8")
    ran = kunto("backtest", "-w", place.path, "--outcome", "churn", "--scorecard", card)
    assert ran.code == 1
    assert "scorecard typo cannot be read: the frame lacks chairs" in ran.told

"""Training end to end: what may be known when, and what MLflow keeps of it."""

import contextlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from pydantic import ValidationError

import simulation
from kunto.commands.training import show
from models.booster import BoosterSettings
from models.outcome import OutcomeModel
from training import metrics
from training import train as training
from training.bases import Base, Origin
from training.dataset import Dataset, at_risk_rows, build_dataset, most_used_features, snapshot_dates, test_period
from training.exposure import Plays
from training.fit import usable_columns
from training.rows import FOLDS, Rows, calibration_parts, labelled_rows
from training.settings import Task, TrainingSettings, tasks
from training.tracking import CHAMPION, PREVIOUS, GateError, Tracker, fingerprint

Tables = dict[str, Any]
SETTINGS = TrainingSettings(outcomes=("churn", "expansion"), seed=3, booster=BoosterSettings(rounds=20, learning_rate=0.2))
CHURN = Task(outcome="churn", horizon_days=90)
DAY = pd.Timedelta(days=1)
RESERVE = (SETTINGS.horizon + SETTINGS.grace) * DAY
#: Until the first step of a churn row is over.
STEP_RESERVE = (30 + SETTINGS.grace) * DAY
FIGURES = {*metrics.FIGURES} - {"base_rate"}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A simulated company, its training table, and where its test begins."""

    frames: dict[str, pd.DataFrame]
    until: pd.Timestamp
    data: Dataset
    test_from: pd.Timestamp

    @property
    def tables(self) -> Tables:
        return as_tables(self.frames)


def as_tables(frames: dict[str, pd.DataFrame]) -> Tables:
    return {name: ibis.memtable(frame) for name, frame in frames.items()}


@pytest.fixture(scope="session")
def world() -> World:
    company = simulation.simulate(150, 18, seed=5)
    data = build_dataset(as_tables(company.tables), data_until=company.data_until, settings=SETTINGS, horizons=[90])
    dates = snapshot_dates(data.spine["as_of"].min(), company.data_until, SETTINGS)
    return World(company.tables, company.data_until, data, test_period(dates, company.data_until, 90, SETTINGS)[0])


@dataclass(frozen=True)
class Trained:
    """One run of `train` with a real store in `folder`, what it printed and where it ran."""

    folder: Path
    tracker: Tracker
    records: list[dict[str, Any]]
    printed: str
    left_behind: list[str]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"


@pytest.fixture(scope="session")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, elsewhere = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("elsewhere")
    uri, printed = f"sqlite:///{folder / 'mlflow.db'}", io.StringIO()
    with contextlib.chdir(elsewhere), contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        tags = {"data": fingerprint(world.tables)}
        tracker = Tracker(uri, folder / "artifacts", tags=tags, params={"seed": SETTINGS.seed})
        records = training.train(world.tables, data_until=world.until, settings=SETTINGS, tracker=tracker, horizon_given=True)
    return Trained(folder, tracker, records, printed.getvalue(), sorted(path.name for path in elsewhere.iterdir()))


@pytest.fixture(scope="session")
def churn(world: World) -> training.Fitted:
    return refit(world)


def refit(world: World, **changed: Any) -> training.Fitted:
    tables, data = changed.get("tables", world.tables), changed.get("data", world.data)
    return training.train_task(tables, data, CHURN, data_until=world.until, settings=SETTINGS)


def texts(fitted: training.Fitted) -> dict[str, dict[str, str]]:
    return {kind: model.to_files() for kind, model in fitted.tested.items()}


# --- dates -----------------------------------------------------------------------------------------------------------


def test_months_are_their_first_days_before_the_end() -> None:
    first, until = pd.Timestamp("2025-01-01 00:00:01"), pd.Timestamp("2025-04-01")
    assert snapshot_dates(first, until, SETTINGS).strftime("%m-%d").tolist() == ["02-01", "03-01"]
    assert len(snapshot_dates(pd.Timestamp("2025-01-01"), pd.Timestamp("2025-04-01 00:00:01"), SETTINGS)) == 4


@pytest.mark.parametrize("every", [1, 7, 14, 30])
@pytest.mark.parametrize("test_from", ["2024-12-03", "2025-02-10", "2025-06-01", None])
def test_days_are_counted_from_the_test_both_ways(every: int, test_from: str | None) -> None:
    first, until = pd.Timestamp("2025-01-09 10:00"), pd.Timestamp("2025-05-20 12:00")
    chosen = TrainingSettings(every=every, test_from=test_from)
    dates = snapshot_dates(first, until, chosen)
    anchor = pd.Timestamp(test_from or "2025-05-20")
    assert dates.is_monotonic_increasing
    assert dates.is_unique
    assert ((dates - anchor) % pd.Timedelta(days=every) == pd.Timedelta(0)).all()
    assert first <= dates[0] < first + every * DAY
    assert until - every * DAY <= dates[-1] < until


def test_the_test_is_the_last_six_months_that_are_mature() -> None:
    until = pd.Timestamp("2026-07-01")
    dates = snapshot_dates(pd.Timestamp("2024-01-01"), until, SETTINGS)
    start, end = test_period(dates, until, 90, SETTINGS)
    tested = dates[(dates >= start) & (dates < end)]
    assert tested.strftime("%Y-%m").tolist() == ["2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03"]
    exact = pd.Timestamp("2026-03-01") + RESERVE  # the last month matures at this very instant
    start, end = test_period(dates, exact, 90, SETTINGS)
    assert dates[dates < end][-1] == pd.Timestamp("2026-03-01")
    assert dates[dates < test_period(dates, exact - DAY, 90, SETTINGS)[1]][-1] == pd.Timestamp("2026-02-01")


def test_given_ends_are_taken_as_they_are() -> None:
    chosen = TrainingSettings(test_from="2025-03-05", test_to="2025-06-01")
    dates = snapshot_dates(pd.Timestamp("2024-01-01"), pd.Timestamp("2026-07-01"), chosen)
    assert test_period(dates, pd.Timestamp("2026-07-01"), 90, chosen) == (pd.Timestamp("2025-03-05"), pd.Timestamp("2025-06-01"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, "greater than or equal to 1"),
        ({"every": "week"}, "'month'"),
        ({"horizon": 0}, "greater than or equal to 1"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"test_from": "2025-03-01T00:00:00+02:00"}, "should not have timezone info"),
        ({"test_from": "2025-03-01", "test_to": "2025-03-01"}, "not after test_from"),
        ({"tests": 1}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainingSettings(**given)


def test_the_tasks_of_a_run() -> None:
    def names(**options: Any) -> list[str]:
        return [task.name for task in tasks(TrainingSettings(horizon=30), **({"money": True, "horizon_given": True} | options))]

    assert names() == ["kunto-churn-30d", "kunto-contraction-30d", "kunto-expansion-30d"]
    assert names(money=False) == ["kunto-churn-30d"]
    assert "kunto-expansion-180d" in names(horizon_given=False)
    with pytest.raises(ValueError, match="no outcome to train: contraction and expansion need"):
        tasks(TrainingSettings(outcomes=("expansion",)), money=False, horizon_given=True)


# --- what training may know ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [CHURN, Task(outcome="expansion", horizon_days=180)], ids=lambda task: task.name)
def test_every_training_window_closes_before_the_test(world: World, task: Task) -> None:
    known, at = labelled_rows(world.tables, world.data, task, world.test_from, SETTINGS, Plays(world.tables))
    # A hazard also learns from the steps that are over of a horizon that is open.
    first = 30 if task.outcome == "churn" else task.horizon_days
    reserve, whole = ((days + SETTINGS.grace) * DAY for days in (first, task.horizon_days))
    assert (np.isnan(known.y) == (known.timeline["as_of"] + whole > world.test_from)).all()
    as_of = known.timeline["as_of"]
    assert len(known) > 100
    assert (as_of + reserve <= world.test_from).all()
    every_date = world.data.spine["as_of"].drop_duplicates()
    assert as_of.max() == every_date[every_date + reserve <= world.test_from].max()  # the gap is whole, and no wider
    assert (known.timeline["known_until"] <= world.test_from - SETTINGS.grace * DAY).all()
    assert not (known.timeline["churn_at"] >= world.test_from - SETTINGS.grace * DAY).any()
    pd.testing.assert_frame_equal(known.frame, world.data.frame.iloc[at].reset_index(drop=True))


def test_features_after_the_last_training_date_teach_nothing(world: World, churn: training.Fitted) -> None:
    """A planted leak: from the gap on, one feature is the label itself and the others are noise."""
    late = (world.data.spine["as_of"] + STEP_RESERVE > world.test_from).to_numpy()
    rng = np.random.default_rng(0)

    def spoilt(where: np.ndarray) -> Dataset:
        frame = world.data.frame.copy()
        frame[where] = rng.normal(size=(where.sum(), frame.shape[1]))
        labelled, at = labelled_rows(world.tables, world.data, CHURN, world.until, SETTINGS, Plays(world.tables))
        hit = where[at]
        frame.loc[at[hit], "days_since_last_use"] = 1000 * np.nan_to_num(labelled.y[hit])
        return replace(world.data, frame=frame)

    assert texts(refit(world, data=spoilt(late))) == texts(churn)
    assert texts(refit(world, data=spoilt(~late))) != texts(churn)


def test_what_happens_after_the_test_began_is_unknown_to_what_is_tested(world: World, churn: training.Fitted) -> None:
    """Every running row ends, or is given notice of, after test_from; a row of the highest price follows."""
    after, frames = world.test_from + 5 * DAY, dict(world.frames)
    rows = frames["subscriptions"].copy()
    running = (rows["started_at"] < world.test_from) & ~(rows["ended_at"] <= world.test_from)
    noticed = rows["cancelled_at"] <= world.test_from
    rows.loc[running & ~noticed, "cancelled_at"] = after
    rows.loc[running, "ended_at"] = after
    following = rows[running].assign(started_at=after, ended_at=pd.NaT, cancelled_at=pd.NaT, mrr=99999.0)
    frames["subscriptions"] = pd.concat([rows, following], ignore_index=True).astype(rows.dtypes)
    for name, time in (("usage", "occurred_at"), ("tickets", "opened_at")):
        recent = frames[name][frames[name][time] >= world.test_from]
        frames[name] = pd.concat(
            [frames[name], recent.assign(**({"feature": "new"} if name == "usage" else {}))], ignore_index=True
        )
    tables = as_tables(frames)
    data = build_dataset(tables, data_until=world.until, settings=SETTINGS, horizons=[90])
    changed = refit(world, tables=tables, data=data)
    assert changed.record["test"]["positives"] != churn.record["test"]["positives"]
    assert changed.record["train"] == churn.record["train"]
    assert data.product_features == world.data.product_features
    assert texts(changed) == texts(churn)


def test_what_serves_is_fitted_again_on_all_that_matured(world: World, churn: training.Fitted) -> None:
    serving = {"pass": "booster", "signal_no_gain": "logistic"}.get(churn.record["gate"]["state"])
    assert churn.model is not None
    if serving is None:
        assert churn.model == churn.tested["booster"]
    else:
        assert churn.model.served_by == serving
        assert churn.model != churn.tested[serving]


def test_product_features_are_picked_by_what_was_known_before_the_test() -> None:
    before = pd.Timestamp("2026-01-01")
    rows = [("a", 1, "2025-12-01", None), ("a", 1, "2025-12-02", None), ("b", 1, "2025-12-03", None)]
    late = [("b", 50, "2026-01-01", None), ("c", 50, "2026-02-01", None), ("c", 50, "2025-12-05", "2026-01-01")]

    def picks(kept: list[Any], count: int = 2) -> tuple[str, ...]:
        frame = pd.DataFrame(kept, columns=["feature", "quantity", "occurred_at", "recorded_at"]).assign(account_id="x")
        for name in ("occurred_at", "recorded_at"):
            frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
        return most_used_features(ibis.memtable(frame), before, count)

    assert picks(rows) == ("a", "b")
    assert picks(rows + late) == ("a", "b")
    assert picks([*rows, ("b", 50, "2025-12-31", "2025-12-31")]) == ("b", "a")
    assert picks([*rows, ("b", None, "2025-12-31", None)], count=1) == ("a",)  # a row without a quantity counts one: a tie
    assert picks(rows, count=0) == ()
    dated = pd.DataFrame({"feature": ["a", "b", "b"], "occurred_at": pd.to_datetime(["2025-12-31", "2026-01-01", "2026-01-01"])})
    assert most_used_features(ibis.memtable(dated), before, 2) == ("a",)  # nor without a quantity or a record


def test_only_accounts_at_risk_are_in_the_table(world: World) -> None:
    spine, running = world.data.spine, world.frames["subscriptions"]
    joined = spine.merge(running, on="account_id")
    runs = (joined["started_at"] < joined["as_of"]) & ~(joined["ended_at"] < joined["as_of"])
    assert len(joined[runs].drop_duplicates(["account_id", "as_of"])) == len(spine)
    assert not spine.duplicated().any()
    by_revenue = SETTINGS.model_copy(update={"event": "revenue"})
    dates = pd.DatetimeIndex(spine["as_of"].unique())
    assert len(at_risk_rows(world.tables, dates, data_until=world.until, settings=by_revenue)) > len(spine)  # none is leaving


def test_nothing_to_train_on_is_said(world: World) -> None:
    empty = as_tables({name: frame.iloc[:0] if name == "subscriptions" else frame for name, frame in world.frames.items()})
    with pytest.raises(ValueError, match="subscriptions is empty"):
        build_dataset(empty, data_until=world.until, settings=SETTINGS, horizons=[90])
    with pytest.raises(ValueError, match="check data_until"):
        build_dataset(world.tables, data_until=pd.Timestamp("2020-01-01"), settings=SETTINGS, horizons=[90])


def test_features_that_do_not_vary_are_left_out() -> None:
    frame = pd.DataFrame({"constant": [1.0, 1, 1], "empty": np.nan, "varies": [0.0, 1, 1], "gaps": [1.0, np.nan, 1]})
    assert usable_columns(frame) == ["varies", "gaps"]


# --- calibration -----------------------------------------------------------------------------------------------------


def rows_of(accounts: int, months: int, positive_share: float) -> Rows:
    dates = pd.date_range("2024-01-01", periods=months, freq="MS").astype("datetime64[us]")
    timeline = pd.DataFrame(
        {"account_id": np.repeat([f"a{n}" for n in range(accounts)], months), "as_of": np.tile(dates, accounts)}
    )
    timeline["churn_at"], timeline["known_until"] = pd.NaT, dates[-1] + 200 * DAY
    y = (np.arange(len(timeline)) // months < positive_share * accounts).astype(float)
    return Rows(pd.DataFrame({"x": np.arange(len(y), dtype=float)}), timeline, y, np.zeros(len(y)))


@pytest.mark.parametrize(("accounts", "months", "share"), [(100, 20, 0.29), (100, 3, 0.9), (3, 20, 0.5), (2, 5, 0.5)])
def test_calibration_keeps_accounts_apart(accounts: int, months: int, share: float) -> None:
    rows = rows_of(accounts, months, share)
    parts = list(calibration_parts(rows))
    assert len(parts) == min(FOLDS, accounts)
    for kept, held in parts:
        assert not set(kept.accounts) & set(held.accounts)
        assert len(kept) + len(held) == len(rows)
    assert sorted(np.concatenate([held.frame["x"] for _, held in parts])) == rows.frame["x"].tolist()


def test_what_only_an_earlier_model_reads_is_built_and_not_learnt_from(world: World) -> None:
    settings = SETTINGS.model_copy(update={"product_features": 1})
    data = build_dataset(world.tables, data_until=world.until, settings=settings, horizons=[90], also=("earlier one",))
    assert len(data.product_features) == 1
    assert {f"use_of_{name}_90d" for name in ("earlier_one", data.product_features[0])} <= {*data.frame.columns}
    data.frame["use_of_earlier_one_90d"] = np.arange(len(data.frame), dtype=float)  # not to be left out as a constant
    fitted = training.train_task(world.tables, data, CHURN, data_until=world.until, settings=settings)
    assert fitted.model is not None
    assert not [name for name in fitted.model.inputs if "earlier_one" in name]
    assert f"use_of_{data.product_features[0]}_90d" in fitted.model.inputs


def test_a_base_model_is_started_from_with_all_that_it_reads(world: World, churn: training.Fitted) -> None:
    base = replace(churn.tested["booster"], event=SETTINGS.event)
    origin = Origin(CHURN.name, 1, "2026-01-01T00:00:00", ("of", "another", "company"))
    bases, few = (
        {CHURN.name: Base(base, origin)},
        {name: frame for name, frame in world.frames.items() if name not in ("plays", "usage")},
    )
    records: list[dict[str, Any]] = []

    class Kept:
        """What `train` asks of a tracker."""

        def product_features(self, names: Any) -> tuple[str, ...]:
            assert list(names) == [CHURN.name]
            return ()

        def register(self, task: Task, record: dict[str, Any], model: OutcomeModel, *others: Any) -> dict[str, Any]:
            assert {*base.inputs} <= {*model.inputs}
            assert {*base.product_features} <= {*model.product_features}
            records.append(record)
            return record

    given: dict[str, Any] = {"data_until": world.until, "settings": SETTINGS.model_copy(update={"outcomes": ("churn",)})}
    training.train(as_tables(few), tracker=Kept(), bases=bases, **given)  # type: ignore[arg-type]
    assert records[0]["prior"]["kind"] == "base"
    assert 0 <= records[0]["prior"]["slope"] < 2
    assert churn.record["prior"]["kind"] == "scorecard"
    with pytest.raises(ValueError, match="bring one that predicts it"):
        training.train(as_tables(few), tracker=Kept(), bases={CHURN.name: Base(replace(base, event="revenue"), origin)}, **given)  # type: ignore[arg-type]


def test_the_table_says_what_serves_from_now_on_and_why(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    record = trained.records[0] | {"gate": {"state": "pass", "passed": True, "reasons": []}, "version": 4}

    def told(**changed: Any) -> str:
        show([record | changed])
        return capsys.readouterr().out

    passed = told(champion=4, challenge={"state": "passed", "champion": 3, "reasons": ["It is no worse."]})
    assert "kunto-churn-90d: version 4, this one serves. It is no worse." in passed
    failed = told(champion=3, challenge={"state": "failed", "champion": 3, "reasons": ["It is worse."]})
    assert "kunto-churn-90d: version 3 serves. It is worse." in failed
    stopped = {"state": "too_few", "passed": False, "reasons": ["There is not enough evidence."]}
    assert "kunto-churn-90d: There is not enough evidence." in told(champion=3, challenge=None, gate=stopped)
    assert "version 3" in told(champion=3, challenge=None, gate=stopped)
    assert "health score" in told(champion=None, challenge=None, gate=stopped)


def test_a_test_after_the_data_is_refused(world: World, trained: Trained) -> None:
    settings = SETTINGS.model_copy(update={"test_from": world.until})
    with pytest.raises(ValueError, match=r"and the data end .*: give an earlier day, or none"):
        training.train(world.tables, data_until=world.until, settings=settings, tracker=trained.tracker)


# --- the record ------------------------------------------------------------------------------------------------------


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def assert_shape(record: dict[str, Any], baselines: set[str]) -> None:
    """interface.md, to the letter."""
    promised = {"outcome", "horizon_days", "name", "version", "train", "test", "baselines", "gate"}
    assert set(record) == promised | {
        "leaks_allowed",
        "tuning",
        "rounds",
        "prior",
        "calibrators",
        "reliability",
        "plays",
        "challenge",
        "champion",
    }
    counts = {"from", "to", "rows", "accounts", "positives"}
    assert set(record["train"]) == counts
    assert set(record["test"]) == counts | {"base_rate"} | FIGURES
    assert set(record["baselines"]) == baselines
    for figures in record["baselines"].values():
        assert set(figures) >= FIGURES
    assert set(record["gate"]) == {"state", "passed", "reasons"}
    assert json.loads(json.dumps(record), parse_constant=refuse) == record


def test_records_are_as_promised(world: World, trained: Trained, churn: training.Fitted) -> None:
    assert [record["name"] for record in trained.records] == ["kunto-churn-90d", "kunto-expansion-90d"]
    for record in trained.records:
        assert_shape(record, {"health_score", "logistic", "recency", "tenure_calendar"})
        assert record["version"] == 1
        assert record["train"]["to"] == record["test"]["from"] == world.test_from.isoformat()
        assert 0 < record["test"]["positives"] < record["test"]["rows"]
    again = {name: trained.records[0][name] for name in ("version", "challenge", "champion")}
    assert again["version"] == 1
    assert trained.records[0] == churn.record | again  # a second run with the seed: the same record


@pytest.mark.parametrize("who", ["nobody leaves", "one account"])
def test_too_little_to_learn_from_is_a_state_and_no_error(world: World, trained: Trained, who: str) -> None:
    frames, data = dict(world.frames), world.data
    if who == "nobody leaves":
        last = frames["subscriptions"].assign(ended_at=pd.NaT, cancelled_at=pd.NaT)
        frames["subscriptions"] = last.astype(world.frames["subscriptions"].dtypes)
    else:
        leavers = frames["subscriptions"].loc[frames["subscriptions"]["ended_at"].notna(), "account_id"]
        one = (data.spine["account_id"] == leavers.iloc[0]).to_numpy()
        data = Dataset(
            data.spine[one].reset_index(drop=True),
            data.frame[one].reset_index(drop=True),
            data.health[one].reset_index(drop=True),
            data.facts[one].reset_index(drop=True),
            data.product_features,
        )
    fitted = refit(world, tables=as_tables(frames), data=data)
    assert_shape(fitted.record, set())
    assert fitted.record["gate"]["state"] == "too_few"
    assert fitted.model is None
    named = Task(outcome="churn", horizon_days=30)
    record = trained.tracker.register(named, fitted.record, fitted.model, fitted.test)
    assert record["version"] is None
    assert trained.tracker.champion(named.name) is None


# --- MLflow ----------------------------------------------------------------------------------------------------------


def artifacts(trained: Trained, name: str, version: int) -> Path:
    run = trained.tracker.client.get_model_version(name, str(version)).run_id
    return Path(download_artifacts(run_id=run, tracking_uri=trained.uri))


def model_folder(trained: Trained, name: str, version: int) -> Path:
    source = trained.tracker.client.get_model_version_download_uri(name, str(version))
    return Path(download_artifacts(artifact_uri=source, tracking_uri=trained.uri))


def test_nothing_is_printed_and_nothing_is_left_where_it_ran(trained: Trained) -> None:
    assert trained.printed == ""
    assert trained.left_behind == []


def test_the_run_keeps_record_plots_card_and_figures(trained: Trained) -> None:
    for record in trained.records:
        folder = artifacts(trained, record["name"], record["version"])
        assert json.loads((folder / "record.json").read_text()) == record
        assert {path.name for path in (folder / "plots").iterdir()} == {
            *("auc_by_date.png", "drift.png", "features.png", "gains.png", "reliability.png"),
            *(["survival.png"] if record["outcome"] == "churn" else []),
        }
        card = (folder / "model_card.md").read_text()
        assert record["gate"]["state"] in card
        assert f"{record['test']['auc']:.3f}" in card
        run = trained.tracker.client.get_run(trained.tracker.client.get_model_version(record["name"], "1").run_id)
        assert run.data.metrics["auc"] == record["test"]["auc"]
        assert run.data.metrics["logistic.log_loss"] == record["baselines"]["logistic"]["log_loss"]
        train = record["train"]
        assert run.data.metrics["train.base_rate"] == train["positives"] / train["rows"]
        assert run.data.params["outcome"] == record["outcome"]
        assert run.data.tags["data"].startswith("accounts:150:")


def test_no_pickle_is_kept(trained: Trained) -> None:
    files = [path for path in (trained.folder / "artifacts").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"model.json", "MLmodel", "record.json"}
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".joblib", ".cloudpickle")]
    for path in files:
        if path.suffix != ".png":
            path.read_text(encoding="utf-8")
            assert not path.read_bytes().startswith(b"\x80")


def test_the_registered_model_predicts_as_the_model_does(world: World, trained: Trained, churn: training.Fitted) -> None:
    assert churn.model is not None
    mlflow.set_tracking_uri(trained.uri)
    served = mlflow.pyfunc.load_model("models:/kunto-churn-90d/1")
    frame = world.data.frame.iloc[:50]
    p = churn.model.probability(frame)
    low, high = churn.model.precision.interval(p)
    found = served.predict(frame)[["probability", "low", "high"]]
    pd.testing.assert_frame_equal(found, pd.DataFrame({"probability": p, "low": low, "high": high}), check_exact=True)
    assert served.metadata.metadata["inputs"] == list(churn.model.inputs)
    folder = model_folder(trained, "kunto-churn-90d", 1) / "artifacts" / "outcome"
    stored = OutcomeModel.from_files({path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()})
    assert stored == churn.model


def test_champion_follows_the_gate_alone(trained: Trained) -> None:
    for record in trained.records:
        serves = record["gate"]["state"] in ("pass", "signal_no_gain")
        assert trained.tracker.champion(record["name"]) == (1 if serves else None)


def test_promote_and_rollback_go_through_the_gate(trained: Trained, churn: training.Fitted) -> None:
    task, tracker = Task(outcome="contraction", horizon_days=30), trained.tracker

    def register(state: str) -> int:
        gate = churn.record["gate"] | {"state": state}
        record = tracker.register(task, churn.record | {"name": task.name, "gate": gate}, churn.model, churn.test)
        return record["version"]

    assert register("too_few") == 1
    assert tracker.champion(task.name) is None
    with pytest.raises(GateError, match=r"version 1 of kunto-contraction-30d may not serve: its gate says too_few"):
        tracker.promote(task.name, 1)
    with pytest.raises(GateError, match="no earlier champion"):
        tracker.rollback(task.name)
    assert register("pass") == 2
    assert tracker.champion(task.name) == 2
    tracker.promote(task.name, 2)
    with pytest.raises(GateError, match="no earlier champion"):
        tracker.rollback(task.name)
    assert register("signal_no_gain") == 3
    assert register("no_signal") == 4
    assert tracker.champion(task.name) == 3
    assert tracker.rollback(task.name) == 2
    assert tracker.champion(task.name) == 2
    assert [(row["version"], row["gate"], row["aliases"]) for row in tracker.versions() if row["name"] == task.name] == [
        (4, "no_signal", []),
        (3, "signal_no_gain", [PREVIOUS]),
        (2, "pass", [CHAMPION]),
        (1, "too_few", []),
    ]
    with pytest.raises(GateError, match=r"no version 9 of 'kunto-contraction-30d'; registered: .*kunto-contraction-30d 4"):
        tracker.promote(task.name, 9)
    again = Tracker(trained.uri, None, tags={}, params={})  # another process finds the same store
    assert again.champion(task.name) == 2

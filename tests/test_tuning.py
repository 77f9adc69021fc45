"""Tuning: what a trial may know, when a setting is taken, and what is kept of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from mlflow.artifacts import download_artifacts
from ran import Kunto
from small_models import CHURN, MONTHS, TEST_FROM, YEAR_BEFORE, made_rows

from kunto.commands.training import with_options
from models.booster import BoosterSettings
from training.dataset import Dataset
from training.fit import fit_outcome
from training.period import Period
from training.rows import Rows
from training.settings import Task, TrainingSettings
from training.tracking import Tracker
from training.train import Fitted, train_period
from training.tuning import ENOUGH, RANGES, Tuned, inner_date, settled_at, tune

DAY = pd.Timedelta(days=1)
GRACE = 10
HORIZON = 20
TASK = Task(outcome="expansion", horizon_days=HORIZON)
QUICK = BoosterSettings(rounds=15, learning_rate=0.2)
#: Each round is shown fewer rows than a leaf must hold: nothing is learned, and nearly every other setting is better.
BLIND = QUICK.model_copy(update={"bagging_fraction": 0.01, "lambda_l2": 0.0})


def known_rows(accounts: int = 300, seed: int = 1) -> Rows:
    """Monthly rows, each settled before the next: the horizon is 20 days, and the grace 10."""
    rows, _ = made_rows(accounts, YEAR_BEFORE, seed)
    until = rows.timeline["as_of"].max() + HORIZON * DAY
    return replace(rows, timeline=rows.timeline.assign(known_until=until, churn_at=pd.NaT).astype({"churn_at": "datetime64[us]"}))


ROWS = known_rows()


def tuned(rows: Rows = ROWS, trials: int = 3, settings: BoosterSettings = QUICK, seed: int = 0, **options: Any) -> Tuned:
    return tune(TASK, rows, trials=trials, settings=settings, grace_days=GRACE, seed=seed, **options)


# --- what a trial may know -------------------------------------------------------------------------------------------


def test_a_third_of_the_outcomes_come_later() -> None:
    inner = inner_date(ROWS)
    late = ROWS.as_of[ROWS.y > 0] >= np.datetime64(inner)
    assert inner in set(ROWS.timeline["as_of"])
    assert 1 / 3 - 0.1 < late.mean() < 1 / 3 + 0.1


def test_what_was_open_at_the_inner_date_teaches_nothing() -> None:
    """Rows of churn: labels, departures and knowledge past the inner date may be anything."""
    rng, inner = np.random.default_rng(0), YEAR_BEFORE + 120 * DAY
    left = ROWS.timeline["as_of"] + pd.to_timedelta(rng.uniform(0, 300, len(ROWS)), unit="D")
    leaves = rng.random(len(ROWS)) < 0.5
    timeline = ROWS.timeline.assign(churn_at=left.where(leaves).astype("datetime64[us]"), known_until=YEAR_BEFORE + 600 * DAY)
    rows = replace(ROWS, timeline=timeline, y=(leaves & (left < timeline["as_of"] + 90 * DAY)).to_numpy(dtype=float))
    settled = inner - GRACE * DAY
    found = settled_at(CHURN, rows, inner, GRACE)
    as_of = found.timeline["as_of"]
    assert (np.isnan(found.y) == (as_of + 90 * DAY > settled)).all()
    assert as_of.max() == timeline["as_of"][timeline["as_of"] + 30 * DAY <= settled].max()
    assert (found.timeline["known_until"] == settled).all()
    assert found.timeline["churn_at"].max() < settled
    assert found.y[~np.isnan(found.y)].sum() > 0

    afterwards = timeline["churn_at"] >= settled
    other = timeline.assign(churn_at=timeline["churn_at"].where(~afterwards))
    open_then = (timeline["as_of"] + 90 * DAY > settled).to_numpy(dtype=bool)
    again = settled_at(CHURN, replace(rows, timeline=other, y=np.where(open_then, 1 - rows.y, rows.y)), inner, GRACE)
    pd.testing.assert_frame_equal(found.timeline, again.timeline)
    np.testing.assert_array_equal(found.y, again.y)
    # What is settled at the end of the training period stays as it was.
    whole = settled_at(CHURN, rows, YEAR_BEFORE + 700 * DAY, GRACE)
    pd.testing.assert_frame_equal(whole.timeline, rows.timeline)


@pytest.fixture(scope="module")
def better() -> Tuned:
    return tuned(trials=5, settings=BLIND)


def trained(test: Rows, trials: int) -> Fitted:
    """The task trained on `ROWS`, tuned by so many trials, and tested on rows that come after them."""
    frame = pd.concat([ROWS.frame, test.frame], ignore_index=True)
    spine = pd.concat([ROWS.timeline, test.timeline], ignore_index=True)[["account_id", "as_of"]]
    facts = pd.DataFrame({"product": "crm", "plan": "basic", "mrr": 100.0}, index=frame.index)
    data = Dataset(spine, frame, pd.Series(50.0, index=frame.index, dtype="Float64"), facts, ())
    at = np.arange(len(frame))
    cut = Period(TEST_FROM, TEST_FROM + 365 * DAY, ROWS, at[: len(ROWS)], test, at[len(ROWS) :], ROWS)
    return train_period(data, TASK, cut, settings=TrainingSettings(grace=GRACE, tune=trials, booster=BLIND), serve=False)


def test_the_test_period_is_never_seen_and_what_is_chosen_is_fitted_with(better: Tuned) -> None:
    test, _ = made_rows(30, TEST_FROM, seed=2)
    garbage = replace(test, frame=1e6 * test.frame, y=1 - test.y)
    found = trained(garbage, trials=5)
    assert found.record["tuning"] == better.record  # of the training rows alone, and the same when it is done again
    fitted = fit_outcome(TASK, "booster", ROWS, settings=better.settings)
    assert found.tested["booster"].to_files() == fitted.model.to_files()


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_better_settings_are_taken_and_the_first_trial_is_those_given(better: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    found = tuned(trials=5, settings=BLIND, progress=lambda done, total: told.append((done, total)))
    assert found == better
    assert {name: found.study[0][name] for name in RANGES} == BLIND.model_dump(include=set(RANGES))
    best = [each["best"] for each in found.study]
    assert best == list(np.minimum.accumulate([each["loss"] for each in found.study]))
    taken = min(found.study, key=lambda each: each["loss"])
    assert found.settings == BLIND.model_copy(update={name: taken[name] for name in RANGES})
    assert found.loss is not None
    assert found.default_loss is not None
    assert found.loss < found.default_loss
    assert found.why.startswith(f"Trial {taken['trial']} is taken: on the dates from ")
    assert found.record["chosen"] == {name: taken[name] for name in RANGES}
    assert told == [*((done, 7) for done in range(1, 6)), (7, 7)]
    assert capsys.readouterr() == ("", "")
    assert json.loads(json.dumps(found.record)) == found.record


def test_another_seed_tries_other_settings(better: Tuned) -> None:
    other = tuned(trials=2, settings=BLIND, seed=1)
    assert all(other.study[1][name] != better.study[1][name] for name in RANGES)


def test_luck_is_not_taken() -> None:
    """Labels of noise: some trial is ahead of the settings given, and no further than by chance."""
    noise = replace(ROWS, y=np.random.default_rng(3).permutation(ROWS.y))
    found = tuned(noise, trials=4)
    assert found.study[-1]["best"] < found.study[0]["loss"]
    assert found.settings == QUICK
    assert found.why.startswith("The settings given stay: on the dates from ")


def test_the_settings_given_stay_where_no_trial_is_better() -> None:
    found = tuned(trials=1)
    assert (found.settings, len(found.study)) == (QUICK, 1)
    assert found.loss == found.default_loss == found.study[0]["loss"]
    assert "no trial of 1 has less log loss" in found.why


@pytest.mark.parametrize(
    ("outcomes", "told"), [((30, 0, 0, 0, 15), "from 2025-02-01 on: 15"), ((20, 30), "known by 2025-02-01: 20")]
)
def test_too_few_to_tell_is_refused_in_words(outcomes: tuple[int, ...], told: str) -> None:
    """So many accounts have the outcome in the first, second … month."""
    y = np.zeros((len(ROWS) // MONTHS, MONTHS))
    for month, count in enumerate(outcomes):
        y[:count, month] = 1
    found = tuned(replace(ROWS, y=y.ravel()))
    assert (found.settings, found.study, found.loss, found.default_loss) == (QUICK, (), None, None)
    assert found.why == (
        f"Nothing was tuned, and the settings given stay: accounts with the outcome {told} in training; "
        f"at least {ENOUGH} are needed."
    )


def test_rows_of_one_date_are_refused_in_words() -> None:
    first = (ROWS.timeline["as_of"] == YEAR_BEFORE).to_numpy(dtype=bool)
    assert "none is later" in tuned(ROWS.take(first)).why


def test_no_trial_is_no_tuning() -> None:
    with pytest.raises(ValueError, match="trials is 0; give 1 or more"):
        tuned(trials=0)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_the_study_is_in_mlflow(better: Tuned, tmp_path: Path) -> None:
    tuning = better.record
    counts = {"rows": 9, "accounts": 9, "positives": 3}
    record = {
        "outcome": TASK.outcome,
        "horizon_days": TASK.horizon_days,
        "name": TASK.name,
        "version": None,
        "train": counts,
        "test": counts | {"auc": None},
        "baselines": {},
        "gate": {"state": "too_few", "passed": False, "reasons": []},
        "tuning": tuning,
    }
    params = TrainingSettings(tune=3).model_dump(include={"tune"}) | BLIND.model_dump()
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts", tags={}, params=params)
    tracker.register(TASK, record, None, pd.DataFrame())
    [experiment] = tracker.client.search_experiments(filter_string="name != 'Default'")
    [run] = tracker.client.search_runs([experiment.experiment_id])
    kept = Path(download_artifacts(run_id=run.info.run_id, artifact_path="tuning.json", tracking_uri=tracker.client.tracking_uri))
    assert json.loads(kept.read_text(encoding="utf-8")) == tuning
    for name in ("loss", "best"):
        series = tracker.client.get_metric_history(run.info.run_id, f"tuning.{name}")
        assert [(each.step, each.value) for each in series] == [(each["trial"], each[name]) for each in tuning["study"]]
    assert {name: run.data.params[name] for name in RANGES} == {name: str(value) for name, value in tuning["chosen"].items()}
    assert run.data.params["tune"] == "3"


# --- the command line ------------------------------------------------------------------------------------------------


def options(tune: int | None) -> dict[str, Any]:
    names = ("outcome", "horizon", "grace", "event", "every", "test_from", "test_to", "seed")
    return dict.fromkeys(names) | {"tune": tune}


def test_the_option_overrides_the_workspace() -> None:
    assert with_options(TrainingSettings(), **options(30)).tune == 30
    assert with_options(TrainingSettings(tune=20), **options(0)).tune == 0
    assert with_options(TrainingSettings(tune=20), **options(None)).tune == 20
    with pytest.raises(typer.BadParameter, match="--tune -1: input should be greater than or equal to 0"):
        with_options(TrainingSettings(), **options(-1))


@pytest.mark.parametrize("command", ["train", "run"])
def test_train_and_run_have_the_option(kunto: Kunto, command: str) -> None:
    assert "--tune TRIALS" in kunto(command, "--help").told

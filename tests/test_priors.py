"""What a booster starts from: the scorecard, read as a margin, or a model that the company brings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import churn_model

from models.batch_contributions import BATCH_ROWS
from models.booster import BoosterModel, BoosterSettings, cross_fit, fit_booster
from models.health import curve
from models.linear import LinearModel, Term
from models.outcome import OutcomeModel
from models.prior import Prior, of_scorecard, settle
from models.scorecard import default_scorecard
from training.bases import Base, Origin, bases_of, product_features, read_bases, refuse_seen, write_bases
from training.settings import Task

CARD = default_scorecard()
FEATURES = [measure.feature for measure in CARD.measures]
ORIGIN = Origin("kunto-churn-90d", 3, "2026-07-01T00:00:00", ("0a", "1b"))
GUESS = LinearModel(("use",), 0.0, (Term("use", 0.0, 1.0, 0.0, coefficient=-2.0),))


def known(rows: int, seed: int) -> pd.DataFrame:
    """Values over and beyond all curves."""
    rng = np.random.default_rng(seed)
    ends = {m.feature: (m.knots[0][0] - 1, m.knots[-1][0] + 1) for m in CARD.measures}
    return pd.DataFrame({name: rng.uniform(*ends[name], rows) for name in FEATURES})


@given(st.integers(0, 1000), st.sampled_from([1, -1]))
def test_the_scorecard_as_a_margin_is_its_weighted_points(seed: int, sign: int) -> None:
    X = known(30, seed)
    margin = of_scorecard(CARD, X, sign=sign).raw_score(X)  # type: ignore[union-attr]
    total = np.zeros(len(X))
    for part in CARD.components:
        points = sum(m.weight * curve(m.knots, X[m.feature].to_numpy()) for m in part.measures)
        total += part.weight * points / sum(m.weight for m in part.measures)
    total /= sum(part.weight for part in CARD.components)
    np.testing.assert_allclose(margin - margin.mean(), -sign * 3 / 60 * (total - total.mean()), atol=1e-9)
    assert abs(margin.mean()) < 1e-9


def test_without_a_measure_there_is_no_scorecard_to_start_from() -> None:
    assert of_scorecard(CARD, pd.DataFrame({"month": [1.0, 2.0]}), sign=1) is None


def test_a_measure_without_a_value_reads_as_silence_or_as_the_middle_of_the_rows() -> None:
    asked = next(m for m in CARD.measures if m.asked)
    silent = next(m for m in CARD.measures if m.silence is not None)
    X = pd.DataFrame({asked.feature: [0.1, 0.5, 0.7, np.nan], silent.feature: [silent.silence, 1.0, 2.0, np.nan]})
    addends = of_scorecard(CARD, X, sign=1).contributions(X)  # type: ignore[union-attr]
    assert addends[asked.feature][3] == addends[asked.feature][1]
    assert addends[silent.feature][3] == addends[silent.feature][0]


def test_a_guess_against_the_evidence_ends_at_nothing_and_never_turns_round() -> None:
    X = pd.DataFrame({"use": np.linspace(0, 1, 400)})
    found = settle("base", GUESS, X, X["use"] > 0.75, accounts=100_000)
    assert found.slope == 0
    assert found.raw_score(X).mean() == pytest.approx(np.log(0.25 / 0.75), abs=1e-3)


def started(rows: int = 400, **settings: Any) -> tuple[BoosterModel, pd.DataFrame]:
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"seats": rng.random(rows), "use": rng.random(rows)})
    y = (rng.random(rows) < 0.5 * (1 - X["use"])).astype(float)
    prior = settle("base", GUESS, X, y, accounts=rows)
    return fit_booster(X, y, directions={}, settings=BoosterSettings(**settings), prior=prior), X


@pytest.mark.parametrize("rows", [7, BATCH_ROWS])
def test_addends_hold_the_prior_and_the_trees_and_add_up(rows: int) -> None:
    model, X = started(max(rows, 400), rounds=30)
    X = X.iloc[:rows]
    addends = model.addends(X)
    np.testing.assert_allclose(model.base_value + addends.sum(axis=1), model.raw_score(X), atol=1e-6)
    trees = replace(model, prior=None)
    assert model.prior is not None
    np.testing.assert_allclose(model.raw_score(X), trees.raw_score(X) + model.prior.raw_score(X), atol=1e-12)
    own = model.addends(X, model.raw_score(X)) - trees.addends(X)
    np.testing.assert_allclose(own[:, 1], model.prior.slope * GUESS.addends(X)[:, 0], atol=1e-9)
    assert not own[:, 0].any()


def test_where_nothing_is_left_to_learn_the_booster_stays_at_its_prior() -> None:
    """Noise about the truth: held-out rows let boosting run no further than by chance."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"use": rng.random(600), **{f"noise_{k}": rng.random(600) for k in range(5)}})
    truth = LinearModel(("use",), 0.0, (Term("use", 0.0, 1.0, 0.0, coefficient=-4.0),))
    y = (rng.random(600) < 1 / (1 + np.exp(-truth.raw_score(X)))).astype(float)
    halves = np.arange(300), np.arange(300, 600)
    with_prior, loss = cross_fit(X, y, [halves, halves[::-1]], directions={}, prior=Prior("base", truth, 1.0, 0.0))
    without, other = cross_fit(X, y, [halves, halves[::-1]], directions={})
    assert with_prior[0].rounds < without[0].rounds
    assert loss < other


def test_models_go_out_and_come_back_as_bases(tmp_path: Path) -> None:
    model, frame = churn_model()
    assert isinstance(model.scorer, BoosterModel)
    nested = replace(model, scorer=replace(model.scorer, prior=Prior("base", model.scorer, 0.5, 0.1)))
    (path,) = write_bases({"kunto-churn-90d": Base(nested, ORIGIN)}, tmp_path)
    (path / "left-over.txt").write_text("of an earlier export")
    assert write_bases({"kunto-churn-90d": Base(nested, ORIGIN)}, tmp_path) == [path]
    base = read_bases(tmp_path)["kunto-churn-90d"]
    assert base.origin == ORIGIN
    back = base.model
    assert np.array_equal(back.probability(frame), nested.probability(frame))
    assert not np.array_equal(back.probability(frame), model.probability(frame))


def test_a_base_that_cannot_be_read_is_told_by_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no model; give a folder that `kunto models --export` wrote"):
        read_bases(tmp_path)
    model, _ = churn_model()
    (path,) = write_bases({"kunto-churn-90d": Base(model, ORIGIN)}, tmp_path)
    for file in path.glob("*booster.txt"):
        file.write_text(file.read_text()[:500])
    with pytest.raises(ValueError, match="kunto-churn-90d cannot be read: the booster's text is damaged"):
        read_bases(tmp_path)


def test_a_base_that_answers_another_question_is_refused() -> None:
    model: OutcomeModel = churn_model()[0]
    task, base = Task(outcome="churn", horizon_days=model.horizon_days), Base(model, ORIGIN)
    assert bases_of([task], {task.name: base, "kunto-churn-7d": base}, model.event) == {task.name: base}
    assert bases_of([task], None, model.event) == {}
    with pytest.raises(ValueError, match="event notice, not revenue: bring one that predicts it"):
        bases_of([task], {task.name: Base(replace(model, event="notice"), ORIGIN)}, "revenue")
    with pytest.raises(ValueError, match="base holds kunto-churn-7d, and trained are kunto-churn-90d"):
        bases_of([task], {"kunto-churn-7d": base}, model.event)


def test_a_base_that_has_seen_the_test_is_refused() -> None:
    """The own company's model of today has learnt what its training would be tested on."""
    bases = {"kunto-churn-90d": Base(churn_model()[0], ORIGIN)}
    refuse_seen(bases, ("2c", "3d"), pd.Timestamp("2026-01-01"))  # another company's accounts
    refuse_seen(bases, ("1b", "3d"), pd.Timestamp("2026-07-01"))  # its own, from before the test
    with pytest.raises(ValueError, match="this company's own data up to 2026-07-01, and is tested from 2026-01-01 on"):
        refuse_seen(bases, ("1b", "3d"), pd.Timestamp("2026-01-01"))
    assert product_features(bases) == ()

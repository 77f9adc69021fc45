"""The booster as a scikit-learn estimator, the shapes it picks from, and benchmarks.flat_table, which measures it."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from benchmarks import flat_table
from models.booster import BoosterSettings
from models.classifier import BoosterClassifier
from models.shape import SHAPES, pick_shape
from training.metrics import auc, log_loss

ROWS = 900


def table(seed: int = 0, rows: int = ROWS) -> tuple[pd.DataFrame, np.ndarray]:
    """Few leave but by a sharp rule of two columns, one of them in words; numbers with gaps, a boolean, a rare word."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "plan": pd.Categorical(rng.choice(["basic", "plus", "team"], rows)),
            "calls": rng.poisson(2, rows),
            "minutes": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(100, 20, rows)),
            "annual": rng.random(rows) < 0.5,
            "city": rng.choice([f"city {number}" for number in range(40)], rows).astype(object),
        }
    )
    p = np.where((frame["plan"] == "basic") & (frame["calls"] > 2), 0.8, 0.05)
    return frame, np.where(rng.random(rows) < p, "yes", "no")


def test_it_learns_from_words_and_numbers_and_its_probabilities_are_calibrated() -> None:
    X, y = table()
    later, truth = table(seed=1)
    model = BoosterClassifier().fit(X, y)
    p = model.predict_proba(later)
    left = truth == "yes"
    assert model.classes_.tolist() == ["no", "yes"]
    assert p.shape == (ROWS, 2)
    assert p.sum(axis=1) == pytest.approx(1)
    assert auc(left, p[:, 1]) > 0.8
    assert p[:, 1].mean() == pytest.approx(left.mean(), abs=0.04)
    assert log_loss(left, p[:, 1]) < log_loss(left, np.full(ROWS, left.mean())) - 0.1
    assert set(model.predict(later)) == {"no", "yes"}


def test_a_fit_repeats_clones_and_reads_unknown_words_and_gaps() -> None:
    X, y = table()
    model = BoosterClassifier(random_state=3)
    first = model.fit(X, y).predict_proba(X)
    assert (clone(model).fit(X, y).predict_proba(X) == first).all()
    strange = X.assign(city="elsewhere", minutes=np.nan)
    assert np.isfinite(model.predict_proba(strange)).all()
    assert (model.predict_proba(X[X.columns[::-1]]) == first).all()


def test_rows_of_a_group_stay_in_one_part() -> None:
    X, y = table(rows=300)
    groups = np.arange(300) // 3
    folds = BoosterClassifier()._folds((y == "yes").astype(float), groups)
    for kept, held in folds:
        assert not set(groups[kept]) & set(groups[held])
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(300))
    assert BoosterClassifier().fit(X, y, groups=groups).predict_proba(X).shape == (300, 2)


@pytest.mark.parametrize(
    ("labels", "told"),
    [(["a"] * 20, "two labels"), (["a", "b", "c", "d"] * 5, "two labels"), (["a"] * 18 + ["b"] * 2, "on 2 rows")],
)
def test_labels_that_cannot_be_learned_are_refused(labels: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        BoosterClassifier().fit(pd.DataFrame({"use": np.arange(20.0)}), labels)


def test_the_shape_is_the_one_of_the_least_held_out_loss() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(1200, 6)), columns=list("abcdef"))
    faint = rng.random(1200) < 1 / (1 + np.exp(2 - 0.3 * X.sum(axis=1)))
    sharp = (X["a"] > 0) ^ (X["b"] > 0) ^ (X["c"] > 1)
    names = {}
    for name, y in {"faint": faint.astype(float), "sharp": sharp.astype(float)}.items():
        folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
        picked = pick_shape(X, y, folds, directions={})
        assert picked.losses[picked.name] == min(picked.losses.values())
        assert picked.settings == SHAPES[picked.name]
        assert len(picked.models) == 3
        assert {model.rounds for model in picked.models} == {picked.rounds}
        names[name] = picked.name
    assert names == {"faint": "stiff", "sharp": "supple"}


def test_no_shape_is_refused_and_one_is_taken() -> None:
    X, y = pd.DataFrame({"a": np.arange(60.0)}), np.arange(60) % 2
    halves = np.arange(30), np.arange(30, 60)
    with pytest.raises(ValueError, match="shapes is empty"):
        pick_shape(X, y, [halves], directions={}, shapes={})
    assert pick_shape(X, y, [halves], directions={}, shapes={"only": BoosterSettings(rounds=3)}).name == "only"


def test_the_benchmark_gives_a_row_per_model_on_the_same_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_table, "FOLDS", 2)
    X, y = table(rows=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = flat_table.measure(X.drop(columns="city"), (y == "yes").astype(float), repeats=1, models=flat_table.contenders())
    assert [row["model"] for row in rows] == ["booster", "lightgbm", "logistic"]
    ours = rows[0]
    assert ours["ahead"] == 0
    assert ours["auc"] == pytest.approx(np.mean(ours["auc_by_repeat"]))
    assert rows[1]["ahead"] == pytest.approx(ours["auc"] - rows[1]["auc"])

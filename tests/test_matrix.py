"""Features as a matrix: every model answers as it does of a frame, and the arrays keep the rule that they were made from."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_contract import EVERY, FRAME, model

from models.health import Connected, curve, default_scorecard, score
from models.linear import LinearModel
from models.matrix import Matrix, known_values_of
from models.outcome import OutcomeModel

MIXED = Matrix.of(FRAME[FRAME.columns[::-1]].assign(step=99.0, another=1.0))
every_model = pytest.mark.parametrize("found", [model(*each) for each in EVERY], ids=["-".join(each) for each in EVERY])


@every_model
def test_a_model_answers_of_a_matrix_as_of_a_frame(found: OutcomeModel) -> None:
    np.testing.assert_array_equal(found.probability(MIXED), found.probability(FRAME))
    one, other = found.explain(MIXED), found.explain(FRAME)
    assert isinstance(one.contributions, Matrix)
    assert isinstance(other.contributions, pd.DataFrame)
    assert one.contributions.names == tuple(other.contributions.columns)
    np.testing.assert_array_equal(one.contributions.values, other.contributions.to_numpy())
    np.testing.assert_array_equal(one.raw_score, other.raw_score)
    np.testing.assert_array_equal(one.base_value, other.base_value)


@every_model
def test_a_matrix_that_lacks_a_column_is_refused(found: OutcomeModel) -> None:
    lacking = Matrix.of(FRAME.drop(columns="days_to_renewal"))
    for ask in (found.probability, found.explain):
        with pytest.raises(ValueError, match="the frame lacks days_to_renewal; the model was fitted on"):
            ask(lacking)


def test_margins_known_already_change_nothing() -> None:
    found = model("churn", "booster")
    for steps in (2, 3, 12):  # too few, just enough, more than asked
        again = found.explain(MIXED, found.margins(MIXED, steps))
        np.testing.assert_array_equal(again.raw_score, found.explain(MIXED).raw_score)


def test_rows_are_stacked_in_blocks_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model("churn", "booster")
    whole, explained = found.survival(MIXED), found.explain(MIXED)
    monkeypatch.setattr("models.outcome._ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(found.survival(MIXED), whole)
    np.testing.assert_array_equal(found.explain(MIXED).contributions.values, explained.contributions.values)
    nobody = Matrix(MIXED.names, MIXED.values[:0])
    assert found.survival(nobody).shape == (0, 12)
    assert found.explain(nobody).contributions.values.shape == (0, len(FRAME.columns))


def test_a_linear_model_adds_its_terms_one_by_one() -> None:
    scorer = model("contraction", "logistic").scorer
    assert isinstance(scorer, LinearModel)
    assert len(scorer.terms) > len({term.column for term in scorer.terms}), "no column has a second term"
    expected = np.zeros((len(FRAME), len(scorer.columns)))
    for term in scorer.terms:
        added = term.coefficient * (term.position(FRAME[term.column].to_numpy()) - term.mean)
        expected[:, scorer.columns.index(term.column)] += added
    np.testing.assert_array_equal(scorer.addends(MIXED), expected)


def test_an_infinity_is_named() -> None:
    values = MIXED.values.copy()
    values[3, MIXED.names.index("mrr")] = np.inf
    with pytest.raises(ValueError, match="column 'mrr' is infinite in row 3"):
        model("contraction", "logistic").probability(Matrix(MIXED.names, values))


def test_what_a_table_lacks_is_not_known() -> None:
    found = known_values_of(MIXED, ("mrr", "no such", "products"))
    np.testing.assert_array_equal(found, FRAME.assign(none=np.nan)[["mrr", "none", "products"]].to_numpy())


# The health score


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=200, deadline=None)
@given(st.lists(finite, min_size=2, max_size=6, unique=True).map(sorted), st.data())
def test_a_curve_is_the_interpolation_that_numpy_knows(values: list[float], data: st.DataObject) -> None:
    points = data.draw(st.lists(st.floats(0, 100), min_size=len(values), max_size=len(values)))
    x = np.array(data.draw(st.lists(finite | st.sampled_from([*values, np.nan, np.inf, -np.inf]), min_size=1, max_size=5)))
    np.testing.assert_array_equal(curve(list(zip(values, points, strict=True)), x), np.interp(x, values, points))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_connected_may_differ_from_row_to_row(data: st.DataObject) -> None:
    card = default_scorecard()
    tables = sorted({table for measure in card.measures for table in measure.tables})
    names = card.features(set(tables))
    value = st.just(np.nan) | st.floats(-5, 400, width=32)
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, value)), min_size=1, max_size=4))
    connected = [data.draw(st.sets(st.sampled_from(tables))) for _ in rows]
    frame = pd.DataFrame(rows, dtype=float)
    there = Connected(tuple(tables), np.array([[table in each for table in tables] for each in connected]))
    together = score(Matrix.of(frame), there)
    for row, each in enumerate(connected):
        alone = score(frame.iloc[[row]].reset_index(drop=True), each)
        pd.testing.assert_frame_equal(together.accounts.iloc[[row]].reset_index(drop=True), alone.accounts, check_exact=True)
        np.testing.assert_array_equal(together.points.iloc[row], alone.points.iloc[0])
        np.testing.assert_array_equal(together.weights.iloc[row], alone.weights.iloc[0])

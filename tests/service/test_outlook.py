"""Which models the stakes rest on: churn's curve, and how accounts that stay move by 180 days."""

from dataclasses import replace

import numpy as np
import pytest
from registry import outcome_model

from models.choice import PlaySettings
from models.hazard import CARRIED
from models.labels import Outcome
from models.matrix import Matrix
from serving.champions import Champion, Champions
from serving.outlook import NO_STAKES, Outlook, outlook

FEATURES = Matrix(
    ("days_since_last_use", "mrr", *CARRIED), np.array([[3.0, 100.0, 60.0, 30.0, 12.0], [50.0, 100.0, 60.0, 30.0, 12.0]])
)
ARR = np.array([1200.0, 1200.0])


def champion(outcome: Outcome, days: int, mean_change: float = 0.0, base: float = -2.0) -> Champion:
    model = replace(outcome_model(outcome, base), horizon_days=days, mean_change=mean_change)
    return Champion(f"{outcome}-{days}", 1, model)


def ahead(*champions: Champion, renewal_days: float = 60.0) -> Outlook:
    models = {(each.model.outcome, each.model.horizon_days): each for each in champions}
    found = outlook(Champions(models, None), FEATURES, np.full(len(FEATURES), renewal_days))
    assert found is not None
    return found


def test_expected_revenue_rests_on_the_models_of_180_days() -> None:
    far = champion("expansion", 180, 0.3)
    both = ahead(champion("churn", 90), champion("expansion", 90, 0.9), far)
    assert both.rise.horizon_days == 180
    assert both.rise.chance.value.tolist() == far.model.probability(FEATURES).tolist()
    alone = ahead(champion("churn", 90), far)
    assert both.stakes(ARR, PlaySettings()) == alone.stakes(ARR, PlaySettings())
    assert both.mean_rise == 0.9, "a play looks at 90 days"


def test_where_there_is_none_of_180_days_the_nearest_moves_over_its_own() -> None:
    found = ahead(champion("churn", 90), champion("contraction", 90, 0.5), renewal_days=45.0)
    [first, _] = found.stakes(ARR, PlaySettings())
    p_down, stays = found.fall.chance.value[0], 1 - first["renewal"]["probability"]
    assert first["renewal"]["expected_arr"] == pytest.approx(1200 * stays * (1 - p_down * 0.5 * 45 / 90))


def test_without_models_of_movement_revenue_stays_as_it_is() -> None:
    for account in ahead(champion("churn", 90)).stakes(ARR, PlaySettings()):
        renewal = account["renewal"]
        stays = 1 - renewal["probability"]
        assert renewal["expected_arr"] == pytest.approx(1200 * stays)
        assert renewal["expected_arr_low"] < renewal["expected_arr"] < renewal["expected_arr_high"]
        assert account["arr_at_risk"] == pytest.approx(1200 * (1 - stays))


def test_movements_are_no_more_than_all_who_stay() -> None:
    found = ahead(champion("churn", 90), champion("contraction", 180, 0.5, base=3.0), champion("expansion", 180, 0.5, base=3.0))
    together = found.fall.chance.value + found.rise.chance.value
    assert together.tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("renewal_days", [360.0, 361.0, -3.0, np.nan])
def test_past_360_days_nothing_is_told_of_the_renewal(renewal_days: float) -> None:
    for account in ahead(champion("churn", 90), renewal_days=renewal_days).stakes(ARR, PlaySettings()):
        assert account["renewal"] == NO_STAKES["renewal"]
        assert account["arr_at_risk"] > 0
        assert account["expected_lifetime_value"] > 0


def test_a_step_that_reaches_past_360_days_tells_no_more() -> None:
    """Steps of 14 days end at 364."""
    at, past = (ahead(champion("churn", 14), renewal_days=days).stakes(ARR, PlaySettings())[0] for days in (360.0, 361.0))
    assert at["renewal"]["probability"] is not None
    assert past["renewal"] == NO_STAKES["renewal"]


def test_the_renewals_interval_is_that_of_the_churn_model() -> None:
    found = ahead(champion("churn", 90))
    p = np.array([account["renewal"]["probability"] for account in found.stakes(ARR, PlaySettings())])
    low, high = found.churn.model.precision.interval(p)
    told = [account["renewal"] for account in found.stakes(ARR, PlaySettings())]
    assert [each["expected_arr_low"] for each in told] == pytest.approx((1200 * (1 - high)).tolist())
    assert [each["expected_arr_high"] for each in told] == pytest.approx((1200 * (1 - low)).tolist())

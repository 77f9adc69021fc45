"""benchmarks.real_data: the leads over other models, the table for people, and a whole protocol where the data are there."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import real_data
from benchmarks.real_data import COMPARED, DATA, PROTOCOLS, Protocol, measure


def rows(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.2).astype(float)
    good, poor = y + rng.normal(size=n), 0.3 * y + rng.normal(size=n)
    p = {"booster": 1 / (1 + np.exp(-good)), "logistic": 1 / (1 + np.exp(-poor)), "lightgbm": 1 / (1 + np.exp(-good))}
    return pd.DataFrame({"account_id": np.arange(n) // 4, "as_of": pd.Timestamp("2025-01-01"), "label": y} | p)


def test_the_lead_is_paired_and_told_of_every_other_model() -> None:
    found = real_data._ahead(rows())
    assert set(found) == {"logistic", "lightgbm"}
    assert set(found["logistic"]) == set(COMPARED)
    assert found["logistic"]["auc"]["low"] > 0
    assert found["lightgbm"]["auc"] == {"difference": 0, "low": 0, "high": 0}


def test_nothing_that_could_be_fitted_leads_nothing() -> None:
    assert real_data._ahead(pd.DataFrame()) == {}


def test_a_mean_over_seeds_needs_the_figure_of_each() -> None:
    assert real_data._mean([0.7, 0.8]) == pytest.approx(0.75)
    assert real_data._mean([0.7, None]) is None


def test_every_outcome_of_a_protocol_is_named_once() -> None:
    assert len({protocol.row for protocol in PROTOCOLS}) == len(PROTOCOLS)
    assert PROTOCOLS[0].settings.outcomes == ("churn", "expansion", "contraction")


@pytest.mark.trust
@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each.folder == "ravenstack"], ids=lambda each: each.row)
def test_no_model_serves_where_there_is_no_signal(protocol: Protocol) -> None:
    if not (DATA / protocol.folder).is_dir():
        pytest.skip(f"{DATA / protocol.folder} is not there")
    (row,) = measure(protocol, seeds=1)
    json.dumps(row)
    assert set(row["gate"]) <= {"too_few", "no_signal"}
    assert row["row"] in real_data._told(row)

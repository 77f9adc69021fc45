"""benchmarks.oracle: its figures on a small simulated company, and each rule on numbers that can be checked by hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import bootstrap, oracle
from benchmarks.known_truth import KEY, Judged, KnownCompany, Unmeasurable, beside_truth, departures, judge, simulated
from features.builder import snapshot
from features.catalogue import DRIVERS, catalog
from models import health
from simulation.world import CAUSES

PUBLISHED = {
    *("auc", "oracle_auc", "skill", "recency_auc", "best_single_feature_auc", "base_rate", "log_loss", "ece"),
    *("calibration_slope", "interval_coverage", "interval_width", "cause_hit_rate", "cause_hit_constant"),
}
SHARES = PUBLISHED - {"skill", "calibration_slope", "interval_width", "log_loss"}


@pytest.fixture(scope="module")
def company() -> Iterator[KnownCompany]:
    with simulated(180, 17, 1) as known:
        yield known


@pytest.fixture(scope="module")
def judged(company: KnownCompany) -> Judged:
    return judge(company, company.tables)


# The command


def test_the_command_prints_the_published_object(capsys: pytest.CaptureFixture[str]) -> None:
    oracle.main(["--accounts", "120", "--months", "15", "--seed", "2", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() >= PUBLISHED | {"health_auc", "health_separation", "logistic_auc", "rows", "positives", "train_rows"}
    assert (printed["accounts"], printed["months"], printed["seed"]) == (120, 15, 2)
    numbers = {name: printed[name] for name in SHARES if printed[name] is not None}
    assert numbers.keys() >= {"auc", "oracle_auc", "base_rate", "interval_coverage"}
    assert all(0 <= value <= 1 for value in numbers.values()), numbers
    assert printed["best_single_feature_auc"] >= 0.5
    assert printed["best_single_feature"] in catalog() or printed["best_single_feature"].startswith("use_of_")
    assert printed["base_rate"] == pytest.approx(printed["positives"] / printed["rows"])
    assert sum(band["rows"] for band in printed["health_bands"].values()) <= printed["rows"]


@pytest.mark.parametrize("wrong", [["--accounts", "0"], ["--months", "many"], ["--seed", "1", "--seeds", "2"]])
def test_wrong_arguments_are_named(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        oracle.main(["--accounts", "1", "--months", "1", *wrong])
    assert stop.value.code == 2
    assert wrong[-2] in capsys.readouterr().err


def test_what_the_simulation_refuses_is_told_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^seed is -1"):
        oracle.main(["--accounts", "4", "--months", "3", "--seed", "-1"])


@pytest.mark.parametrize(("until", "told"), [("2025-03-15", "Simulate more"), ("2020-01-01", "no account was active")])
def test_a_company_with_nothing_to_test_says_so(company: KnownCompany, until: str, told: str) -> None:
    few = {name: company.tables[name] for name in ("accounts", "subscriptions")}
    with pytest.raises(Unmeasurable, match=told):
        judge(replace(company, data_until=pd.Timestamp(until)), few)


def test_several_seeds_make_a_table_with_their_mean() -> None:
    figures = dict.fromkeys(oracle.COLUMNS, 0.25)
    table = oracle.over_seeds([{"seed": 1} | figures, {"seed": 2} | figures | {"auc": 0.75, "cause_hit_rate": None}])
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "mean"]
    assert [row[head.index("auc")] for row in rows] == ["0.250", "0.750", "0.500"]
    assert [row[head.index("cause_hit_rate")] for row in rows] == ["0.250", "–", "0.250"]


def test_the_table_has_a_bootstrap_where_there_was_one() -> None:
    without = {name: 0.25 for name in oracle.COLUMNS if not name.startswith("bootstrap_")} | {"seed": 1}
    assert "bootstrap" not in oracle.over_seeds([without])
    assert "bootstrap_coverage | bootstrap_width" in oracle.over_seeds([without | dict.fromkeys(oracle.COLUMNS, 0.5)])


def test_causes_are_counted_over_all_seeds() -> None:
    one = {"causes": {"silence": {"departures": 3, "hit_rate": 1.0}, "payment_trouble": {"departures": 1, "hit_rate": 0.0}}}
    two = {"causes": {"silence": {"departures": 1, "hit_rate": 0.0}}}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in oracle.causes_over_seeds([one, two]).splitlines()[2:]
    ]
    assert rows == [["silence", "silence", "0.800", "0.750"], ["payment_trouble", "payment_trouble", "0.200", "0.000"]]


# On a company


def test_the_true_probability_has_all_the_skill_and_a_constant_none(judged: Judged) -> None:
    truth = judged.rows["truth"].to_numpy(dtype=float)
    perfect = oracle.measured(replace(judged, p=truth, low=truth, high=truth))
    assert (perfect["skill"], perfect["auc"]) == (1.0, perfect["oracle_auc"])
    assert perfect["log_loss"] == perfect["oracle_log_loss"] < perfect["base_rate_log_loss"]
    assert (perfect["interval_coverage"], perfect["interval_width"]) == (1.0, 0.0)
    same = np.full(len(truth), truth.mean())
    constant = oracle.measured(replace(judged, p=same, low=same - 0.01, high=same + 0.01))
    assert (constant["skill"], constant["auc"], constant["calibration_slope"]) == (0.0, 0.5, None)
    assert constant["interval_coverage"] == 1.0


def test_labels_are_the_drawn_ones_and_every_test_row_has_its_truth(judged: Judged, company: KnownCompany) -> None:
    assert not judged.rows.isna().any(axis=None)
    assert len(judged.rows) == len(judged.frame) == len(judged.p) == judged.record["test"]["rows"]
    key = company.risk[company.risk["horizon_days"] == 90].set_index(KEY)["drawn"]
    assert judged.y.tolist() == key.loc[pd.MultiIndex.from_frame(judged.rows[KEY])].astype(float).tolist()
    assert set(judged.rows["as_of"].dt.day) == {1}


def test_features_and_health_of_test_rows_are_the_builders(judged: Judged, company: KnownCompany) -> None:
    some = judged.rows.index[::40]
    built = snapshot(company.tables, judged.rows.loc[some, KEY], judged.model.product_features)
    ours = judged.frame.loc[some]
    pd.testing.assert_frame_equal(built.features[ours.columns], ours)
    scores = health.score(health.inputs(built), set(company.tables)).accounts
    pd.testing.assert_frame_equal(scores, judged.health.loc[some])


def test_the_leading_driver_is_the_largest_sum_that_raises(judged: Judged) -> None:
    at = np.arange(0, len(judged.rows), 9)
    contributions = judged.model.explain(judged.frame.iloc[at]).contributions
    declared = catalog(judged.model.product_features)
    totals = contributions.T.groupby([declared[name].driver for name in contributions.columns]).sum().T
    totals = totals.drop(columns="tenure_and_profile").to_numpy()
    told = oracle.leading_drivers(judged, at)
    names = sorted({declared[name].driver for name in contributions.columns} - {"tenure_and_profile"})
    best = totals.max(axis=1)
    clear = (np.sort(totals, axis=1)[:, -2] < best - 1e-3) & (best > 1e-3)
    assert clear.sum() > 20
    assert told[clear].tolist() == [names[k] for k in totals.argmax(axis=1)[clear]]


def test_departures_counted_are_those_of_test_rows(judged: Judged, company: KnownCompany) -> None:
    found = oracle.caused(judged, company.departures)
    rows = set(judged.rows[KEY].itertuples(index=False, name=None))
    there = [key in rows for key in company.departures[KEY].itertuples(index=False, name=None)]
    assert found["departures"] == sum(there) > 0
    assert sum(cause["departures"] for cause in found["causes"].values()) == sum(there)
    assert {cause.name for cause in CAUSES} >= found["causes"].keys()
    assert set(company.departures["driver"]) <= set(DRIVERS)


def test_a_bootstrap_of_the_very_same_accounts_is_the_judged_model(
    judged: Judged, company: KnownCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the lot makes a difference: fitted again on every row once, the probabilities are the judged model's to the bit."""
    drawn = bootstrap.bootstrap(company, judged, 2, seed=0)
    assert drawn.shape == (2, len(judged.rows))
    assert ((drawn > 0) & (drawn < 1)).all()
    assert not np.array_equal(drawn[0], drawn[1])
    monkeypatch.setattr(bootstrap, "resample", lambda rows, rng: rows)
    [same] = bootstrap.bootstrap(company, judged, 1, seed=0)
    np.testing.assert_array_equal(same, judged.p)


def test_a_bootstrap_is_measured_as_our_intervals_are(judged: Judged) -> None:
    truth = judged.rows["truth"].to_numpy(dtype=float)
    exact = oracle.bootstrapped(replace(judged, p=truth), np.stack([truth, truth]))
    assert exact == {"bootstrap_coverage": 1.0, "bootstrap_width": 0.0, "bootstrap_draws": 2}
    around = truth * np.linspace(0.5, 1.5, 21)[:, None]  # the middle 90 % of 21 even draws: without the outer two
    found = oracle.bootstrapped(replace(judged, p=truth), around)
    assert (found["bootstrap_coverage"], found["bootstrap_draws"]) == (1.0, 21)
    assert found["bootstrap_width"] == pytest.approx(0.45)
    assert oracle.bootstrapped(judged, np.full((3, len(truth)), truth.max()))["bootstrap_coverage"] == 0.0


# By hand


def test_departures_wait_two_weeks_from_notice_or_from_the_end() -> None:
    times = {
        "by notice": ("2026-03-20", "2026-04-30", "silence"),
        "exactly two weeks": ("2026-03-15", "2026-03-31", "silence"),
        "a moment less": ("2026-03-14 23:59:59", "2026-03-31", "silence"),
        "unpaid": (None, "2026-01-20", "payment_trouble"),
        "stays": (None, None, "silence"),
        "causeless": ("2026-03-20", "2026-03-31", None),
    }
    causes = pd.DataFrame(
        {
            "account_id": list(times),
            "cause": "any",
            "driver": pd.array([driver for *_, driver in times.values()], dtype="str"),
            "notice_at": pd.to_datetime([notice for notice, *_ in times.values()], format="ISO8601"),
            "left_at": pd.to_datetime([left for _, left, _ in times.values()]),
        }
    )
    found = departures(causes).set_index("account_id")["as_of"].dt.strftime("%Y-%m-%d").to_dict()
    assert found == {
        "by notice": "2026-03-01",
        "exactly two weeks": "2026-03-01",
        "a moment less": "2026-02-01",
        "unpaid": "2026-01-01",
    }


def test_rows_of_the_test_and_of_the_truth_must_be_the_same() -> None:
    period = {"from": "2026-02-01T00:00:00", "to": "2026-02-01T00:00:00.000001"}
    dates = pd.to_datetime(["2026-01-01", "2026-02-01", "2026-02-01", "2026-03-01"]).as_unit("us")
    truth = pd.DataFrame({"account_id": ["a", "a", "b", "c"], "as_of": dates, "churned": [0.1, 0.2, 0.3, 0.4], "drawn": True})
    test = pd.DataFrame({"account_id": ["b", "a"], "as_of": dates[1:3], "label": [0.0, 1.0]})
    assert beside_truth(test, truth, period)[["account_id", "truth"]].to_numpy().tolist() == [["b", 0.3], ["a", 0.2]]
    with pytest.raises(Unmeasurable, match=r"0 of 1 test rows have no truth, and 1 of 2 rows of the truth are not tested .*b at"):
        beside_truth(test[1:], truth, period)
    with pytest.raises(Unmeasurable, match=r"1 of 2 test rows have no truth, and 0 of 1 rows .*a at 2026-02-01"):
        beside_truth(test, truth[2:], period)


def test_interval_coverage_is_a_share_of_bins() -> None:
    p = np.repeat(np.linspace(0.1, 0.8, 4), 2) + np.tile([0.0, 0.01], 4)
    truth = p + np.array([0.01, -0.01, 0.2, 0.2, -0.03, 0.0, 0.3, -0.3])  # by bins of two: 0, +0.2, −0.015, 0
    assert oracle.interval_coverage(p, p - 0.02, p + 0.02, truth, bins=4) == 3 / 4
    assert oracle.interval_coverage(p, p - 0.02, p + 0.02, truth, bins=8) == 3 / 8
    assert oracle.interval_coverage(p[:3], p[:3], p[:3], p[:3]) == 1.0, "with fewer rows than bins each row is a bin"


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.integers(0, 64)), min_size=2, max_size=60), st.randoms())
@settings(max_examples=50, deadline=None)
def test_interval_coverage_does_not_hang_on_the_order_of_rows(rows: list[tuple[float, int]], random: Any) -> None:
    p, truth = np.array(rows).T
    order = np.array(random.sample(range(len(rows)), len(rows)))
    truth = truth / 64  # whole numbers of 1/64 add up exactly in any order
    first, again = (oracle.interval_coverage(p[at], p[at] - 0.1, p[at] + 0.1, truth[at]) for at in (slice(None), order))
    assert first == again


def test_interval_width_is_of_the_top_tenth() -> None:
    p = np.linspace(0.01, 0.2, 20)
    half = np.where(p >= 0.185, 0.1, 5.0)
    assert oracle.interval_width(p, p - half, p + half) == pytest.approx(0.1 / np.mean([0.19, 0.2]))


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_drawn_account_brings_all_its_rows(names: list[str], seed: int) -> None:
    accounts = np.array(names, dtype=object)
    rows, draws = bootstrap.draw_accounts(accounts, np.random.default_rng(seed))
    assert set(draws) == set(range(len(set(names)))), "as many accounts are drawn as there are"
    for draw in set(draws):
        drawn = rows[draws == draw]
        np.testing.assert_array_equal(np.sort(drawn), np.flatnonzero(accounts == accounts[drawn[0]]))


def test_a_percentile_interval_is_of_each_row_alone() -> None:
    draws = np.column_stack([np.linspace(0, 1, 21), np.full(21, 0.3)])[::-1]
    low, high = bootstrap.percentile_interval(draws)
    assert (low.tolist(), high.tolist()) == ([pytest.approx(0.05), 0.3], [pytest.approx(0.95), 0.3])
    low, high = bootstrap.percentile_interval(draws, level=0.5)
    assert (low[0], high[0]) == (pytest.approx(0.25), pytest.approx(0.75))


def test_missing_values_count_as_low_or_as_high() -> None:
    y = np.array([0.0, 0.0, 1.0, 1.0])
    low = pd.DataFrame({"constant": 1.0, "gaps": [2.0, 3.0, np.nan, np.nan], "middle": [1.0, 4.0, 2.0, np.nan]})
    assert oracle.best_single_feature(low, y) == ("gaps", 1.0)
    assert oracle.best_single_feature(low[["middle"]], y) == ("middle", 0.75)
    assert oracle.best_single_feature(low[["constant"]], y) == ("constant", 0.5)


def _told(rows: list[tuple[str, str, str | None]]) -> dict[str, Any]:
    return oracle.cause_hits(pd.DataFrame(rows, columns=["cause", "driver", "told"]).astype("str"))


def test_every_cause_weighs_the_same_in_the_hit_rate() -> None:
    rows = [("price", "price_pressure", "price_pressure")] * 3 + [("silence", "silence", "growth"), ("silence", "silence", None)]
    found = _told(rows)
    assert (found["cause_hit_rate"], found["cause_hit_constant"], found["departures"]) == (0.5, 0.5, 5)
    assert found["causes"]["price"] == {"departures": 3, "hit_rate": 1.0}
    assert found["causes"]["silence"] == {"departures": 2, "hit_rate": 0.0}
    assert _told([])["cause_hit_rate"] is None
    assert _told([])["cause_hit_constant"] is None


@given(st.lists(st.sampled_from([(cause.name, cause.driver) for cause in CAUSES]), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None)
def test_a_constant_driver_reaches_the_constant_and_no_more(gone: list[tuple[str, str]]) -> None:
    rates = [_told([(*one, driver) for one in gone]) for driver in DRIVERS]
    assert max(found["cause_hit_rate"] for found in rates) == rates[0]["cause_hit_constant"] == 1 / len(set(gone))
    assert _told([(*one, one[1]) for one in gone])["cause_hit_rate"] == 1.0


def test_health_is_judged_where_there_is_a_score() -> None:
    card = pd.DataFrame(
        {
            "score": pd.array([20, 90, 60, None], dtype="Int64"),
            "band": pd.array(["at_risk", "healthy", None, None], dtype="str"),
            "coverage": [1.0, 1.0, 0.4, 0.0],
        }
    )
    found = oracle.health_figures(card, np.array([1.0, 0.0, 0.0, 1.0]))
    assert (found["health_auc"], found["health_separation"], found["health_coverage"]) == (1.0, 55.0, 0.6)
    assert found["health_bands"] == {
        "at_risk": {"rows": 1, "churn_rate": 1.0},
        "healthy": {"rows": 1, "churn_rate": 0.0},
    }
    assert oracle.health_figures(card, np.zeros(4))["health_auc"] is None

"""The simulated company beside life: the measures on lives whose answer is known, and the whole table."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import regularities
from benchmarks.regularities import BEGIN, DATA, DAY, END, Lives, Row

START, UNTIL = pd.Timestamp("2026-01-05"), pd.Timestamp("2026-12-28")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets beside the project are not there")
AMOUNTS = st.lists(st.integers(1, 1000), min_size=2, max_size=40).map(lambda amounts: pd.Series(amounts, dtype=float))


def accounts(left: list[pd.Timestamp | None], born: pd.Timestamp = START) -> pd.DataFrame:
    frame = pd.DataFrame({"born": born, "seen_from": START, "seen_until": UNTIL, "left": left, "peers": "all"})
    frame["left"] = pd.to_datetime(frame["left"])
    return frame.set_index(pd.Index([f"A{number}" for number in range(len(left))], name="account_id"))


def use(of: pd.DataFrame, level: dict[str, float], fallen: dict[str, tuple[pd.Timestamp, float]]) -> pd.DataFrame:
    rows = pd.MultiIndex.from_product([of.index, pd.date_range(START, UNTIL)], names=["account_id", "day"]).to_frame(index=False)
    rows["users"] = rows["account_id"].map(level).fillna(10.0)
    for account, (since, share) in fallen.items():
        rows.loc[(rows["account_id"] == account) & (rows["day"] >= since), "users"] *= share
    return rows.assign(quantity=rows["users"])


def test_hazard_counts_departures_per_month_at_that_age() -> None:
    lives = accounts([START + 45 * DAY, None, None, None])
    month = regularities.MONTH_DAYS
    assert regularities.hazard(lives, 0, 1) == 0
    assert regularities.hazard(lives, 1, 2) == pytest.approx(1 / (3 + 45 / month - 1))
    assert np.isnan(regularities.hazard(lives, 24, 36))


def test_hazard_counts_nobody_before_they_were_seen() -> None:
    old = accounts([None, START + 30 * DAY], born=START - 400 * DAY)
    assert np.isnan(regularities.hazard(old, 0, 12))
    assert regularities.hazard(old, 12, 24) > 0


def test_use_before_leaving_is_relative_to_oneself_and_to_stayers() -> None:
    leave = START + 200 * DAY
    lives = accounts([leave, leave, leave, None, None])
    everyone = dict.fromkeys(lives.index, (leave - 50 * DAY, 0.5))  # a holiday that halves everybody's use is no decline
    fallen = Lives("made", lives, use(lives, {"A0": 100.0}, everyone))
    assert regularities.before_leaving(fallen)["weeks 4–1"] == pytest.approx(1)
    quarter = dict.fromkeys(["A0", "A1"], (leave - 28 * DAY, 0.25))
    measured = regularities.before_leaving(Lives("made", lives, use(lives, {"A0": 100.0}, quarter)))
    assert measured["weeks 8–5"] == pytest.approx(1)
    assert measured["weeks 4–1"] == pytest.approx(0.25)
    assert (measured["leavers"], measured["unseen"], measured["alarm"]) == (3, pytest.approx(1 / 3), 0)
    only = regularities.before_leaving(Lives("made", lives, use(lives, {}, quarter)), pd.Series({"A2": True}))
    assert (only["leavers"], only["weeks 4–1"]) == (1, pytest.approx(1))


def test_leavers_seen_too_briefly_are_not_compared() -> None:
    lives = accounts([START + 30 * DAY, None])
    assert regularities.before_leaving(Lives("made", lives, use(lives, {}, {})))["leavers"] == 0


def test_goals_missed_and_never_measured() -> None:
    left = [START + 150 * DAY] * 2 + [None] * 6
    lives = accounts(left)
    goals = pd.DataFrame({"account_id": lives.index[:6], "target": 10.0, "value": [1.0, 11, 1, 11, 11, 11]})
    goals["measured_at"] = START + 80 * DAY
    ratios = regularities.leaving_by_goals(Lives("made", lives, use(lives, {}, {})), goals, days=90)
    assert ratios["missed"] > 1
    assert ratios["none"] < 1


@given(AMOUNTS, st.floats(0.1, 50))
def test_spread_does_not_hang_on_the_unit(amounts: pd.Series, unit: float) -> None:
    assert regularities.gini(amounts * unit) == pytest.approx(regularities.gini(amounts), abs=1e-9)
    assert 0 <= regularities.gini(amounts) < 1
    assert 1 / len(amounts) <= regularities.top_share(amounts) <= 1


@pytest.mark.parametrize(("simulated", "matches"), [(0.2, True), (0.31, False), (float("nan"), None)])
def test_a_row_matches_in_its_range_only(simulated: float, matches: bool | None) -> None:
    assert Row("r", "f", {}, simulated, 0.1, 0.3).matches is matches
    assert Row("r", "f", {}, simulated).matches is None


def test_the_table_goes_between_the_markers(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    regularities.write_note("new", note)
    regularities.write_note("newer", note)
    assert note.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    note.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="markers"):
        regularities.write_note("new", note)


def test_the_note_names_every_source_and_has_its_markers() -> None:
    note = regularities.NOTE.read_text(encoding="utf-8")
    assert (note.count(BEGIN), note.count(END)) == (1, 1)


@needs_data
def test_the_whole_table_for_a_small_company(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["regularities", "--accounts", "150", "--months", "18", "--seed", "3", "--json"])
    regularities.main()
    rows = json.loads(capsys.readouterr().out)
    assert {row["regularity"] for row in rows} == {"tenure", "use", "surveys", "goals", "leaving", "spread", "calendar"}
    assert len({row["figure"] for row in rows}) == len(rows)
    assert all(row["low"] < row["high"] for row in rows if row["low"] is not None)
    sources = {source.split(" (")[0] for row in rows for source in row["real"]} - {"no week", "regular"}
    note = regularities.NOTE.read_text(encoding="utf-8")
    assert [source for source in sources if f"| {source.removesuffix(' high end')} |" not in note] == []


@needs_data
def test_real_lives_are_what_their_description_says() -> None:
    (real, _), flat = regularities.oulad(DATA / "oulad"), regularities.crm5(DATA / "crm5")
    assert (len(real.accounts), int((real.accounts["left"] < real.accounts["seen_until"]).sum())) == (4376, 815)
    assert (len(flat.accounts), int(flat.accounts["left"].notna().sum())) == (2599, 525)
    assert regularities.before_leaving(flat)["weeks 4–1"] == pytest.approx(1, abs=0.05)
    assert regularities.before_leaving(real)["weeks 4–1"] < 0.6

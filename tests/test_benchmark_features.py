"""What the feature benchmark measures: the events it simulates, and that all who build features count alike."""

import json
import math

import duckdb
import numpy as np
import pandas as pd
import pytest

from benchmarks import features as benchmark
from benchmarks.feature_agreement import largest_difference
from benchmarks.feature_events import month_first, night, write_events, write_spine
from benchmarks.feature_peers import ours, with_pandas
from benchmarks.feature_peers.columns import COUNTS, REACH_DAYS
from benchmarks.feature_peers.environment import interpreter, run_program

ACCOUNTS, MONTHS = 60, 15


def events_of(folder):
    return duckdb.sql(f"select * from '{folder}/usage/*.parquet' order by event_id").df()


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """Simulated events, and events on the edges of the windows; the spine is of the last two months."""
    folder = tmp_path_factory.mktemp("company")
    write_events(folder, 20_000, ACCOUNTS, MONTHS)
    write_spine(folder / "spine.parquet", ACCOUNTS, MONTHS, snapshots=2)
    at = pd.Timestamp(month_first(MONTHS))
    moments = [at - pd.Timedelta(days=days) for days in (0, 7, 30, 60, 90, 91, 180, REACH_DAYS, REACH_DAYS + 1)]
    edges = pd.DataFrame({"occurred_at": [*moments, at - pd.Timedelta(microseconds=1)]}).astype("datetime64[us]")
    edges = edges.assign(account_id="a000000", feature="Cancel_Page", user_id="somebody", quantity=2, value=0.5)
    edges["event_id"] = [f"edge {number}" for number in range(len(edges))]
    edges.to_parquet(folder / "usage" / "edges.parquet", index=False)
    ours.run(folder, folder / "spine.parquet", folder / "ours.parquet")
    return folder


@pytest.fixture(scope="module")
def counted(company):
    """What pandas counts."""
    wrote = company / "counted.parquet"
    with_pandas.run(company, company / "spine.parquet", wrote)
    return wrote


@pytest.mark.parametrize("library", benchmark.PEERS.values(), ids=benchmark.PEERS)
def test_a_peer_counts_what_ours_counts(company, library):
    python = interpreter(library, make=False)
    if python is None:
        pytest.skip(f"{library} is not installed, and `python -m benchmarks.features` has made no environment for it")
    wrote = company / f"{library}.parquet"
    run_program(python, f"benchmarks.feature_peers.with_{library}", company, company / "spine.parquet", wrote)
    counted = pd.read_parquet(wrote)
    assert len(counted) == 2 * ACCOUNTS
    assert not counted[list(COUNTS)].isna().any().any()
    worst, apart = largest_difference(company / "ours.parquet", wrote, company / "subscriptions.parquet")
    assert apart < 1e-9, worst


def test_the_edges_of_the_windows_are_counted_once(company):
    found = duckdb.sql(f"from '{company}/ours.parquet' where account_id = 'a000000' order by as_of desc limit 1").df().iloc[0]
    assert found["cancellation_page_visits_30d"] >= 2 * 3  # T − 30 days, T − 7 days and just before T; not T
    assert found["cancellation_page_visits_90d"] - found["cancellation_page_visits_30d"] >= 2 * 2
    assert found["days_since_last_use"] == pytest.approx(1e-6 / 86_400)


@pytest.mark.parametrize("change", ["one more", "a null", "a row less"])
def test_a_difference_is_found(company, counted, tmp_path, change):
    mine = pd.read_parquet(company / "ours.parquet")
    expected = math.inf
    if change == "one more":
        mine.loc[3, "features_used_90d"] += 1
        expected = 1 / max(mine.loc[3, "features_used_90d"] - 1, 1)
    elif change == "a null":
        mine.loc[3, "features_used_90d"] = np.nan
    else:
        mine = mine.drop(index=3)
    mine.to_parquet(tmp_path / "ours.parquet", index=False)
    worst, apart = largest_difference(tmp_path / "ours.parquet", counted, company / "subscriptions.parquet")
    assert apart == pytest.approx(expected)
    assert worst == "features_used_90d" or change == "a row less"


def test_events_are_the_same_for_the_same_seed_and_as_many_as_asked(tmp_path):
    for name, events, seed in (("one", 20_000, 3), ("again", 20_000, 3), ("other", 20_000, 4), ("tenth", 2_000, 3)):
        write_events(tmp_path / name, events, ACCOUNTS, MONTHS, seed)
    one, other, tenth = (events_of(tmp_path / name) for name in ("one", "other", "tenth"))
    pd.testing.assert_frame_equal(one, events_of(tmp_path / "again"))
    assert len(one) == pytest.approx(20_000, rel=0.2)
    assert len(tenth) == pytest.approx(len(one) / 10, rel=0.1)
    assert one["event_id"].is_unique
    assert not one.equals(other)
    for table in ("accounts", "subscriptions"):
        frames = [pd.read_parquet(tmp_path / name / f"{table}.parquet") for name in ("one", "tenth")]
        pd.testing.assert_frame_equal(*frames)
    assert len(frames[0]) == ACCOUNTS
    files = list((tmp_path / "one" / "usage").iterdir())
    of_files = {file.stem: pd.read_parquet(file)["occurred_at"].dt.strftime("%Y-%m") for file in files}
    assert sorted(of_files) == [f"{month_first(month):%Y-%m}" for month in range(MONTHS)]
    assert all((months == name).all() for name, months in of_files.items())


def test_a_night_is_one_day_and_a_few_late_events(tmp_path):
    write_events(tmp_path, 20_000, ACCOUNTS, MONTHS)
    night(tmp_path / "night.parquet", 1_000, ACCOUNTS, MONTHS)
    new = pd.read_parquet(tmp_path / "night.parquet")
    end = pd.Timestamp(month_first(MONTHS))
    assert len(new) == 1_000
    assert new["occurred_at"].lt(end + pd.Timedelta(days=1)).all()
    assert 0 < new["occurred_at"].lt(end).sum() < 60
    assert not set(new["event_id"]) & set(events_of(tmp_path)["event_id"])


def test_the_benchmark_prints_its_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PEERS", {"pandas": "pandas"})
    monkeypatch.setattr(benchmark, "SLICED", ("pandas",))
    benchmark.main(
        ["--events", "20000", "--accounts", "40", "--slice", "20", "--large", "0", "--json", "--folder", str(tmp_path)]
    )
    rows = json.loads(capsys.readouterr().out)
    assert {"row", "ours", "peer", "ratio", "peak_mib"} <= set(rows[0])
    labels = [row["row"].split("seconds, ")[-1] for row in rows]
    assert labels[:2] == ["a plain DuckDB scan", "pandas (scaled up from 4 and 20 accounts)"]
    assert rows[1]["difference"] < 1e-9
    assert all(row["ratio"] == pytest.approx(row["peer"] / row["ours"]) for row in rows)

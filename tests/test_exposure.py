"""Plays in the data: what was begun after T, what a lot held out, and who stands for those whose play began."""

import numpy as np
import pandas as pd
import pytest

from training.exposure import ENOUGH, Exposure, Plays

T = pd.Timestamp("2026-01-01")
DAY = pd.Timedelta(days=1)


def plays(**columns: list[object]) -> Plays:
    rows = pd.DataFrame(
        {"account_id": ["a", "a", "b"], "playbook": "call", "started_at": [T, T + 40 * DAY, T + 10 * DAY]} | columns
    )
    return Plays({"plays": rows})


def exposure(found: Plays, accounts: list[str], spans: list[int]) -> Exposure:
    at = pd.Series([T] * len(accounts)).astype("datetime64[us]")
    known = found.exposure(pd.Series(accounts), at, spans)
    assert known is not None
    return known


def test_a_play_counts_from_its_beginning_to_before_the_end_of_the_span() -> None:
    found = exposure(plays(), ["a", "b", "c"], [0, 10, 11, 40, 41])
    assert found.begun.tolist() == [[0, 1, 1, 1, 2], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]
    assert not found.held_out.any()


def test_what_is_held_out_was_not_begun() -> None:
    found = exposure(plays(assignment=["treated", "held_out", "held_out"]), ["a", "b"], [90])
    assert (found.begun.tolist(), found.held_out.tolist()) == ([[1], [0]], [[1], [1]])
    assert found.called_per_held_out == 1.5


def test_the_latest_version_of_a_play_holds() -> None:
    rows = pd.DataFrame(
        {
            "account_id": ["a", "a"],
            "playbook": "call",
            "play_id": "p",
            "started_at": T + DAY,
            "assignment": ["treated", "held_out"],
            "recorded_at": [T + 2 * DAY, T + 3 * DAY],
        }
    )
    found = exposure(Plays({"plays": rows}), ["a"], [30])
    assert (found.begun.tolist(), found.held_out.tolist()) == ([[0]], [[1]])


def test_without_plays_there_is_no_exposure() -> None:
    nobody = pd.Series(["a"]), pd.Series([T])
    assert Plays({}).exposure(*nobody, [30]) is None


@pytest.mark.parametrize("departures", [ENOUGH - 1, ENOUGH])
def test_who_was_held_out_stands_for_all_for_whom_a_play_was_called_for(departures: int) -> None:
    rows = 4 * ENOUGH
    begun, held_out = np.zeros((rows, 1), dtype=np.int8), np.zeros((rows, 1), dtype=np.int8)
    held_out[:ENOUGH], begun[ENOUGH : 2 * ENOUGH] = 1, 1
    y = np.zeros(rows)
    y[:departures] = 1
    found = Exposure(begun, held_out, 2.0).untreated(np.arange(rows), np.zeros(rows, dtype=np.intp), y)
    times = np.bincount(found, minlength=rows)
    if departures < ENOUGH:  # the level would hang on one of them
        assert (times == 1).all()
    else:
        assert (times[:ENOUGH] == 2).all()
        assert (times[ENOUGH : 2 * ENOUGH] == 0).all()
        assert (times[2 * ENOUGH :] == 1).all()

"""Events that the service took in count beside kept rollups as they do among all rows, those that a file brings too."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kept_usage_files import MIDNIGHTS, UNTIL, company_in, frame, good, loaded, made, write

from serving.arrived import with_events
from serving.events import read
from serving.store import Store
from serving.store.intake import Intake


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return company_in(tmp_path)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open("sqlite://") as opened:
        yield opened


def arrive(store: Store, at: str, row: dict[str, Any]) -> None:
    """Have an event come in at an instant."""
    cells = {name: row[name] for name in ("account_id", "feature", "event_id", "user_id", "quantity") if row[name] is not None}
    line = json.dumps(cells | {"table": "usage", "occurred_at": row["occurred_at"].isoformat()}).encode()
    Intake(store._database, lambda: datetime.fromisoformat(at)).add([read(line, latest=UNTIL.to_pydatetime())])


def held_equal(base: Path, store: Store) -> dict[str, Any]:
    """Assert that at each midnight what had arrived counts as it does among all rows; return the tables of the last."""
    for midnight in MIDNIGHTS:
        at = pd.Timestamp(midnight).to_pydatetime()
        kept, whole = (with_events(loaded(base, keep=keep).tables, store, at) for keep in (True, False))
        pd.testing.assert_frame_equal(frame(kept, [midnight]), frame(whole, [midnight]), rtol=1e-9, atol=0)
    return kept


@pytest.mark.parametrize("without", [(), ("recorded_at",)])
def test_an_event_that_a_file_brings_too_counts_once(base: Path, store: Store, without: tuple[str, ...]) -> None:
    write(base / "tables" / "usage" / "1.parquet", [good(n, user_id=f"u{n}") for n in range(100)], without)
    write(base / "tables" / "usage" / "2.parquet", [good(n, quantity=3) for n in range(5)], without)
    arrive(store, "2025-11-29T10:00", good(70, user_id="u70"))  # as the file has it
    arrive(store, "2025-11-29T11:00", good(71, quantity=50))  # corrected
    arrive(store, "2025-12-20T10:00", good(1, quantity=60))  # one that recurs in the files
    arrive(store, "2025-12-20T11:00", good(72, account_id="c"))
    arrive(store, "2026-01-01T23:59", good(500, occurred_at=pd.Timestamp("2026-01-01 12:00")))  # new
    kept = held_equal(base, store)
    assert kept["usage"].apart == {"2025-11": ("a",)}


def test_any_events_beside_any_files(base: Path, store: Store) -> None:
    for night in range(3):
        write(base / "tables" / "usage" / f"{night}.parquet", made(night))
    instants = np.sort(np.random.default_rng(3).choice(pd.date_range("2025-11-01", UNTIL, freq="h"), 40, replace=False))
    rows = [
        row for row in made(7, 200) if row["event_id"] and row["account_id"] and row["feature"] and row["occurred_at"] < UNTIL
    ]
    for number, (at, row) in enumerate(zip(instants, rows, strict=False)):
        known = row["event_id"] if number % 3 else f"new {number}"
        arrive(store, pd.Timestamp(at).isoformat(), row | {"event_id": known, "recorded_at": None})
    held_equal(base, store)


def test_a_column_that_only_events_bring(base: Path, store: Store) -> None:
    write(base / "tables" / "usage" / "1.csv", map(good, range(50)), ("user_id", "recorded_at"))
    arrive(store, "2025-12-20T10:00", good(500, occurred_at=pd.Timestamp("2025-12-20 09:00")))
    held_equal(base, store)

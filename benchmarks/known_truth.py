"""A simulated company whose truth is known, and the churn model that training tests on it, every test row beside its truth.

The tables go the product's own way: written to files, loaded, made features of, trained on; the truth stays beside them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from features.loader import load
from features.mapping import Mapping as TablesMapping
from features.snapshots import Snapshot
from models import health
from models.outcome import OutcomeModel
from training.dataset import build_dataset
from training.fit import Kind
from training.gate import SERVES
from training.settings import Task, TrainingSettings
from training.train import train_task

FloatArray = npt.NDArray[np.float64]
KEY = ["account_id", "as_of"]
#: A cause counts by what was told of it at the last month start at least this long before the departure.
LEAD = pd.Timedelta(days=14)
#: DuckDB's share of the memory; the database lies on disk, compressed, and what does not fit is spilled beside it.
_DUCKDB_MEMORY = "2GB"
_SIMULATE = """
import sys
from simulation import simulate, write

company = simulate(*map(int, sys.argv[2:]))
write(company, sys.argv[1])
print(company.data_until)
"""


class Unmeasurable(Exception):
    """A company on which nothing can be measured, or whose truth does not fit its tables; says why and what to do."""


@dataclass(frozen=True)
class KnownCompany:
    """The loaded tables up to `data_until`, and the truth.

    `risk`: account_id, as_of, horizon_days, churned (exact probability), drawn (bool: the label drawn from it).
    `departures`: account_id, as_of (the last month start at least `LEAD` before), cause, driver; the caused ones only.
    """

    tables: Mapping[str, Any]
    data_until: pd.Timestamp
    risk: pd.DataFrame
    departures: pd.DataFrame


@dataclass(frozen=True)
class Judged:
    """Test rows of churn, in the order of `rows`, with the model that was fitted before them.

    `rows`: account_id, as_of, label (what came true), truth (exact probability), drawn (bool), and one probability per model
    and baseline, by its name. `p`, `low`, `high` (rows,): the probability of `model`, with its 90 % interval; it is the one that
    the gate lets serve, or the booster where the gate lets neither. `frame`: the features. `health`: score, band, coverage, … as
    `models.health.score` gives them. `record`: as `kunto train` prints it.
    """

    rows: pd.DataFrame
    frame: pd.DataFrame
    health: pd.DataFrame
    model: OutcomeModel
    record: Mapping[str, Any]
    p: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def y(self) -> FloatArray:
        """The labels drawn from the truth, 0 or 1 (rows,)."""
        return self.rows["drawn"].to_numpy(dtype=np.float64)


@contextmanager
def simulated(accounts: int, months: int, seed: int) -> Iterator[KnownCompany]:
    """Simulate a company into a temporary folder and open it there; Unmeasurable where the simulation refuses."""
    with tempfile.TemporaryDirectory(prefix="kunto-") as folder:
        # A process of its own, which gives all its memory back before the features need it.
        command = [sys.executable, "-c", _SIMULATE, folder, str(accounts), str(months), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unmeasurable(done.stderr.strip().rpartition("\n")[2].removeprefix("ValueError: "))
        with opened(Path(folder), pd.Timestamp(done.stdout.strip())) as company:
            yield company


@contextmanager
def opened(folder: Path, data_until: pd.Timestamp) -> Iterator[KnownCompany]:
    """Load `folder`/tables as the product does, and read `folder`/truth; both as `simulation.write` left them."""
    mapping = TablesMapping.from_dict({"data": {"source": "tables", "data_until": data_until.to_pydatetime()}})
    with tempfile.TemporaryDirectory(prefix="kunto-") as place:
        connection = ibis.duckdb.connect(
            Path(place) / "company.duckdb", memory_limit=_DUCKDB_MEMORY, temp_directory=str(Path(place) / "spill")
        )
        try:
            source = load(mapping, base=folder, connection=connection)
            if source.report.fatal:
                raise Unmeasurable(f"the simulated tables break the contract: {[f.record() for f in source.report.fatal]}")
            risk, causes = (pd.read_parquet(folder / "truth" / f"{name}.parquet") for name in ("outcomes", "causes"))
            risk = risk.assign(as_of=risk["as_of"].astype("datetime64[us]"), drawn=risk["drawn"] == "churned")
            risk = risk[[*KEY, "horizon_days", "churned", "drawn"]]
            yield KnownCompany(source.tables, data_until, risk, departures(causes))
        finally:
            connection.disconnect()


def departures(causes: pd.DataFrame) -> pd.DataFrame:
    """Return the caused departures of truth's `causes`: account_id, as_of, cause, driver.

    A departure happens with its notice, or where there is none (unpaid) with its end; `as_of` is the last month start that
    lies at least `LEAD` before it.

    >>> causes = pd.DataFrame({"account_id": ["a"], "cause": ["silence"], "driver": ["silence"], "notice_at":
    ...     pd.to_datetime(["2026-03-14 12:00"]), "left_at": pd.to_datetime(["2026-03-31"])})
    >>> departures(causes).iloc[0].tolist()
    ['a', Timestamp('2026-02-01 00:00:00'), 'silence', 'silence']
    """
    event = causes["notice_at"].fillna(causes["left_at"])
    found = causes.assign(as_of=(event - LEAD).dt.to_period("M").dt.to_timestamp().astype("datetime64[us]"))
    found = found[event.notna() & causes["driver"].notna()]
    return found[[*KEY, "cause", "driver"]].reset_index(drop=True)


def judge(
    company: KnownCompany,
    tables: Mapping[str, Any],
    *,
    stage: Callable[[str], None] = lambda name: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Train churn with the default settings on `tables` (some or all of the company's) and set its test beside the truth.

    Unmeasurable where there is nothing to test, only one class was drawn, or the test's rows are not the truth's.
    """
    settings = TrainingSettings()
    task = Task(outcome="churn", horizon_days=settings.horizon)
    stage("features")
    until, horizons = company.data_until, [task.horizon_days]
    try:
        data = build_dataset(tables, data_until=until, settings=settings, horizons=horizons, progress=progress)
    except ValueError as error:
        raise Unmeasurable(str(error)) from error
    stage("training")
    fitted = train_task(tables, data, task, data_until=until, settings=settings, refit=False)
    state = fitted.record["gate"]["state"]
    if fitted.test.empty:
        # The last sentence says what serves, which is not asked here.
        why = " ".join(fitted.record["gate"]["reasons"][:-1]) or state
        raise Unmeasurable(f"nothing to test: {why} Simulate more accounts or months")
    rows = beside_truth(fitted.test, company.risk[company.risk["horizon_days"] == task.horizon_days], fitted.record["test"])
    if rows["drawn"].all() or not rows["drawn"].any():
        raise Unmeasurable(f"the {len(rows)} test rows drew one class only: simulate more accounts")
    at = pd.MultiIndex.from_frame(data.spine[KEY]).get_indexer(pd.MultiIndex.from_frame(rows[KEY]))
    frame = data.frame.iloc[at].reset_index(drop=True)
    kind: Kind = "logistic" if SERVES[state] == "logistic" else "booster"
    model, p = fitted.tested[kind], rows[kind].to_numpy(dtype=np.float64)
    low, high = model.precision.interval(p)
    return Judged(rows, frame, _health(frame, set(tables)), model, fitted.record, p, low, high)


def beside_truth(test: pd.DataFrame, risk: pd.DataFrame, period: Mapping[str, str]) -> pd.DataFrame:
    """Return `test` with truth and drawn; every row of either must have its like in the other (Unmeasurable, with counts).

    `risk` is the truth at one horizon, of which `from` ≤ as_of < `to` of `period` are tested.
    """
    inside = (risk["as_of"] >= pd.Timestamp(period["from"])) & (risk["as_of"] < pd.Timestamp(period["to"]))
    truth = risk[inside].rename(columns={"churned": "truth"})[[*KEY, "truth", "drawn"]]
    ours, theirs = (pd.MultiIndex.from_frame(frame[KEY]) for frame in (test, truth))
    without_truth, untested = ours.difference(theirs), theirs.difference(ours)
    if len(without_truth) or len(untested):
        examples = [f"{account} at {instant.date()}" for account, instant in [*without_truth[:2], *untested[:2]]]
        raise Unmeasurable(
            f"{len(without_truth)} of {len(test)} test rows have no truth, and {len(untested)} of {len(truth)} rows of the truth "
            f"are not tested (such as {', '.join(examples)}): simulation and labels must agree on who is at risk"
        )
    return test.merge(truth, on=KEY, how="left", validate="one_to_one")


def _health(frame: pd.DataFrame, connected: set[str]) -> pd.DataFrame:
    """Score the health of rows at risk: active, and no notice stands (else they would be no test rows)."""
    facts = pd.DataFrame({"leaving": False}, index=frame.index)
    return health.score(health.inputs(Snapshot(frame, facts, frame.iloc[:, :0])), connected).accounts

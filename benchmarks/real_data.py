"""`python -m benchmarks.real_data [--json]`: the churn model by fixed protocols on data that this project did not make.

Mean of five seeds of the booster; the mapping is the one that `kunto init` proposes, unless a file is named. Every run looks at
the test periods: log it in docs/test-looks.md.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.check import check
from features.loader import load
from features.mapping import Mapping, read_mapping
from features.recognise import propose
from training.dataset import build_dataset
from training.settings import Task, TrainingSettings
from training.train import train_task

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MAPPINGS = Path(__file__).with_name("mappings")
SEEDS = 5


@dataclass(frozen=True)
class Protocol:
    """One measurement: a data set, its settings, and the mapping where it is not the proposed one."""

    row: str
    folder: str
    settings: TrainingSettings
    mapping: str | None = None


def _settings(**options: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"outcomes": ("churn",), "event": "revenue", "grace": 0} | options)


PROTOCOLS = (
    Protocol("crm5", "crm5", _settings(horizon=60, every=14, test_from="2023-05-01")),
    Protocol("oulad (a)", "oulad", _settings(horizon=14, every=7, test_from="2013-10-01", test_to="2014-02-15")),
    Protocol("oulad (b)", "oulad", _settings(horizon=14, every=7, test_from="2014-09-01")),
    Protocol("ravenstack, accounts", "ravenstack", _settings(grace=30)),
    Protocol("ravenstack, subscriptions", "ravenstack", _settings(grace=30), "subscription_as_account.toml"),
)


def measure(protocol: Protocol, seeds: int) -> dict[str, Any]:
    """Return one row: AUC (mean over seeds, and each), baselines, gate, seconds of one whole pass, peak memory in MiB."""
    began = time.perf_counter()
    source = load(_mapping(protocol), base=DATA)
    report = check(source)
    assert source.data_until is not None, "every mapping here states data_until"
    settings, until = protocol.settings, pd.Timestamp(source.data_until)
    data = build_dataset(source.tables, data_until=until, settings=settings, horizons=[settings.horizon])
    task = Task(outcome="churn", horizon_days=settings.horizon)
    records = []
    for seed in range(seeds):
        seeded = settings.model_copy(update={"seed": seed})
        records.append(train_task(source.tables, data, task, data_until=until, settings=seeded, refit=False).record)
        if seed == 0:
            once = time.perf_counter() - began
    test = records[0]["test"]
    aucs = [record["test"]["auc"] for record in records]
    return {
        "row": protocol.row,
        "auc": None if None in aucs else float(np.mean(aucs)),
        "auc_by_seed": aucs,
        "lift_top_decile": test["lift_top_decile"],
        "calibration_slope": test["calibration_slope"],
        "base_rate": test["base_rate"],
        "test_rows": test["rows"],
        "baselines": {name: figures["auc"] for name, figures in records[0]["baselines"].items()},
        "gate": sorted({record["gate"]["state"] for record in records}),
        "warnings": len(report.warnings),
        "seconds": round(once, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _mapping(protocol: Protocol) -> Mapping:
    if protocol.mapping is not None:
        mapping = read_mapping(MAPPINGS / protocol.mapping)
        return mapping.model_copy(update={"data": mapping.data.model_copy(update={"source": protocol.folder})})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kunto.toml"
        path.write_text(propose(protocol.folder, base=DATA), encoding="utf-8")
        return read_mapping(path)


def main() -> None:
    """Measure every protocol, or those whose row contains --only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: these figures need the data sets beside the project")
    rows = [measure(protocol, options.seeds) for protocol in PROTOCOLS if options.only in protocol.row]
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        auc = "–" if row["auc"] is None else f"{row['auc']:.4f}"
        beside = ", ".join(f"{name} {value:.3f}" for name, value in row["baselines"].items() if value is not None)
        print(f"{row['row']:26} AUC {auc}  {'/'.join(row['gate']):16} {row['seconds']:6.1f} s {row['peak_mib']:5} MiB  {beside}")


if __name__ == "__main__":
    main()

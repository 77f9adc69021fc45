"""`python -m benchmarks.real_data [--json]`: the models by fixed protocols on data that this project did not make.

Mean of five seeds of the booster; the mapping is the one that `kunto init` proposes, unless a file is named. Beside it, on the
same rows: LightGBM as it comes, logistic regression and the other baselines, and how far ours is ahead of each, with 95 %
intervals from resampled accounts. Every run looks at the test periods: log it
in docs/test-looks.md.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
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
from training.exposure import Plays
from training.paired import Difference, Metric, paired
from training.peers import lightgbm
from training.period import period
from training.settings import TrainingSettings, tasks
from training.train import train_period

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MAPPINGS = Path(__file__).with_name("mappings")
SEEDS = 5
OURS = "booster"
#: Figures in which ours is compared with each of the others.
COMPARED: tuple[Metric, ...] = ("auc", "lift_top_decile", "log_loss")
#: Those of which the table for people shows the lead; --json holds it for every baseline.
SHOWN = ("lightgbm", "logistic")


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
    Protocol(
        "crm5",
        "crm5",
        _settings(outcomes=("churn", "expansion", "contraction"), horizon=60, every=14, test_from="2023-05-01"),
    ),
    Protocol("oulad (a)", "oulad", _settings(horizon=14, every=7, test_from="2013-10-01", test_to="2014-02-15")),
    Protocol("oulad (b)", "oulad", _settings(horizon=14, every=7, test_from="2014-09-01")),
    Protocol("ravenstack, accounts", "ravenstack", _settings(grace=30)),
    Protocol("ravenstack, subscriptions", "ravenstack", _settings(grace=30), "subscription_as_account.toml"),
)


def measure(protocol: Protocol, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row per outcome.

    `auc` and `lift_top_decile` are means over the seeds, with each seed's beside them; the intervals, the baselines and
    `ahead` (by how much ours is better than each of them, paired by account; none where nothing could be fitted) are of the first
    seed. `seconds`: one pass of that outcome, and `features_seconds` what comes before any; `peak_mib`: of the process so far.
    """
    began = time.perf_counter()
    source = load(_mapping(protocol), base=DATA)
    report = check(source)
    assert source.data_until is not None, "every mapping here states data_until"
    settings, until = protocol.settings, pd.Timestamp(source.data_until)
    data = build_dataset(source.tables, data_until=until, settings=settings, horizons=[settings.horizon])
    plays, featured = Plays(source.tables), time.perf_counter() - began
    for task in tasks(settings, money="mrr" in source.tables["subscriptions"].columns, horizon_given=True):
        began = time.perf_counter()
        cut = period(source.tables, data, task, data_until=until, settings=settings, plays=plays)
        records = []
        for seed in range(seeds):
            seeded = settings.model_copy(update={"seed": seed})
            fitted = train_period(data, task, cut, settings=seeded, serve=False)
            records.append(fitted.record)
            if seed == 0:
                once, first = time.perf_counter() - began, fitted.test
        if len(first):
            first = first.assign(lightgbm=lightgbm(cut.known.labelled(), cut.test.frame))
        test, tests = records[0]["test"], [record["test"] for record in records]
        yield {
            "row": f"{protocol.row}, {task.outcome}",
            **{name: _mean([each[name] for each in tests]) for name in COMPARED},
            **{f"{name}_by_seed": [each[name] for each in tests] for name in COMPARED},
            **{f"{name}_{end}": test[f"{name}_{end}"] for name in COMPARED for end in ("low", "high")},
            "calibration_slope": test["calibration_slope"],
            "base_rate": test["base_rate"],
            "test_rows": test["rows"],
            "test_positives": test["positives"],
            "baselines": {name: {key: figures[key] for key in COMPARED} for name, figures in records[0]["baselines"].items()},
            "ahead": _ahead(first),
            "gate": sorted({record["gate"]["state"] for record in records}),
            "warnings": len(report.warnings),
            "features_seconds": round(featured, 1),
            "seconds": round(once, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def _mean(figures: list[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if len(known) == len(figures) else None


def _ahead(test: pd.DataFrame) -> dict[str, dict[str, Difference]]:
    """Per other model and figure: how far ours is ahead of it on the test rows, with its 95 % interval by account."""
    others = [name for name in test.columns if name not in {"account_id", "as_of", "label", OURS}]
    return {
        name: {metric: paired(metric, test["label"], test[OURS], test[name], test["account_id"], seed=0) for metric in COMPARED}
        for name in others
    }


def _mapping(protocol: Protocol) -> Mapping:
    if protocol.mapping is not None:
        mapping = read_mapping(MAPPINGS / protocol.mapping)
        return mapping.model_copy(update={"data": mapping.data.model_copy(update={"source": protocol.folder})})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kunto.toml"
        path.write_text(propose(protocol.folder, base=DATA), encoding="utf-8")
        return read_mapping(path)


def _told(row: dict[str, Any]) -> str:
    """A row for people: our figures with their intervals, what is beside them, and the leads."""

    def figure(name: str) -> str:
        return "–" if row[name] is None else f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"

    def lead(name: str, metric: Metric, places: int = 3) -> str:
        found = row["ahead"][name][metric]
        return f"{found['difference']:+.{places}f} ({found['low']:+.{places}f} to {found['high']:+.{places}f})"

    lines = [
        f"{row['row']}: {'/'.join(row['gate'])}, {row['test_positives']} of {row['test_rows']} test rows, "
        f"{row['features_seconds']} + {row['seconds']} s, {row['peak_mib']} MiB",
        f"  AUC {figure('auc')}, lift {figure('lift_top_decile')}",
    ]
    beside = [f"{name} {figures['auc']:.3f}" for name, figures in row["baselines"].items() if figures["auc"] is not None]
    if beside:
        lines.append(f"  beside it, AUC: {', '.join(beside)}")
    lines += [
        f"  ahead of {name}: AUC {lead(name, 'auc')}, lift {lead(name, 'lift_top_decile')}, log loss {lead(name, 'log_loss', 4)}"
        for name in SHOWN
        if row["ahead"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure every protocol, or those whose row contains --only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: these figures need the data sets beside the project")
    rows = []
    for protocol in PROTOCOLS:
        for row in measure(protocol, options.seeds) if options.only in protocol.row else ():
            rows.append(row)
            if not options.json:
                print(_told(row), flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()

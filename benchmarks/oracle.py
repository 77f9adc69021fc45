"""`python -m benchmarks.oracle`: the churn model against a truth that is known, on a freshly simulated company.

Everything is measured on the test period of churn at 90 days, on labels drawn from the true probabilities, with the model that
was fitted before that period; the oracle is that true probability itself. The default size takes some six minutes and 6 GB of
memory a company; 1,000 accounts one minute and 1 GB. With --bootstrap the served model is fitted again so many times on accounts
drawn with replacement, and the coverage and width of those intervals stand beside ours.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.bootstrap import bootstrap, percentile_interval
from benchmarks.known_truth import KEY, FloatArray, Judged, Unmeasurable, judge, simulated
from features.catalogue import DRIVERS, catalog
from kunto.console import Watch, print_json, watching
from models.explain import reasons
from simulation.world import CAUSES
from training import metrics

ACCOUNTS, MONTHS, SEED = 10_000, 24, 1
BINS = 20
#: What is true of every account and of no cause: it names no cause, whatever it adds to the risk.
NO_CAUSE = "tenure_and_profile"
#: The columns of the table over several seeds.
COLUMNS = (
    *("auc", "oracle_auc", "skill", "recency_auc", "best_single_feature_auc", "logistic_auc", "health_auc", "health_separation"),
    *("base_rate", "log_loss", "base_rate_log_loss", "ece", "calibration_slope", "interval_coverage", "interval_width"),
    *("bootstrap_coverage", "bootstrap_width"),  # with --bootstrap
    *("cause_hit_rate", "cause_hit_constant"),
)


def measure(accounts: int, months: int, seed: int, watch: Watch, draws: int = 0) -> dict[str, Any]:
    """Simulate one company, train on it, and return every figure; Unmeasurable where the company is too small for that.

    `draws` of a bootstrap: none by default.
    """
    began = time.perf_counter()
    watch.stage(f"seed {seed}: simulation")
    with simulated(accounts, months, seed) as company:
        found = judge(company, company.tables, stage=lambda name: watch.stage(f"seed {seed}: {name}"), progress=watch.advance)
        figures = measured(found) | caused(found, company.departures)
        if draws:
            watch.stage(f"seed {seed}: bootstrap")
            figures |= bootstrapped(found, bootstrap(company, found, draws, seed=seed, progress=watch.advance))
    # The simulation, a process of its own, has ended before the rest begins.
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cost = {"seconds": round(time.perf_counter() - began, 1), "peak_mib": peak // 1024}
    return {"accounts": accounts, "months": months, "seed": seed} | figures | cost


def measured(found: Judged) -> dict[str, Any]:
    """Return what the probabilities and the health score are worth on the drawn labels.

    skill = (auc − 0.5) / (oracle_auc − 0.5). `log_loss` stands beside that of the test rows' own base rate, the best that
    a constant can do. `model` is the one that the gate lets serve: of it speak auc, log_loss, calibration and intervals.
    """
    y, truth = found.y, found.rows["truth"].to_numpy(dtype=np.float64)
    best, best_auc = best_single_feature(found.frame, y)
    auc, oracle_auc, base_rate = metrics.auc(y, found.p), metrics.auc(y, truth), float(y.mean())
    return {
        "auc": auc,
        "oracle_auc": oracle_auc,
        "skill": (auc - 0.5) / (oracle_auc - 0.5),
        "recency_auc": metrics.auc(y, found.rows["recency"]),
        "best_single_feature_auc": best_auc,
        "best_single_feature": best,
        "base_rate": base_rate,
        "log_loss": metrics.log_loss(y, found.p),
        "base_rate_log_loss": metrics.log_loss(y, np.full(len(y), base_rate)),
        "oracle_log_loss": metrics.log_loss(y, truth),
        "ece": metrics.ece(y, found.p),
        "calibration_slope": _number(metrics.calibration_slope(y, found.p)),
        "average_precision": metrics.average_precision(y, found.p),
        "interval_coverage": interval_coverage(found.p, found.low, found.high, truth),
        "interval_width": interval_width(found.p, found.low, found.high),
        "model": found.model.served_by,
        "gate": found.record["gate"]["state"],
        "booster_auc": metrics.auc(y, found.rows["booster"]),
        "logistic_auc": metrics.auc(y, found.rows["logistic"]),
        "rows": len(y),
        "positives": int(y.sum()),
        "train_rows": found.record["train"]["rows"],
        **health_figures(found.health, y),
    }


def health_figures(health: pd.DataFrame, y: FloatArray) -> dict[str, Any]:
    """Return how well the health score alone tells who churns, on the rows that have one.

    `health_auc`: of 100 − score. `health_separation`: mean score of those who stayed − of those who churned, in points.
    `health_bands`: per band its rows and churn rate. `health_coverage`: the mean over all rows.
    """
    scored = health["score"].notna().to_numpy()
    score, label = health["score"][scored].to_numpy(dtype=np.float64), y[scored]
    both = 0 < label.sum() < len(label)
    bands = pd.Series(label).groupby(health["band"][scored].to_numpy(dtype=object))
    return {
        "health_auc": metrics.auc(label, 1 - score / 100) if both else None,
        "health_separation": float(score[label == 0].mean() - score[label == 1].mean()) if both else None,
        "health_bands": {str(band): {"rows": len(rows), "churn_rate": float(rows.mean())} for band, rows in bands},
        "health_coverage": float(health["coverage"].mean()),
    }


def best_single_feature(frame: pd.DataFrame, y: FloatArray) -> tuple[str, float]:
    """Return the feature that ranks best alone, and its AUC: the larger of AUC and 1 − AUC.

    Missing values stand below all others or above all of them, whichever ranks better: both are tried for each feature.

    >>> frame = pd.DataFrame({"seats": [1.0, 3.0, 2.0, 2.0], "use": [9.0, 5.0, np.nan, np.nan]})
    >>> best_single_feature(frame, np.array([0, 0, 1, 1]))
    ('use', 1.0)
    """
    found = {}
    for name, values in frame.items():
        places: tuple[Literal["top", "bottom"], ...] = ("top", "bottom") if values.isna().any() else ("top",)
        ranks = [values.rank(method="dense", na_option=place) / len(values) for place in places]
        aucs = [metrics.auc(y, rank.to_numpy(dtype=np.float64)) for rank in ranks]
        found[str(name)] = max(max(auc, 1 - auc) for auc in aucs)
    best = max(found, key=lambda name: found[name])
    return best, found[best]


def interval_coverage(p: FloatArray, low: FloatArray, high: FloatArray, truth: FloatArray, bins: int = BINS) -> float:
    """Return the share of equal-mass bins of `p` whose mean true probability lies within [mean low, mean high].

    All (rows,). Rows tied in `p` count the mean truth of their tie, so that no order of theirs decides.
    """
    tie_mean = pd.Series(truth).groupby(p).transform("mean").to_numpy(dtype=np.float64)
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)))
    return float(np.mean([low[rows].mean() <= tie_mean[rows].mean() <= high[rows].mean() for rows in parts]))


def interval_width(p: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """Return mean half width ÷ mean estimate over the tenth of the rows with the highest `p` (at least one row).

    >>> interval_width(np.array([0.1, 0.5]), np.array([0.0, 0.25]), np.array([0.2, 0.75]))
    0.5
    """
    top = np.argsort(-p, kind="stable")[: -(-len(p) // 10)]
    return float((high[top] - low[top]).mean() / 2 / p[top].mean())


def bootstrapped(found: Judged, draws: FloatArray) -> dict[str, Any]:
    """Return coverage and width of the percentile intervals of a bootstrap's draws (draws × test rows), measured as ours are."""
    low, high = percentile_interval(draws)
    return {
        "bootstrap_coverage": interval_coverage(found.p, low, high, found.rows["truth"].to_numpy(dtype=np.float64)),
        "bootstrap_width": interval_width(found.p, low, high),
        "bootstrap_draws": len(draws),
    }


def caused(found: Judged, departures: pd.DataFrame) -> dict[str, Any]:
    """Return how often the reasons named the true cause at the departures' last month starts that are test rows."""
    places = found.rows[KEY].assign(at=np.arange(len(found.rows)))
    at_risk = departures.merge(places, on=KEY)
    return cause_hits(at_risk.assign(told=leading_drivers(found, at_risk["at"].to_numpy())))


def leading_drivers(found: Judged, at: np.ndarray) -> pd.Series:
    """Return the largest risk-raising driver but `NO_CAUSE` of the rows at positions `at`, by the code that serving uses."""
    frame = found.frame.iloc[at].reset_index(drop=True)
    records = reasons(found.model.explain(frame), catalog(found.model.product_features), frame, most=len(DRIVERS))
    raising = ([d["driver"] for d in record["drivers"] if d["direction"] == "raises"] for record in records)
    return pd.Series([next((driver for driver in drivers if driver != NO_CAUSE), None) for drivers in raising], dtype="str")


def cause_hits(told: pd.DataFrame) -> dict[str, Any]:
    """Return hit rates of departures with columns cause, driver (published), told (driver or missing); None without any.

    `cause_hit_rate` is the mean over causes of the share of departures whose driver was told; `cause_hit_constant` the best
    that one fixed driver reaches by the same averaging; `causes` gives each cause's departures and share.
    """
    hit = (told["told"] == told["driver"]).groupby(told["cause"]).agg(["size", "mean"])
    shares = [(told["driver"] == driver).groupby(told["cause"]).mean().mean() for driver in told["driver"].unique()]
    return {
        "cause_hit_rate": _number(hit["mean"].mean()),
        "cause_hit_constant": float(max(shares)) if shares else None,
        "departures": len(told),
        "causes": {
            str(cause): {"departures": int(size), "hit_rate": float(mean)} for cause, size, mean in hit.itertuples(name=None)
        },
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def markdown(headings: Sequence[str], rows: Sequence[Sequence[float | str | None]]) -> str:
    """Return a Markdown table; fractions to three places, – for none.

    >>> print(markdown(["seed", "auc"], [["1", 0.8]]))
    | seed | auc |
    |---|---|
    | 1 | 0.800 |
    """

    def cell(value: float | str | None) -> str:
        if value is None:
            return "–"
        return value if isinstance(value, str) else f"{value:.3f}"

    lines = [headings, ["---"] * len(headings), *([cell(value) for value in row] for row in rows)]
    return "\n".join("|---" * len(line) + "|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


def over_seeds(found: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table of several seeds: a row each, and the mean."""
    columns = [name for name in COLUMNS if name in found[0]]
    rows: list[list[float | str | None]] = [[str(one["seed"]), *(one[name] for name in columns)] for one in found]
    means = [[one[name] for one in found if one[name] is not None] for name in columns]
    rows.append(["mean", *(float(np.mean(values)) if values else None for values in means)])
    return markdown(["seed", *columns], rows)


def causes_over_seeds(found: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table of the causes over all seeds: driver, share of the departures told, and how often by name."""
    told = pd.DataFrame([{"cause": cause} | figures for one in found for cause, figures in one["causes"].items()])
    told["hits"] = told["departures"] * told["hit_rate"]
    each = told.groupby("cause")[["departures", "hits"]].sum().reindex([cause.name for cause in CAUSES], fill_value=0)
    shares, rates = each["departures"] / each["departures"].sum(), each["hits"] / each["departures"]
    rows = [
        [cause.name, cause.driver, float(shares[cause.name]), _number(float(rates[cause.name]))]
        for cause in CAUSES
        if each["departures"][cause.name]
    ]
    return markdown(["cause", "driver", "share of caused departures", "hit rate"], rows)


def positive(text: str) -> int:
    """Read an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def plain(value: Any) -> str:
    """Return a figure for people: four places, parts after commas.

    >>> plain({"at_risk": {"rows": 3, "churn_rate": 1 / 3}})
    'at_risk (rows 3, churn_rate 0.3333)'
    """
    if isinstance(value, dict):
        parts = [f"{name} ({plain(part)})" if isinstance(part, dict) else f"{name} {plain(part)}" for name, part in value.items()]
        return ", ".join(parts)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures: JSON (one object; a list with --seeds), or for people a line each, or a table over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=positive, default=ACCOUNTS, help=f"how many there ever are; default: {ACCOUNTS}")
    parser.add_argument("--months", type=positive, default=MONTHS, help=f"of history; default: {MONTHS}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help=f"default: {SEED}")
    which.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="one company each; prints tables in Markdown")
    parser.add_argument("--bootstrap", type=positive, default=0, metavar="DRAWS", help="off by default; each costs one more fit")
    parser.add_argument("--json", action="store_true", help="one object, or with --seeds a list")
    options = parser.parse_args(arguments)
    seeds = options.seeds or [SEED if options.seed is None else options.seed]
    try:
        with watching() as watch:
            found = [measure(options.accounts, options.months, seed, watch, options.bootstrap) for seed in seeds]
    except Unmeasurable as error:
        sys.exit(str(error))
    if options.json:
        print_json(found if options.seeds else found[0])
    elif options.seeds:
        print(over_seeds(found), causes_over_seeds(found), sep="\n\n")
    else:
        for name, value in found[0].items():
            print(f"{name:24} {plain(value)}")


if __name__ == "__main__":
    main()

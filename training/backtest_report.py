"""A backtest for a reader: one picture per task, and files that a spreadsheet or a program reads."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter, SymmetricalLogLocator
from mlflow import MlflowClient
from mlflow.entities import Metric

from models.registry import EXPERIMENT
from training.backtest import Backtest
from training.comparison import OURS

TABLE, RECORDS = "backtest.csv", "backtest.json"
#: Share of a window over which the models' marks are spread, so that their intervals do not hide each other.
_SPREAD = 0.6
#: As many dates as can be named beside each other.
_NAMED_DATES = 7
_MARKERS = "osD^vP*X<>"


def write(found: Backtest, folder: Path) -> list[Path]:
    """Write the figures (CSV), the records (JSON) and a picture per task (PNG) into `folder`; return their paths.

    Pictures of tasks that an earlier backtest had and this one has not are removed: all that lies there is of one run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("kunto-*.png"):
        old.unlink()
    paths = [folder / TABLE, folder / RECORDS]
    found.figures.to_csv(paths[0], index=False)
    paths[1].write_text(json.dumps(found.records, indent=1, allow_nan=False), encoding="utf-8")
    for name, figure in pictures(found.figures).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def log(client: MlflowClient, found: Backtest, paths: list[Path], *, tags: Mapping[str, str]) -> str:
    """Keep the files and every AUC and log loss, by task and model along the dates, as a run of MLflow; return its id.

    No model version comes of it. The experiment must be there (`training.tracking.Tracker` makes it).
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise ValueError(f"MLflow has no experiment {EXPERIMENT}; open the workspace's Tracker first, which makes it")
    run = str(client.create_run(experiment.experiment_id, run_name="backtest", tags=dict(tags)).info.run_id)
    for path in paths:
        client.log_artifact(run, str(path))
    windows = found.figures[~found.figures["pooled"]]
    for step, (_, rows) in enumerate(windows.groupby("from")):
        at = int(pd.Timestamp(rows["from"].iloc[0]).timestamp() * 1000)
        measured = [
            Metric(_metric(row["name"], row["model"], figure), row[figure], at, step)
            for row in rows.to_dict("records")
            for figure in ("auc", "log_loss")
            if not math.isnan(row[figure])
        ]
        client.log_batch(run, metrics=measured)
    client.set_terminated(run)
    return run


def _metric(*parts: str) -> str:
    """A name as MLflow takes it; a scorecard is named after somebody's file."""
    return re.sub(r"[^\w.-]", "_", ".".join(parts))


def pictures(figures: pd.DataFrame) -> dict[str, Figure]:
    """Return a picture per task from `Backtest.figures`: each model along the dates, and how far ours is ahead of it over all."""
    return {str(name): _picture(str(name), rows) for name, rows in figures.groupby("name", sort=False)}


def _picture(name: str, rows: pd.DataFrame) -> Figure:
    windows, pooled = rows[~rows["pooled"]], rows[rows["pooled"]]
    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(2, 2, width_ratios=(2, 1))
    _timeline(axes[0, 0], windows, "auc", "AUC")
    axes[0, 0].axhline(0.5, color="grey", linestyle=":")
    _timeline(axes[1, 0], windows, "log_loss_gain", "log loss below the base rate's")
    axes[1, 0].axhline(0, color="grey", linestyle=":")
    _keep_readable(axes[1, 0], windows["log_loss_gain"])
    axes[1, 0].set_xlabel("trained on what was known at this date, tested up to the next")
    _lead(axes[0, 1], pooled, "auc_ahead", "AUC of ours less the model's, all dates")
    _lead(axes[1, 1], pooled, "log_loss_ahead", "log loss of the model less that of ours, all dates")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)
    figure.suptitle(f"{name}: backtest with 95 % intervals by account")
    return figure


def _colour(at: int) -> str:
    """Black for ours, which comes first, and matplotlib's colours in turn for the others."""
    return "black" if at == 0 else f"C{at - 1}"


def _timeline(axes: Axes, windows: pd.DataFrame, figure: str, label: str) -> None:
    models = list(dict.fromkeys(windows["model"]))
    step = _SPREAD * (windows["to"] - windows["from"]).min() / len(models)
    for at, model in enumerate(models):
        own = windows[windows["model"] == model].dropna(subset=[figure])
        axes.errorbar(
            own["from"] + at * step,
            own[figure],
            yerr=_reach(own, figure),
            color=_colour(at),
            marker=_MARKERS[at % len(_MARKERS)],
            markersize=6 if model == OURS else 4,
            linewidth=2.5 if model == OURS else 1,
            elinewidth=1.5 if model == OURS else 0.5,
            zorder=3 if model == OURS else 2,
            label=f"{model} (ours)" if model == OURS else model,
        )
    axes.set_ylabel(label)
    starts = windows["from"].drop_duplicates().sort_values()
    named = starts.iloc[:: -(-len(starts) // _NAMED_DATES)]
    axes.set_xticks(named, named.dt.strftime("%Y-%m-%d"))


def _reach(rows: pd.DataFrame, figure: str) -> list[pd.Series]:
    """How far each interval reaches below and above its figure; in a small test a figure may lie outside its own draws."""
    ends = rows[figure] - rows[f"{figure}_low"], rows[f"{figure}_high"] - rows[figure]
    return [end.clip(lower=0) for end in ends]


def _keep_readable(axes: Axes, gains: pd.Series) -> None:
    """Compress what lies further below 0 than the best model lies above: one model that is sure and wrong hides the others."""
    best = gains.max()
    if best > 0 and gains.min() < -2 * best:
        axes.set_yscale("symlog", linthresh=2 * best, linscale=2)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=best, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())


def _lead(axes: Axes, pooled: pd.DataFrame, figure: str, title: str) -> None:
    others = pooled[pooled["model"] != OURS].dropna(subset=[figure])
    places, models = range(len(others)), list(pooled["model"])
    for place in places:
        row = others.iloc[[place]]
        colour = _colour(models.index(str(row["model"].iloc[0])))
        axes.errorbar(row[figure], [place], xerr=_reach(row, figure), color=colour, marker="o", capsize=3)
    axes.axvline(0, color="grey", linestyle=":")
    axes.set_yticks(list(places), list(others["model"]))
    axes.invert_yaxis()
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("right of 0: ours is better")

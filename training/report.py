"""What a reader of a training run sees: pictures and a model card."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from models.booster import BoosterModel
from models.outcome import OutcomeModel
from training.settings import Task

_BINS = 10


def plots(test: pd.DataFrame, model: OutcomeModel) -> dict[str, Figure]:
    """Return reliability and gains on the test rows (label, one column of probabilities per model), and the leading features."""
    return {"reliability": _reliability(test), "gains": _gains(test), "features": _features(model)}


def _reliability(test: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for name in ("booster", "logistic", "health_score"):
        ordered = test.sort_values(name)
        parts = [part for part in np.array_split(np.arange(len(ordered)), _BINS) if len(part)]
        means = [(ordered[name].iloc[part].mean(), ordered["label"].iloc[part].mean()) for part in parts]
        axes.plot(*zip(*means, strict=True), marker="o", label=name)
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top], [0, top], color="grey", linestyle=":")
    axes.set(xlabel="predicted", ylabel="observed", title="Reliability on the test period")
    axes.legend()
    return figure


def _gains(test: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    share = np.arange(1, len(test) + 1) / len(test)
    for name in ("booster", "logistic", "tenure_calendar", "recency", "health_score"):
        caught = test.sort_values(name, ascending=False)["label"].cumsum() / max(test["label"].sum(), 1)
        axes.plot(share, caught, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="share of accounts looked at", ylabel="share of the outcome caught", title="Gains on the test period")
    axes.legend()
    return figure


def _features(model: OutcomeModel, most: int = 20) -> Figure:
    if isinstance(model.scorer, BoosterModel):
        weight = pd.Series(model.scorer.booster.feature_importance("gain"), index=list(model.scorer.columns))
    else:
        weight = pd.Series(
            {c: sum(abs(t.coefficient) for t in model.scorer.terms if t.column == c) for c in model.scorer.columns}
        )
    leading = weight.nlargest(most).iloc[::-1]
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    axes.barh(leading.index, leading.to_numpy())
    axes.set(title="Leading features")
    return figure


def model_card(task: Task, record: Mapping[str, Any], model: OutcomeModel, tags: Mapping[str, str]) -> str:
    """Return the card as Markdown: what it predicts, from what, how well, and what it must not be used for."""
    train, test, gate = record["train"], record["test"], record["gate"]
    rows = [("booster", test), *record["baselines"].items()]
    table = "\n".join(
        f"| {name} | {_shown(f['auc'])} | {_shown(f['lift_top_decile'])} | {_shown(f['log_loss'])} | {_shown(f['ece'])} |"
        for name, f in rows
    )
    origin = "\n".join(f"- {key}: `{value}`" for key, value in tags.items())
    return f"""# {task.name}

P({task.outcome} within {task.horizon_days} days | what was known at T), if no new play is started. Served by the
{model.served_by}, refitted on all matured rows where the gate allows.

Trained on {train["rows"]} rows of {train["accounts"]} accounts ({train["positives"]} positive), T from {train["from"]}, every
window closed before {train["to"]}. Tested on {test["rows"]} later rows of {test["accounts"]} accounts ({test["positives"]}
positive), T from {test["from"]} to {test["to"]}.

| | AUC | lift, top tenth | log loss | ECE |
|---|---|---|---|---|
{table}

The booster's AUC, 95 % interval by resampling accounts: {_shown(test["auc_low"])}–{_shown(test["auc_high"])}.

Gate: **{gate["state"]}**. {" ".join(gate["reasons"])}

Reasons explain this model, not causes. It is fitted to one company's customers and says nothing about another's.

{origin}
"""


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

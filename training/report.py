"""What a reader of a training run sees: pictures, a model card, and a page with all of it."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from models.outcome import OutcomeModel
from models.profile import Profile
from training import figures
from training.challenge import Comparison, Trial
from training.settings import Task
from training.watching import MATTERS, tolerated

_TEMPLATE = "report.html.jinja"
#: Months between the newest date that was learnt and the first that is watched: the window must end, and the grace.
_MONTH = 30
_METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "lift_top_decile": "lift, top tenth",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "calibration_slope": "slope",
    "empc": "EMPC",
}


def plots(
    test: pd.DataFrame, model: OutcomeModel, *, trial: Trial | None = None, profile: Profile | None = None
) -> dict[str, Figure]:
    """Return the pictures of a run by name; each figure's label tells in words what it shows.

    `test`: account_id, as_of, label, and one column of probabilities per model. `trial` adds churn's survival, its rows being
    the test's with features; `profile` adds how far inputs may drift.
    """
    served = model.served_by
    found = {
        "reliability": figures.reliability(test, served),
        "gains": figures.gains(test, served),
        "auc_by_date": figures.auc_by_date(test, served),
        "features": figures.leading_features(model),
    }
    if trial is not None and model.outcome == "churn" and len(trial.rows):
        found["survival"] = figures.survival(trial.challenger.model, trial.rows)
    if profile is not None:
        found["drift"] = figures.months(profile)
    return found


def page(
    task: Task,
    record: Mapping[str, Any],
    model: OutcomeModel,
    pictures: Mapping[str, Figure],
    *,
    tags: Mapping[str, str],
    profile: Profile | None = None,
    comparison: Comparison | None = None,
) -> str:
    """Return one HTML page that needs nothing beside it: pictures inline, no script, no address of another site.

    `record` is the training's own (interface.md); of its further parts `calibrators` (the rows of `models.calibration.choose`),
    `leaks_allowed` (of `training.leaks`), `reliability` (of `training.reliability.by_segment`) and `plays` are shown where they
    are. `pictures` are those of `plots`.
    """
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            task=task,
            record=record,
            model=model,
            tags=tags,
            profile=profile,
            inputs=_inputs(profile, task.horizon_days // _MONTH + 1),
            comparison=comparison,
            metrics=_METRICS,
            models={"booster": record["test"], **record["baselines"]},
            pictures=[{"name": name, "source": _inline(figure), "alt": figure.get_label()} for name, figure in pictures.items()],
        )
    )


def _inputs(profile: Profile | None, gap: int) -> Sequence[dict[str, Any]]:
    """The inputs that matter to drift, the heaviest first: name, weight, share missing at the newest date that was learnt.

    `tolerated`: the effect from which they have drifted, `gap` months after it.
    """
    if profile is None:
        return []
    found = []
    for name, weight in sorted(profile.weights.items(), key=lambda item: (-item[1], item[0])):
        table = profile.inputs[name].table
        table = table[table.sum(axis=1) > 0]
        if weight >= MATTERS:
            missing = table[-1, -1] / table[-1].sum()
            found.append({"name": name, "weight": weight, "missing": missing, "tolerated": tolerated(table, gap)})
    return found


def _inline(figure: Figure) -> str:
    """The figure as a data address of SVG, the same bytes for the same figure."""
    text = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "kunto"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(text.getvalue()).decode()}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["figure"] = _shown
    made.filters["interval"] = _interval
    return made


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


def _interval(found: Mapping[str, Any], name: str) -> str:
    """A figure with its interval, where it has one."""
    value, low, high = (found.get(f"{name}{end}") for end in ("", "_low", "_high"))
    return _shown(value) if low is None or high is None else f"{_shown(value)} ({_shown(low)}–{_shown(high)})"

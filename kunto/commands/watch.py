"""`kunto watch`: have the models' inputs drifted, do they keep what they promise, and is it time to train again."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from kunto import jobs
from kunto.commands import training
from kunto.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption
from kunto.console import out, print_json, watching
from kunto.watching import Findings, Watched, watch_models
from kunto.workspace import Workspace

#: Columns of a model that are shown: the drifted ones first, then what the model leans on most.
_SHOWN = 8


def watch(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train where it is due; the gates decide what serves.")] = False,
    json: JsonOption = False,
) -> None:
    """Hold the newest months against what each serving model learnt from, and its promises against what came true.

    Exit 1 where drift or a shortfall is raised, and no training followed.
    """
    place = Workspace(workspace)
    company = jobs.open_company(place).usable()
    company = jobs.with_arrived(place, company, company.data_until)
    with watching() as progress:
        found = watch_models(place, company, progress)
        trained = None
        if retrain and found.retraining.due:
            trained = jobs.train_models(place, company, place.settings.training, progress, horizon_given=False)
    if json:
        print_json(found.record | {"trained": trained})
    else:
        _show(found)
        if trained is not None:
            training.show(trained)
    if found.alarms and trained is None:
        raise typer.Exit(1)


def _show(found: Findings) -> None:
    due = "Training is due" if found.retraining.due else "No training is due"
    out.print(f"{due}. {' '.join(found.retraining.why)}", soft_wrap=True)
    if found.as_of is None:
        out.print("No model serves yet, so there is nothing to watch.")
    for watched in found.models:
        title = f"{watched.name} {watched.version}"
        if watched.drift is None:
            out.print(f"{title}: {watched.note}")
            continue
        for sentence in dict.fromkeys([*watched.drift.reasons, *watched.alarms]):
            out.print(f"{title}: {sentence}", soft_wrap=True)
        out.print(_drift(title, watched))
        out.print(_performance(title, watched.performance))


def _drift(title: str, watched: Watched) -> Table:
    assert watched.drift is not None
    of = f"{title}: {watched.drift.accounts:,} accounts of {watched.drift.as_of[:10]} against what it learnt from"
    table = Table(title=of, title_justify="left")
    for heading in ("Column", "Drift", "PSI", "Tolerated", "Weight", "Missing then", "now", "Most like"):
        table.add_column(heading, justify="left" if heading in ("Column", "Drift", "Most like") else "right")
    for column in watched.drift.columns[:_SHOWN]:
        table.add_row(
            column.feature,
            column.level,
            f"{column.effect:.2f}",
            f"{column.threshold:.2f}",
            f"{column.weight:.1%}",
            f"{column.missing_then:.0%}",
            f"{column.missing_now:.0%}",
            (column.nearest or "–")[:10],
        )
    return table


def _performance(title: str, months: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=f"{title}: promised by its own probabilities (95 % of cases), and real", title_justify="left")
    for heading in ("Month", "Accounts", "AUC promised", "real", "With the outcome, promised", "real", "Labels"):
        table.add_column(heading, justify="left" if heading in ("Month", "Labels") else "right")
    for month in months:
        table.add_row(
            month["as_of"][:10],
            f"{month['rows']:,}",
            _range(month, "auc", ".3f"),
            _number(month["real_auc"], ".3f"),
            _range(month, "positives", ",.0f"),
            _number(month["real_positives"], ",.0f"),
            _labels(month),
        )
    return table


def _labels(month: Mapping[str, Any]) -> str:
    if not month["mature"]:
        return "not yet"
    if month["learnt"]:
        return "it learnt from them"
    return "known" if month["fit"] == "served" else "known; by the fit that was tested"


def _range(month: Mapping[str, Any], name: str, form: str) -> str:
    middle, low, high = (_number(month[f"expected_{name}{bound}"], form) for bound in ("", "_low", "_high"))
    return f"{middle} ({low}–{high})"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)

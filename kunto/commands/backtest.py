"""`kunto backtest`: the same pipeline, retrained along a sequence of past dates, beside the baselines and the peers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
import yaml
from pydantic import ValidationError
from rich.table import Table

from kunto import jobs
from kunto.commands.options import (
    DEFAULT_WORKSPACE,
    AllowLeak,
    Event,
    Every,
    Grace,
    Horizon,
    JsonOption,
    Outcome,
    Seed,
    TestFrom,
    TestTo,
    Tune,
    WorkspaceOption,
)
from kunto.commands.training import with_options
from kunto.console import err, out, print_json, watching
from kunto.workspace import Workspace
from models.scorecard import Scorecard, load_scorecard
from training.comparison import OURS
from training.peers import hand_set

Step = Annotated[
    int | None,
    typer.Option(min=1, help="Dates (of --every) that are tested before everything is trained anew; default: two months' worth."),
]
Scorecards = Annotated[
    list[Path] | None,
    typer.Option("--scorecard", help="A scorecard of yours to compare with, as models/scorecard.yaml is written; repeatable."),
]


def backtest(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    outcome: Outcome = None,
    horizon: Horizon = None,
    grace: Grace = None,
    event: Event = None,
    every: Every = None,
    test_from: TestFrom = None,
    test_to: TestTo = None,
    step: Step = None,
    scorecard: Scorecards = None,
    tune: Tune = None,
    seed: Seed = None,
    allow_leak: AllowLeak = None,
    json: JsonOption = False,
) -> None:
    """Train along past dates, test each time on what followed, and compare: a table, and a picture per model."""
    place = Workspace(workspace)
    settings = with_options(
        place.settings.training,
        outcome=outcome,
        horizon=horizon,
        grace=grace,
        event=event,
        every=every,
        test_from=test_from,
        test_to=test_to,
        tune=tune,
        seed=seed,
        allow_leak=allow_leak,
    )
    cards = _scorecards(scorecard or [])
    company = jobs.open_company(place).usable()
    company = jobs.with_arrived(place, company, company.data_until)
    with watching() as watch:
        found, paths = jobs.backtest_models(
            place, company, settings, watch, horizon_given=horizon is not None, step=step, scorecards=cards
        )
    for told in found.left_out:
        err.print(f"left out: {told}", soft_wrap=True)
    if json:
        print_json(found.records)
        return
    show(found.figures)
    out.print("Every figure of every date, the records, and the pictures:", soft_wrap=True)
    for path in paths:
        out.print(f"  {path}", soft_wrap=True)


def _scorecards(paths: Iterable[Path]) -> dict[str, Scorecard]:
    """The user's scorecards, by the names of their files; BadParameter where two would have one name."""
    found: dict[str, Scorecard] = {}
    for path in paths:
        if path.stem in found or path.stem in hand_set():
            raise typer.BadParameter(f"--scorecard {path}: there is a scorecard {path.stem} already; give the file another name")
        found[path.stem] = _read(path)
    return found


def _read(path: Path) -> Scorecard:
    """A scorecard of the user's; BadParameter where the file is none."""
    try:
        return load_scorecard(path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise typer.BadParameter(f"--scorecard {path}: {where}: {first['msg']}; write it as models/scorecard.yaml is") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--scorecard {path} is no YAML: {error}") from None


def show(figures: pd.DataFrame) -> None:
    """Print each model's AUC and log loss along the dates, and all of them over all dates."""
    for name, rows in figures.groupby("name", sort=False):
        pooled = rows[rows["pooled"]]
        dates = rows[~rows["pooled"]]
        models = list(pooled["model"])
        for figure, title in (("auc", "AUC"), ("log_loss", "Log loss")):
            _print(_along_dates(f"{name}: {title} by date of training", dates, models, figure))
        span = f"{pooled['from'].iloc[0]:%Y-%m-%d} ≤ T < {pooled['to'].iloc[0]:%Y-%m-%d}"
        _print(_over_all(f"{name}: all dates, {span}; 95 % intervals by account; above 0 ours is ahead", pooled))


def _along_dates(title: str, dates: pd.DataFrame, models: list[str], figure: str) -> Table:
    table = _table(title, ["From", "Rows", "Positive", *models], left=1)
    for start, rows in dates.groupby("from"):
        values = rows.set_index("model")[figure]
        first = rows.iloc[0]
        cells = (_number(values.get(model)) for model in models)
        table.add_row(f"{start:%Y-%m-%d}", str(first["rows"]), str(first["positives"]), *cells)
    return table


def _over_all(title: str, pooled: pd.DataFrame) -> Table:
    headings = ["Model", "AUC", "Log loss", "Lift", "ECE", "Ahead in AUC", "Ahead in log loss"]
    table = _table(title, headings, left=1)
    for row in pooled.to_dict("records"):
        ours = row["model"] == OURS
        table.add_row(
            f"{row['model']} (ours)" if ours else row["model"],
            _with_interval(row, "auc"),
            _with_interval(row, "log_loss"),
            _with_interval(row, "lift_top_decile", 1),
            _with_interval(row, "ece"),
            "" if ours else _with_interval(row, "auc_ahead"),
            "" if ours else _with_interval(row, "log_loss_ahead"),
        )
    return table


def _table(title: str, headings: Iterable[str], *, left: int) -> Table:
    table = Table(title=title, title_justify="left")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="left" if at < left else "right", no_wrap=at < left)
    return table


def _print(table: Table) -> None:
    out.print(table)
    out.print()


def _with_interval(row: dict[Any, Any], figure: str, places: int = 3) -> str:
    value = _number(row[figure], places)
    low, high = (_number(row[f"{figure}_{end}"], places) for end in ("low", "high"))
    return value if low == "–" else f"{value} ({low}…{high})"


def _number(value: float | None, places: int = 3) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.{places}f}"

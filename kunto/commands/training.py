"""`kunto train`, `models`, `promote`, `rollback`: models on their way to serving."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from kunto import jobs
from kunto.commands.options import (
    DEFAULT_WORKSPACE,
    AllowLeak,
    Base,
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
from kunto.console import out, print_json, watching
from kunto.workspace import Workspace
from training.settings import TrainingSettings


def with_options(
    settings: TrainingSettings,
    *,
    outcome: list[str] | None,
    horizon: int | None,
    grace: int | None,
    event: str | None,
    every: str | None,
    test_from: datetime | None,
    test_to: datetime | None,
    seed: int | None,
    tune: int | None = None,
    allow_leak: list[str] | None = None,
    base: Path | None = None,
) -> TrainingSettings:
    """Return the workspace's settings with the options given on the command line."""
    given = {
        "outcomes": tuple(outcome) if outcome else None,
        "horizon": horizon,
        "grace": grace,
        "event": event,
        "every": int(every) if every and every.isdecimal() else every,
        "test_from": test_from,
        "test_to": test_to,
        "seed": seed,
        "tune": tune,
        "base": base and base.absolute(),
        "allow_leaks": (*settings.allow_leaks, *allow_leak) if allow_leak else None,
    }
    try:
        return TrainingSettings.model_validate(settings.model_dump() | {k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise typer.BadParameter(_told(error)) from None


def _told(error: ValidationError) -> str:
    """Each option that was refused, its value, and what is allowed."""
    allowed: dict[str, list[str]] = {}
    for item in error.errors():
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["loc"]:
            name = str(item["loc"][0]).replace("outcomes", "outcome").replace("leaks", "leak").replace("_", "-")
            allowed.setdefault(f"--{name} {item['input']!r}: ", []).append(message[0].lower() + message[1:])
        else:
            allowed.setdefault("", []).append(message)
    return "; ".join(option + ", or ".join(messages) for option, messages in allowed.items())


def train(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    outcome: Outcome = None,
    horizon: Horizon = None,
    grace: Grace = None,
    event: Event = None,
    every: Every = None,
    test_from: TestFrom = None,
    test_to: TestTo = None,
    tune: Tune = None,
    seed: Seed = None,
    allow_leak: AllowLeak = None,
    base: Base = None,
    json: JsonOption = False,
) -> None:
    """Fit, calibrate, test out of time, log and register every outcome's model."""
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
        base=base,
    )
    company = jobs.open_company(place).usable()
    company = jobs.with_arrived(place, company, company.data_until)
    with watching() as watch:
        records = jobs.train_models(place, company, settings, watch, horizon_given=horizon is not None)
    if json:
        print_json(records)
    else:
        show(records)


def show(records: Sequence[Mapping[str, Any]]) -> None:
    """Print what was trained, how it did on later data, and what the gate says."""
    table = Table(title="Tested on later data (AUC, 95 % interval by account)", title_justify="left")
    for heading in ("Model", "Rows", "Positive", "AUC", "Logistic", "Health", "Lift", "ECE", "Gate", "Serves"):
        table.add_column(heading, justify="left" if heading in ("Model", "Gate", "Serves") else "right")
    for record in records:
        test, baselines = record["test"], record["baselines"]
        table.add_row(
            f"{record['name']} {record['version'] or ''}".strip(),
            str(test["rows"]),
            str(test["positives"]),
            _interval(test),
            _number(baselines.get("logistic", {}).get("auc")),
            _number(baselines.get("health_score", {}).get("auc")),
            _number(test["lift_top_decile"], 1),
            _number(test["ece"]),
            record["gate"]["state"],
            _serves(record),
        )
    out.print(table)
    for record in records:
        if record["gate"]["state"] in ("too_few", "no_signal"):
            out.print(f"{record['name']}: {' '.join(record['gate']['reasons'])}", soft_wrap=True)
        if record["challenge"]:
            out.print(f"{record['name']}: {_serves(record)} serves. {' '.join(record['challenge']['reasons'])}", soft_wrap=True)


def _serves(record: Mapping[str, Any]) -> str:
    """What answers from now on."""
    champion = record["champion"]
    if champion is None:
        return "health score" if record["outcome"] == "churn" else "nothing"
    return f"version {champion}" + (", this one" if champion == record["version"] else "")


def models(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the models that serve as texts, for `kunto train --base` of another company."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the registered versions, their gate, how they compared with the champion of their time, and their aliases."""
    if export is not None:
        written = [str(path) for path in jobs.export_models(Workspace(workspace), export)]
        if json:
            print_json({"written": written})
        else:
            out.print(*(f"{path} written." for path in written), sep="\n")
        return
    versions = jobs.open_tracker(Workspace(workspace)).versions()
    if json:
        print_json(versions)
        return
    table = Table(title="Registered models", title_justify="left")
    for heading in ("Name", "Version", "Gate", "Challenge", "AUC", "tested from", "Aliases", "Created"):
        table.add_column(heading)
    for row in versions:
        figures = (_number(row["auc"]), (row["test_from"] or "–")[:10])
        told = (row["gate"], row["challenge"] or "–", *figures, ", ".join(row["aliases"]), row["created"])
        table.add_row(row["name"], str(row["version"]), *told)
    out.print(table if versions else "No model is registered yet: `kunto train`.")


def promote(
    name: Annotated[str, typer.Argument(help="The model, as `kunto models` names it.")],
    version: Annotated[int, typer.Argument(help="The version that shall serve.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Move `champion` to a version, if its gate and its comparison with the champion let it serve."""
    reasons = jobs.open_tracker(Workspace(workspace)).promote(name, version)
    if json:
        print_json({"name": name, "champion": version})
    else:
        out.print(f"{name} is now served by version {version}.")
        if reasons:
            out.print(f"Its comparison said: {' '.join(reasons)}")


def rollback(
    name: Annotated[str, typer.Argument(help="The model, as `kunto models` names it.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Give `champion` back to the version before."""
    version = jobs.open_tracker(Workspace(workspace)).rollback(name)
    if json:
        print_json({"name": name, "champion": version})
    else:
        out.print(f"{name} is served by version {version} again.")


def _interval(test: Mapping[str, Any]) -> str:
    if test["auc"] is None:
        return "–"
    return f"{test['auc']:.3f} ({_number(test['auc_low'])}–{_number(test['auc_high'])})"


def _number(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"

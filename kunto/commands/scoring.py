"""`kunto score` and `kunto run`: from tables to the worklist."""

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from kunto import jobs, spark_jobs
from kunto.commands import data, on_spark, training
from kunto.commands.on_spark import late
from kunto.commands.options import (
    DEFAULT_WORKSPACE,
    AllowLeak,
    AsOf,
    Engine,
    Event,
    Every,
    FromTables,
    Grace,
    Horizon,
    JsonOption,
    Master,
    Outcome,
    Seed,
    TestFrom,
    TestTo,
    Tune,
    WorkspaceOption,
)
from kunto.console import err, out, print_json, watching
from kunto.worklist import summary, worklist
from kunto.workspace import Workspace, require_writable

OutFile = Annotated[Path | None, typer.Option("--out", help="Also write every scored account: FILE.parquet, .csv or .json.")]
_FORMATS = (".parquet", ".csv", ".json")


def score(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_of: AsOf = None,
    target: Annotated[
        str | None,
        typer.Option("--out", help="Also write every scored account: FILE.parquet, .csv or .json; with Spark a folder or URL."),
    ] = None,
    engine: Engine = "duckdb",
    master: Master = None,
    source: FromTables = None,
    json: JsonOption = False,
) -> None:
    """Score every active account, write history and decisions into the store, and print the worklist.

    With --engine spark the scores are written as Parquet at --out and nothing else: the store stays as it is.
    """
    place = Workspace(workspace)
    if engine == "spark":
        cluster = on_spark.cluster(place, master, source, target)
        at = pd.Timestamp(as_of) if as_of else jobs.data_until(place.mapping)
        on_spark.run("scores", place, cluster, [at], lambda: spark_jobs.score(place, cluster, at), json=json)
        return
    on_spark.refuse(master=master, **{"from": source})
    file = None if target is None else Path(target)
    _check_file(file)
    asked = as_of or place.mapping.data.data_until
    company = jobs.open_company(place, [pd.Timestamp(asked)] if asked else ()).usable()
    data.tell(company)
    instant = pd.Timestamp(as_of) if as_of else company.data_until
    if instant > company.data_until:
        raise late(instant, company.data_until)
    company = jobs.with_arrived(place, company, instant)
    with watching() as watch:
        scored = jobs.score_portfolio(place, company, instant, place.settings.training, watch)
    _tell(scored.records, place, company, file, json=json)


def run(
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
    file: OutFile = None,
    json: JsonOption = False,
) -> None:
    """Do the main job in one go: check, features, train, score."""
    _check_file(file)
    place = Workspace(workspace)
    settings = training.with_options(
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
    company = jobs.open_company(place)
    if not json:
        data.show(company.report)
    company = jobs.with_arrived(place, company.usable(), company.data_until)
    with watching() as watch:
        records = jobs.train_models(place, company, settings, watch, horizon_given=horizon is not None)
        watch.stage("features")
        jobs.write_features(place, company, [company.data_until], watch)
        scored = jobs.score_portfolio(place, company, company.data_until, settings, watch)
    if json:
        print_json({"check": company.report.as_json(), "train": records, "score": scored.records})
        return
    training.show(records)
    _tell(scored.records, place, company, file, json=False)


def _tell(
    records: Sequence[Mapping[str, Any]], place: Workspace, company: jobs.Company, file: Path | None, *, json: bool
) -> None:
    if file is not None:
        _write(records, file)
        err.print(f"Wrote {len(records)} scored accounts to {file}.", soft_wrap=True)
    if json:
        print_json(records)
        return
    if not records:
        out.print("No account is active and observed at this instant: nothing to score. See `kunto check`.")
        return
    currency, language = company.source.reporting_currency, place.settings.service.language
    out.print(worklist(records, currency, language=language, width=out.width))
    out.print(summary(records, currency, language=language))


def _check_file(file: Path | None) -> None:
    """Refuse a file that cannot be written before anything is computed."""
    if file is None:
        return
    if file.suffix not in _FORMATS:
        raise typer.BadParameter(f"--out {file}: end the name in one of {', '.join(_FORMATS)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    require_writable(file.parent)


def _write(records: Sequence[Mapping[str, Any]], file: Path) -> None:
    if file.suffix == ".json":
        file.write_text(json_module.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
        return
    flat = pd.json_normalize([dict(record) for record in records], sep=".")
    nested = [name for name in flat.columns if flat[name].map(lambda value: isinstance(value, list | dict)).any()]
    flat[nested] = flat[nested].map(lambda value: None if value is None else json_module.dumps(value, ensure_ascii=False))
    # Where an account lacks a record that others have, its fields are empty, and the record is no column of its own.
    flat = flat.drop(columns=[name for name in flat.columns if any(other.startswith(f"{name}.") for other in flat.columns)])
    if file.suffix == ".csv":
        flat.to_csv(file, index=False)
    else:
        flat.to_parquet(file, index=False)

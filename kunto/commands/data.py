"""`kunto init`, `check`, `simulate`, `features`: a company's tables on their way in."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

import simulation
from features.findings import Finding, Report
from features.recognise import propose
from kunto import jobs, spark_jobs
from kunto.commands import on_spark
from kunto.commands.on_spark import late
from kunto.commands.options import DEFAULT_WORKSPACE, AsOf, Engine, FromTables, JsonOption, Master, WorkspaceOption
from kunto.console import err, out, print_json, watching
from kunto.workspace import Workspace


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The workspace to make.")],
    source: Annotated[str, typer.Option("--from", help="A folder of CSV or Parquet files, or a database URL.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing kunto.toml.")] = False,
    json: JsonOption = False,
) -> None:
    """Make a workspace from a company's tables: writes kunto.toml with a commented mapping of the recognised columns."""
    workspace = Workspace(directory)
    if workspace.config_path.exists() and not force:
        raise typer.BadParameter(f"{workspace.config_path} is there already: edit it, or add --force to write it anew")
    if "://" not in source and not Path(source).is_dir():
        raise typer.BadParameter(
            f"--from: {source} is not a folder; give the folder of the CSV or Parquet files, or a database URL"
        )
    text = propose(source if "://" in source else str(Path(source).resolve()), base=Path.cwd())
    directory.mkdir(parents=True, exist_ok=True)
    workspace.config_path.write_text(text, encoding="utf-8")
    if json:
        print_json({"workspace": str(directory), "config": str(workspace.config_path)})
        return
    told = f"Wrote {workspace.config_path}: read the mapping and its comments, then `kunto check --workspace {directory}`."
    out.print(told, soft_wrap=True)


def check(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Validate the source tables against the contract; exit 1 if anything is fatal."""
    report = jobs.open_company(Workspace(workspace)).report
    if json:
        print_json(report.as_json())
    else:
        show(report, notes=True)
    if report.fatal:
        raise typer.Exit(1)


def show(report: Report, *, notes: bool = False) -> None:
    """Print the findings as tables; `notes` are those that need no action."""
    if not (report.fatal or report.warnings):
        out.print("The data keeps the contract.")
    for title, found in (("Fatal", report.fatal), ("Warnings", report.warnings), ("Notes", report.notes if notes else [])):
        if found:
            out.print(_table(title, found))


def tell(company: jobs.Company) -> None:
    """Say what the data's warnings are, and why this took as long as all rows of use do, where new ones alone could be read."""
    found = sorted(company.report.warnings, key=lambda each: -each.rows)
    if found:
        some = "; ".join(f"{each.place}: {each.rule} ({each.rows:,})" for each in found[:_TOLD])
        more = f"; {len(found) - _TOLD} more" if len(found) > _TOLD else ""
        err.print(f"Warnings, with rows: {some}{more}. `kunto check` says what to do.", soft_wrap=True, markup=False)
    if company.source.usage_read_whole is not None:
        err.print(f"All of usage is read: {company.source.usage_read_whole}.", soft_wrap=True)


def _table(title: str, found: list[Finding]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("Table", "Column", "What", "Rows", "For example", "What to do"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "Rows" else "left")
    for one in found:
        record = one.record()
        table.add_row(*(str(record[key]) if record[key] is not None else "" for key in _FIELDS))
    return table


#: So many of the data's warnings are told where rows are read to compute something; `kunto check` tells all.
_TOLD = 3
_FIELDS = ("table", "column", "rule", "rows", "example", "what_to_do")


def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where tables/ and truth/ are written.")],
    accounts: Annotated[int, typer.Option(help="How many accounts there ever are.")] = 600,
    months: Annotated[int, typer.Option(help="How many months of history.")] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 1,
    json: JsonOption = False,
) -> None:
    """Simulate a company, with its ground truth beside it."""
    try:
        company = simulation.simulate(accounts, months, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    simulation.write(company, directory)
    rows = {name: len(table) for name, table in company.tables.items()}
    if json:
        print_json({"directory": str(directory), "data_until": company.data_until.isoformat(), "rows": rows})
        return
    told = f"Simulated {accounts} accounts × {months} months (seed {seed}) into {directory}: {sum(rows.values()):,} rows."
    out.print(told, soft_wrap=True)
    out.print(f"Next: kunto init WORKSPACE --from {directory / 'tables'}", soft_wrap=True)


def features(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_of: AsOf = None,
    monthly: Annotated[tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Each month's first, FROM ≤ T ≤ TO.")] = None,
    engine: Engine = "duckdb",
    master: Master = None,
    source: FromTables = None,
    target: Annotated[
        str | None, typer.Option("--out", metavar="PATH_OR_URL", help="With --engine spark: the folder or URL to write.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the feature table at an instant, or at each month's first, as Parquet."""
    if as_of is not None and monthly is not None:
        raise typer.BadParameter("give --as-of or --monthly, not both")
    place = Workspace(workspace)
    until = jobs.data_until(place.mapping)
    dates = [pd.Timestamp(as_of) if as_of else until] if monthly is None else _month_firsts(*monthly)
    if engine == "spark":
        cluster = on_spark.cluster(place, master, source, target)
        on_spark.run("features", place, cluster, dates, lambda: spark_jobs.features(place, cluster, dates), json=json)
        return
    on_spark.refuse(master=master, out=target, **{"from": source})
    company = jobs.open_company(place, dates).usable()
    tell(company)
    if max(dates) > until:
        raise late(max(dates), until)
    with watching() as watch:
        watch.stage("features")
        paths = jobs.write_features(place, company, dates, watch)
    if json:
        print_json([str(path) for path in paths])
    else:
        out.print(f"Wrote {len(paths)} file(s) into {place.features_path}.", soft_wrap=True)


def _month_firsts(first: str, last: str) -> list[pd.Timestamp]:
    """Each month's first, FROM ≤ T ≤ TO."""
    try:
        ends = [datetime.strptime(text, "%Y-%m-%d") for text in (first, last)]
    except ValueError as error:
        raise typer.BadParameter(f"--monthly {first} {last}: {error}; give two dates such as 2026-01-01") from None
    dates = list(pd.date_range(ends[0], ends[1], freq="MS").as_unit("us"))
    if not dates:
        raise typer.BadParameter(f"--monthly {first} {last} holds no month's first; give FROM, then a later TO")
    return dates

"""Options that several commands share."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="KUNTO_WORKSPACE", help="The company's folder, with kunto.toml in it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
DEFAULT_WORKSPACE = Path("workspace")

Outcome = Annotated[list[str] | None, typer.Option("--outcome", help="churn, contraction or expansion; repeatable.")]
Horizon = Annotated[int | None, typer.Option("--horizon", help="Days ahead, up to 360.")]
Grace = Annotated[int | None, typer.Option("--grace", help="Days that a gap may last without being churn.")]
Event = Annotated[str | None, typer.Option("--event", help="What churn is: notice or revenue.")]
Every = Annotated[str | None, typer.Option("--every", help="month, or a number of days counted from --test-from.")]
TestFrom = Annotated[
    datetime | None, typer.Option("--test-from", metavar="DATE", formats=["%Y-%m-%d"], help="First instant tested.")
]
TestTo = Annotated[
    datetime | None, typer.Option("--test-to", metavar="DATE", formats=["%Y-%m-%d"], help="End of the test, exclusive.")
]
Tune = Annotated[
    int | None,
    typer.Option("--tune", metavar="TRIALS", help="Tune each booster with so many trials, inside its training period; 0: not."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
AllowLeak = Annotated[
    list[str] | None, typer.Option("--allow-leak", metavar="NAME", help="A leak that may pass, by its name; repeatable.")
]
Base = Annotated[
    Path | None,
    typer.Option("--base", metavar="FOLDER", help="Models that the boosters start from, as `kunto models --export` writes them."),
]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        metavar="DATE",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="The instant T, such as 2026-03-01 or 2026-03-01T12:00; default: the end of the data.",
    ),
]
Engine = Annotated[Literal["duckdb", "spark"], typer.Option("--engine", help="What computes: DuckDB here, or Spark.")]
Master = Annotated[
    str | None,
    typer.Option("--master", help="With --engine spark: local[2], spark://host:port, yarn or k8s://…; default: local[*]."),
]
FromTables = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PATH_OR_URL",
        help="What Spark reads: Parquet tables in the contract's form; default: the workspace's Parquet folder.",
    ),
]

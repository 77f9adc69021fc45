"""`--engine spark` of `kunto features` and `kunto score`: what its options may be, and what is printed."""

from collections.abc import Callable

import pandas as pd
import typer

from kunto import jobs
from kunto.console import out, print_json, watching
from kunto.spark_jobs import Cluster, source_of
from kunto.workspace import Workspace

DEFAULT_MASTER = "local[*]"


def cluster(workspace: Workspace, master: str | None, source: str | None, target: str | None) -> Cluster:
    """Return where Spark runs, reads and writes; typer.BadParameter where it is not told."""
    if target is None:
        raise typer.BadParameter("--engine spark writes Parquet: give --out, a folder or URL that is not there yet")
    found = source or source_of(workspace)
    if found is None:
        raise typer.BadParameter(
            f"--engine spark reads Parquet, and data.source of {workspace.config_path} is no folder of Parquet files: give --from"
        )
    return Cluster(master or DEFAULT_MASTER, found, target)


def refuse(**given: str | None) -> None:
    """Refuse options that only Spark has."""
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(f"--{name} {value} goes with --engine spark: add it, or leave --{name} out")


def run(
    what: str, workspace: Workspace, place: Cluster, instants: list[pd.Timestamp], job: Callable[[], int], *, json: bool
) -> None:
    """Do the job, which returns how many rows it wrote, and print that."""
    until = jobs.data_until(workspace.mapping)
    if max(instants) > until:
        raise late(max(instants), until)
    with watching() as watch:
        watch.stage(what)
        rows = job()
    if json:
        print_json({"out": place.out, "rows": rows})
    else:
        out.print(f"Wrote {rows:,} rows of {what} into {place.out}.", soft_wrap=True)


def late(instant: pd.Timestamp, until: pd.Timestamp) -> typer.BadParameter:
    """The error of an instant of which the data cannot speak."""
    return typer.BadParameter(
        f"{instant} lies after the end of the data: give an instant up to {until}, or move data_until in kunto.toml"
    )

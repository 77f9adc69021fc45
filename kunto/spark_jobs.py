"""The jobs that Spark can do: features and scores of tables that no one machine holds, from Parquet to Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from features import spark
from features.spark_builder import currencies, write_features
from kunto import jobs
from kunto.workspace import Workspace
from models.registry import worded
from serving.spark_scoring import write_scores


@dataclass(frozen=True)
class Cluster:
    """Where Spark runs, and the folders or URLs that it reads and writes."""

    master: str
    source: str
    out: str

    @contextmanager
    def tables(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield the connection and the contract's tables under `source`."""
        with spark.session(self.master) as connection, jobs.refusing():
            yield connection, spark.read_tables(connection, self.source)


def source_of(workspace: Workspace) -> str | None:
    """The workspace's source, if it is a folder of Parquet files, else None."""
    source = workspace.mapping.data.source
    folder = Path(workspace.path, source)
    return str(folder) if "://" not in source and any(folder.glob("*.parquet")) else None


def features(workspace: Workspace, cluster: Cluster, dates: Sequence[pd.Timestamp]) -> int:
    """Write the features of every account at each date; return the number of rows."""
    with cluster.tables() as (connection, tables):
        return write_features(connection, tables, dates, cluster.out, jobs.product_features_of(workspace))


def score(workspace: Workspace, cluster: Cluster, as_of: pd.Timestamp) -> int:
    """Write the scores of every active account; return their number. The store is left as it is."""
    champions = jobs.champions_of(workspace)
    with cluster.tables() as (connection, tables):
        currency = workspace.mapping.data.reporting_currency or _only_currency(connection, tables)
        settings = jobs.scoring_settings(workspace, champions, workspace.settings.training, currency)
        versions = {"model": worded(champions.versions), "config": workspace.config_version}
        return write_scores(connection, tables, as_of, champions, settings, cluster.out, versions=versions)


def _only_currency(connection: Any, tables: Mapping[str, Any]) -> str | None:
    """The currency of prices and invoices, where there is but one."""
    named = [tables[name] for name in ("subscriptions", "invoices") if name in tables and "currency" in tables[name].columns]
    found = set().union(*(currencies(connection, table) for table in named))
    return found.pop() if len(found) == 1 else None

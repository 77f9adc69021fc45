"""The jobs behind the commands: check, features, train, score; each callable on its own, `kunto run` is all of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import kunto
from features.builder import Builder
from features.check import check
from features.contract import TABLES
from features.findings import Report
from features.loader import Source, load
from features.mapping import Mapping as DataMapping
from features.rolled import Rolled
from features.rollup_state import KEPT_FAULTS
from features.sources import SourceError
from kunto.console import Watch
from kunto.workspace import Workspace
from models.choice import NOTHING, Choice, PlaySettings
from models.registry import worded
from models.scorecard import Scorecard
from serving.arrived import with_events
from serving.champions import Champions, load_champions
from serving.company import told
from serving.scoring import Scored, ScoringSettings, score
from serving.store import Decision, Identity, Run, Store
from training import backtest_report
from training.backtest import Backtest, backtest
from training.bases import Base, read_bases, sketch, write_bases
from training.settings import TrainingSettings
from training.shipped import code_version
from training.tracking import GateError, Tracker, fingerprint
from training.train import train


class DataError(Exception):
    """The data says no: nothing can be computed from it as it is. Exit code 1."""


@dataclass(frozen=True)
class Company:
    """A loaded and checked source."""

    source: Source
    report: Report

    @property
    def tables(self) -> Mapping[str, Any]:
        """The contract's tables."""
        return self.source.tables

    @property
    def data_until(self) -> pd.Timestamp:
        """The end of the data; DataError where kunto.toml does not say."""
        return data_until(self.source.mapping)

    def usable(self) -> "Company":
        """This company, if nothing about it is fatal; else DataError with every fatal finding."""
        if self.report.fatal:
            lines = [told(finding) for finding in self.report.fatal]
            beside = any(finding.rule not in KEPT_FAULTS for finding in self.report.fatal)
            hint = "\n`kunto check` shows the whole list" if beside else ""
            raise DataError("the data cannot be used:\n  " + "\n  ".join(lines) + hint)
        return self

    def with_events(self, store: Store, as_of: datetime) -> "Company":
        """This company with the events that the service had taken in before `as_of` among its rows."""
        return Company(replace(self.source, tables=with_events(self.tables, store, as_of)), self.report)

    def rows(self, name: str) -> int:
        """How many rows a table has."""
        table, kept = self.tables[name], self.source.kept_usage
        if not isinstance(table, Rolled) or kept is None:
            return int(table.count().execute())
        return kept.rows + (0 if table.arrived is None else int(table.arrived.count().execute()))

    def newest(self, name: str) -> pd.Timestamp | None:
        """The latest event of a table before the data's end."""
        table, kept, event = self.tables[name], self.source.kept_usage, TABLES[name].event
        found = kept.newest if kept is not None and isinstance(table, Rolled) else None
        rows = table.arrived if isinstance(table, Rolled) else table
        latest = None if rows is None else rows[event].max(where=rows[event] < self.data_until.to_pydatetime()).execute()
        known = [pd.Timestamp(instant) for instant in (found, latest) if not pd.isna(instant)]
        return max(known, default=None)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all rows of each table; where use comes out of kept rollups, of what is counted there, and how."""
        rows = {name: table for name, table in self.tables.items() if not isinstance(table, Rolled)}
        found = [fingerprint(rows)]
        for name in self.tables.keys() - rows.keys():
            rolled = self.tables[name]
            found.append(f"{name}:{self.rows(name)}:{rolled.state.fingerprint}")
            if rolled.arrived is not None:
                found.append(fingerprint({f"{name}+arrived": rolled.arrived}))
        return " ".join(found)

    @property
    def data_version(self) -> str:
        """A short digest of all rows of all tables."""
        return hashlib.sha256(self.fingerprint.encode()).hexdigest()[:12]


def data_until(mapping: DataMapping) -> pd.Timestamp:
    """The end of the data as kunto.toml says it, before anything is loaded; DataError where it does not."""
    if mapping.data.data_until is None:
        raise DataError("data.data_until is not set in kunto.toml; `kunto init` proposes the latest event or recorded time")
    return pd.Timestamp(mapping.data.data_until)


@contextmanager
def refusing() -> Iterator[None]:
    """Tell what a computation refuses about the data, such as a rate that is missing at T, as the data's fault."""
    try:
        yield
    except (SourceError, GateError):
        raise
    except ValueError as error:
        raise DataError(str(error)) from error


def open_company(workspace: Workspace, asked: Sequence[pd.Timestamp] = ()) -> Company:
    """Load the source and check it against the contract.

    `asked`: the instants whose features are all that is wanted of its use: where they are midnights it comes out of the rollups
    that the workspace keeps, if that can be, and there is no table of the single rows.
    """
    keep, odd = None, next((instant for instant in asked if instant != instant.normalize()), None)
    if asked and odd is None:
        keep = workspace.rollups_path
    source = load(workspace.mapping, base=workspace.path, keep=keep)
    if odd is not None and "usage" in source.tables and source.usage_in_files:
        source = replace(source, usage_read_whole=f"T is {odd}, and kept rollups answer midnights (UTC)")
    return Company(source, check(source))


def with_arrived(workspace: Workspace, company: Company, as_of: pd.Timestamp) -> Company:
    """The company with the events that the service took in before `as_of`."""
    workspace.require_writable()
    with Store.open(workspace.store_url) as store:
        return company.with_events(store, as_of.to_pydatetime())


def write_features(workspace: Workspace, company: Company, dates: Sequence[pd.Timestamp], watch: Watch) -> list[Path]:
    """Write one Parquet file of features per date into the workspace; return their paths.

    Under `kunto` in a file's metadata stands what it was made of, from which it can be made again: digests of each table's rows
    and of the configuration, the code, the engine, the instant, and the product's own features.
    """
    named = product_features_of(workspace)
    ids = company.tables["subscriptions"].select("account_id").distinct().order_by("account_id").execute()
    workspace.features_path.mkdir(parents=True, exist_ok=True)
    made_of: dict[str, Any] = {"data": company.fingerprint, "config": workspace.config_version, "code": code_version()}
    made_of |= {"engine": f"duckdb {duckdb.__version__}", "product_features": named}
    paths = []
    with refusing(), Builder(company.tables, named) as builder:
        for number, date in enumerate(dates):
            frame = pa.Table.from_pandas(builder.snapshot(ids.assign(as_of=date)).features, preserve_index=False)
            told = json.dumps(made_of | {"as_of": date.isoformat()})
            paths.append(workspace.features_path / f"{date:%Y-%m-%dT%H%M%S}.parquet")
            pq.write_table(frame.replace_schema_metadata({**(frame.schema.metadata or {}), b"kunto": told.encode()}), paths[-1])
            watch.advance(number + 1, len(dates))
    return paths


def product_features_of(workspace: Workspace) -> tuple[str, ...]:
    """The product's own features that feature tables hold: those that the churn model reads."""
    churn = champions_of(workspace).churn
    return tuple(churn.model.product_features) if churn else ()


def train_models(
    workspace: Workspace, company: Company, settings: TrainingSettings, watch: Watch, *, horizon_given: bool
) -> list[dict[str, Any]]:
    """Train, test, gate and register every outcome's model."""
    tracker = open_tracker(workspace, company, settings)
    with refusing():
        return train(
            company.tables,
            data_until=company.data_until,
            settings=settings,
            tracker=tracker,
            horizon_given=horizon_given,
            bases=_bases(workspace, settings),
            stage=watch.stage,
            progress=watch.advance,
        )


def _bases(workspace: Workspace, settings: TrainingSettings) -> dict[str, Base]:
    return read_bases(workspace.path / settings.base) if settings.base else {}


def export_models(workspace: Workspace, folder: Path) -> list[Path]:
    """Write the models that serve into a folder, as texts, for another company to start from (`[training] base`)."""
    serving, tracker = champions_of(workspace).models.values(), open_tracker(workspace)
    if not serving:
        raise GateError("no model serves yet, so there is none to export: `kunto train`")
    return write_bases({each.name: Base(each.model, tracker.origin(each.name, each.version)) for each in serving}, folder)


def backtest_models(
    workspace: Workspace,
    company: Company,
    settings: TrainingSettings,
    watch: Watch,
    *,
    horizon_given: bool,
    step: int | None,
    scorecards: Mapping[str, Scorecard],
) -> tuple[Backtest, list[Path]]:
    """Train and test along past dates; keep tables and pictures in the workspace and in MLflow, and register nothing."""
    tracker = open_tracker(workspace, company, settings)
    with refusing():
        found = backtest(
            company.tables,
            data_until=company.data_until,
            settings=settings,
            horizon_given=horizon_given,
            step=step,
            scorecards=scorecards,
            bases=_bases(workspace, settings),
            stage=watch.stage,
            progress=watch.advance,
        )
    paths = backtest_report.write(found, workspace.path / "backtest")
    tags = {"config": workspace.config_version, "code": code_version(), "data": company.data_version}
    backtest_report.log(tracker.client, found, paths, tags=tags)
    return found, paths


def open_tracker(workspace: Workspace, company: Company | None = None, settings: TrainingSettings | None = None) -> Tracker:
    """MLflow's store and registry of the workspace."""
    workspace.require_writable()
    tags = {"config": workspace.config_version}
    if company is not None:
        tags |= {"data": company.data_version, "data_rows": company.fingerprint, "data_until": company.data_until.isoformat()}
        tags |= {"accounts": " ".join(sketch(company.tables["subscriptions"]))}
    params = settings.model_dump(mode="json", exclude={"booster"}) | settings.booster.model_dump() if settings else {}
    return Tracker(workspace.tracking_uri, workspace.artifacts_path, tags=tags, params=params)


def champions_of(workspace: Workspace) -> Champions:
    """The models that serve in the workspace."""
    workspace.require_writable()
    return load_champions(workspace.tracking_uri)


def score_portfolio(
    workspace: Workspace, company: Company, as_of: pd.Timestamp, settings: TrainingSettings, watch: Watch
) -> Scored:
    """Score the active accounts, choose their plays, and write history and decisions into the store."""
    watch.stage("score")
    return score_run(workspace, company, as_of, settings, watch)[0]


def score_run(
    workspace: Workspace,
    company: Company,
    as_of: pd.Timestamp,
    settings: TrainingSettings,
    watch: Watch,
    *,
    run_key: str | None = None,
) -> tuple[Scored, Run]:
    """Do as `score_portfolio` does, and return the store's run too.

    The same `run_key` with the same data, configuration, models and code goes on with the same run: after a crash nothing is
    there twice, and what changed meanwhile makes a run of its own. None: a new run.
    """
    champions = champions_of(workspace)
    versions = {
        "model": worded(champions.versions),
        "config": workspace.config_version,
        "data": company.data_version,
    }
    scoring = scoring_settings(workspace, champions, settings, company.source.reporting_currency)
    with refusing():
        scored = score(company.tables, as_of, champions, scoring, versions=versions, progress=watch.advance)
    return scored, _keep(workspace, scored, as_of, versions, run_key)


def scoring_settings(
    workspace: Workspace, champions: Champions, settings: TrainingSettings, reporting: str | None
) -> ScoringSettings:
    """What the workspace and its models set about scoring; `reporting`: the currency of reports."""
    return ScoringSettings(
        language=workspace.settings.service.language,
        tiers=workspace.settings.tiers,
        plays=in_currency(workspace.settings.plays, reporting),
        notice_is_leaving=(champions.churn.model.event if champions.churn else settings.event) == "notice",
        seed=settings.seed,
    )


def in_currency(plays: PlaySettings, reporting: str | None) -> PlaySettings:
    """Plays are reckoned in the reporting currency, unless [plays] names one."""
    stated = "currency" in plays.model_fields_set or reporting is None
    return plays if stated else plays.model_copy(update={"currency": reporting})


def _run_id(run_key: str | None, versions: Mapping[str, str]) -> str | None:
    if run_key is None:
        return None
    made_of = json.dumps([kunto.__version__, versions], sort_keys=True)
    return f"{run_key}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def _keep(workspace: Workspace, scored: Scored, as_of: pd.Timestamp, versions: Mapping[str, str], run_key: str | None) -> Run:
    """Write one run into the store: all of it becomes visible at once, or nothing."""
    decided_at = datetime.now(UTC).replace(tzinfo=None)
    with Store.open(workspace.store_url) as store:
        run = store.begin_run("score", as_of.to_pydatetime(), dict(versions), run_id=_run_id(run_key, versions))
        if run.finished_at is not None:
            return run
        store.save_accounts(Identity(r["account_id"], r["name"], r["csm"]) for r in scored.records)
        store.append_scores(run.run_id, scored.records)
        store.append_decisions(
            run.run_id,
            (_decision(record, choice, decided_at) for record, choice in zip(scored.records, scored.choices, strict=True)),
        )
        store.inputs.append(run.run_id, scored.features, scored.facts)
        standing = store.portfolio_run()
        if standing is None or standing.as_of <= run.as_of:  # a score of the past does not tell whom to call today
            store.contacts.replace({r["account_id"]: r["contacts"] for r in scored.records})
        return store.finish_run(run.run_id, {"accounts": len(scored.records)})


#: What of a scored account the choice of its play rests on.
_KNOWN = ("tier", "stage", "leaving", "health", "arr", "arr_at_risk", "renewal", "predictions", "versions")


def _decision(record: Mapping[str, Any], choice: Choice, decided_at: datetime) -> Decision:
    drivers = [{name: value for name, value in driver.items() if name != "text"} for driver in record["reasons"]["drivers"]]
    known = {name: record[name] for name in _KNOWN}
    assignment, assigned = choice.assignment, choice.name != NOTHING
    return Decision(
        account_id=record["account_id"],
        as_of=pd.Timestamp(record["as_of"]).to_pydatetime(),
        decided_at=decided_at,
        playbook=None if choice.name == NOTHING else choice.name,
        candidates=[candidate.model_dump(exclude={"why"}) for candidate in choice.candidates],
        assignment=assignment.arm if assignment.arm != "none" else None,
        probability=assignment.probability if assigned else None,
        seed=assignment.seed if assigned else None,
        known=known | {"drivers": drivers},
    )

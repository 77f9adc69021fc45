"""`kunto nightly`: each step once, whatever happens in between; and what the service tells of it."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_company import CONFIG, TABLES

from kunto import jobs, nightly, watching
from kunto.workspace import Workspace
from serving.champions import Champions
from serving.events import read
from serving.nightly import NIGHTLY, last_run_summary
from serving.scoring import Scored
from serving.store import Line, Store
from serving.store.authors import Author
from serving.store.instants import now
from serving.store.intake import Intake
from serving.store.jobs import Jobs
from serving.store.play_records import Snoozed, StepDone

UNTIL = datetime(2026, 2, 1)
ALL = ["data", *nightly.STEPS]
#: A night in a process of its own that kills itself where the scores are written, and the decisions are not.
KILLED = """
import os, signal, sys
from pathlib import Path
from kunto import jobs
from kunto.commands.nightly import nightly
from serving.champions import Champions
from serving.store import Store
jobs.load_champions = lambda uri: Champions({}, None)
Store.append_decisions = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
nightly(Path(sys.argv[1]))
"""


class KilledError(BaseException):
    """The process ends here: nothing of it writes any more."""


#: (as of, versions) → what they score, so that the same features are computed once for all tests here.
_SCORED: dict[tuple[Any, ...], Scored] = {}


@pytest.fixture
def place(csv: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of the company of two accounts; no model serves it, and MLflow is not asked."""
    as_it_is = jobs.score

    def score(tables: Any, as_of: Any, *rest: Any, versions: dict[str, str], progress: Any) -> Scored:
        key = (as_of, *versions.values())
        if key not in _SCORED:
            _SCORED[key] = as_it_is(tables, as_of, *rest, versions=versions, progress=progress)
        return _SCORED[key]

    monkeypatch.setattr(jobs, "score", score)
    monkeypatch.setattr(jobs, "load_champions", lambda uri: Champions({}, None))
    monkeypatch.setattr(watching, "load_champions", lambda uri: Champions({}, None))
    monkeypatch.setattr(watching, "last_training", lambda workspace: None)
    return csv()


@pytest.fixture
def night(place: Path, kunto: Any) -> Any:
    """A function that runs `kunto nightly` on it."""
    return lambda *arguments: kunto("nightly", "-w", place, *arguments)


def opened(place: Path) -> Store:
    return Store.open(Workspace(place).store_url)


def scores(place: Path) -> dict[str, int]:
    """Account id → how many scores of it were ever made, those of unfinished runs too."""
    with opened(place) as store, store._database.reading() as connection:
        query = "SELECT account_id, count(*) AS made FROM scores JOIN accounts USING (account_key) GROUP BY account_id"
        return {row.account_id: row.made for row in connection.exec_driver_sql(query)}


def lapse(place: Path) -> None:
    """Let the lease of a process that was killed end."""
    with opened(place) as store, store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE job_locks SET lapses_at = since")


# A night


def test_a_night_with_models(demo: Any, kunto: Any, tmp_path: Path) -> None:
    path = shutil.copytree(demo.path, tmp_path / "workspace")
    done = kunto("nightly", "-w", path, "--json")
    assert done.code == 0, done.told
    told = done.json
    assert (told["name"], told["state"], told["was_done"], told["as_of"]) == ("nightly", "done", False, "2026-07-01T00:00:00")
    assert [(step["step"], step["state"], step["error"]) for step in told["steps"]] == [(name, "done", None) for name in ALL]
    result = {step["step"]: step["result"] for step in told["steps"]}
    records = demo.ran["score"]
    assert result["score"]["accounts"] == len(records) == sum(result["drift"]["bands"].values())
    assert (
        result["score"]["leaving"] == sum(record["leaving"] for record in records) == len(records) - result["score"]["predicted"]
    )
    assert 0 < result["score"]["mean_p_churn"] < 1
    assert result["drift"]["since"] is None
    assert result["watch"]["as_of"] == "2026-07-01T00:00:00"
    assert (result["watch"]["trained"], result["watch"]["why"] != []) == ([], True), "[watch] nightly says, and does not train"
    assert result["watch"]["training_due"] is told["report"]["training_due"]
    assert result["data"]["newest"]["usage"] < told["report"]["data_until"] == "2026-07-01T00:00:00"
    with opened(path) as store:
        assert store.portfolio_run().run_id == result["score"]["run_id"]
        assert (summary := last_run_summary(store))["state"] == "done"
        assert summary["report"] == told["report"]
        kept = " ".join(str(run) for run in store.jobs.history(NIGHTLY))
    names = {text for record in records for text in (record["account_id"], record["name"], record["csm"]) if text}
    assert not [name for name in names if name in kept]


def test_a_night_is_done_once(night, place):
    first = night()
    assert first.code == 0, first.told
    assert "2 accounts, 0 of them leaving" in first.told
    second = night("--json")
    assert (second.code, second.json["was_done"]) == (0, True)
    assert "already done at" in night().err
    assert scores(place) == {"a": 1, "b": 1}
    third = night("--again", "--json")
    assert (third.code, third.json["was_done"], third.json["job_run_id"]) == (0, False, second.json["job_run_id"] + 1)
    assert scores(place) == {"a": 2, "b": 2}


def test_a_night_tells_what_moved_since_the_one_before(night):
    assert night("--as-of", "2026-01-15").code == 0
    assert night().code == 0
    assert "since 2026-01-15T00:00:00: 0 better, 0 worse, 0 new, 0 gone" in night("--again").told


def test_events_taken_in_before_the_instant_are_scored(night, place):
    line = b'{"event_id": "e%d", "table": "usage", "account_id": "b", "feature": "report", "occurred_at": "2026-01-05T10:00"}'
    with opened(place) as store:
        for number, recorded_at in enumerate([UNTIL - timedelta(seconds=1), UNTIL]):
            Intake(store._database, lambda at=recorded_at: at).add([read(line % number, latest=UNTIL)])
    done = night("--json")
    assert done.code == 0, done.told
    [data] = [step["result"] for step in done.json["steps"] if step["step"] == "data"]
    assert data["rows"]["usage"] == len(TABLES["usage"]) - 1 + 1
    assert data["newest"]["usage"] == "2026-01-05T10:00:00"


def test_an_instant_of_which_the_data_cannot_speak_is_refused(night, place):
    late = night("--as-of", "2026-02-02")
    assert late.code == 2
    assert "lies after the end of the data: give an instant up to 2026-02-01" in late.told
    (place / "kunto.toml").write_text(CONFIG.replace("data_until = 2026-02-01\n", ""))
    unset = night()
    assert unset.code == 1
    assert "data_until is not set in kunto.toml" in unset.told


def test_while_another_process_does_it_the_night_is_refused(night, place):
    with opened(place) as store, store.jobs.lock(NIGHTLY) as lock:
        refused = night("--json")
        assert (refused.code, refused.out) == (1, "")
        assert f"is run by process {os.getpid()} on " in refused.err
        assert f"since {lock.since:%Y-%m-%d %H:%M:%S} UTC" in refused.err
        assert store.jobs.history(NIGHTLY) == []


def test_fatal_data_fails_the_night_and_the_same_run_goes_on_once_it_is_mended(night, place):
    subscriptions = place / "tables" / "subscriptions.csv"
    subscriptions.write_text("\n".join([TABLES["subscriptions"][0], "Secret Oy,never,,5,100,EUR"]))
    failed = night("--json")
    assert failed.code == 1
    assert "the data cannot be used" in failed.err
    assert failed.json["state"] == "failed"
    [step] = failed.json["steps"]
    assert (step["step"], step["state"], step["error"]) == ("data", "failed", "DataError")
    assert step["result"]["fatal"] >= 1
    assert {"severity", "table", "column", "rule", "rows"} == step["result"]["findings"][0].keys()
    assert "Secret" not in failed.out
    assert "failed" in night().out
    with opened(place) as store:
        assert (last_run_summary(store)["state"], last_run_summary(store)["step"]) == ("failed", "data")
    subscriptions.write_text("\n".join(TABLES["subscriptions"]))
    mended = night("--json")
    assert (mended.code, mended.json["state"], mended.json["job_run_id"]) == (0, "done", failed.json["job_run_id"])


# Crashes


@pytest.mark.parametrize("step", ALL)
def test_wherever_it_crashes_the_next_goes_on(night, place, monkeypatch, step):
    """The step has done its work, and dies before that is noted."""
    as_it_is = Jobs._end_step

    def dies(self: Jobs, job_run: Any, name: str, *rest: Any) -> None:
        if name == step:
            raise KilledError
        as_it_is(self, job_run, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "_end_step", dies)
        with pytest.raises(KilledError):
            night()
    with opened(place) as store:
        [crashed] = store.jobs.history(NIGHTLY)
        assert crashed.state == "running"
        assert last_run_summary(store)["state"] == "interrupted"
    done = night("--json")
    assert (done.code, done.json["job_run_id"]) == (0, crashed.job_run_id)
    with opened(place) as store:
        [only] = store.jobs.history(NIGHTLY)
        assert [one.step for one in only.steps] == ALL
        assert only.passed.keys() == set(ALL)
    assert scores(place) == {"a": 1, "b": 1}


def test_killed_amid_writing_it_scores_once(night, place):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert scores(place) == {"a": 1, "b": 1}
    with opened(place) as store:
        assert store.portfolio_run() is None, "a run that is not finished is not seen"
    held = night()
    assert held.code == 1
    assert "if it has crashed, its lock lapses at" in held.err
    lapse(place)
    assert night().code == 0
    assert scores(place) == {"a": 1, "b": 1}
    with opened(place) as store:
        [only] = store.jobs.history(NIGHTLY)
        assert store.portfolio_run().run_id == only.passed["score"]["run_id"]
        assert {account_id: len(store.decisions(account_id)) for account_id in ("a", "b")} == {"a": 1, "b": 1}


def test_data_that_changed_after_a_crash_are_scored_in_a_run_of_their_own(night, place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Store, "append_decisions", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            night()
    with (place / "tables" / "usage.csv").open("a") as usage:
        usage.write("a,report,2026-01-20 10:00:00\n")
    assert night().code == 0
    with opened(place) as store:
        [score] = store.scores("a")
        [only] = store.jobs.history(NIGHTLY)
    assert score.run_id == only.passed["score"]["run_id"]
    assert scores(place) == {"a": 2, "b": 2}


# What steps report


def line(account_id: str, band: str | None, p_churn: float | None = None) -> Line:
    return Line(account_id, None, None, None, band, p_churn, *[None] * 8)


def test_bands_are_counted_worst_first():
    counted = nightly.bands([line("a", "healthy"), line("b", "critical"), line("c", None), line("d", "healthy")])
    assert list(counted.items()) == [("critical", 1), ("at_risk", 0), ("neutral", 0), ("healthy", 2), ("none", 1)]


def test_movements_compare_account_by_account():
    before = [line("a", "healthy", 0.1), line("b", "critical", 0.5), line("c", "neutral"), line("d", None), line("e", "neutral")]
    after = [line("a", "neutral"), line("b", "at_risk"), line("c", "neutral"), line("d", "healthy"), line("f", "critical")]
    moved = nightly.movements(after, before)
    assert moved == {"better": 1, "worse": 1, "new": 1, "gone": 1, "mean_p_churn_before": pytest.approx(0.3)}
    assert nightly.movements(before, [])["mean_p_churn_before"] is None


def test_steps_due_are_told_by_csm_and_snoozed_plays_wake(night, place, monkeypatch):
    accounts = ("account_id,name,csm,created_at", "a,Aalto,Maija,2025-01-01", "b,Berg,,2025-01-01")
    (place / "tables" / "accounts.csv").write_text("\n".join(accounts))
    assert night().code == 0
    monkeypatch.setattr(nightly, "_PAGE", 1)
    by, noon = Author("user", "u1"), datetime.combine(now().date(), time(12))
    with opened(place) as store:
        begun = store.plays.start("a", "onboarding_high_touch", by, started_at=noon)
        long_ago = store.plays.start("b", "onboarding_high_touch", by, started_at=noon - timedelta(days=300))
        later = store.plays.start("b", "rescue_plan", by, started_at=noon - timedelta(days=300))
        store.plays.change(later.play_id, later.version, Snoozed(noon - timedelta(days=1)), by, noon - timedelta(days=2))
        first = long_ago.steps[0]
        store.plays.change(long_ago.play_id, long_ago.version, StepDone(first.number), by)
        before = nightly.due_steps(store, noon)
    today, old = [step for step in begun.steps if step.day <= 0], len(long_ago.steps) - 1
    assert before == {"Maija": nightly.Due(len(today), sum(step.day < 0 for step in today)), None: nightly.Due(old, old)}
    told = night("--again", "--json").json
    old += len(later.steps)
    assert [step["result"]["woken"] for step in told["steps"] if step["step"] == "plays"] == [1]
    assert told["plays_due"][1] == {"csm": None, "due": old, "overdue": old}
    assert told["report"]["due"] == sum(one["due"] for one in told["plays_due"])


# What the service tells


def test_the_summary_tells_the_last_night_and_the_age_of_the_last_that_was_done(store):
    clock = [UNTIL]
    jobs_of_night = Jobs(store._database, lambda: clock[0])
    with jobs_of_night.lock(NIGHTLY):
        report = {"data_until": "2026-02-01T00:00:00", "accounts": 2}
        jobs_of_night.finish(jobs_of_night.begin(NIGHTLY, UNTIL), report)
        clock[0] += timedelta(days=1)
        run = jobs_of_night.begin(NIGHTLY, UNTIL + timedelta(days=1))
        with jobs_of_night.step(run, "data"):
            pass
        jobs_of_night._begin_step(run, "score")
    summary = last_run_summary(store, UNTIL + timedelta(hours=30))
    assert summary == {
        "job": "nightly",
        "state": "interrupted",
        "step": "score",
        "as_of": UNTIL + timedelta(days=1),
        "started_at": UNTIL + timedelta(days=1),
        "finished_at": None,
        "data_as_of": UNTIL,
        "data_until": UNTIL,
        "data_age_hours": 30.0,
        "report": report,
    }
    assert last_run_summary(store, UNTIL - timedelta(hours=1))["data_age_hours"] == 0
    with store.jobs.lock(NIGHTLY):
        assert last_run_summary(store)["state"] == "running"

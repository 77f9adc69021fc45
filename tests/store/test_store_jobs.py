"""Jobs: one process at a time, and whoever comes after a crash goes on where it stopped."""

import multiprocessing
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from serving.store import Store
from serving.store.errors import ConflictError, UnknownRecordError
from serving.store.jobs import LEASE, Jobs
from serving.store.jobs_records import JobHeldError, JobRun

MARCH = datetime(2026, 3, 1)
PROCESSES, THREADS = 2, 8


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    at: datetime = MARCH

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(store, clock) -> Jobs:
    """Jobs of one process, under a clock of the test's."""
    return Jobs(store._database, clock)


@pytest.fixture
def others(store, clock) -> Jobs:
    """Jobs of another process on the same database."""
    return Jobs(store._database, clock)


def crash(jobs: Jobs, step: str | None = None, as_of: datetime = MARCH) -> int:
    """Leave the database as a process does that is killed in a step (None: between two of them)."""
    jobs._take("nightly", LEASE)
    run = jobs.begin("nightly", as_of)
    if step is not None:
        jobs._begin_step(run, step)
    return run.job_run_id


def fail(jobs: Jobs, run: JobRun, step: str, error: Exception) -> None:
    with jobs.step(run, step) as result:
        result["fatal"] = 1
        raise error


# The lock


def test_the_lock_is_held_by_one_and_given_back(jobs, others, clock):
    with jobs.lock("nightly") as lock:
        assert others.holder("nightly") == lock
        with pytest.raises(JobHeldError, match=r"'nightly' is run by process \d+ on .* since 2026-03-01 00:00:00") as held:
            others._take("nightly", LEASE)
        assert held.value.lock == lock
        with pytest.raises(JobHeldError), jobs.lock("nightly"):
            pytest.fail("one process takes a lock once")
        with others.lock("weekly"):
            pass
    assert others.holder("nightly") is None
    with others.lock("nightly"):
        pass


def test_a_crashed_owner_is_waited_for_until_its_lease_ends(jobs, others, clock):
    crash(jobs)
    clock.at += LEASE - timedelta(microseconds=1)
    with pytest.raises(JobHeldError, match=r"lapses at 00:02:00 UTC: try again then"), others.lock("nightly"):
        pytest.fail("the lease has not ended")
    clock.at += timedelta(microseconds=1)
    with others.lock("nightly") as lock:
        assert others.holder("nightly") == lock


def test_a_live_owner_renews(store):
    moved = threading.Event()
    times = iter(range(1_000_000))

    def clock():
        second = next(times)
        if second > 20:
            moved.set()
        return MARCH + timedelta(seconds=second)

    jobs = Jobs(store._database, clock)
    with jobs.lock("nightly", timedelta(milliseconds=20)) as lock:
        assert moved.wait(60), "nobody renews"
        with store._database.reading() as connection:
            told = connection.exec_driver_sql("SELECT owner, lapses_at FROM job_locks").one()
    assert told.owner == lock.owner
    assert str(told.lapses_at) > str(lock.lapses_at)


def test_an_owner_that_was_taken_for_dead_is_refused_and_leaves_the_lock_alone(jobs, others, clock):
    with jobs.lock("nightly"):
        run = jobs.begin("nightly", MARCH)
        clock.at += LEASE
        with others.lock("nightly") as theirs:
            with pytest.raises(ConflictError, match=f"not hold the lock .* {theirs.holder} has it"):
                jobs.begin("nightly", MARCH)
            with pytest.raises(ConflictError), jobs.step(run, "score"):
                pytest.fail("the step is begun without the lock")
            with pytest.raises(ConflictError):
                jobs.finish(run, {})
            jobs._renew("nightly", LEASE)
            jobs._release("nightly")
            assert others.holder("nightly") == theirs
    assert jobs.last("nightly").steps == ()


def test_a_lapsed_lock_that_nobody_took_is_renewed(jobs, others, clock):
    """A machine that slept goes on where nobody else has."""
    with jobs.lock("nightly"):
        clock.at += 10 * LEASE
        assert others.holder("nightly") is None
        jobs._renew("nightly", LEASE)
        assert others.holder("nightly").lapses_at == clock.at + LEASE


def test_of_many_threads_one_gets_it(store):
    barrier, won = threading.Barrier(THREADS), []

    def race(jobs: Jobs) -> None:
        barrier.wait()
        with suppress(JobHeldError):
            won.append(jobs._take("nightly", LEASE))

    threads = [threading.Thread(target=race, args=(Jobs(store._database),)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.jobs.holder("nightly")] == won


def _race(url, barrier, taken):
    with Store.open(url) as store:
        barrier.wait()
        try:
            taken.put(store.jobs._take("nightly", LEASE).owner)
        except JobHeldError:
            taken.put(None)


def test_of_many_processes_one_gets_it(new_url):
    url, spawn = new_url(), multiprocessing.get_context("spawn")
    Store.open(url).close()
    barrier, taken = spawn.Barrier(PROCESSES), spawn.SimpleQueue()
    processes = [spawn.Process(target=_race, args=(url, barrier, taken)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    owners = [taken.get() for _ in processes]
    with Store.open(url) as store:
        assert [owner for owner in owners if owner] == [store.jobs.holder("nightly").owner]


# Runs and steps


def test_a_run_keeps_what_its_steps_report(jobs, clock):
    with jobs.lock("nightly"):
        run = jobs.begin("nightly", "2026-03-01")
        assert (run.state, run.finished_at, run.steps, run.report) == ("running", None, (), {})
        for name in ("data", "score"):
            with jobs.step(run, name) as result:
                assert [(step.step, step.state) for step in jobs.run(run.job_run_id).steps][-1] == (name, "running")
                clock.at += timedelta(seconds=5)
                result["rows"] = 7
        finished = jobs.finish(run, {"accounts": 2})
    assert (finished.state, finished.report) == ("done", {"accounts": 2})
    assert (finished.started_at, finished.finished_at) == (MARCH, MARCH + timedelta(seconds=10))
    assert finished.passed == {"data": {"rows": 7}, "score": {"rows": 7}}
    assert [step.finished_at - step.started_at for step in finished.steps] == [timedelta(seconds=5)] * 2
    assert jobs.last("nightly") == jobs.last_done("nightly") == jobs.run(run.job_run_id) == finished


def test_nothing_is_written_without_the_lock(jobs):
    with pytest.raises(ConflictError, match="does not hold the lock of job 'nightly'"):
        jobs.begin("nightly", MARCH)
    assert jobs.last("nightly") is None


def test_an_error_fails_step_and_run_and_its_message_is_not_kept(jobs, store):
    with jobs.lock("nightly"):
        run = jobs.begin("nightly", MARCH)
        with pytest.raises(ValueError, match="Acme"):
            fail(jobs, run, "data", ValueError("account Acme Oy is there twice"))
    [step] = jobs.last("nightly").steps
    assert (step.state, step.result, step.error) == ("failed", {"fatal": 1}, "ValueError")
    assert (jobs.last("nightly").state, jobs.last_done("nightly")) == ("failed", None)
    assert jobs.last("nightly").finished_at == MARCH


@pytest.mark.parametrize("killed_in", ["data", "score", None])
def test_after_a_crash_the_same_run_goes_on(jobs, others, clock, killed_in):
    job_run_id = crash(jobs, killed_in)
    clock.at += LEASE
    with others.lock("nightly"):
        run = others.begin("nightly", MARCH)
        assert (run.job_run_id, run.state, run.passed) == (job_run_id, "running", {})
        for name in ("data", "score"):
            with others.step(run, name):
                pass
        others.finish(run, {})
    [only] = others.history("nightly")
    assert [step.step for step in only.steps] == sorted(["data", "score"], key=lambda name: (name != killed_in, name))
    assert only.started_at == MARCH


def test_a_failed_run_goes_on_and_passes_over_what_is_done(jobs):
    with jobs.lock("nightly"):
        run = jobs.begin("nightly", MARCH)
        with jobs.step(run, "data") as result:
            result["rows"] = 1
        with pytest.raises(OSError, match="no space"):
            fail(jobs, run, "score", OSError("no space"))
        again = jobs.begin("nightly", MARCH)
        assert (again.job_run_id, again.state, again.finished_at) == (run.job_run_id, "running", None)
        assert again.passed == {"data": {"rows": 1}}
        with jobs.step(again, "score"):
            pass
        assert [step.error for step in jobs.finish(again, {}).steps] == [None, None]


def test_a_done_run_is_returned_unless_another_is_asked_for(jobs):
    with jobs.lock("nightly"):
        first = jobs.finish(jobs.begin("nightly", MARCH), {"accounts": 1})
        assert jobs.begin("nightly", MARCH) == first
        second = jobs.begin("nightly", MARCH, again=True)
        assert second.job_run_id > first.job_run_id
        assert jobs.begin("nightly", MARCH) == second, "the one that is not finished goes on"
    assert jobs.last_done("nightly") == first


def test_a_crashed_run_of_another_instant_is_ended_and_may_be_gone_on_with(jobs, others, clock):
    crashed = crash(jobs, "score")
    clock.at += timedelta(days=1)
    with others.lock("nightly"):
        others.finish(others.begin("nightly", MARCH + timedelta(days=1)), {})
        left = others.run(crashed)
        assert (left.state, left.finished_at) == ("failed", clock.at)
        assert others.begin("nightly", MARCH).job_run_id == crashed


def test_the_last_done_is_of_the_latest_instant(jobs):
    with jobs.lock("nightly"):
        for day in (2, 3, 1, 2):
            jobs.finish(jobs.begin("nightly", f"2026-03-0{day}", again=True), {"day": day})
        jobs.begin("nightly", "2026-03-04")
    assert [run.as_of.day for run in jobs.history("nightly", 3)] == [4, 2, 1]
    assert jobs.last_done("nightly").as_of.day == 3
    before = jobs.last_done("nightly", before="2026-03-03")
    assert (before.as_of.day, before) == (2, jobs.history("nightly")[1])
    assert jobs.last_done("nightly", before="2026-03-01") is None
    assert jobs.history("weekly") == []


def test_an_unknown_run_is_told(jobs):
    with pytest.raises(UnknownRecordError, match="there is no job run 7"):
        jobs.run(7)

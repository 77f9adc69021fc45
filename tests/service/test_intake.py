"""The intake of the store: each event once, in the order of arrival, erasable; and who holds an idempotency key."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from serving.store import Identity, Store
from serving.store import intake as intake_module
from serving.store.intake import KEPT, LEASE, Intake
from serving.store.intake_records import Answered, ArrivedEvent, Claim, ClaimLostError, Event, InProgress

T0 = datetime(2026, 3, 1, 12)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intake(store: Store, clock: Clock) -> Intake:
    return Intake(store._database, clock)


def event(
    event_id: str = "e1", content: str = "x", *, table: str = "usage", account: str = "A1", person: str | None = None
) -> Event:
    payload = f'{{"feature":"{content}"' + (f',"user_id":"{person}"' if person else "") + "}"
    return Event(table, event_id, account, person, T0, payload, f"{account}{payload}".encode())


def held(intake: Intake, after: int = 0) -> list[ArrivedEvent]:
    return list(itertools.chain.from_iterable(intake.arrived(after)))


def test_an_event_delivered_again_counts_once_and_another_content_is_not_applied(intake: Intake) -> None:
    assert intake.add([event("e1"), event("e2"), event("e1"), event("e2", "y")]).outcomes == [
        *("accepted", "accepted", "duplicate", "conflict")
    ]
    assert intake.add([event("e1"), event("e1", "y"), event("e1", table="tickets")]).outcomes == [
        *("duplicate", "conflict", "accepted")
    ]
    assert [(row.table, row.event_id, row.payload) for row in held(intake)] == [
        ("usage", "e1", '{"feature":"x"}'),
        ("usage", "e2", '{"feature":"x"}'),
        ("tickets", "e1", '{"feature":"x"}'),
    ]


def test_any_order_and_repetition_of_deliveries_gives_the_same_rows(store: Store, intake: Intake) -> None:
    known = [event(f"e{k}", f"x{k}", table=table, account=f"A{k % 2}") for k in range(4) for table in ("usage", "tickets")]
    prefixes = itertools.count()

    @settings(max_examples=40, deadline=None)
    @given(
        st.permutations(known), st.lists(st.sampled_from(known), max_size=12), st.lists(st.integers(0, 20), max_size=4), st.data()
    )
    def law(once: list[Event], again: list[Event], cuts: list[int], data: st.DataObject) -> None:
        prefix, before = f"{next(prefixes)}-", intake.state().last_number
        deliveries = [one._replace(event_id=prefix + one.event_id) for one in data.draw(st.permutations([*once, *again]))]
        bounds = [0, *sorted(cuts), len(deliveries)]
        outcomes = [o for start, end in itertools.pairwise(bounds) for o in intake.add(deliveries[start:end]).outcomes]
        rows = held(intake, before)
        found = sorted((row.table, row.event_id.removeprefix(prefix), row.account_id, row.payload) for row in rows)
        assert found == sorted((one.table, one.event_id, one.account_id, one.payload) for one in known)
        assert (outcomes.count("accepted"), outcomes.count("duplicate")) == (len(known), len(again))

    law()


def test_recorded_at_grows_with_each_event_also_when_the_clock_is_set_back(intake: Intake, clock: Clock) -> None:
    intake.add([event("e1"), event("e2"), event("e3")])
    clock.now -= timedelta(hours=1)
    intake.add([event("e4"), event("e5")])
    clock.now = T0 + timedelta(seconds=1)
    intake.add([event("e6")])
    times = [row.recorded_at for row in held(intake)]
    assert times[0] == T0
    assert times[-1] == clock.now
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert (intake.state().last_recorded_at, intake.state().last_number) == (clock.now, held(intake)[-1].event_number)


def test_events_are_read_in_parts_and_from_any_event_on(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_READ_ROWS", 3)
    intake.add([event(f"e{k}") for k in range(7)])
    assert [len(part) for part in intake.arrived()] == [3, 3, 1]
    third = held(intake)[2].event_number
    assert [row.event_id for row in held(intake, third)] == ["e3", "e4", "e5", "e6"]


def test_accounts_that_the_store_does_not_know_are_told(store: Store, intake: Intake) -> None:
    store.save_accounts([Identity("A1")])
    assert intake.add([event("e1"), event("e2", account="A2"), event("e3", account="A2")]).unknown_accounts == {"A2"}


def test_writers_at_the_same_time_apply_each_event_once(intake: Intake) -> None:
    events = [event(f"e{k}") for k in range(60)]

    def deliver(worker: int) -> int:
        mine = events[worker * 10 :] + events[: worker * 10]
        return sum(intake.add(mine[start : start + 7]).outcomes.count("accepted") for start in range(0, 60, 7))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(deliver, range(4))) == 60
    assert len(held(intake)) == 60


# --- erasure --------------------------------------------------------------------------------------------------------------------


def everything(store: Store) -> str:
    with store._database.reading() as connection:
        return repr([tuple(row) for row in connection.execute(text("SELECT * FROM events"))])


def test_a_forgotten_account_leaves_no_event(store: Store, intake: Intake) -> None:
    intake.add([event("e1", account="Acme"), event("e2", account="Acme"), event("e3")])
    assert intake.forget_account("Acme") == 2
    assert "Acme" not in everything(store)
    assert [row.event_id for row in held(intake)] == ["e3"]
    assert intake.state().erasures == 1
    assert intake.forget_account("Acme") == 0
    assert intake.state().erasures == 1


def test_a_forgotten_person_leaves_the_accounts_events_and_does_not_come_back(store: Store, intake: Intake) -> None:
    survey = Event(
        "surveys",
        "s1",
        "A1",
        "sanna",
        T0,
        '{"kind":"nps","score":"9.000000","contact_id":"sanna","comment":"I, Sanna, agree"}',
        b"s",
    )
    sent = [event("e1", person="sanna"), event("e2", person="sanna"), event("e3", person="olli"), survey]
    intake.add(sent)
    assert intake.forget_person("sanna") == 3
    left = everything(store)
    assert "sanna" not in left.lower()
    assert "olli" in left
    rows = [row.payload for row in held(intake)]
    assert len(rows) == 4
    assert sum("erased-" in payload for payload in rows) == 3
    assert '"score"' in rows[3]
    [drawn] = {payload.split("erased-")[1][:36] for payload in rows if "erased-" in payload}
    assert intake.add(sent).outcomes == ["duplicate"] * 4
    assert "sanna" not in everything(store).lower()
    assert drawn in everything(store)


def test_an_erasure_takes_the_kept_answers_with_it_but_not_the_keys_in_use(intake: Intake) -> None:
    quoting, in_use = intake.claim("s", "k1"), intake.claim("s", "k2")
    assert isinstance(quoting, Claim)
    intake.answer(quoting, b"body", {"rejected": [{"problem": "got 'Sanna'"}]})
    intake.add([event("e1")])
    intake.forget_account("A1")
    assert isinstance(intake.claim("s", "k1"), Claim)
    assert isinstance(in_use, Claim)
    assert isinstance(intake.claim("s", "k2"), InProgress)


# --- idempotency keys -----------------------------------------------------------------------------------------------------------


def test_a_key_is_held_by_one_request_until_it_answers(intake: Intake, clock: Clock) -> None:
    claim = intake.claim("key:1", "k")
    assert isinstance(claim, Claim)
    assert intake.claim("key:1", "k") == InProgress(LEASE.total_seconds())
    assert isinstance(intake.claim("key:2", "k"), Claim)  # another sender's key
    intake.answer(claim, b"body", {"accepted": 1})
    clock.now += KEPT - timedelta(seconds=1)
    assert intake.claim("key:1", "k") == Answered(b"body", {"accepted": 1})
    clock.now += timedelta(seconds=1)
    assert isinstance(intake.claim("key:1", "k"), Claim)


def test_a_request_that_failed_frees_its_key_and_no_other_ones(intake: Intake, clock: Clock) -> None:
    failed = intake.claim("s", "k")
    assert isinstance(failed, Claim)
    intake.release(failed)
    again = intake.claim("s", "k")
    assert isinstance(again, Claim)
    intake.release(failed)  # late: the key is another's by now
    assert isinstance(intake.claim("s", "k"), InProgress)


def test_the_key_of_a_dead_request_is_taken_over_and_the_dead_one_writes_nothing_any_more(intake: Intake, clock: Clock) -> None:
    dead = intake.claim("s", "k")
    assert isinstance(dead, Claim)
    clock.now += LEASE
    alive = intake.claim("s", "k")
    assert isinstance(alive, Claim)
    with pytest.raises(ClaimLostError):
        intake.add([event("e1")], dead)
    with pytest.raises(ClaimLostError):
        intake.answer(dead, b"body", {})
    assert held(intake) == []
    assert intake.add([event("e1")], alive).outcomes == ["accepted"]


def test_a_slow_request_keeps_its_key_where_nobody_else_wants_it(intake: Intake, clock: Clock) -> None:
    slow = intake.claim("s", "k")
    assert isinstance(slow, Claim)
    clock.now += 3 * LEASE
    intake.claim("s", "other")  # sweeps what has lapsed
    assert intake.add([event("e1")], slow).outcomes == ["accepted"]
    assert isinstance(intake.claim("s", "k"), InProgress)
    clock.now += 3 * LEASE
    intake.answer(slow, b"body", {"accepted": 1})
    assert intake.claim("s", "k") == Answered(b"body", {"accepted": 1})

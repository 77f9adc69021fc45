"""Webhooks arrive: signed, at least once, the same id each time; and no receiver can hold the others up."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Barrier, Event

import pytest
from webhook_receiver import Clock, Receiver, receiving, serving

from serving.settings import ServiceSettings
from serving.store import Identity, Store, StoreError
from serving.store.outbox_records import LEASE
from serving.webhooks import KEPT, Deliverer

ALLOWED = ServiceSettings(webhooks_to_private_addresses=True)
EVENTS = ("play.started", "score.band_changed")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Store]:
    """A store in a file; what the outbox itself does is tested on both databases."""
    with Store.open(tmp_path / "kunto.db") as opened:
        yield opened


@pytest.fixture
def receiver(files: Store) -> Iterator[Receiver]:
    """A receiver that is subscribed."""
    with receiving() as running:
        _, running.secret = files.outbox.subscribe(f"{running.url}/hook?team=cs", EVENTS, created_by="key:k1")
        yield running


@pytest.fixture
def announce(files: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock):
    """A function that makes an event, at the clock's instant."""
    monkeypatch.setattr("serving.store.outbox.now", clock)
    return lambda number=0: files.outbox.announce("play.started", {"number": number})


@pytest.fixture
def deliverer(files: Store, clock: Clock) -> Deliverer:
    return Deliverer(files, ALLOWED, clock)


def states(store: Store) -> dict[str, int]:
    with store._database.reading() as connection:
        return dict(connection.exec_driver_sql("SELECT state, COUNT(*) FROM deliveries GROUP BY state").all())


def test_a_finished_run_tells_its_receivers_whose_band_changed(files, receiver, deliverer, clock, announce):
    files.save_accounts([Identity("a1", "Acme Oy")])
    for day, band in (("2026-01-01", "neutral"), ("2026-02-01", "at_risk")):
        run = files.begin_run("score", day, {})
        files.append_scores(run.run_id, [{"account_id": "a1", "as_of": day, "health": {"score": 44, "band": band}}])
        files.finish_run(run.run_id)
    assert deliverer.deliver_due() == 1
    [payload] = receiver.verified
    assert payload == {
        "type": "score.band_changed",
        "timestamp": f"{clock.at.isoformat()}Z",
        "data": {"account_id": "a1", "from": "neutral", "to": "at_risk", "as_of": "2026-02-01T00:00:00", "health": 44},
    }
    assert receiver.paths == ["/hook?team=cs"]
    assert deliverer.deliver_due() == 0


def test_one_that_fails_twice_arrives_the_third_time_under_the_same_id(files, receiver, deliverer, clock, announce):
    receiver.answers = [500, 503]
    announce()
    assert deliverer.deliver_due() == 1
    assert deliverer.deliver_due() == 0
    clock.forward(seconds=4)
    assert deliverer.deliver_due() == 0
    clock.forward(seconds=2)
    assert deliverer.deliver_due() == 1
    clock.forward(minutes=4)
    assert deliverer.deliver_due() == 0, "the second wait is 5 minutes, less or more a tenth"
    clock.forward(seconds=91)
    assert deliverer.deliver_due() == 1
    assert len(set(receiver.ids)) == 1
    assert len(receiver.ids) == 3
    assert [payload["data"] for payload in receiver.verified] == 3 * [{"number": 0}], "each attempt is signed anew"
    assert states(files) == {"delivered": 1}


def test_what_was_sent_but_not_settled_is_sent_again(files, receiver, deliverer, clock, announce, monkeypatch):
    announce()
    with monkeypatch.context() as patch:

        def crash(*_: object) -> None:
            raise StoreError("the database cannot be reached", "here", "Wait.")

        patch.setattr(files.outbox, "delivered", crash)
        with pytest.raises(StoreError):
            deliverer.deliver_due()
    assert deliverer.deliver_due() == 0
    clock.forward(seconds=LEASE.total_seconds())
    assert deliverer.deliver_due() == 1
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    assert states(files) == {"delivered": 1}


def test_two_deliverers_at_once_send_each_event_once(files, receiver, clock, announce):
    for number in range(50):
        announce(number)
    barrier = Barrier(2)

    def drain(deliverer: Deliverer) -> None:
        barrier.wait()
        while deliverer.deliver_due():
            pass

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(drain, [Deliverer(files, ALLOWED, clock) for _ in range(2)]))
    assert sorted(payload["data"]["number"] for payload in receiver.verified) == list(range(50))
    assert states(files) == {"delivered": 50}


def test_a_receiver_that_answers_gone_is_disabled(files, receiver, deliverer, announce):
    receiver.answers = [410]
    announce()
    deliverer.deliver_due()
    [webhook] = files.outbox.webhooks()
    assert webhook.disabled_at is not None
    announce()
    assert deliverer.deliver_due() == 0
    assert [letter.last_error for letter in files.outbox.dead_letters()] == ["answered 410"]


def last_error(store: Store) -> str:
    with store._database.reading() as connection:
        return connection.exec_driver_sql("SELECT last_error FROM deliveries WHERE state = 'pending'").scalar()


def test_redirects_are_not_followed(files, receiver, deliverer, announce):
    receiver.answers = [307]
    announce()
    deliverer.deliver_due()
    assert receiver.paths == ["/hook?team=cs"]
    assert last_error(files) == "answered 307; redirects are not followed"


def test_nobody_listening_is_told_as_such(files, deliverer, announce):
    with receiving() as gone:
        files.outbox.subscribe(gone.url, EVENTS, created_by="key:k1")
    announce()
    deliverer.deliver_due()
    assert last_error(files).startswith("no connection: ")


@pytest.fixture
def endless() -> Iterator[str]:
    """The URL of a receiver that answers for ever: a body at `/body`, headers byte by byte elsewhere."""
    left = Event()

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.path == "/body"
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if body else b"x: "))
            while not left.wait(0 if body else 0.02):
                self.wfile.write(b"secret" * 1000 if body else b"s")

        def log_message(self, *_: object) -> None:
            pass

    with serving(Endless) as port:
        yield f"http://127.0.0.1:{port}"
        left.set()


def test_an_answer_without_end_is_cut_off_and_holds_nobody_up(files, receiver, deliverer, announce, endless, monkeypatch):
    monkeypatch.setattr("serving.webhooks.DEADLINE_S", 1.0)
    files.outbox.subscribe(f"{endless}/headers", EVENTS, created_by="key:k1")
    files.outbox.subscribe(f"{endless}/body", EVENTS, created_by="key:k1")
    announce()
    assert deliverer.deliver_due() == 3
    assert len(receiver.verified) == 1
    assert states(files) == {"delivered": 2, "pending": 1}, "the status is enough: no body is read"
    assert last_error(files) == "no answer within 1 s"


def test_what_breaks_the_protocol_is_told_without_its_words(files, deliverer, announce):
    class Nonsense(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(b"the password is hunter2\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with serving(Nonsense) as port:
        files.outbox.subscribe(f"http://127.0.0.1:{port}", EVENTS, created_by="key:k1")
        announce()
        deliverer.deliver_due()
    assert last_error(files) == "the exchange broke: RemoteProtocolError"


def test_in_the_background_it_finishes_what_it_holds_and_survives_a_bad_round(files, receiver, monkeypatch):
    deliverer = Deliverer(files, ALLOWED)
    monkeypatch.setattr("serving.webhooks.POLL_S", 0.01)
    claim, rounds = files.outbox.claim, []

    def sometimes(*arguments: object) -> object:
        rounds.append(arguments)
        if len(rounds) == 1:
            raise StoreError("the database cannot be reached", "here", "Wait.")
        return claim(*arguments)

    monkeypatch.setattr(files.outbox, "claim", sometimes)
    receiver.go_on.clear()
    files.outbox.announce("play.started", {"number": 1})
    deliverer.start()
    assert receiver.came.wait(10)
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(deliverer.stop)
        assert not stopped.done(), "the answer is still out"
        receiver.go_on.set()
        stopped.result(10)
    assert states(files) == {"delivered": 1}
    files.outbox.announce("play.started", {"number": 2})
    assert len(receiver.ids) == 1, "stopped"
    receiver.came.clear()
    deliverer.start()
    assert receiver.came.wait(10), "and started again"
    deliverer.stop()
    assert [payload["data"]["number"] for payload in receiver.verified] == [1, 2]


def test_settled_deliveries_are_dropped_after_their_time(files, receiver, clock, announce, monkeypatch):
    monkeypatch.setattr("serving.webhooks.POLL_S", 0.01)
    announce()
    Deliverer(files, ALLOWED, clock).deliver_due()
    clock.at += KEPT + timedelta(seconds=1)
    pruned, done, prune, claim = [], Event(), files.outbox.prune, files.outbox.claim

    def claims(*arguments: object) -> object:
        if len(pruned) and len(rounds) > 3:
            done.set()
        rounds.append(arguments)
        return claim(*arguments)

    rounds: list[object] = []
    monkeypatch.setattr(files.outbox, "prune", lambda before: pruned.append(prune(before)))
    monkeypatch.setattr(files.outbox, "claim", claims)
    deliverer = Deliverer(files, ALLOWED, clock)
    deliverer.start()
    assert done.wait(10)
    deliverer.stop()
    assert pruned == [1], "once a day, not every round"
    assert states(files) == {}


def test_the_body_is_signed_as_it_is_sent(files, receiver, deliverer, announce):
    files.outbox.announce("play.started", {"text": "ääkkösiä – 文"})
    deliverer.deliver_due()
    assert receiver.verified[0]["data"] == {"text": "ääkkösiä – 文"}

"""Events leave with the transaction that they tell of, once per webhook, and their deliveries end."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select

from serving.store import Identity, Store, StoreError
from serving.store.errors import ConflictError, UnknownRecordError
from serving.store.instants import now
from serving.store.outbox import AT_ONCE_EACH, MOST_WEBHOOKS
from serving.store.outbox_records import BACK_OFF, EVENT_TYPES, LEASE, Claimed
from serving.store.tables import AccountRow
from serving.store.tables.outbox import DeliveryRow, OutboxRow, WebhookRow

URL = "https://example.com/hook"
SECOND = timedelta(seconds=1)


def subscribe(store: Store, *events: str, url: str = URL) -> str:
    return store.outbox.subscribe(url, events or EVENT_TYPES, created_by="key:k1")[0].webhook_id


def count(store: Store, rows: type) -> int:
    with store._database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(rows))


def account_key(store: Store, account_id: str) -> object:
    with store._database.reading() as connection:
        return connection.scalar(select(AccountRow.account_key).where(AccountRow.account_id == account_id))


def later() -> datetime:
    """An instant at which everything put before is due."""
    return now() + SECOND


def bodies(claimed: list[Claimed]) -> list[dict]:
    return [json.loads(delivery.body) for delivery in claimed]


# Webhooks


def test_a_secret_is_told_once_and_never_listed(store):
    webhook, secret = store.outbox.subscribe(URL, ["play.started", "signal.raised", "play.started"], created_by="key:k1")
    _, other = store.outbox.subscribe(URL, ["play.started"], created_by="key:k1")
    assert webhook.events == ("signal.raised", "play.started")
    assert secret.startswith("whsec_")
    assert secret != other
    assert store.outbox.webhooks()[0] == webhook
    store.outbox.announce("play.started", {"play_id": "p1"})
    claimed = store.outbox.claim(later())
    assert {delivery.secret for delivery in claimed} == {secret, other}
    assert secret.removeprefix("whsec_") not in repr((store.outbox.webhooks(), claimed))


@pytest.mark.parametrize("events", [[], ["play.begun"], ["play.started", "play.begun"]])
def test_a_type_that_does_not_exist_is_refused(store, events):
    with pytest.raises(ValueError, match=r"give one or more of score\.band_changed"):
        store.outbox.subscribe(URL, events, created_by="key:k1")
    assert store.outbox.webhooks() == []


def test_webhooks_are_bounded(store, monkeypatch):
    monkeypatch.setattr("serving.store.outbox.MOST_WEBHOOKS", 2)
    assert MOST_WEBHOOKS > 2
    for _ in range(2):
        subscribe(store)
    with pytest.raises(ConflictError, match="Delete one"):
        subscribe(store)


def test_who_unsubscribes_hears_no_more_of_what_waits(store):
    gone, kept = subscribe(store), subscribe(store)
    store.outbox.announce("play.started", {})
    store.outbox.unsubscribe(gone)
    assert [webhook.webhook_id for webhook in store.outbox.webhooks()] == [kept]
    assert len(store.outbox.claim(later())) == 1
    with pytest.raises(UnknownRecordError):
        store.outbox.unsubscribe(gone)


# Events in


def test_an_event_goes_to_those_who_hear_of_its_type_when_it_happens(store):
    early, other = subscribe(store, "play.started"), subscribe(store, "play.closed")
    store.outbox.announce("play.started", {"play_id": "p1"})
    late = subscribe(store, "play.started")
    store.outbox.announce("play.started", {"play_id": "p2"})
    with store._database.reading() as connection:
        told = connection.execute(select(DeliveryRow.webhook_id, OutboxRow.data).join(OutboxRow)).all()
    assert sorted((webhook, data["play_id"]) for webhook, data in told) == sorted([(early, "p1"), (early, "p2"), (late, "p2")])
    assert other not in dict(told)


def test_nothing_is_left_of_a_transaction_that_fails(store):
    subscribe(store)

    def fails() -> None:
        with store._database.writing() as connection:
            assert store.outbox.put(connection, "play.started", {"play_id": "p1"}, key="p1")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (count(store, OutboxRow), count(store, DeliveryRow)) == (0, 0)
    assert store.outbox.announce("play.started", {"play_id": "p1"}, key="p1"), "its key is free again"


def test_an_event_with_a_key_is_told_once_though_several_see_it(new_url):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two, ThreadPoolExecutor(8) as threads:
        subscribe(one)
        barrier = Barrier(8)

        def promoted(store: Store) -> bool:
            barrier.wait()
            return store.outbox.announce("model.promoted", {"name": "churn", "version": 3}, key="churn 3")

        new = list(threads.map(promoted, [one, two] * 4))
        assert sum(new) == 1
        assert one.outbox.announce("model.promoted", {"name": "churn", "version": 4}, key="churn 4")
        assert one.outbox.announce("play.started", {}, key="churn 3"), "a key is its type's own"
        assert count(one, DeliveryRow) == 3


def test_the_payload_names_the_account_as_its_owner_does(store):
    store.save_accounts([Identity("a1", "Acme Oy", "Maija")])
    subscribe(store)
    before = now()
    store.outbox.announce("play.started", {"account_key": account_key(store, "a1"), "play_id": "p1"})
    [body] = bodies(store.outbox.claim(later()))
    assert body["type"] == "play.started"
    assert body["data"] == {"account_id": "a1", "play_id": "p1"}
    assert before <= datetime.fromisoformat(body["timestamp"].removesuffix("Z")) <= now()
    assert body["timestamp"].endswith("Z")


def test_what_a_payload_must_not_hold_is_refused(store):
    with pytest.raises(ValueError, match="give its account_key"):
        store.outbox.announce("play.started", {"account_id": "a1"})
    with pytest.raises(ValueError, match=r"type 'play\.begun' is not known"):
        store.outbox.announce("play.begun", {})
    assert count(store, OutboxRow) == 0


def test_an_erased_account_is_never_sent(store):
    store.save_accounts([Identity("a1"), Identity("a2")])
    subscribe(store)
    for account_id in ("a1", "a2"):
        store.outbox.announce("play.started", {"account_key": account_key(store, account_id)})
    store.forget_account("a1")
    assert [body["data"] for body in bodies(store.outbox.claim(later()))] == [{"account_id": "a2"}]
    assert store.outbox.claim(later() + 2 * LEASE)[0].attempt == 2
    with store._database.reading() as connection:
        states = connection.scalars(select(DeliveryRow.state).order_by(DeliveryRow.event_id)).all()
    assert states == ["erased", "pending"]


# Deliveries


def test_what_a_crash_left_is_handed_out_again_after_its_lease(store):
    subscribe(store)
    store.outbox.announce("play.started", {})
    at = later()
    [first] = store.outbox.claim(at)
    assert store.outbox.claim(at + LEASE - SECOND) == []
    [second] = store.outbox.claim(at + LEASE)
    assert (second.delivery_id, second.body, second.attempt) == (first.delivery_id, first.body, 2)
    store.outbox.failed(first, at + LEASE, "too late")
    store.outbox.delivered(second, at + LEASE)
    assert store.outbox.claim(at + 10 * LEASE) == []


def test_the_failure_of_a_lapsed_lease_does_not_disturb_the_next(store):
    subscribe(store)
    store.outbox.announce("play.started", {})
    at = later()
    [first] = store.outbox.claim(at)
    [second] = store.outbox.claim(at + LEASE)
    store.outbox.failed(first, at + LEASE, "too late")
    assert store.outbox.claim(second.held_until - SECOND) == [], "still held by the second"


def test_two_at_once_never_get_the_same_delivery(new_url):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two, ThreadPoolExecutor(4) as threads:
        subscribe(one)
        for number in range(60):
            one.outbox.announce("play.started", {"number": number})
        at, barrier = later(), Barrier(4)

        def claim(store: Store) -> list[str]:
            barrier.wait()
            found: list[str] = []
            while claimed := store.outbox.claim(at, 7):
                found += [delivery.delivery_id for delivery in claimed]
            return found

        claimed = [each for found in threads.map(claim, [one, two] * 2) for each in found]
    assert len(claimed) == len(set(claimed)) == 60


def test_webhooks_take_turns_and_none_is_flooded(store):
    subscribe(store, "play.started")
    for number in range(20):
        store.outbox.announce("play.started", {"number": number})
    subscribe(store, "play.closed", url="https://example.org/quiet")
    store.outbox.announce("play.closed", {})
    at = later()
    first, second = store.outbox.claim(at, 4), store.outbox.claim(at)
    assert [delivery.url for delivery in first].count("https://example.org/quiet") == 1
    numbers = [body["data"].get("number") for body in bodies(first)]
    assert [number for number in numbers if number is not None] == [0, 1, 2], "the oldest goes first"
    assert [body["data"]["number"] for body in bodies(second)] == list(range(3, 3 + AT_ONCE_EACH))


def test_failures_back_off_until_the_delivery_is_dead_and_a_retry_begins_anew(store):
    subscribe(store)
    store.outbox.announce("play.started", {"play_id": "p1"})
    at = later()
    for attempt, wait in enumerate(BACK_OFF, start=1):
        [delivery] = store.outbox.claim(at)
        assert delivery.attempt == attempt
        store.outbox.failed(delivery, at, f"answered 50{attempt}")
        assert store.outbox.claim(at + 0.9 * wait - SECOND) == []
        at += 1.1 * wait + SECOND
    assert store.outbox.dead_letters() == []
    [last] = store.outbox.claim(at)
    store.outbox.failed(last, at, "x" * 300)
    assert store.outbox.claim(at + timedelta(days=30)) == []
    [letter] = store.outbox.dead_letters()
    assert (letter.delivery_id, letter.url, letter.attempts, letter.died_at) == (last.delivery_id, URL, 8, at)
    assert letter.payload == json.loads(last.body)
    assert letter.last_error == "x" * 200

    store.outbox.retry(letter.delivery_id, at)
    assert store.outbox.dead_letters() == []
    [again] = store.outbox.claim(at)
    assert (again.delivery_id, again.attempt) == (last.delivery_id, 1)
    store.outbox.delivered(again, at)
    with pytest.raises(ConflictError, match="is delivered, not dead"):
        store.outbox.retry(again.delivery_id, at)
    with pytest.raises(UnknownRecordError):
        store.outbox.retry("msg_none", at)


def test_a_receiver_that_is_gone_is_told_nothing_more(store):
    gone, kept = subscribe(store), subscribe(store, url="https://example.org/kept")
    for number in range(3):
        store.outbox.announce("play.started", {"number": number})
    at = later()
    claimed = store.outbox.claim(at, 2)
    first = next(delivery for delivery in claimed if delivery.url == URL)
    store.outbox.failed(first, at, "answered 410", gone=True)
    assert [bool(webhook.disabled_at) for webhook in store.outbox.webhooks()] == [True, False]
    letters = store.outbox.dead_letters()
    assert {letter.webhook_id for letter in letters} == {gone}
    assert len(letters) == 3
    store.outbox.announce("play.started", {"number": 3})
    assert {delivery.url for delivery in store.outbox.claim(at + 2 * LEASE)} == {"https://example.org/kept"}
    with pytest.raises(ConflictError, match="Subscribe the receiver anew"):
        store.outbox.retry(letters[0].delivery_id, at)
    assert gone != kept


def test_dead_letters_are_read_in_pages(store):
    subscribe(store)
    at = later()
    for number in range(5):
        store.outbox.announce("play.started", {"number": number})
    for number, delivery in enumerate(store.outbox.claim(at)):
        # two died at the same instant
        store.outbox.failed(
            Claimed(**{**vars(delivery), "attempt": len(BACK_OFF) + 1}), at + (number // 2) * SECOND, "answered 500"
        )
    whole = store.outbox.dead_letters()
    assert [letter.died_at for letter in whole] == sorted((letter.died_at for letter in whole), reverse=True)
    pages, after = [], None
    while page := store.outbox.dead_letters(2, after):
        pages += page
        after = (page[-1].died_at, page[-1].delivery_id)
    assert pages == whole
    assert len(whole) == 5


def test_old_deliveries_are_dropped_and_what_waits_or_has_a_key_stays(store):
    subscribe(store)
    store.outbox.announce("play.started", {"number": 0})
    [old] = store.outbox.claim(later())
    store.outbox.delivered(old, now())
    store.outbox.announce("model.promoted", {"name": "churn"}, key="churn 3")
    [keyed] = store.outbox.claim(later())
    store.outbox.delivered(keyed, now())
    store.outbox.announce("play.started", {"number": 1})
    assert store.outbox.prune(now() - timedelta(days=1)) == 0
    assert store.outbox.prune(later()) == 2
    assert (count(store, OutboxRow), count(store, DeliveryRow), count(store, WebhookRow)) == (2, 1, 1)
    assert not store.outbox.announce("model.promoted", {"name": "churn"}, key="churn 3")
    assert bodies(store.outbox.claim(later()))[0]["data"] == {"number": 1}


# Band changes


def banded(record, account_id: str, as_of: str, band: str | None, score: int = 50) -> dict:
    made = record(account_id, as_of)
    return {**made, "health": {**made["health"], "band": band, "score": score}}


def changes(store: Store) -> list[dict]:
    with store._database.reading() as connection:
        return list(connection.scalars(select(OutboxRow.data).order_by(OutboxRow.event_id)))


def test_finishing_a_run_tells_whose_band_changed(store, record, write):
    subscribe(store, "score.band_changed")
    march, april = "2026-03-01T00:00:00", "2026-04-01T00:00:00"
    bands = {
        "same": ("neutral", "neutral"),
        "down": ("neutral", "critical"),
        "was_none": (None, "critical"),
        "to_none": ("neutral", None),
    }
    write(store, [banded(record, name, march, before) for name, (before, _) in bands.items()])
    assert changes(store) == [], "a first score changes nothing"
    after = [banded(record, name, april, band, score=31) for name, (_, band) in bands.items()]
    run = write(store, [*after, banded(record, "new", april, "critical")])
    [body] = bodies(store.outbox.claim(later()))
    assert body["type"] == "score.band_changed"
    assert body["data"] == {"account_id": "down", "from": "neutral", "to": "critical", "as_of": april, "health": 31}
    store.finish_run(run.run_id)
    assert len(changes(store)) == 1, "finishing again tells nothing again"


def test_the_band_before_a_provisional_score_is_remembered(store, record, write):
    for as_of, band in (("2026-01-01", "neutral"), ("2026-02-01", None), ("2026-03-01", "critical")):
        write(store, [banded(record, "a1", as_of, band)])
    assert [(change["from"], change["to"]) for change in changes(store)] == [("neutral", "critical")]


def test_scoring_an_earlier_day_again_changes_no_standing_band(store, record, write):
    write(store, [banded(record, "a1", "2026-02-01", "neutral")])
    write(store, [banded(record, "a1", "2026-01-01", "critical")])
    assert changes(store) == []
    write(store, [banded(record, "a1", "2026-02-01", "at_risk")])
    assert [(change["from"], change["to"]) for change in changes(store)] == [("neutral", "at_risk")], "the same day, corrected"


def test_of_several_scores_in_a_run_the_latest_counts(store, record, write):
    write(store, [banded(record, "a1", "2026-01-01", "neutral")])
    write(store, [banded(record, "a1", "2026-02-01", "critical"), banded(record, "a1", "2026-03-01", "at_risk")])
    assert [(change["from"], change["to"]) for change in changes(store)] == [("neutral", "at_risk")]


def test_scores_of_an_unfinished_run_count_for_nothing(store, record, write):
    write(store, [banded(record, "a1", "2026-01-01", "neutral")])
    crashed = store.begin_run("score", "2026-02-01", {})
    store.append_scores(crashed.run_id, [banded(record, "a1", "2026-02-01", "critical")])
    write(store, [banded(record, "a1", "2026-02-02", "neutral")])
    assert changes(store) == []
    ahead = store.begin_run("score", "2026-05-01", {})
    store.append_scores(ahead.run_id, [banded(record, "a1", "2026-05-01", "neutral")])
    write(store, [banded(record, "a1", "2026-02-03", "critical")])
    assert [(change["from"], change["to"]) for change in changes(store)] == [("neutral", "critical")], "nor do they stand"


def test_a_run_that_cannot_be_finished_tells_nothing(store, record, write, monkeypatch):
    write(store, [banded(record, "a1", "2026-01-01", "neutral")])
    run = store.begin_run("score", "2026-02-01", {}, run_id="night")
    store.append_scores(run.run_id, [banded(record, "a1", "2026-02-01", "critical")])
    with monkeypatch.context() as patch:
        # after the events are written, the end of the transaction fails
        known, calls = Store._known_run, []

        def fails(self: Store, connection: object, run_id: str) -> object:
            calls.append(run_id)
            if len(calls) == 2:
                raise StoreError("the disk is full", "here", "Free some space.")
            return known(self, connection, run_id)

        patch.setattr(Store, "_known_run", fails)
        with pytest.raises(StoreError):
            store.finish_run("night")
    assert changes(store) == []
    store.finish_run("night")
    assert len(changes(store)) == 1

"""Running playbooks: started once, changed by those who saw how they stand, logged, and told of in the same transaction."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from models.playbooks import load
from serving.principal import Principal
from serving.store import Decision, Identity, Store, StoreError, UnknownAccountError
from serving.store.authors import Author
from serving.store.play_records import (
    OUTCOMES,
    Closed,
    PlayConflictError,
    Resumed,
    Snoozed,
    StepDone,
    StepUndone,
    UnknownPlayError,
)
from serving.store.plays import Plays

MARCH = datetime(2026, 3, 1)
NIGHT = Author("job", "nightly")
MAIJA = Principal("user", "u1", "Maija Meikäläinen", frozenset({"plays:write"}), "csm", "Maija Meikäläinen")
NOTHING = Decision("a2", MARCH, MARCH, None, [], None, None, None, {})
HELD_OUT = Decision("a1", MARCH, MARCH, "activation", [], "held_out", 0.2, 7, {})


@pytest.fixture
def known(store, write, record):
    """A store whose decisions hold a1 out from the activation message, and choose nothing for a2."""
    write(store, [record("a1"), record("a2")], [HELD_OUT, NOTHING], run_id="night")
    return store


@pytest.fixture
def play(known):
    """A reach-out call for a2, begun on 1 March."""
    return known.plays.start("a2", "reach_out_call", MAIJA, MARCH, owner="u1")


# Starting


def test_a_play_has_the_steps_that_its_playbook_declares(known):
    declared = load()["handover"]
    play = known.plays.start("a2", "handover", MAIJA, MARCH, started_at="2026-03-15")
    assert [(step.number, step.day, step.what, step.done_at) for step in play.steps] == [
        (number, step.day, step.what, None) for number, step in enumerate(declared.steps, start=1)
    ]
    assert play.steps[0].due == datetime(2026, 3, 5), "ten days before day 0"
    assert (play.state, play.version, play.owner, play.override) == ("running", 1, None, False)
    assert known.plays.get(play.play_id) == play


def test_what_was_declared_at_the_start_stands_although_the_catalogue_changes(known, play, monkeypatch):
    monkeypatch.setattr("models.playbooks._catalogue", dict)
    assert known.plays.get(play.play_id) == play
    assert known.plays.change(play.play_id, 1, StepDone(1), MAIJA).steps[0].done_at is not None


def test_a_playbook_runs_once_at_a_time_for_an_account(known, play):
    with pytest.raises(PlayConflictError, match=f"reach_out_call runs for account 'a2' already.*{play.play_id}") as conflict:
        known.plays.start("a2", "reach_out_call", MAIJA)
    assert (conflict.value.play_id, conflict.value.version) == (play.play_id, 1)
    snoozed = known.plays.change(play.play_id, 1, Snoozed(MARCH + timedelta(days=9)), MAIJA, MARCH)
    with pytest.raises(PlayConflictError):
        known.plays.start("a2", "reach_out_call", MAIJA)
    known.plays.start("a2", "rescue_plan", MAIJA)
    known.plays.start("a1", "reach_out_call", MAIJA)
    known.plays.change(play.play_id, snoozed.version, Closed("expired"), MAIJA)
    known.plays.start("a2", "reach_out_call", MAIJA)
    assert len(known.plays.list("a2")) == 3
    with pytest.raises(StoreError), known._database.writing() as connection:  # the database itself refuses a second one
        connection.exec_driver_sql("UPDATE plays SET state = 'running', outcome = NULL, closed_at = NULL")


def test_the_decision_that_chose_the_playbook_gives_the_assignment(known, write, record):
    started = known.plays.start
    held_out = started("a1", "activation", MAIJA)
    assert (held_out.assignment, held_out.probability, held_out.override) == ("held_out", 0.2, True)
    other = started("a1", "rescue_plan", MAIJA)
    assert (other.assignment, other.probability, other.override) == (None, None, True)
    undecided = started("a2", "activation", MAIJA)
    assert (undecided.assignment, undecided.probability, undecided.override) == (None, None, False)
    later = replace(HELD_OUT, account_id="a2", playbook="low_adoption", assignment="treated", probability=0.8)
    write(known, [record("a2")], [later], run_id="second")
    known.begin_run("score", MARCH, {}, run_id="unfinished")
    known.append_decisions("unfinished", [replace(later, assignment="held_out", probability=0.2)])
    treated = started("a2", "low_adoption", MAIJA)
    assert (treated.assignment, treated.probability, treated.override) == ("treated", 0.8, False)


def test_a_score_of_the_past_decides_nothing_now(known, write, record):
    write(known, [], run_id="again")
    past = replace(HELD_OUT, as_of=datetime(2025, 3, 1), assignment="treated", probability=0.8)
    known.begin_run("score", past.as_of, {}, run_id="past")
    known.append_decisions("past", [past])
    known.finish_run("past")
    assert known.plays.start("a1", "activation", MAIJA).assignment == "held_out"


@pytest.mark.parametrize(
    "kind, message, arguments, options",
    [
        (ValueError, "playbook 'party' is not in the catalogue; its playbooks: activation,", ("a1", "party"), {}),
        (UnknownAccountError, "account 'unknown' is not in the store", ("unknown", "activation"), {}),
        (ValueError, "owner '' is no id", ("a1", "activation"), {"owner": ""}),
        (ValueError, "owner 'u{64}' is no id", ("a1", "activation"), {"owner": "u" * 65}),
        (ValueError, "started_at is 9999-12-31T00:00:00; give", ("a1", "activation"), {"started_at": "9999-12-31"}),
        (ValueError, "the text holds a NUL character", ("a1", "activation"), {"text": "\0"}),
    ],
)
def test_a_play_that_cannot_be_is_refused(known, kind, message, arguments, options):
    with pytest.raises(kind, match=message):
        known.plays.start(*arguments, MAIJA, **options)
    assert known.plays.list() == []


# Changing


def test_a_play_goes_from_step_to_step_to_its_end_and_all_of_it_is_logged(known, play):
    until = MARCH + timedelta(days=5)
    changes = [StepDone(1), StepUndone(1), StepDone(2), Snoozed(until), Resumed(), Closed("goal_reached")]
    for version, change in enumerate(changes, start=1):
        at = MARCH + timedelta(hours=version)
        changed = known.plays.change(play.play_id, version, change, MAIJA, at, text="Answered" if version == 6 else None)
        assert known.plays.get(play.play_id) == changed
    assert [step.done_at for step in changed.steps[:2]] == [None, MARCH + timedelta(hours=3)]
    assert (changed.state, changed.outcome, changed.closed_at) == ("closed", "goal_reached", MARCH + timedelta(hours=6))
    log = known.plays.log(play.play_id)
    assert [(e.version, e.event, e.step, e.until, e.outcome, e.text) for e in log] == [
        (1, "started", None, None, None, None),
        (2, "step_done", 1, None, None, None),
        (3, "step_undone", 1, None, None, None),
        (4, "step_done", 2, None, None, None),
        (5, "snoozed", None, until, None, None),
        (6, "resumed", None, None, None, None),
        (7, "closed", None, None, "goal_reached", "Answered"),
    ]
    assert {(e.by, e.at - timedelta(hours=e.version)) for e in log} == {(Author("user", "u1"), MARCH - timedelta(hours=1))}


def test_who_saw_an_earlier_version_is_refused_and_told_the_present_one(known, play):
    known.plays.change(play.play_id, 1, StepDone(1), MAIJA)
    with pytest.raises(PlayConflictError, match="is of version 2, not 1: somebody changed it") as conflict:
        known.plays.change(play.play_id, 1, Closed("cancelled"), MAIJA)
    assert (conflict.value.play_id, conflict.value.version) == (play.play_id, 2)
    assert known.plays.get(play.play_id).state == "running"


@pytest.mark.parametrize(
    "before, change, message",
    [
        ([], StepUndone(1), "step 1 is not done"),
        ([StepDone(1)], StepDone(1), "step 1 is done already"),
        ([], Resumed(), "is running, not snoozed"),
        ([Closed("declined")], StepDone(1), r"is closed \(declined\) and takes no change"),
        ([Closed("declined")], Closed("declined"), "is closed"),
    ],
)
def test_a_change_that_does_not_fit_how_the_play_stands_is_a_conflict(known, play, before, change, message):
    for version, earlier in enumerate(before, start=1):
        known.plays.change(play.play_id, version, earlier, MAIJA)
    with pytest.raises(PlayConflictError, match=message) as conflict:
        known.plays.change(play.play_id, len(before) + 1, change, MAIJA)
    assert conflict.value.version == len(before) + 1 == len(known.plays.log(play.play_id))


@pytest.mark.parametrize(
    "change, message",
    [
        (StepDone(0), "step 0 is none of reach_out_call's; it has steps 1 to"),
        (StepDone(99), "step 99 is none"),
        (Snoozed(MARCH), "snoozed until 2026-03-01T00:00:00; give an instant after 2026-03-01T00:00:00"),
        (Closed("won"), f"outcome 'won' is not known; allowed: {', '.join(OUTCOMES)}"),
    ],
)
def test_a_change_that_no_play_could_take_is_refused(known, play, change, message):
    with pytest.raises(ValueError, match=message):
        known.plays.change(play.play_id, 1, change, MAIJA, MARCH)
    assert known.plays.get(play.play_id) == play


def test_an_unknown_play_is_told_apart(known):
    for play_id in ("5f0c6a1e-0000-4000-8000-000000000000", "no uuid", "\0", ""):
        for question in (
            lambda i: known.plays.get(i),
            lambda i: known.plays.log(i),
            lambda i: known.plays.list(after=i),
            lambda i: known.plays.change(i, 1, Resumed(), MAIJA),
        ):
            with pytest.raises(UnknownPlayError):
                question(play_id)


def test_of_two_changes_at_once_one_is_made(new_url, write, record):
    with Store.open(new_url()) as store:
        write(store, [record("a1")])
        play = store.plays.start("a1", "rescue_plan", MAIJA)

        def close(outcome: str) -> str | None:
            try:
                return store.plays.change(play.play_id, 1, Closed(outcome), MAIJA).outcome
            except PlayConflictError:
                return None

        def start(_: int) -> str | None:
            try:
                return store.plays.start("a1", "activation", MAIJA).play_id
            except PlayConflictError:
                return None

        with ThreadPoolExecutor(4) as pool:
            made = [outcome for outcome in pool.map(close, ["declined", "expired"] * 4) if outcome]
            started = [play_id for play_id in pool.map(start, range(8)) if play_id]
        assert made == [store.plays.get(play.play_id).outcome]
        assert [play.play_id for play in store.plays.list(playbook="activation")] == started
        assert len(started) == 1


def test_the_night_wakes_the_plays_whose_snooze_is_over(known, play):
    other = known.plays.start("a1", "rescue_plan", MAIJA, MARCH)
    for snoozed, days in ((play, 2), (other, 3)):
        known.plays.change(snoozed.play_id, 1, Snoozed(MARCH + timedelta(days=days)), MAIJA, MARCH)
    assert known.plays.wake(NIGHT, MARCH + timedelta(days=2)) == 1
    assert known.plays.wake(NIGHT, MARCH + timedelta(days=2)) == 0
    woken = known.plays.get(play.play_id)
    assert (woken.state, woken.snoozed_until, woken.version) == ("running", None, 3)
    assert known.plays.log(play.play_id)[-1].by == NIGHT
    assert known.plays.get(other.play_id).state == "snoozed"


# Telling others


def test_what_is_told_of_a_play_is_written_with_it_or_not_at_all(known):
    told = []

    def notify(connection, event, payload):
        assert connection.in_transaction()
        told.append((event, payload))

    def fail(connection, event, payload):
        raise RuntimeError("the outbox is full")

    failing, telling = Plays(known._database, fail), Plays(known._database, notify)
    with pytest.raises(RuntimeError):
        failing.start("a1", "activation", MAIJA, MARCH)
    assert known.plays.list() == []
    play = telling.start("a1", "activation", MAIJA, MARCH, owner="u1", text="Anna asked")
    failing.change(play.play_id, 1, StepDone(1), MAIJA)
    with pytest.raises(RuntimeError):
        failing.change(play.play_id, 2, Closed("goal_reached"), MAIJA)
    assert known.plays.get(play.play_id).version == 2
    telling.change(play.play_id, 2, Closed("goal_reached"), MAIJA, MARCH + timedelta(days=2))
    [(first, opening), (last, closing)] = told
    assert (first, last) == ("play.started", "play.closed")
    assert opening.keys() == closing.keys()
    assert {name: value for name, value in closing.items() if name != "account_key"} == {
        "play_id": play.play_id,
        "playbook": "activation",
        "started_at": MARCH,
        "closed_at": MARCH + timedelta(days=2),
        "outcome": "goal_reached",
        "assignment": "held_out",
        "override": True,
    }
    assert opening["account_key"] == closing["account_key"]
    assert isinstance(opening["account_key"], UUID)


def test_the_outbox_takes_what_is_told(known):
    known.outbox.subscribe("https://hooks.example/kunto", ["play.started", "play.closed"], created_by="k1")
    play = known.plays.start("a1", "activation", MAIJA)
    known.plays.change(play.play_id, 1, Closed("declined"), MAIJA)
    bodies = [claimed.body for claimed in known.outbox.claim(datetime(2100, 1, 1))]
    assert len(bodies) == 2
    assert all('"account_id":"a1"' in body and play.play_id in body for body in bodies)


# Listing


def test_plays_are_listed_page_by_page_the_last_started_first(known):
    known.save_accounts([Identity(f"b{n}", csm="Pekka") for n in range(7)])
    plays = [known.plays.start(f"b{n}", "activation", MAIJA, MARCH + timedelta(days=n // 2)) for n in range(7)]
    whole = known.plays.list()
    assert sorted(play.play_id for play in whole) == sorted(play.play_id for play in plays)
    assert [play.started_at for play in whole] == sorted((play.started_at for play in plays), reverse=True)
    pages, after = [], None
    while page := known.plays.list(after=after, limit=2):
        pages.append(page)
        after = page[-1].play_id
        if len(pages) == 1:
            known.plays.start("a1", "activation", MAIJA, MARCH + timedelta(days=90))  # belongs to a page that is past
            known.forget_account(page[-1].account_id)  # the cursor holds although its account is gone
    assert [play for page in pages for play in page] == whole


def test_plays_are_listed_by_account_state_playbook_and_csm(known):
    known.save_accounts([Identity("b1", csm="Pekka")])
    mine = known.plays.start("b1", "activation", MAIJA, MARCH)
    closed = known.plays.start("b1", "rescue_plan", MAIJA, MARCH + timedelta(days=1))
    closed = known.plays.change(closed.play_id, 1, Closed("superseded"), MAIJA)
    other = known.plays.start("a2", "activation", MAIJA, MARCH + timedelta(days=2))
    listed = known.plays.list
    assert listed("b1") == listed(csm="Pekka") == [closed, mine]
    assert listed(state="running") == listed(playbook="activation") == [other, mine]
    assert listed("b1", "closed", "rescue_plan", "Pekka") == [closed]
    assert listed("unknown") == listed(csm="a\0b") == listed(csm="Maija Meikäläinen", state="snoozed") == []
    assert known.plays.running() == {("b1", "activation"), ("a2", "activation")}
    with pytest.raises(ValueError, match="state 'open' is not known; allowed: running, snoozed, closed"):
        listed(state="open")

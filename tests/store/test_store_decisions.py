"""The log of choices: written when made, read as written."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from serving.store import Decision, Identity, StoreError

MARCH = datetime(2026, 3, 1)
CHOSEN = Decision(
    account_id="a1",
    as_of=MARCH,
    decided_at=datetime(2026, 3, 1, 4, 30, 0, 123456),
    playbook="activation",
    candidates=[{"name": "activation", "value": 120.5, "why_not": None}, {"name": None, "value": 0.0}],
    assignment="held_out",
    probability=0.2,
    seed=2**63 - 1,
    known={
        "probabilities": {"churn": 0.125, "expansion": 0.1},
        "drivers": [{"driver": "silence", "contribution": 0.4}],
        "arr": 24000.0,
        "versions": {"model": "churn 3", "config": "9f2c", "data": "77ab"},
    },
)
NOTHING = replace(CHOSEN, playbook=None, assignment=None, probability=None, seed=None)


def test_a_decision_comes_back_as_it_was_made(store, write, record):
    run = write(store, [record()], [CHOSEN])
    [logged] = store.decisions("a1")
    assert asdict(logged) == asdict(CHOSEN) | {"run_id": run.run_id}
    assert run.counts == {"scores": 1, "decisions": 1}


def test_decisions_are_listed_as_they_were_made_once_their_run_is_finished(store, write, record):
    write(store, [record()], [CHOSEN])
    earlier = replace(NOTHING, decided_at=datetime(2026, 2, 28, 23, tzinfo=timezone(timedelta(hours=-2))))
    store.begin_run("score", MARCH, {}, run_id="second")
    assert store.append_decisions("second", [earlier]) == 1
    assert store.append_decisions("second", [earlier]) == 0
    assert [logged.playbook for logged in store.decisions("a1")] == ["activation"]
    store.finish_run("second")
    assert [logged.playbook for logged in store.decisions("a1")] == [None, "activation"]
    assert store.decisions("a1")[0].decided_at == datetime(2026, 3, 1, 1)


def test_aware_instants_are_kept_as_utc(store, write, record):
    write(store, [record()], [replace(CHOSEN, as_of=MARCH.replace(tzinfo=UTC))])
    assert store.decisions("a1")[0].as_of == MARCH


def test_sentences_are_left_out_and_other_fields_refused(store, write, record):
    drivers = [{"driver": "silence", "contribution": 0.4, "text": "Sanna is silent"}]
    write(store, [record()], [replace(CHOSEN, known={"drivers": drivers})])
    assert store.decisions("a1")[0].known == {"drivers": [{"driver": "silence", "contribution": 0.4}]}
    run = store.begin_run("score", MARCH, {})
    with pytest.raises(ValueError, match="account 'a1', what was known: field name is not declared"):
        store.append_decisions(run.run_id, [replace(CHOSEN, known={"name": "Acme"})])
    with pytest.raises(ValueError, match=r"what was known: probabilities\.churn is nan"):
        store.append_decisions(run.run_id, [replace(CHOSEN, known={"probabilities": {"churn": float("nan")}})])
    with pytest.raises(ValueError, match=r"account 'a1', candidates: 0\.value is inf"):
        store.append_decisions(run.run_id, [replace(CHOSEN, candidates=[{"value": float("inf")}])])


def test_an_unknown_account_is_refused(store):
    store.save_accounts([Identity("b1")])
    run = store.begin_run("score", MARCH, {})
    with pytest.raises(StoreError, match="1 account is not in the store: 'a1'"):
        store.append_decisions(run.run_id, [CHOSEN])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"assignment": "control"}, "assignment 'control' is not known; allowed: treated, held_out"),
        ({"probability": 20}, "probability 20 of held_out must lie between 0 and 1"),
        ({"seed": 2**64}, "seed 18446744073709551616 does not fit"),
        ({"seed": None}, "seed None come together"),
        ({"assignment": None}, "assignment None.*come together"),
    ],
)
def test_an_assignment_that_could_not_be_analysed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(CHOSEN, **wrong)

"""What a score was computed from: kept to the bit, all or none, fixed with its run."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from serving.store import Identity, StoreError, UnknownAccountError
from serving.store.tables.work import InputRow

MARCH = pd.Timestamp("2026-03-01")
#: Values that a careless way to keep numbers would change.
NUMBERS = [0.1 + 0.2, -0.0, np.nan, np.inf, 5e-324, 1.7976931348623157e308, 2.0**53 + 2]


def features(*accounts: str, as_of: pd.Timestamp = MARCH, **columns: object) -> pd.DataFrame:
    numbers = {f"feature_{n}": np.full(len(accounts), number) for n, number in enumerate(NUMBERS)}
    return pd.DataFrame({"account_id": list(accounts), "as_of": as_of, **numbers, **columns})


def facts(*accounts: str, **changed: object) -> pd.DataFrame:
    known = {
        "account_id": list(accounts),
        "active": True,
        "leaving": False,
        "mrr": 100.25,
        "seats": np.nan,
        "renewal_at": pd.Timestamp("2026-11-06"),
        "notice_by": pd.NaT,
        "product": "core",
        "plan": None,
        "strategic": np.bool_(False),
        "parent_account_id": None,
    }
    return pd.DataFrame(known | changed)


@pytest.fixture
def begun(store):
    """A store that knows a1 and a2 and is in the middle of the run night."""
    store.save_accounts([Identity("a1", "Acme Oy", "Maija"), Identity("a2", "Beta Oy", "Maija")])
    store.begin_run("score", MARCH, {"model": "health score"}, run_id="night")
    return store


@pytest.fixture
def scored(begun, record):
    """The same with scores of both accounts in the run."""
    begun.append_scores("night", [record("a1"), record("a2")])
    return begun


def test_every_number_comes_back_to_the_bit(scored):
    scored.inputs.append("night", features("a1", "a2"), facts("a1", "a2", mrr=[100.25, np.nan]))
    assert scored.inputs.read("a1") is None, "the run is not finished"
    scored.finish_run("night")
    kept = scored.inputs.read("a1")
    assert (kept.run_id, kept.as_of) == ("night", datetime(2026, 3, 1))
    assert list(kept.features) == [f"feature_{n}" for n in range(len(NUMBERS))]
    missing, *others = sorted(zip(NUMBERS, kept.features.values(), strict=True), key=lambda pair: not np.isnan(pair[0]))
    assert missing[1] is None
    assert [given.hex() for given, _ in others] == [kept.hex() for _, kept in others]
    assert kept.facts == {
        "active": True,
        "leaving": False,
        "mrr": 100.25,
        "seats": None,
        "renewal_at": "2026-11-06T00:00:00",
        "notice_by": None,
        "product": "core",
        "plan": None,
        "strategic": False,
        "parent_account_id": None,
    }
    assert scored.inputs.read("a2").facts["mrr"] is None


def test_what_a_run_holds_is_passed_over_and_a_finished_one_refuses(scored):
    assert scored.inputs.append("night", features("a1"), facts("a1")) == 1
    again = features("a1", "a2", feature_0=9.0)
    assert scored.inputs.append("night", again, facts("a1", "a2")) == 1
    scored.finish_run("night")
    assert scored.inputs.append("night", again, facts("a1", "a2")) == 0
    assert [scored.inputs.read(account).features["feature_0"] for account in ("a1", "a2")] == [NUMBERS[0], 9.0]
    with pytest.raises(StoreError, match="run 'night' is finished and takes none of the 1 new inputs"):
        scored.inputs.append("night", features("a1", as_of=MARCH + pd.Timedelta(days=1)), facts("a1"))


def test_all_or_none(scored):
    with pytest.raises(StoreError, match="1 account is not in the store: 'unknown'"):
        scored.inputs.append("night", features("a1", "unknown"), facts("a1", "unknown"))
    with pytest.raises(ValueError, match="'a1' at 2026-03-01 00:00:00 is given twice"):
        scored.inputs.append("night", features("a1", "a1"), facts("a1", "a1"))
    with pytest.raises(StoreError, match="there is no run 'other'"):
        scored.inputs.append("other", features("a1"), facts("a1"))
    scored.finish_run("night")
    assert scored.inputs.read("a1") is None
    assert scored.inputs.append("night", features(), facts()) == 0


@pytest.mark.parametrize(
    "given, stated, refusal",
    [
        (features("a1"), facts("a1").assign(name="Acme Oy"), "facts has name; only these are kept: active, leaving"),
        (features("a1"), facts("a2"), "facts.account_id is not features.account_id: give both frames in one order"),
        (features("a1"), facts("a1", "a2").drop(columns="account_id"), "facts has 2 rows and features 1"),
        (features("a1").drop(columns="as_of"), facts("a1"), "features lacks the column 'as_of'"),
        (features("a1", note="calls a lot"), facts("a1"), "features holds something that is no number"),
    ],
)
def test_what_cannot_be_kept_is_refused(begun, given, stated, refusal):
    with pytest.raises(ValueError, match=refusal):
        begun.inputs.append("night", given, stated)


def test_the_inputs_of_the_score_that_stands_are_read(scored, record):
    scored.inputs.append("night", features("a1"), facts("a1"))
    first = scored.finish_run("night")
    for run_id, as_of in (("again", "2026-03-01"), ("later", "2026-04-01")):
        scored.begin_run("score", as_of, {}, run_id=run_id)
        scored.append_scores(run_id, [record("a1", f"{as_of}T00:00:00")])
        if run_id == "again":
            scored.inputs.append(run_id, features("a1", feature_0=2.0), facts("a1"))
        scored.finish_run(run_id)
    read = scored.inputs.read
    assert read("a1") is None, "the score of April stands, and of that nothing was kept"
    assert read("a1", as_of="2026-03-31").run_id == "again"
    assert read("a1", as_of="2026-03-31", known_at=first.finished_at).run_id == "night"
    assert read("a1", run_id="night").features["feature_0"] == NUMBERS[0]
    assert read("a1", run_id="night", as_of="2026-02-28") is None
    with pytest.raises(UnknownAccountError):
        read("nobody")


def test_a_parent_is_kept_by_key_and_forgotten_with_its_account(scored):
    given = facts("a1", "a2", parent_account_id=["a2", "holding"])
    scored.inputs.append("night", features("a1", "a2"), given)
    scored.finish_run("night")
    with scored._database.reading() as connection:
        kept = connection.scalars(select(InputRow.facts)).all()
    assert not any({"a2", "holding"} & set(map(str, facts.values())) for facts in kept)
    assert [scored.inputs.read(account).facts["parent_account_id"] for account in ("a1", "a2")] == ["a2", "holding"]
    scored.forget_account("holding")
    assert scored.inputs.read("a2").facts["parent_account_id"] is None


def test_names_of_columns_are_kept_once_for_all_that_share_them(scored):
    scored.inputs.append("night", features("a1"), facts("a1"))
    scored.inputs.append("night", features("a2"), facts("a2"))
    scored.inputs.append("night", features("a1", as_of=MARCH + pd.Timedelta(days=1), extra=1.0), facts("a1"))
    with scored._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM input_columns").scalar() == 2
        assert connection.exec_driver_sql("SELECT count(*) FROM inputs").scalar() == 3


def test_no_input_joins_a_finished_run_even_by_hand(scored):
    scored.inputs.append("night", features("a1"), facts("a1"))
    scored.finish_run("night")
    columns = "run_id, account_key, as_of, columns_digest, packed, facts"
    statement = f"INSERT INTO inputs ({columns}) SELECT {columns.replace('as_of', 'scored_at')} FROM ("
    statement += "SELECT inputs.*, scores.scored_at FROM inputs JOIN scores USING (run_id, account_key)) AS joined"
    with pytest.raises(StoreError, match="a finished run takes no rows"), scored._database.writing() as connection:
        connection.exec_driver_sql(statement)

"""A choice worded again out of what was logged of it, and the choice for nobody in particular."""

import dataclasses

from hypothesis import given, settings
from test_choice import BOOKS, FADING, SETTINGS, SILENT, accounts

from models.choice import NOTHING, AccountFacts, choose, why_of


def _logged(account: AccountFacts) -> list[dict[str, object]]:
    return [each.model_dump(exclude={"why"}) for each in choose(account, BOOKS, SETTINGS, seed=3).candidates]


@settings(deadline=None)
@given(accounts)
def test_what_is_logged_gives_the_same_words_again(account: AccountFacts) -> None:
    currency = None if account.arr is None else SETTINGS.currency
    again = why_of(_logged(account), BOOKS, account.contributions, currency)
    assert again == choose(account, BOOKS, SETTINGS, seed=3).why


def test_a_candidate_says_what_its_value_was_reckoned_from() -> None:
    for each in choose(SILENT, BOOKS, SETTINGS, seed=3).candidates:
        if each.name == NOTHING:
            assert each.probability is each.stake is None
        else:
            assert (each.probability, each.stake) == (0.3, 24_000.0)


def test_of_what_was_logged_without_its_reckoning_the_values_are_told() -> None:
    bare = [{name: each[name] for name in ("name", "value", "relative_effect")} for each in _logged(FADING)]
    assert why_of(bare, BOOKS, FADING.contributions, "EUR").en == (
        "Activation message: worth €717 over 90 days. Next best: Doing nothing, €0."
    )


def test_an_account_without_an_id_is_never_held_out() -> None:
    anybody = dataclasses.replace(FADING, account_id=None)
    certain = SETTINGS.model_copy(update={"hold_out_share": 1.0})
    assert choose(FADING, BOOKS, certain, seed=3).assignment.arm == "held_out"
    assert choose(anybody, BOOKS, certain, seed=3).assignment.arm == "treated"
    assert choose(dataclasses.replace(anybody, parent_account_id="p"), BOOKS, certain, seed=3).assignment.arm == "held_out"

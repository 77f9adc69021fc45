"""The choice of a play: the formulae of domain.md §8, its laws, and the hold-out."""

import copy
import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from features.catalogue.declare import DRIVERS
from models.choice import NOTHING, AccountFacts, PlaySettings, assign, candidates, choose, relative_effect
from models.playbooks import BANDS, CLOSING_STAGES, SIGNALS, STAGES, TIERS, Playbook, load

BOOKS = load()
SETTINGS = PlaySettings()
SILENT = AccountFacts(
    "a1",
    band="neutral",
    tier="key",
    p_churn=0.3,
    arr=30_000.0,
    contributions={"silence": 0.6, "price_pressure": 0.2, "growth": -0.5},
)
FADING = dataclasses.replace(SILENT, contributions={"usage_decline": 0.6})
THRIVING = AccountFacts(
    "a2", band="healthy", stage="value_realisation", tier="developing", p_churn=0.02, p_expansion=0.4, arr=20_000.0,
    expected_added_arr=5_000.0, contributions={"usage_decline": -0.3},
)  # fmt: skip

unit = st.floats(0, 1)
money = st.none() | st.floats(0, 1e7)
accounts = st.builds(
    AccountFacts,
    account_id=st.text(min_size=1, max_size=5),
    parent_account_id=st.none() | st.text(min_size=1, max_size=5),
    band=st.none() | st.sampled_from(BANDS),
    stage=st.sampled_from(STAGES),
    tier=st.none() | st.sampled_from(TIERS),
    leaving=st.booleans(),
    strategic=st.booleans(),
    p_churn=unit,
    p_expansion=st.none() | unit,
    contributions=st.dictionaries(st.sampled_from(DRIVERS), st.floats(-2, 2)),
    arr=money,
    expected_added_arr=money,
    days_to_renewal=st.none() | st.floats(-400, 400),
    signals=st.frozensets(st.sampled_from(SIGNALS), max_size=3),
)


def value_of(account: AccountFacts, name: str, settings: PlaySettings = SETTINGS) -> float:
    choice = choose(account, BOOKS, settings, seed=1)
    return next(candidate.value for candidate in choice.candidates if candidate.name == name)


def churn_plays(account: AccountFacts) -> set[str]:
    return {book.name for book in candidates(account, BOOKS) if book.outcome == "churn"}


# -- value ------------------------------------------------------------------------------------------------------------------


def test_value_of_a_churn_play_is_risk_times_effect_times_margin_less_the_work() -> None:
    effect = (0.6 * 0.35 + 0.2 * 0.0) / 0.8 * 0.5
    assert relative_effect(SILENT, BOOKS["reach_out_call"], SETTINGS) == pytest.approx(effect)
    assert value_of(SILENT, "reach_out_call") == pytest.approx(0.3 * effect * 30_000 * 0.8 - 1 * 60)


def test_value_of_a_growth_play_is_the_chance_times_the_plain_effect_times_the_added_margin_less_the_work() -> None:
    assert value_of(THRIVING, "upsell") == pytest.approx(0.4 * 0.3 * 0.5 * 5_000 * 0.8 - 2 * 60)


def test_without_money_an_account_counts_one_and_forty_hours_cost_one() -> None:
    poor = dataclasses.replace(SILENT, arr=None)
    assert value_of(poor, "reach_out_call") == pytest.approx(0.3 * 0.13125 - 1 / 40)
    growing = dataclasses.replace(THRIVING, arr=None, expected_added_arr=None)
    assert value_of(growing, "more_users") == pytest.approx(0.4 * 0.1 * 0.5 - 0.05 / 40)


def test_growth_without_a_chance_or_without_the_added_money_does_not_compete() -> None:
    for unknown in ({"p_expansion": None}, {"expected_added_arr": None}):
        account = dataclasses.replace(THRIVING, **unknown)  # type: ignore[arg-type]
        assert "upsell" in {book.name for book in candidates(account, BOOKS)}
        assert {candidate.name for candidate in choose(account, BOOKS, SETTINGS, seed=1).candidates} == {NOTHING}


def test_settings_set_margin_cost_and_the_discount_of_unmeasured_effects() -> None:
    settings = PlaySettings(margin=0.5, hourly_cost=100, unmeasured_factor=1.0)
    assert value_of(SILENT, "reach_out_call", settings) == pytest.approx(0.3 * 0.2625 * 30_000 * 0.5 - 100)


def test_a_measured_effect_replaces_the_stated_one_and_may_be_negative() -> None:
    measured = {"reach_out_call": -0.1}
    assert relative_effect(SILENT, BOOKS["reach_out_call"], SETTINGS, measured) == -0.1
    choice = choose(SILENT, BOOKS, SETTINGS, seed=1, measured=measured)
    lost = next(candidate for candidate in choice.candidates if candidate.name == "reach_out_call")
    assert lost.value == pytest.approx(0.3 * -0.1 * 24_000 - 60)
    assert choice.name != "reach_out_call"


def test_without_contributions_the_stated_effects_weigh_equally_and_with_none_that_raises_the_effect_is_none() -> None:
    stated = BOOKS["rescue_plan"].effects.values()
    leaving = dataclasses.replace(SILENT, contributions={}, leaving=True)
    assert relative_effect(leaving, BOOKS["rescue_plan"], SETTINGS) == pytest.approx(sum(stated) / len(stated) / 2)
    safe = dataclasses.replace(SILENT, contributions={"silence": -0.2, "growth": 0.0})
    assert relative_effect(safe, BOOKS["rescue_plan"], SETTINGS) == 0.0


def test_nothing_wins_where_no_play_brings_back_its_cost() -> None:
    choice = choose(dataclasses.replace(SILENT, arr=100.0), BOOKS, SETTINGS, seed=1)
    assert (choice.name, choice.expected_value, choice.assignment.arm) == (NOTHING, 0.0, "none")
    assert choice.beaten is not None
    assert choice.beaten.name == "reach_out_call"
    assert choice.beaten.value < 0
    assert "Reach-out call" in choice.why.en
    assert "Yhteydenottopuhelu" in choice.why.fi


def test_equal_values_go_to_nothing_first_and_then_by_name() -> None:
    book = BOOKS["reach_out_call"]
    twins = {name: book.model_copy(update={"name": name}) for name in ("beta", "alpha")}
    assert [c.name for c in choose(SILENT, twins, SETTINGS, seed=1).candidates] == ["alpha", "beta", NOTHING]
    free = {"aaa": book.model_copy(update={"name": "aaa", "hours": 0.0})}
    assert choose(dataclasses.replace(SILENT, p_churn=0.0), free, SETTINGS, seed=1).name == NOTHING


def test_the_sentences_say_what_was_chosen_why_and_what_it_beat() -> None:
    choice = choose(FADING, BOOKS, SETTINGS, seed=1)
    assert choice.why.en == (
        "Activation message: worth €717 over 90 days. Churn risk 30%, relative effect 10%, yearly margin €24,000, "
        "0.05 h of work. It treats 100% of what raises the predicted risk: falling usage. Next best: Doing nothing, €0."
    )
    assert choice.why.fi.replace("\xa0", " ") == (
        "Aktivointiviesti: arvo 717 € 90 päivässä. Poistumariski 30 %, suhteellinen vaikutus 10 %, vuosikate 24 000 €, "
        "työtä 0,05 h. Vaikuttaa 100 prosenttiin ennustettua riskiä nostavista tekijöistä: käytön väheneminen. "
        "Seuraavaksi paras: Ei toimenpiteitä, 0 €."
    )


# -- which plays fit --------------------------------------------------------------------------------------------------------


def test_only_the_three_drivers_that_raise_the_risk_most_trigger() -> None:
    drivers = {"silence": 0.9, "payment_trouble": 0.8, "champion_left": 0.7, "usage_decline": 0.6, "low_adoption": -0.9}
    assert churn_plays(dataclasses.replace(SILENT, contributions=drivers)) == {
        "reach_out_call",
        "payment_trouble",
        "champion_left",
    }


def test_a_signal_triggers_without_its_driver() -> None:
    quiet = dataclasses.replace(SILENT, contributions={})
    assert churn_plays(quiet) == set()
    raised = dataclasses.replace(quiet, signals=frozenset({"invoice_overdue"}))
    assert churn_plays(raised) == {"payment_trouble"}


def test_who_leaves_gets_rescue_and_interview_and_who_left_interview_and_win_back() -> None:
    leaving = dataclasses.replace(SILENT, leaving=True, band="critical", p_churn=1.0)
    choice = choose(leaving, BOOKS, SETTINGS, seed=1)
    assert (choice.name, choice.due) == ("rescue_plan", ("exit_interview",))
    left = dataclasses.replace(SILENT, stage="left", band=None)
    choice = choose(left, BOOKS, SETTINGS, seed=1)
    assert (choice.name, choice.due) == (NOTHING, ("exit_interview", "win_back"))


def test_an_account_without_band_or_tier_gets_only_plays_that_ask_for_neither() -> None:
    bare = dataclasses.replace(THRIVING, band=None, tier=None, contributions={"silence": 1.0})
    assert [book.name for book in candidates(bare, BOOKS)] == ["reach_out_call"]


@given(accounts)
def test_laws_of_every_choice(account: AccountFacts) -> None:
    before, books = copy.deepcopy(account), {name: book.model_copy(deep=True) for name, book in BOOKS.items()}
    choice = choose(account, BOOKS, SETTINGS, seed=3)
    shuffled = dict(sorted(BOOKS.items(), reverse=True))
    assert choice == choose(account, shuffled, SETTINGS, seed=3)
    assert (account, BOOKS) == (before, books)
    assert choice.model_validate_json(choice.model_dump_json()) == choice

    values = [candidate.value for candidate in choice.candidates]
    assert values == sorted(values, reverse=True)
    assert all(math.isfinite(value) for value in values)
    assert NOTHING in {candidate.name for candidate in choice.candidates}
    assert choice.expected_value == values[0] >= 0
    assert choice.beaten == (choice.candidates[1] if len(values) > 1 else None)
    assert (choice.name == NOTHING) == (choice.assignment.arm == "none")
    for candidate in choice.candidates:
        assert candidate.why.en != candidate.why.fi

    stage = account.standing
    for name in {*choice.due, *(candidate.name for candidate in choice.candidates)} - {NOTHING}:
        trigger = BOOKS[name].trigger
        assert stage in trigger.stages or (not trigger.stages and stage not in CLOSING_STAGES)
        assert not trigger.bands or account.band in trigger.bands
        assert not trigger.tiers or account.tier in trigger.tiers


@given(accounts, st.floats(0, 1))
def test_more_risk_never_lowers_the_value_of_a_choice(account: AccountFacts, risk: float) -> None:
    riskier = dataclasses.replace(account, p_churn=max(account.p_churn, risk))
    assert choose(riskier, BOOKS, SETTINGS, seed=3).expected_value >= choose(account, BOOKS, SETTINGS, seed=3).expected_value


# -- hold-out ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("name", [name for name, book in BOOKS.items() if book.hold_out])
def test_the_share_held_out_is_the_share_that_was_set(name: str, share: float) -> None:
    settings, trials = PlaySettings(hold_out_share=share), 20_000
    drawn = [assign(dataclasses.replace(FADING, account_id=f"a{i}"), BOOKS[name], settings, seed=11) for i in range(trials)]
    held = sum(assignment.arm == "held_out" for assignment in drawn)
    assert abs(held / trials - share) < 4 * math.sqrt(share * (1 - share) / trials)
    assert {(a.arm, a.probability) for a in drawn} == {("held_out", share), ("treated", 1 - share)}


def test_an_assignment_depends_on_parent_playbook_and_seed_alone() -> None:
    def arms(ids: list[int], *, name: str = "activation", seed: int = 11) -> dict[int, str]:
        return {i: assign(dataclasses.replace(FADING, account_id=f"a{i}"), BOOKS[name], SETTINGS, seed=seed).arm for i in ids}

    ids = list(range(2_000))
    first = arms(ids)
    assert arms(random.Random(5).sample(ids, len(ids))) == first
    for other in (arms(ids, seed=12), arms(ids, name="low_adoption")):
        agree = sum(first[i] == other[i] for i in ids) / len(ids)
        assert abs(agree - (0.8**2 + 0.2**2)) < 0.05, "another seed or playbook draws independently"
    for i in range(200):
        children = [dataclasses.replace(SILENT, account_id=f"c{k}", parent_account_id=f"a{i}") for k in range(3)]
        assert {assign(child, BOOKS["activation"], SETTINGS, seed=11).arm for child in children} == {first[i]}


@pytest.mark.parametrize(
    "exempt",
    [
        {"strategic": True},
        {"tier": "strategic"},
        {"leaving": True},
        {"stage": "leaving"},
        {"stage": "left"},
        {"stage": "onboarding"},
    ],
)
def test_exempt_accounts_are_never_held_out(exempt: dict[str, object]) -> None:
    for i in range(200):
        account = dataclasses.replace(FADING, account_id=f"a{i}", **exempt)  # type: ignore[arg-type]
        assignment = assign(account, BOOKS["activation"], PlaySettings(hold_out_share=0.5), seed=11)
        assert (assignment.arm, assignment.probability) == ("treated", 1.0)


@pytest.mark.parametrize("book", [book for book in BOOKS.values() if not book.hold_out], ids=lambda book: book.name)
def test_playbooks_without_hold_out_are_never_held_out(book: Playbook) -> None:
    settings = PlaySettings(hold_out_share=0.5)
    assert {assign(dataclasses.replace(FADING, account_id=f"a{i}"), book, settings, seed=11).arm for i in range(100)} == {
        "treated"
    }


def test_a_company_may_switch_the_hold_out_off() -> None:
    for settings in (PlaySettings(hold_out_off=frozenset({"activation"})), PlaySettings(hold_out_share=0)):
        drawn = [
            assign(dataclasses.replace(FADING, account_id=f"a{i}"), BOOKS["activation"], settings, seed=11) for i in range(200)
        ]
        assert {(a.arm, a.probability) for a in drawn} == {("treated", 1.0)}
    with pytest.raises(
        ValueError, match="hold_out_off names aktivointi, which the catalogue has not; its playbooks: activation, "
    ):
        choose(SILENT, BOOKS, PlaySettings(hold_out_off=frozenset({"aktivointi"})), seed=1)


# -- refusals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"band": "green"}, {"stage": "gone"}, {"tier": "gold"}, {"p_churn": 1.2}, {"p_churn": math.nan}, {"p_expansion": -0.1},
        {"arr": -1.0}, {"arr": math.nan}, {"expected_added_arr": math.inf}, {"days_to_renewal": math.nan},
        {"contributions": {"silence": math.nan}},
    ],
)  # fmt: skip
def test_facts_that_cannot_be_are_refused_by_name(wrong: dict[str, object]) -> None:
    name = "contribution of silence" if "contributions" in wrong else next(iter(wrong))
    with pytest.raises(ValueError, match=rf"account a1: .*{name} is .*; give "):
        dataclasses.replace(SILENT, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"hold_out_share": 0.6}, {"margin": 0}, {"hourly_cost": -1}, {"currency": "euro"}, {"discount": 1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PlaySettings.model_validate(wrong)

"""Contract of the playbook catalogue: every playbook is complete, in both languages, and the catalogue leaves no gap."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from features.catalogue.declare import DRIVERS
from models.choice import AccountFacts, candidates
from models.playbooks import BANDS, DRIVER_LABELS, SIGNALS, STAGES, TIERS, Playbook, Text, as_markdown, load, parse

PAGE = Path(__file__).resolve().parents[1] / "docs" / "playbooks.md"
BOOKS = load()
#: Facts of an account, not something that a play could change.
UNTREATED = {"tenure_and_profile", "growth"}
#: domain.md §8, every play that it names.
NAMED = {
    "handover", "onboarding_high_touch", "onboarding_low_touch", "onboarding_tech_touch", "activation", "reach_out_call",
    "escalate_negative_feedback", "rescue_plan", "stalled_onboarding", "low_adoption", "support_friction", "payment_trouble",
    "champion_left", "decision_maker_never_met", "value_not_proven", "renewal_180", "renewal_90", "renewal_30", "upsell",
    "cross_sell", "more_users", "reference", "case_study", "referral", "exit_interview", "win_back",
}  # fmt: skip


def texts(book: Playbook) -> list[Text]:
    return [book.title, book.summary, book.goal, book.exit, *(step.what for step in book.steps)]


@pytest.fixture(params=BOOKS.values(), ids=list(BOOKS))
def book(request: pytest.FixtureRequest) -> Playbook:
    return request.param


def test_the_catalogue_holds_every_play_that_is_named() -> None:
    assert set(BOOKS) == NAMED
    assert list(BOOKS) == sorted(BOOKS)


def test_every_text_speaks_both_languages(book: Playbook) -> None:
    for text in texts(book):
        assert text.en.strip()
        assert text.fi.strip()
        assert text.en != text.fi
        assert "|" not in text.en + text.fi, "a bar would break the generated tables"


def test_steps_ascend_and_only_the_handover_begins_before_day_0(book: Playbook) -> None:
    days = [step.day for step in book.steps]
    assert days == sorted(days)
    assert (days[0] < 0) == (book.name == "handover")


def test_automatic_plays_cost_little_and_only_they_are_held_out(book: Playbook) -> None:
    assert not book.hold_out or book.automatic
    assert (book.hours < 0.25) == book.automatic
    if book.name.startswith(("onboarding", "escalate", "payment", "handover")):
        assert not book.hold_out


def test_effects_are_stated_for_what_competes_and_lie_in_0_to_1(book: Playbook) -> None:
    assert bool(book.effects) == (book.outcome != "none")
    assert all(0 < effect <= 1 for effect in book.effects.values())
    assert set(book.trigger.drivers) <= set(book.effects), "a play treats every driver that triggers it"
    assert not set(book.effects) & UNTREATED or book.outcome == "expansion"


def test_a_playbook_survives_a_round_trip(book: Playbook) -> None:
    assert parse(book.name, yaml.safe_dump(book.model_dump(mode="json"))) == book


def test_a_playbook_cannot_be_changed_and_the_catalogue_is_the_callers_own(book: Playbook) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        book.hours = 0.0  # type: ignore[misc]
    load().pop(book.name)
    assert load()[book.name] == book


def test_every_driver_has_a_label_and_a_play_that_its_presence_triggers() -> None:
    assert tuple(DRIVER_LABELS) == DRIVERS
    for driver in set(DRIVERS) - UNTREATED:
        account = AccountFacts("a", band="neutral", p_churn=0.3, contributions={driver: 1.0}, days_to_renewal=60)
        assert any(driver in book.effects and book.outcome == "churn" for book in candidates(account, BOOKS)), driver


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("tier", TIERS)
def test_every_band_and_tier_has_a_play(band: str, tier: str) -> None:
    account = AccountFacts("a", band=band, tier=tier, stage="expansion", p_churn=0.3, contributions={"growth": -1.0})  # type: ignore[arg-type]
    assert candidates(account, BOOKS)


@pytest.mark.parametrize("tier", TIERS)
def test_each_tier_has_one_onboarding(tier: str) -> None:
    account = AccountFacts("a", band="neutral", tier=tier, stage="onboarding")  # type: ignore[arg-type]
    names = [book.name for book in candidates(account, BOOKS)]
    assert len([name for name in names if name.startswith("onboarding_")]) == 1
    assert "handover" in names


@pytest.mark.parametrize("days", range(-5, 200))
def test_renewal_plays_follow_each_other_without_gap_or_overlap(days: int) -> None:
    account = AccountFacts("a", band="neutral", days_to_renewal=float(days))
    names = [book.name for book in candidates(account, BOOKS) if book.name.startswith("renewal_")]
    expected = [
        name
        for name, low, high in (("renewal_30", 0, 30), ("renewal_90", 31, 90), ("renewal_180", 91, 180))
        if low <= days <= high
    ]
    assert names == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"name": "Two words"}, "name"),
        ({"trigger": {"drivers": ["weather"]}}, "trigger.drivers.0"),
        ({"trigger": {"weather": []}}, "trigger.weather"),
        ({"trigger": {"bands": ["green"]}}, "trigger.bands.0"),
        ({"trigger": {"renewal_within_days": 30, "renewal_after_days": 90}}, "the smaller first"),
        ({"trigger": {"renewal_after_days": 90}}, "give both"),
        ({"effects": {"weather": 0.1}}, "effects.weather"),
        ({"effects": {"silence": 1.5}}, "effects.silence"),
        ({"effects": {}}, "state effects where the outcome is churn"),
        ({"outcome": "none"}, "and only there"),
        ({"title": {"en": "Call"}}, "title.fi"),
        ({"title": {"en": "Call", "fi": "  "}}, "title.fi"),
        ({"steps": []}, "steps"),
        ({"hours": -1}, "hours"),
        ({"hold_out": True}, "all automatic"),
    ],
)
def test_a_wrong_playbook_is_refused_with_the_place_of_the_mistake(change: dict[str, object], message: str) -> None:
    facts = BOOKS["reach_out_call"].model_dump(mode="json") | change
    with pytest.raises(ValueError, match=message) as error:
        parse("reach_out_call", yaml.safe_dump(facts))
    assert str(error.value).startswith("playbook reach_out_call: ")


def test_steps_out_of_order_or_automatic_without_the_system_are_refused() -> None:
    facts = BOOKS["reach_out_call"].model_dump(mode="json")
    with pytest.raises(ValueError, match="ascending order of day"):
        parse("reach_out_call", yaml.safe_dump(facts | {"steps": facts["steps"][::-1]}))
    facts["steps"][0]["automatic"] = True
    with pytest.raises(ValueError, match="automatic where who is 'system'"):
        parse("reach_out_call", yaml.safe_dump(facts))


def test_a_file_under_a_wrong_name_or_that_is_no_yaml_is_refused() -> None:
    text = yaml.safe_dump(BOOKS["upsell"].model_dump(mode="json"))
    with pytest.raises(ValueError, match=r"playbook other: its name is 'upsell'; call the file upsell\.yaml"):
        parse("other", text)
    with pytest.raises(ValueError, match="playbook broken: "):
        parse("broken", "name: [")


def test_triggers_use_each_stage() -> None:
    named = {stage for book in BOOKS.values() for stage in book.trigger.stages}
    assert named == set(STAGES)
    assert len(set(SIGNALS)) == len(SIGNALS)


def test_the_page_in_docs_is_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), (
        "docs/playbooks.md is stale: write models.playbooks.as_markdown() to it"
    )

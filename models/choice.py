"""The choice of a play: expected value against doing nothing, and the random hold-out (domain.md §8). Pure.

>>> from models.playbooks import load
>>> account = AccountFacts("A1", band="at_risk", stage="adoption", tier="key", p_churn=0.3, arr=30_000.0,
...                        contributions={"silence": 0.6, "usage_decline": 0.2, "growth": -0.1})
>>> choice = choose(account, load(), PlaySettings(), seed=7)
>>> choice.name, round(choice.expected_value, 2), choice.beaten.name, choice.assignment.arm
('reach_out_call', 1020.0, 'rescue_plan', 'treated')
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import Field

from models import choice_sentences as sentences
from models.playbooks import BANDS, CLOSING_STAGES, STAGES, TIERS, Band, Playbook, Record, Stage, Text, Tier, Trigger

NOTHING = "nothing"
#: A trigger looks at this many of the drivers that raise an account's risk most.
LEADING_DRIVERS = 3
#: Nothing is held out from an account in one of these stages (domain.md §8: onboarding, notice).
NEVER_HELD_OUT: frozenset[Stage] = CLOSING_STAGES | {"onboarding"}


class PlaySettings(Record):
    """What a company sets about plays (domain.md §8, Choice and Effect).

    `margin` is a fraction of ARR, `hourly_cost` in `currency` per hour of work, `hours_per_account` the hours that cost as much
    as one account is worth where no money is known. `hold_out_off` names playbooks never held out, besides those that the
    catalogue and the account itself exclude. `discount`, a fraction a year, is that of the expected lifetime value (domain.md
    §4), which no choice looks at: it stands here because the margin does.
    """

    margin: float = Field(default=0.8, gt=0, le=1)
    discount: float = Field(default=0.1, ge=0, lt=1)
    hourly_cost: float = Field(default=60.0, ge=0)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    hours_per_account: float = Field(default=40.0, gt=0)
    unmeasured_factor: float = Field(default=0.5, ge=0, le=1)
    hold_out_share: float = Field(default=0.2, ge=0, le=0.5)
    hold_out_off: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AccountFacts:
    """What a choice knows of one account at T; without an id it is nobody's in particular.

    `p_churn` and `p_expansion` are P(outcome within 90 days if no new play is started), or the base rates where no model serves;
    give 1.0 for an account whose notice stands. `contributions`: driver → contribution to the raw churn score, positive = raises
    the risk; empty = not explained. Money is yearly, in the reporting currency; None = unknown, as are a band of a provisional
    score and a tier without money. `signals` are those raised for the account. ValueError where a value cannot be.
    """

    account_id: str | None
    parent_account_id: str | None = None
    band: Band | None = None
    stage: Stage = "adoption"
    tier: Tier | None = None
    leaving: bool = False
    strategic: bool = False
    p_churn: float = 0.0
    p_expansion: float | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    arr: float | None = None
    expected_added_arr: float | None = None
    days_to_renewal: float | None = None
    signals: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what cannot be; see the class."""
        named: dict[str, tuple[str | None, tuple[str | None, ...]]] = {
            "band": (self.band, (*BANDS, None)),
            "stage": (self.stage, STAGES),
            "tier": (self.tier, (*TIERS, None)),
        }
        for name, (given, allowed) in named.items():
            if given not in allowed:
                self._refuse(name, given, f"one of {', '.join(map(str, allowed))}")
        numbers: dict[str, tuple[float | None, float, float]] = {
            "p_churn": (self.p_churn, 0.0, 1.0),
            "p_expansion": (self.p_expansion, 0.0, 1.0),
            "arr": (self.arr, 0.0, math.inf),
            "expected_added_arr": (self.expected_added_arr, 0.0, math.inf),
            "days_to_renewal": (self.days_to_renewal, -math.inf, math.inf),
        }
        for name, (value, low, high) in numbers.items():
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                self._refuse(name, value, f"a finite number from {low:g} to {high:g}, or None where it may be unknown")
        for driver, contribution in self.contributions.items():
            if not math.isfinite(contribution):
                self._refuse(f"the contribution of {driver}", contribution, "a finite number, or leave the driver out")

    def _refuse(self, name: str, given: object, wanted: str) -> None:
        raise ValueError(f"account {self.account_id}: {name} is {given!r}; give {wanted}")

    @property
    def standing(self) -> Stage:
        """The stage, which is "leaving" while notice stands."""
        return "leaving" if self.leaving and self.stage != "left" else self.stage

    @cached_property
    def raising(self) -> dict[str, float]:
        """The drivers that raise the risk, largest contribution first, equal ones by name."""
        return _raising(self.contributions)


class Candidate(Record):
    """A play that competed, or "nothing": `value` in the reporting currency (without money: in accounts), and why.

    It was reckoned from the `probability` of the outcome that the play is about, its `relative_effect` on it, and the `stake`,
    the yearly margin (None: no money is known); nothing was reckoned for "nothing".
    """

    name: str
    value: float
    relative_effect: float
    probability: float | None = None
    stake: float | None = None
    why: Text


class Assignment(Record):
    """Whether the chosen play starts now or later; `probability` is that of this arm (1.0: not randomised)."""

    arm: Literal["treated", "held_out", "none"]
    probability: float
    seed: int


class Choice(Record):
    """The decision as it is logged: what was chosen, what it beat, everything that competed (best first), and the arm.

    `due` names the playbooks that start on their trigger alone and do not compete (outcome `none`).
    """

    name: str
    expected_value: float
    why: Text
    beaten: Candidate | None
    candidates: tuple[Candidate, ...]
    due: tuple[str, ...]
    assignment: Assignment


def _raising(contributions: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(contributions.items(), key=lambda item: (-item[1], item[0]))
    return {driver: value for driver, value in ordered if value > 0}


def _allows(allowed: tuple[str, ...], value: str | None) -> bool:
    return not allowed or value in allowed


def _renews_within(trigger: Trigger, days: float | None) -> bool:
    if trigger.renewal_within_days is None:
        return True
    if days is None or not 0 <= days <= trigger.renewal_within_days:
        return False
    return trigger.renewal_after_days is None or days > trigger.renewal_after_days


def fits(account: AccountFacts, trigger: Trigger) -> bool:
    """Whether the trigger fits the account (`models.playbooks.Trigger` says how its conditions join).

    An account that is leaving, or has left, gets only what names that stage. Of its drivers the three that raise the risk most
    count, and only those that do raise it.
    """
    stage = account.standing
    if stage not in trigger.stages if stage in CLOSING_STAGES else not _allows(trigger.stages, stage):
        return False
    if not (_allows(trigger.bands, account.band) and _allows(trigger.tiers, account.tier)):
        return False
    if not _renews_within(trigger, account.days_to_renewal):
        return False
    leading = list(account.raising)[:LEADING_DRIVERS]
    evidence_needed = trigger.drivers or trigger.signals
    found = not account.signals.isdisjoint(trigger.signals) or any(driver in trigger.drivers for driver in leading)
    return found or not evidence_needed


def candidates(account: AccountFacts, playbooks: Mapping[str, Playbook]) -> list[Playbook]:
    """Return the playbooks whose trigger fits the account, by name."""
    return [book for _, book in sorted(playbooks.items()) if fits(account, book.trigger)]


def relative_effect(
    account: AccountFacts, playbook: Playbook, settings: PlaySettings, measured: Mapping[str, float] | None = None
) -> float:
    """Return the relative change of the outcome's probability that the play is expected to bring (a fraction; may be negative).

    A measured effect of the playbook stands as it is. Otherwise, for churn: the mean of the stated effects over all drivers that
    raise the account's risk, weighted by their contributions, a driver that the play does not treat counting 0. A growth play has
    no risk-raising drivers to weigh by, and an account without contributions no weights: there the plain mean of the stated
    effects. Both times `unmeasured_factor`.
    """
    if measured and playbook.name in measured:
        return measured[playbook.name]
    stated = playbook.effects
    if playbook.outcome == "expansion" or not account.contributions:
        mean = math.fsum(stated.values()) / len(stated)
    else:
        weights = account.raising
        total = math.fsum(weights.values())
        treated = math.fsum(effect * weights.get(driver, 0.0) for driver, effect in stated.items())
        mean = treated / total if total else 0.0
    return mean * settings.unmeasured_factor


def _candidate(
    account: AccountFacts, playbook: Playbook, settings: PlaySettings, measured: Mapping[str, float] | None
) -> Candidate | None:
    """Return the play with its expected value at 90 days; None for a growth play whose P or money is unknown."""
    churn = playbook.outcome == "churn"
    probability = account.p_churn if churn else account.p_expansion
    yearly = account.arr if churn or account.arr is None else account.expected_added_arr
    if probability is None or (yearly is None and account.arr is not None):
        return None
    stake = None if yearly is None else yearly * settings.margin
    cost = playbook.hours / settings.hours_per_account if stake is None else playbook.hours * settings.hourly_cost
    effect = relative_effect(account, playbook, settings, measured)
    return Candidate(
        name=playbook.name,
        value=probability * effect * (1.0 if stake is None else stake) - cost,
        relative_effect=effect,
        probability=probability,
        stake=stake,
        why=sentences.reckoning(playbook, probability, effect, stake, account.raising, settings.currency),
    )


def assign(account: AccountFacts, playbook: Playbook, settings: PlaySettings, *, seed: int) -> Assignment:
    """Assign the account to start the play now or later: random, and the same again for its parent, the playbook and the seed.

    Not randomised: strategic accounts, those in onboarding or whose notice stands, those without an id (their draw could not be
    the same again), and playbooks that the catalogue (`hold_out: false`) or the settings exclude. Every account of a parent draws
    the same number.
    """
    randomised = (
        playbook.hold_out
        and playbook.name not in settings.hold_out_off
        and not account.strategic
        and account.tier != "strategic"
        and account.standing not in NEVER_HELD_OUT
    )
    unit = account.account_id if account.parent_account_id is None else account.parent_account_id
    if not randomised or unit is None:
        return Assignment(arm="treated", probability=1.0, seed=seed)
    digest = blake2b(f"{seed}|{playbook.name}|{unit}".encode(), digest_size=8).digest()
    share = settings.hold_out_share
    if int.from_bytes(digest) < share * 2**64:
        return Assignment(arm="held_out", probability=share, seed=seed)
    return Assignment(arm="treated", probability=1.0 - share, seed=seed)


def why_of(
    ranking: Sequence[Mapping[str, Any]],
    playbooks: Mapping[str, Playbook],
    contributions: Mapping[str, float],
    currency: str | None,
) -> Text:
    """Word a choice again out of what was logged of it: its candidates (fields of `Candidate`), best first.

    `contributions` are those that it was made on, `currency` is None where no money was known. Of a play logged without the
    probability that it was reckoned from only the values are told. KeyError for a playbook that does not exist.
    """
    chosen, raising = ranking[0], _raising(contributions)
    beaten = (ranking[1]["name"], ranking[1]["value"]) if len(ranking) > 1 else None
    why = None
    if chosen["name"] != NOTHING and chosen.get("probability") is not None:
        reckoned = (chosen["probability"], chosen["relative_effect"], chosen.get("stake"))
        why = sentences.reckoning(playbooks[chosen["name"]], *reckoned, raising, currency or "")
    return _why(chosen["name"], chosen["value"], why, beaten, playbooks, currency)


def _why(
    chosen: str,
    value: float,
    why: Text | None,
    beaten: tuple[str, float] | None,
    playbooks: Mapping[str, Playbook],
    currency: str | None,
) -> Text:
    if beaten is None or chosen == NOTHING:
        rival, worth = (None, 0.0) if beaten is None else (playbooks[beaten[0]].title, beaten[1])
        return sentences.nothing_chosen(rival, worth, currency)
    title = sentences.NOTHING_TITLE if beaten[0] == NOTHING else playbooks[beaten[0]].title
    return sentences.play_chosen(playbooks[chosen].title, why, value, title, beaten[1], currency)


def choose(
    account: AccountFacts,
    playbooks: Mapping[str, Playbook],
    settings: PlaySettings,
    *,
    seed: int,
    measured: Mapping[str, float] | None = None,
) -> Choice:
    """Choose the play of the highest expected value over 90 days, or "nothing", which is worth 0 (domain.md §8).

    `measured`: playbook → measured relative effect. Equal values: "nothing" first, then by name. ValueError where the settings
    switch the hold-out off for a playbook that does not exist.
    """
    if unknown := settings.hold_out_off - playbooks.keys():
        raise ValueError(
            f"hold_out_off names {', '.join(sorted(unknown))}, which the catalogue has not; "
            f"its playbooks: {', '.join(sorted(playbooks))}"
        )
    fitting = candidates(account, playbooks)
    valued = (_candidate(account, book, settings, measured) for book in fitting if book.outcome != "none")
    nothing = Candidate(name=NOTHING, value=0.0, relative_effect=0.0, why=sentences.DOING_NOTHING)
    ranking = sorted((nothing, *filter(None, valued)), key=lambda c: (-c.value, c.name != NOTHING, c.name))
    chosen, beaten = ranking[0], ranking[1] if len(ranking) > 1 else None
    if chosen.name == NOTHING:
        assignment = Assignment(arm="none", probability=1.0, seed=seed)
    else:
        assignment = assign(account, playbooks[chosen.name], settings, seed=seed)
    return Choice(
        name=chosen.name,
        expected_value=chosen.value,
        why=_why(
            chosen.name,
            chosen.value,
            chosen.why,
            (beaten.name, beaten.value) if beaten else None,
            playbooks,
            None if account.arr is None else settings.currency,
        ),
        beaten=beaten,
        candidates=tuple(ranking),
        due=tuple(book.name for book in fitting if book.outcome == "none"),
        assignment=assignment,
    )

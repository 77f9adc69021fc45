"""The playbook catalogue: what can be done for an account, when it fits, and what it is said to achieve (domain.md §8).

>>> book = load()["activation"]
>>> book.title.fi, book.automatic, book.effects["usage_decline"]
('Aktivointiviesti', True, 0.2)
"""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from features.catalogue.declare import Driver

Band = Literal["healthy", "neutral", "at_risk", "critical"]
Stage = Literal["onboarding", "adoption", "value_realisation", "expansion", "advocacy", "leaving", "left"]
Tier = Literal["strategic", "key", "developing", "low_value"]
#: The signals that can start a play (domain.md §7).
Signal = Literal[
    "first_successful_use",
    "usage_milestone_reached",
    "usage_fallen",
    "no_use",
    "cancellation_page_visited",
    "notice_given",
    "invoice_overdue",
    "detractor",
    "ticket_escalated",
    "champion_or_decision_maker_left",
    "no_answer_to_outreach",
    "cadence_missed",
    "renewal_180",
    "renewal_90",
    "renewal_30",
    "notice_deadline_180",
    "notice_deadline_90",
    "notice_deadline_30",
    "band_changed",
    "risk_changed",
    "first_value_late",
    "goal_reached",
]
EarlyOutcome = Literal[
    "contact_met",
    "decision_maker_met",
    "first_value",
    "goal_measured",
    "invoice_paid",
    "offer_made",
    "onboarding_finished",
    "renewed",
    "reply",
    "seats_added",
    "sentiment_up",
    "tickets_resolved",
    "usage_back",
]
BANDS: tuple[Band, ...] = get_args(Band)
STAGES: tuple[Stage, ...] = get_args(Stage)
TIERS: tuple[Tier, ...] = get_args(Tier)
SIGNALS: tuple[Signal, ...] = get_args(Signal)
#: An account in one of these stages gets only the plays that name the stage.
CLOSING_STAGES: frozenset[Stage] = frozenset({"leaving", "left"})


class Record(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Text(Record):
    """The same words in English and in Finnish."""

    en: Sentence
    fi: Sentence


class Trigger(Record):
    """When a playbook fits; an empty list allows anything.

    Bands, stages, tiers and the distance to the renewal narrow down: all of them must hold. Drivers and signals are evidence:
    where any is listed, one of either kind is enough. The renewal lies within (renewal_after_days, renewal_within_days].
    """

    drivers: tuple[Driver, ...] = ()
    bands: tuple[Band, ...] = ()
    stages: tuple[Stage, ...] = ()
    tiers: tuple[Tier, ...] = ()
    signals: tuple[Signal, ...] = ()
    renewal_within_days: int | None = Field(default=None, gt=0)
    renewal_after_days: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _renewal_window(self) -> Self:
        if self.renewal_after_days is not None and (
            self.renewal_within_days is None or self.renewal_after_days >= self.renewal_within_days
        ):
            raise ValueError(
                f"renewal_after_days is {self.renewal_after_days}; it must be below renewal_within_days, "
                f"which is {self.renewal_within_days}: give both, the smaller first"
            )
        return self


class Step(Record):
    """One step: `day` counts from the start of the play (negative: before day 0)."""

    day: int
    what: Text
    who: Literal["csm", "support", "management", "finance", "system"]
    channel: Literal["email", "call", "meeting", "in_app", "letter"]
    automatic: bool

    @model_validator(mode="after")
    def _system_alone_is_automatic(self) -> Self:
        if self.automatic != (self.who == "system"):
            raise ValueError(f"automatic is {self.automatic} and who is {self.who!r}: a step is automatic where who is 'system'")
        return self


class Playbook(Record):
    """One playbook (domain.md §8).

    `effects` are stated per driver, as fractions: for churn the relative fall of P(churn), for expansion the relative rise of
    P(expansion). `hours` is the work of people for one account. `hold_out` says whether a random share of accounts may start
    later. `early_outcome` is what tells first whether it worked. A playbook with outcome `none` starts on its trigger alone.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    summary: Text
    outcome: Literal["churn", "expansion", "none"]
    trigger: Trigger
    steps: tuple[Step, ...] = Field(min_length=1)
    goal: Text
    exit: Text
    effects: dict[Driver, Annotated[float, Field(ge=-1, le=1)]]
    hours: float = Field(ge=0)
    hold_out: bool
    early_outcome: EarlyOutcome

    @property
    def automatic(self) -> bool:
        """Whether no step needs a person."""
        return all(step.automatic for step in self.steps)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        days = [step.day for step in self.steps]
        if days != sorted(days):
            raise ValueError(f"steps are on days {days}: list them in ascending order of day")
        if (self.outcome == "none") == bool(self.effects):
            raise ValueError(
                f"outcome is {self.outcome!r} and effects are {self.effects}: state effects where the outcome is churn or "
                "expansion, and only there"
            )
        if self.hold_out and not (self.automatic and self.effects):
            raise ValueError(
                "hold_out is true: only a play whose steps are all automatic and that states effects can be held out"
            )
        return self


def parse(name: str, text: str) -> Playbook:
    """Return the playbook that `text` (YAML) describes; its name must be `name`, the stem of its file.

    ValueError where the text is no YAML, a key is unknown or missing, or a value is not allowed: the message names them all.
    """
    try:
        book = Playbook.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"playbook {name}: {error}") from error
    if book.name != name:
        raise ValueError(f"playbook {name}: its name is {book.name!r}; call the file {book.name}.yaml or the playbook {name!r}")
    return book


@cache
def _catalogue() -> dict[str, Playbook]:
    texts = {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in files("models.playbook_catalogue").iterdir()
        if entry.name.endswith(".yaml")
    }
    return {name: parse(name, text) for name, text in sorted(texts.items())}


def load() -> dict[str, Playbook]:
    """Return the catalogue: name → playbook, in the order of names. Read once; each call gives a dict of its own."""
    return dict(_catalogue())


#: What a person reads for a driver (domain.md §4).
DRIVER_LABELS: dict[Driver, Text] = {
    "usage_decline": Text(en="falling usage", fi="käytön väheneminen"),
    "low_adoption": Text(en="low adoption", fi="vähäinen käyttö"),
    "onboarding_stalled": Text(en="stalled onboarding", fi="jumiutunut käyttöönotto"),
    "silence": Text(en="silence", fi="hiljaisuus"),
    "stakeholder_gap": Text(en="decision makers not met", fi="päättäjiä ei ole tavattu"),
    "champion_left": Text(en="champion left", fi="puolestapuhujan lähtö"),
    "support_friction": Text(en="trouble with support", fi="ongelmat tuessa"),
    "negative_feedback": Text(en="negative feedback", fi="kielteinen palaute"),
    "payment_trouble": Text(en="payment trouble", fi="maksuvaikeudet"),
    "renewal_near": Text(en="renewal near", fi="sopimuskauden päättyminen"),
    "price_pressure": Text(en="price pressure", fi="hintapaine"),
    "value_unproven": Text(en="value not proven", fi="osoittamaton hyöty"),
    "growth": Text(en="growth", fi="kasvu"),
    "tenure_and_profile": Text(en="tenure and profile", fi="asiakkuuden ikä ja profiili"),
}


def _listed(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _trigger_lines(trigger: Trigger) -> list[str]:
    lines = [
        f"  - {field}: {_listed(values)}"
        for field in ("bands", "stages", "tiers", "drivers", "signals")
        if (values := getattr(trigger, field))
    ]
    if trigger.renewal_within_days is not None:
        lines.append(f"  - renewal in more than {trigger.renewal_after_days or 0} and at most {trigger.renewal_within_days} days")
    return lines or ["  - always"]


def _section(book: Playbook) -> list[str]:
    effects = ", ".join(f"`{driver}` {effect:.0%}" for driver, effect in book.effects.items()) or "none stated"
    return [
        f"## `{book.name}`: {book.title.en} / {book.title.fi}",
        "",
        book.summary.en,
        "",
        book.summary.fi,
        "",
        f"- Outcome: {book.outcome}; early outcome: `{book.early_outcome}`",
        "- Trigger:",
        *_trigger_lines(book.trigger),
        f"- Stated effect: {effects}",
        f"- Cost: {book.hours:g} h; hold-out: {'on' if book.hold_out else 'off'}",
        f"- Goal: {book.goal.en} / {book.goal.fi}",
        f"- Exit: {book.exit.en} / {book.exit.fi}",
        "",
        "| day | what | mitä | who | channel | automatic |",
        "|--:|---|---|---|---|---|",
        *(
            f"| {step.day} | {step.what.en} | {step.what.fi} | {step.who} | {step.channel} | {_yes(step.automatic)} |"
            for step in book.steps
        ),
        "",
    ]


def as_markdown() -> str:
    """Return the catalogue as the Markdown page that stands in docs/playbooks.md."""
    books = load().values()
    lines = [
        "# Playbooks / Toimintamallit",
        "",
        "Generated from `models/playbook_catalogue/*.yaml` by `models.playbooks.as_markdown()`; edit the YAML, not this page.",
        "",
        "A trigger's bands, stages, tiers and renewal must all hold; of its drivers and signals one is enough. Effects are",
        "stated assumptions, halved by default until a hold-out has measured them: the relative fall of P(churn), or the",
        "relative rise of P(expansion), where the driver is the whole reason. A playbook with outcome `none` starts on its",
        "trigger alone and does not compete by expected value.",
        "",
        "| playbook | title | otsikko | outcome | hours | automatic |",
        "|---|---|---|---|--:|---|",
        *(
            f"| `{book.name}` | {book.title.en} | {book.title.fi} | {book.outcome} | {book.hours:g} | {_yes(book.automatic)} |"
            for book in books
        ),
        "",
        *(line for book in books for line in _section(book)),
    ]
    return "\n".join(lines)

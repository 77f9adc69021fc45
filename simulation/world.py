"""The constants of the simulated company: what it sells, to whom, and what makes its customers leave."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A class of customers: its share of accounts, seats (log-uniform between the bounds) and habits.

    `touches` is our outreach per week, `habit` the share of working days on which an engaged user of a middling account uses
    the product.
    """

    name: str
    share: float
    seats: tuple[int, int]
    yearly_share: float
    notice_days: int
    addon_share: float
    touches: float
    contacts: int
    habit: float


SIZES = (
    Size("small", 0.58, (3, 10), 0.40, 30, 0.15, 1.20, 3, 0.40),
    Size("mid", 0.31, (10, 60), 0.65, 60, 0.30, 1.50, 4, 0.32),
    Size("large", 0.11, (60, 300), 0.85, 90, 0.50, 2.00, 6, 0.17),
)

#: Plan → list price per seat and month (EUR), in the order of SIZES: the plan a size usually takes.
PLANS = {"Team": 29.0, "Business": 42.0, "Enterprise": 54.0}
CORE = "Core"
#: Add-on → list price per seat and month (EUR).
ADDONS = {"Analytics": 9.0, "Automation": 7.0, "Integrations": 5.0}
CURRENCY = "EUR"
#: Currency → rate to EUR at the start of the period.
FX_LEVELS = {"SEK": 0.088, "NOK": 0.085, "DKK": 0.134, "GBP": 1.17}
#: Notice on monthly terms, days before the end of the month of service.
MONTHLY_NOTICE_DAYS = 14


@dataclass(frozen=True)
class Cause:
    """A hidden cause of churn, the driver it should read as (one to one), and how it runs its course.

    `onset`: episodes per account and year, where they can begin. An episode brews for `brews` days on average, is acute for
    `lasts` days on average, and then passes. While it is acute and severe, and the contract lets the account go, it makes
    `leaves` departures and `shrinks` contractions per 30 days; a mild one MILD times as many.
    """

    name: str
    driver: str
    onset: float
    brews: float
    lasts: float
    leaves: float
    shrinks: float


CAUSES = (
    Cause("usage_decline", "usage_decline", 0.095, 75, 230, 0.26, 0.18),
    Cause("champion_left", "champion_left", 0.095, 60, 230, 0.23, 0.08),
    Cause("support_trouble", "support_friction", 0.095, 70, 210, 0.26, 0.06),
    Cause("price_increase", "price_pressure", 0.09, 50, 210, 0.24, 0.14),
    Cause("value_not_reached", "value_unproven", 0.09, 80, 240, 0.24, 0.12),
    Cause("silence", "silence", 0.095, 75, 230, 0.23, 0.05),
    Cause("decision_maker_not_met", "stakeholder_gap", 0.10, 80, 240, 0.22, 0.05),
    Cause("failed_onboarding", "onboarding_stalled", 1.4, 30, 150, 0.26, 0.08),
    Cause("payment_trouble", "payment_trouble", 0.08, 60, 100, 0.26, 0.04),
)
CAUSE_INDEX = {cause.name: index for index, cause in enumerate(CAUSES)}
#: Share of episodes that are severe, and the strength of the others: of what they do, and of what shows of them.
SEVERE_SHARE = 0.5
MILD = 0.4
MILD_SHOWS = 0.6
#: How much of its acute self a cause shows while it brews.
BREWING_SHOWS = 0.8
#: Share of brewing episodes, per day, that come to nothing.
COMES_TO_NOTHING = 1 / 150
#: Days in which what shows of a cause follows two thirds of the way.
SHOWS_AFTER = 6.0
#: Written as the cause of the accounts that leave without one.
CAUSELESS = "none"
#: What the customer writes as the reason, most of the time.
STATED_REASON = {
    "usage_decline": "no longer needed",
    "champion_left": "reorganisation",
    "support_trouble": "quality of support",
    "price_increase": "price",
    "value_not_reached": "benefits not reached",
    "silence": "no longer needed",
    "decision_maker_not_met": "changed priorities",
    "failed_onboarding": "never taken into use",
    "payment_trouble": "unpaid",
    CAUSELESS: "other",
}

#: Yearly terms: most decide in this many days up to the notice deadline, at this pace; few tell us long before, at that one
#: (a monthly term's pace is 1 all the time).
DECISION_DAYS = 45
DECISION_PACE = 2.7
EARLY_PACE = 0.025
#: Days after which a new account may leave, and the ages between which its onboarding can fail.
SETTLING_DAYS = 20
ONBOARDING_AGES = (7, 40)
#: Yearly terms can be reduced in the days after a renewal, this much faster than monthly ones at any time.
TRUE_UP_DAYS = 21
TRUE_UP_PACE = 6.0
#: Yearly terms learn of a price rise this many days before the renewal (first, last), this much oftener than at other times.
PRICE_NEWS_DAYS = (120, 80)
PRICE_NEWS_PACE = 365 / 40
#: Leaving, and reducing, without any cause, per 30 days in which the contract allows it.
CAUSELESS_LEAVES = 0.0050
CAUSELESS_SHRINKS = 0.003
#: Relative readiness to leave by month of the year: budgets turn with the year, July sleeps.
LEAVING_SEASON = (1.08, 1.0, 1.02, 1.0, 0.98, 1.0, 0.88, 0.95, 1.02, 1.02, 1.02, 1.08)
#: A change of seats or add-ons keeps the account from another in the same direction for so many days.
CHANGE_REST_DAYS = 180
#: Bounds of the relative change of MRR: seats given up and added, and price rises with and without bad blood.
FEWER_SEATS = (0.68, 0.86)
MORE_SEATS = (1.10, 1.40)
PRICE_RISE = (1.06, 1.12)
#: Share of anniversaries with such a rise that the customer accepts; the others bring up to INDEXATION.
ACCEPTED_RISE = 0.08
INDEXATION = 0.03
#: What a won offer adds to MRR where the account has the add-on already (a larger package of it).
ADDON_AGAIN = 0.10
#: Growth: spells per account and year; their days; seats added and offers made per 30 days of a spell, offers otherwise;
#: days until an offer is decided, and the share that is won.
GROWTH_ONSET = 0.45
GROWTH_LASTS = 100.0
GROWTH_SEATS = 0.22
GROWTH_OFFERS = 0.25
COLD_OFFERS = 0.010
OFFER_OPEN = 24.0
OFFER_WON = 0.45

#: The play that the team starts when it believes that it sees the cause.
PLAY_FOR = {
    "usage_decline": "activation",
    "champion_left": "champion_left",
    "support_trouble": "support_friction",
    "price_increase": "rescue_plan",
    "value_not_reached": "value_not_proven",
    "silence": "reach_out_call",
    "decision_maker_not_met": "decision_maker_never_met",
    "failed_onboarding": "stalled_onboarding",
    "payment_trouble": "payment_trouble",
}
#: Plays: chance per week at full sight of a cause and without any; days of rest between two; days for which one works;
#: share held out at random; shares of accounts that a play helps and harms (nothing for the others), and how far.
PLAY_CHANCE = 0.06
IDLE_PLAY_CHANCE = 0.0012
PLAY_REST_DAYS = 120
PLAY_WORKS_DAYS = 90
PLAY_HELD_OUT = 0.2
PLAY_HELPS, PLAY_HELP = 0.5, (0.25, 0.65)
PLAY_HARMS, PLAY_HARM = 0.12, (0.15, 0.50)
#: How much faster than it cuts the risk a play that helps makes the cause pass.
PLAY_HEALS = 1.5
#: Share of accounts whose handover from sales is lost, and how much oftener their onboarding fails.
HANDOVER_LOST = 0.2
HANDOVER_LOST_FAILS = 3.0


@dataclass(frozen=True)
class ProductFeature:
    """A feature of the product: share of active user-days that touch it, mean uses then, hours saved per use."""

    name: str
    share: float
    uses: float
    hours_saved: float


FEATURES = (
    ProductFeature("login", 0.40, 1.3, 0.0),
    ProductFeature("report", 0.34, 2.5, 0.25),
    ProductFeature("dashboard", 0.36, 3.0, 0.05),
    ProductFeature("export", 0.14, 1.5, 0.20),
    ProductFeature("integration", 0.10, 4.0, 0.10),
    ProductFeature("api_call", 0.08, 30.0, 0.01),
    ProductFeature("automation", 0.12, 5.0, 0.15),
    ProductFeature("mobile", 0.13, 2.0, 0.02),
    ProductFeature("admin", 0.05, 1.5, 0.0),
)
CANCELLATION_PAGE = "cancellation_page"

INDUSTRIES = ("manufacturing", "retail", "logistics", "construction", "professional services", "health", "energy", "media")
#: Country → share of accounts, and the company forms used there.
COUNTRIES = {
    "FI": (0.40, ("Oy", "Oyj")),
    "SE": (0.20, ("AB",)),
    "NO": (0.10, ("AS",)),
    "DK": (0.06, ("ApS", "A/S")),
    "DE": (0.12, ("GmbH", "AG")),
    "EE": (0.05, ("OÜ",)),
    "GB": (0.07, ("Ltd", "plc")),
}
HOURLY_COST = 60.0

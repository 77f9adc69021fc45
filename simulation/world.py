"""The constants of the simulated company: what it sells, to whom, and what makes its customers leave."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A class of customers: its share of accounts, seats (log-uniform between the bounds) and habits.

    `touches` is our outreach per week, `base_use` the share of an engaged user's working days with use.
    """

    name: str
    share: float
    seats: tuple[int, int]
    yearly_share: float
    notice_days: int
    addon_share: float
    touches: float
    contacts: int


SIZES = (
    Size("small", 0.58, (3, 10), 0.40, 30, 0.15, 0.36, 3),
    Size("mid", 0.31, (10, 60), 0.65, 60, 0.30, 0.55, 4),
    Size("large", 0.11, (60, 300), 0.85, 90, 0.50, 0.80, 6),
)

#: Plan → list price per seat and month (EUR), in the order of SIZES: the plan a size usually takes.
PLANS = {"Team": 29.0, "Business": 42.0, "Enterprise": 54.0}
CORE = "Core"
#: Add-on → list price per seat and month (EUR).
ADDONS = {"Analytics": 9.0, "Automation": 7.0, "Integrations": 5.0}
CURRENCY = "EUR"
#: Notice on monthly terms, days before the end of the month of service.
MONTHLY_NOTICE_DAYS = 14


@dataclass(frozen=True)
class Cause:
    """A hidden cause of churn: its share among the causes that strike at any time, and the driver it should read as.

    `weight` 0: the cause has an arrival of its own (onboarding by the account's age, payment by the month).
    """

    name: str
    weight: float
    driver: str


CAUSES = (
    Cause("usage_decline", 0.20, "usage_decline"),
    Cause("champion_left", 0.14, "champion_left"),
    Cause("support_trouble", 0.16, "support_friction"),
    Cause("price_increase", 0.12, "price_pressure"),
    Cause("value_not_reached", 0.14, "value_unproven"),
    Cause("silence", 0.13, "silence"),
    Cause("decision_maker_not_met", 0.11, "stakeholder_gap"),
    Cause("failed_onboarding", 0.0, "onboarding_stalled"),
    Cause("payment_trouble", 0.0, "payment_trouble"),
)
CAUSE_INDEX = {cause.name: index for index, cause in enumerate(CAUSES)}
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

#: Causes begin this many days before the decision to leave (or to stay after all): bounds, and the commonest.
LAG_DAYS = (21, 112)
USUAL_LAG_DAYS = 90
#: Chance that a yearly account enters the weeks before its notice deadline with a cause.
RENEWAL_CAUSE = 0.220
#: Causes per month: on monthly terms, and in the middle of yearly terms (which nobody can leave, so they fade).
MONTHLY_CAUSE = 0.039
MIDTERM_CAUSE = 0.012
ONBOARDING_FAILS = 0.075
PAYMENT_TROUBLE = 0.0040
#: Leaving without any cause: per yearly renewal, per month on monthly terms.
CAUSELESS_RENEWAL = 0.036
CAUSELESS_MONTH = 0.0036
#: Chance that an account of mean quality under a cause of mean strength leaves.
LEAVES = 0.50
#: A play by the team: how often a cause meets one, and how far it cuts the chance of leaving (the true effect).
PLAY_SHARE = 0.25
PLAY_EFFECT = 0.30


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

"""What the codes of records are called; English, marked for translation."""

from collections.abc import Mapping

from serving.web.translate import N_

BANDS: Mapping[str, str] = {
    "healthy": N_("Healthy"),
    "neutral": N_("Neutral"),
    "at_risk": N_("At risk"),
    "critical": N_("Critical"),
}
TIERS: Mapping[str, str] = {
    "strategic": N_("Strategic"),
    "key": N_("Key"),
    "developing": N_("Developing"),
    "low_value": N_("Low value"),
}
STAGES: Mapping[str, str] = {
    "onboarding": N_("Onboarding"),
    "adoption": N_("Adoption"),
    "value_realisation": N_("Value realisation"),
    "expansion": N_("Expansion"),
    "advocacy": N_("Advocacy"),
    "leaving": N_("Leaving"),
    "left": N_("Left"),
}
ROLES: Mapping[str, str] = {
    "decision_maker": N_("decision maker"),
    "executive": N_("executive"),
    "champion": N_("champion"),
    "admin": N_("admin"),
    "user": N_("user"),
}
#: Who does a step of a playbook.
DOERS: Mapping[str, str] = {
    "csm": N_("the CSM"),
    "support": N_("support"),
    "management": N_("management"),
    "finance": N_("finance"),
    "system": N_("automatic"),
}
CHANNELS: Mapping[str, str] = {
    "email": N_("e-mail"),
    "call": N_("call"),
    "meeting": N_("meeting"),
    "in_app": N_("in the product"),
    "letter": N_("letter"),
}
OUTCOMES: Mapping[str, str] = {
    "churn": N_("Leaves"),
    "contraction": N_("Contracts"),
    "expansion": N_("Expands"),
}
VERDICTS: Mapping[str, str] = {
    "useful": N_("Useful"),
    "known": N_("Known"),
    "wrong": N_("Wrong"),
}
SORTS: Mapping[str, str] = {
    "urgency": N_("value of the play"),
    "arr_at_risk": N_("ARR at risk"),
    "p_churn": N_("risk"),
    "health": N_("weakest health"),
    "arr": N_("ARR"),
    "name": N_("name"),
}
#: How a play ends.
ENDINGS: Mapping[str, str] = {
    "goal_reached": N_("goal reached"),
    "declined": N_("the customer said no"),
    "expired": N_("time ran out"),
    "superseded": N_("another play took over"),
    "cancelled": N_("stopped by us"),
}

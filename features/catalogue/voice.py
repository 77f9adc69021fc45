"""Features of what customers say and reach: survey answers with their age, and their own goals."""

from typing import Any

import ibis

from features.catalogue.declare import Count, Feature, as_float, days, ratio, within
from features.contract import DECIMAL_TYPE

#: Lowest and highest answer of each kind of survey (domain.md §2).
_SCALES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}
#: Larger than any answer, so that an instant and an answer make one number, ordered by the instant.
_SPREAD = 1000
_ANSWER = ("score", "responded_at")
#: A goal passed further than this counts as far as this.
_FARTHEST = 10


def _answered(rows: Any, kind: str) -> Any:
    return (rows.kind == kind) & rows.score.notnull() & rows.responded_at.notnull()


def _score(rows: Any, kind: str) -> Any:
    """Return the answer on the kind's own scale, from whatever scale it was given on (`scale_max`)."""
    low, high = _SCALES[kind]
    share = (rows.score - low) / (rows.scale_max.fill_null(high) - low).nullif(0)
    return (low + ibis.least(ibis.greatest(share, 0), 1) * (high - low)).cast(DECIMAL_TYPE)


def _instant(count: Any) -> Any:
    return (count * _SPREAD).cast("decimal(38, 6)")


def _survey_counts(kind: str) -> list[Count]:
    return [
        Count(f"{kind}_last_at", "surveys", lambda v: v.responded_at.max(where=_answered(v, kind)), _ANSWER, None),
        # Equal instants are settled by the lower score, so that the order of rows does not matter.
        Count(
            f"{kind}_last_key", "surveys",
            lambda v: (_instant(v.responded_at) - _score(v, kind)).max(where=_answered(v, kind)), _ANSWER, None,
        ),
    ]  # fmt: skip


def _progress(rows: Any) -> Any:
    """How far a goal is, as a share of its target; null where the target is no positive number."""
    share = ibis.ifelse(rows.target > 0, rows["value"] / rows.target, None)
    return ibis.ifelse(share > _FARTHEST, _FARTHEST, share).cast(DECIMAL_TYPE)


def _standing(rows: Any) -> Any:
    """The latest measurement of each goal, in the last year."""
    return within(rows, 365) & rows.latest_of_goal


def _goal_counts(length: int) -> list[Count]:
    return [
        Count(f"goal_progress_{length}d", "outcomes", lambda v: _progress(v).sum(where=within(v, length)), empty=None),
        Count(f"goal_targets_{length}d", "outcomes", lambda v: v.count(where=within(v, length) & (v.target > 0))),
    ]


COUNTS = [
    *(count for kind in _SCALES for count in _survey_counts(kind)),
    Count("nps_sum_365d", "surveys", lambda v: _score(v, "nps").sum(where=_answered(v, "nps") & within(v, 365)), _ANSWER, None),
    Count("nps_answers_365d", "surveys", lambda v: v.count(where=_answered(v, "nps") & within(v, 365)), _ANSWER),
    Count("surveys_sent_365d", "surveys", lambda v: v.count(where=within(v, 365))),
    Count(
        "surveys_answered_365d", "surveys", lambda v: v.count(where=within(v, 365) & v.responded_at.notnull()), ("responded_at",)
    ),
    Count("goals_measured_90d", "outcomes", lambda v: v.count(where=within(v, 90))),
    Count("goals_measured_365d", "outcomes", lambda v: v.count(where=within(v, 365))),
    Count("goals_standing", "outcomes", lambda v: v.goal.nunique(where=_standing(v))),
    Count("goals_reached", "outcomes", lambda v: v.goal.nunique(where=_standing(v) & (v["value"] >= v.target))),
    Count("goal_last_at", "outcomes", lambda v: v.measured_at.max(), empty=None),
    *_goal_counts(30),
    *_goal_counts(365),
]  # fmt: skip

_TITLES = {
    "nps": ("NPS answer", "NPS-vastaus"),
    "csat": ("CSAT answer", "CSAT-vastaus"),
    "ces": ("CES answer", "CES-vastaus"),
}


def _last(counts: Any, kind: str) -> Any:
    return (_instant(counts[f"{kind}_last_at"]) - counts[f"{kind}_last_key"]).cast("float64")


def _survey_features(kind: str) -> list[Feature]:
    en, fi = _TITLES[kind]
    return [
        Feature(
            f"{kind}_last", "points", "surveys", None, "negative_feedback", -1,
            {"en": f"latest {en}", "fi": f"viimeisin {fi}"}, lambda c: _last(c, kind),
        ),
        Feature(
            f"{kind}_age_days", "days", "surveys", None, "silence", 0,
            {"en": f"days since the latest {en}", "fi": f"päivää edellisestä, {fi}"},
            lambda c: days(c.as_of - c[f"{kind}_last_at"]),
        ),
    ]  # fmt: skip


FEATURES = [
    *(feature for kind in _SCALES for feature in _survey_features(kind)),
    Feature(
        "nps_change", "points", "surveys", 365, "negative_feedback", -1,
        {"en": "latest NPS answer against the year's mean", "fi": "viimeisin NPS-vastaus vuoden keskiarvoon verrattuna"},
        lambda c: _last(c, "nps") - ratio(c.nps_sum_365d, c.nps_answers_365d),
    ),
    Feature(
        "survey_response_rate_365d", "share", "surveys", 365, "silence", -1,
        {"en": "share of surveys answered in a year", "fi": "kyselyistä vastattu vuodessa"},
        lambda c: ratio(c.surveys_answered_365d, c.surveys_sent_365d),
    ),
    Feature(
        "goals_reached_share", "share", "outcomes", 365, "value_unproven", -1,
        {"en": "share of the year's own goals that are reached", "fi": "vuoden omista tavoitteista saavutettu"},
        lambda c: ratio(c.goals_reached, c.goals_standing),
    ),
    Feature(
        "goal_progress_mean", "share", "outcomes", 365, "value_unproven", -1,
        {"en": "progress towards own goals in a year", "fi": "eteneminen omissa tavoitteissa vuodessa"},
        lambda c: ratio(c.goal_progress_365d, c.goal_targets_365d), peers=True,
    ),
    Feature(
        "goal_progress_last", "share", "outcomes", 30, "value_unproven", -1,
        {"en": "progress towards own goals in 30 days", "fi": "eteneminen omissa tavoitteissa 30 päivässä"},
        lambda c: ratio(c.goal_progress_30d, c.goal_targets_30d),
    ),
    Feature(
        "goals_measured_365d", "measurements", "outcomes", 365, "value_unproven", 0,
        {"en": "goal measurements in a year", "fi": "tavoitemittausta vuodessa"}, as_float("goals_measured_365d"),
        peers=True,
    ),
    Feature(
        "goals_measured_90d", "measurements", "outcomes", 90, "value_unproven", 0,
        {"en": "goal measurements in 90 days", "fi": "tavoitemittausta 90 päivässä"}, as_float("goals_measured_90d"),
        peers=True,
    ),
    Feature(
        "days_since_goal_measured", "days", "outcomes", None, "value_unproven", 0,
        {"en": "days since a goal was last measured", "fi": "päivää edellisestä tavoitemittauksesta"},
        lambda c: days(c.as_of - c.goal_last_at),
    ),
]  # fmt: skip

"""Features of what customers say and reach: survey answers with their age, and their own goals."""

from typing import Any

import ibis

from features.catalogue.declare import Count, Feature, as_decimal, as_float, days, ratio, unanswered_run, within

#: Lowest and highest answer of each kind of survey (domain.md §2), and the highest that is poor.
_SCALES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}
_POOR = {"nps": 6, "csat": 2, "ces": 3}
_ANSWER = ("score", "responded_at")
#: A goal passed further than this counts as far as this.
_FARTHEST = 10.0


def _given(rows: Any) -> Any:
    return rows.score.notnull() & rows.responded_at.notnull()


def _answered(rows: Any, kind: str) -> Any:
    return (rows.kind == kind) & _given(rows)


def _points(rows: Any, kind: str) -> Any:
    """Return the answer on the kind's own scale, from whatever scale it was given on (`scale_max`)."""
    low, high = _SCALES[kind]
    share = ratio(rows.score - low, rows.scale_max.fill_null(high) - low)
    return as_decimal(low + ibis.least(ibis.greatest(share, 0.0), 1.0) * (high - low))


def derived_surveys(rows: Any) -> Any:
    """Add `points`, `place` (0: the last answer of its kind, 1: the one before), `unanswered_run` (since the last answer)."""
    rows = rows.mutate(points=ibis.cases(*((rows.kind == kind, _points(rows, kind)) for kind in _SCALES)), given=_given(rows))
    # Equal instants are settled by the lower score, so that the order of rows does not matter.
    by_age = ibis.window(group_by=[rows.spine_id, rows.kind, rows.given], order_by=[rows.responded_at.desc(), rows.points])
    return rows.mutate(
        place=ibis.ifelse(rows.given, ibis.row_number().over(by_age), None),
        unanswered_run=unanswered_run(rows, "sent_at", rows.sent_at.notnull(), rows.responded_at.notnull()),
    )


def derived_outcomes(rows: Any) -> Any:
    """Add `latest_of_goal`: the last measurement of its goal."""
    goal = ibis.window(group_by=[rows.spine_id, rows.goal])
    return rows.mutate(latest_of_goal=rows.measured_at == rows.measured_at.max().over(goal))


def _survey_counts(kind: str) -> list[Count]:
    return [
        Count(f"{kind}_last_at", "surveys", lambda v: v.responded_at.max(where=_answered(v, kind)), _ANSWER, None),
        _answer_count(f"{kind}_last", kind, 0),
    ]


def _answer_count(name: str, kind: str, place: int) -> Count:
    return Count(name, "surveys", lambda v: v.points.max(where=(v.kind == kind) & (v.place == place)), _ANSWER, None)


def _mean_counts(kind: str, length: int) -> list[Count]:
    def counted(rows: Any) -> Any:
        return _answered(rows, kind) & within(rows, length)

    return [
        Count(f"{kind}_sum_{length}d", "surveys", lambda v: v.points.sum(where=counted(v)), _ANSWER, None),
        Count(f"{kind}_answers_{length}d", "surveys", lambda v: v.count(where=counted(v)), _ANSWER),
    ]


def _poor(rows: Any) -> Any:
    worst = ibis.cases(*((rows.kind == kind, highest) for kind, highest in _POOR.items()))
    return rows.given & (rows.points <= worst) & within(rows, 180)


def _progress(rows: Any) -> Any:
    """How far a goal is, as a share of its target; null where the target is no positive number."""
    share = ibis.ifelse(rows.target > 0, ratio(rows["value"], rows.target), None)
    return as_decimal(ibis.ifelse(share > _FARTHEST, _FARTHEST, share))


def _standing(rows: Any) -> Any:
    """The latest measurement of each goal, in the last year."""
    return within(rows, 365) & rows.latest_of_goal


def _progress_latest(counts: Any) -> Any:
    """Mean progress of the standing goals."""
    return ratio(counts.goal_progress_standing, counts.goal_targets_standing)


def _goal_counts(name: str, length: int, skip: int = 0) -> list[Count]:
    def counted(rows: Any) -> Any:
        return within(rows, length, skip=skip) & (rows.target > 0)

    return [
        Count(f"goal_progress_{name}", "outcomes", lambda v: _progress(v).sum(where=counted(v)), empty=None),
        Count(f"goal_targets_{name}", "outcomes", lambda v: v.count(where=counted(v))),
    ]


COUNTS = [
    *(count for kind in _SCALES for count in _survey_counts(kind)),
    _answer_count("nps_before", "nps", 1),
    *_mean_counts("nps", 365),
    *_mean_counts("csat", 90),
    Count("poor_answers_180d", "surveys", lambda v: v.count(where=_poor(v)), _ANSWER),
    Count("surveys_sent_365d", "surveys", lambda v: v.count(where=within(v, 365))),
    Count(
        "surveys_answered_365d", "surveys", lambda v: v.count(where=within(v, 365) & v.responded_at.notnull()), ("responded_at",)
    ),
    Count("surveys_unanswered_run", "surveys", lambda v: v.count(where=v.unanswered_run), ("sent_at", "responded_at")),
    Count("survey_answer_at", "surveys", lambda v: v.responded_at.max(), ("responded_at",), None),
    Count("goals_measured_90d", "outcomes", lambda v: v.count(where=within(v, 90))),
    Count("goals_measured_365d", "outcomes", lambda v: v.count(where=within(v, 365))),
    Count("goals_standing", "outcomes", lambda v: v.goal.nunique(where=_standing(v))),
    Count("goals_reached", "outcomes", lambda v: v.goal.nunique(where=_standing(v) & (v["value"] >= v.target))),
    Count("goal_last_at", "outcomes", lambda v: v.measured_at.max(), empty=None),
    Count("goal_progress_standing", "outcomes", lambda v: _progress(v).sum(where=_standing(v)), empty=None),
    Count("goal_targets_standing", "outcomes", lambda v: v.count(where=_standing(v) & (v.target > 0))),
    Count("goal_best", "outcomes", lambda v: _progress(v).max(where=within(v, 365)), empty=None),
    Count("goal_lowest", "outcomes", lambda v: _progress(v).min(where=_standing(v)), empty=None),
    *_goal_counts("30d", 30),
    *_goal_counts("90d", 90),
    *_goal_counts("90d_before", 90, 90),
    *_goal_counts("365d", 365),
]  # fmt: skip

_TITLES = {
    "nps": ("NPS answer", "NPS-vastaus"),
    "csat": ("CSAT answer", "CSAT-vastaus"),
    "ces": ("CES answer", "CES-vastaus"),
}


def _survey_features(kind: str) -> list[Feature]:
    en, fi = _TITLES[kind]
    return [
        Feature(
            f"{kind}_last", "points", "surveys", None, "negative_feedback", -1,
            {"en": f"latest {en}", "fi": f"viimeisin {fi}"}, as_float(f"{kind}_last"),
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
        lambda c: c.nps_last.cast("float64") - ratio(c.nps_sum_365d, c.nps_answers_365d),
    ),
    Feature(
        "nps_step", "points", "surveys", None, "negative_feedback", -1,
        {"en": "latest NPS answer against the one before", "fi": "viimeisin NPS-vastaus edelliseen verrattuna"},
        lambda c: (c.nps_last - c.nps_before).cast("float64"),
    ),
    Feature(
        "csat_mean_90d", "points", "surveys", 90, "negative_feedback", -1,
        {"en": "mean CSAT answer to surveys of 90 days", "fi": "CSAT-vastausten keskiarvo 90 päivän kyselyissä"},
        lambda c: ratio(c.csat_sum_90d, c.csat_answers_90d),
    ),
    Feature(
        "poor_answers_180d", "answers", "surveys", 180, "negative_feedback", 1,
        {"en": "poor answers to surveys of 180 days", "fi": "huonoa vastausta 180 päivän kyselyihin"},
        as_float("poor_answers_180d"),
    ),
    Feature(
        "survey_response_rate_365d", "share", "surveys", 365, "silence", -1,
        {"en": "share of surveys answered in a year", "fi": "kyselyistä vastattu vuodessa"},
        lambda c: ratio(c.surveys_answered_365d, c.surveys_sent_365d),
    ),
    Feature(
        "surveys_unanswered_run", "surveys", "surveys", None, "silence", 0,
        {"en": "surveys without an answer since the last one answered", "fi": "kyselyä peräkkäin vailla vastausta"},
        as_float("surveys_unanswered_run"),
    ),
    Feature(
        "days_since_survey_answer", "days", "surveys", None, "silence", 0,
        {"en": "days since the last answer to a survey", "fi": "päivää edellisestä kyselyvastauksesta"},
        lambda c: days(c.as_of - c.survey_answer_at),
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
        "goal_progress_change_90d", "share", "outcomes", 180, "value_unproven", -1,
        {"en": "change of the progress towards own goals against the 90 days before",
         "fi": "muutos omien tavoitteiden etenemisessä edellisiin 90 päivään"},
        lambda c: ratio(c.goal_progress_90d, c.goal_targets_90d) - ratio(c.goal_progress_90d_before, c.goal_targets_90d_before),
    ),
    Feature(
        "goal_progress_latest", "share", "outcomes", 365, "value_unproven", -1,
        {"en": "progress towards own goals when last measured", "fi": "eteneminen omissa tavoitteissa viimeksi mitattuna"},
        _progress_latest,
    ),
    Feature(
        "goal_progress_of_best", "share", "outcomes", 365, "value_unproven", -1,
        {"en": "progress towards own goals when last measured, as a share of the year's best",
         "fi": "eteneminen omissa tavoitteissa viimeksi mitattuna osuutena vuoden parhaasta"},
        lambda c: ratio(_progress_latest(c), c.goal_best),
    ),
    Feature(
        "goal_progress_lowest", "share", "outcomes", 365, "value_unproven", -1,
        {"en": "progress towards the own goal that is furthest behind", "fi": "eteneminen eniten jäljessä olevassa tavoitteessa"},
        as_float("goal_lowest"),
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

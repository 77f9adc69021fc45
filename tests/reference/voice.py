"""What customers say and reach: survey answers with their age, and their own goals."""

import math

import numpy as np

from reference.arithmetic import Found, largest, mean, share, smallest, unanswered_run, within
from reference.known import Rows

#: Lowest and highest answer of each kind (domain.md §2), and the highest that is poor.
SCALES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}
POOR = {"nps": 6, "csat": 2, "ces": 3}
#: A goal passed further than this counts as far as this.
FARTHEST = 10
_ANSWER = ("score", "responded_at")
NEEDS = {
    **{f"{kind}_{what}": _ANSWER for kind in SCALES for what in ("last", "age_days")},
    "nps_change": _ANSWER,
    "nps_step": _ANSWER,
    "csat_mean_90d": _ANSWER,
    "poor_answers_180d": _ANSWER,
    "survey_response_rate_365d": ("responded_at",),
    "surveys_unanswered_run": ("sent_at", "responded_at"),
    "days_since_survey_answer": ("responded_at",),
}


def points(kind: str, score: float, scale_max: float) -> float:
    """An answer on its kind's own scale, never outside it, to the six places that the contract keeps."""
    low, high = SCALES[kind]
    share_of_scale = (score - low) / ((high if math.isnan(scale_max) else scale_max) - low)
    return round(low + min(max(share_of_scale, 0), 1) * (high - low), 6)


def surveys(rows: Rows) -> Found:
    """Return the features of surveys."""
    #: (days since the answer, points, days since it was asked) of each kind, the latest first; of two at once the poorer.
    answers: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in SCALES}
    for kind, score, highest, responded, sent in zip(
        rows.kind, rows.score, rows.scale_max, rows.responded_ago, rows.sent_ago, strict=True
    ):
        if not math.isnan(score) and not math.isnan(responded):
            answers[kind].append((responded, points(kind, score, highest), sent))
    found: Found = {}
    for kind, given in answers.items():
        given.sort()
        found[f"{kind}_last"] = given[0][1] if given else math.nan
        found[f"{kind}_age_days"] = given[0][0] if given else math.nan

    def asked_within(kind: str, length: int) -> np.ndarray:
        return np.array([given for _, given, sent in answers[kind] if 0 < sent <= length])

    nps = answers["nps"]
    return found | {
        "nps_change": found["nps_last"] - mean(asked_within("nps", 365)),
        "nps_step": nps[0][1] - nps[1][1] if len(nps) > 1 else math.nan,
        "csat_mean_90d": mean(asked_within("csat", 90)),
        "poor_answers_180d": sum((asked_within(kind, 180) <= highest).sum() for kind, highest in POOR.items()),
        "survey_response_rate_365d": mean(~np.isnan(rows.responded_ago[within(rows.sent_ago, 365)])),
        "surveys_unanswered_run": unanswered_run(rows.sent_ago, ~np.isnan(rows.responded_ago)),
        "days_since_survey_answer": smallest(rows.responded_ago),
    }


def outcomes(rows: Rows) -> Found:
    """Return the features of the customer's own goals."""
    ago = rows.measured_ago
    latest = {goal: smallest(ago[rows.goal == goal]) for goal in set(rows.goal)}
    standing = within(ago, 365) & np.array([latest[goal] for goal in rows.goal] == ago, dtype=bool)

    def progress(measured: np.ndarray) -> np.ndarray:
        aimed = measured & (rows.target > 0)
        return np.round(np.minimum(rows.value[aimed] / rows.target[aimed], FARTHEST), 6)

    return {
        "goals_reached_share": mean((rows.value >= rows.target)[standing]),
        "goal_progress_mean": mean(progress(within(ago, 365))),
        "goal_progress_last": mean(progress(within(ago, 30))),
        "goal_progress_change_90d": mean(progress(within(ago, 90))) - mean(progress(within(ago, 90, 90))),
        "goal_progress_latest": mean(progress(standing)),
        "goal_progress_of_best": share(mean(progress(standing)), largest(progress(within(ago, 365)))),
        "goal_progress_lowest": smallest(progress(standing)),
        "goals_measured_365d": within(ago, 365).sum(),
        "goals_measured_90d": within(ago, 90).sum(),
        "days_since_goal_measured": smallest(ago),
    }

"""The work done with an account: its onboarding, its other projects, and the plays begun for it."""

import math

import numpy as np

from reference.arithmetic import Found, given, largest, smallest, within
from reference.known import Rows

_FINISHED = ("kind", "finished_at")
_DUE = (*_FINISHED, "due_at")
NEEDS = {
    "onboarding_open_days": _FINISHED,
    "onboarding_overdue_days": _DUE,
    "onboarding_finished": _FINISHED,
    "onboarding_late_days": _DUE,
    "other_projects_open": _FINISHED,
    "other_projects_overdue": _DUE,
    "plays_running": ("ended_at",),
}


def projects(rows: Rows) -> Found:
    """Return the features of projects; one of no stated kind is neither the onboarding nor another."""
    onboarding, is_open, overdue = rows.kind == "onboarding", np.isnan(rows.finished_ago), rows.due_ago > 0
    other_open = ~onboarding & given(rows.kind) & is_open
    return {
        "onboarding_open_days": largest(rows.started_ago[onboarding & is_open], 0),
        "onboarding_overdue_days": largest(rows.due_ago[onboarding & is_open & overdue], 0),
        "onboarding_finished": float(not (onboarding & is_open).any()) if onboarding.any() else math.nan,
        "onboarding_late_days": largest((rows.due_ago - rows.finished_ago)[onboarding]),
        "other_projects_open": other_open.sum(),
        "other_projects_overdue": (other_open & overdue).sum(),
    }


def plays(rows: Rows) -> Found:
    """Return the features of plays; one that was held out did not begin."""
    begun = rows.assignment != "held_out"
    return {
        "plays_begun_90d": (begun & within(rows.started_ago, 90)).sum(),
        "plays_begun_365d": (begun & within(rows.started_ago, 365)).sum(),
        "plays_running": (begun & np.isnan(rows.ended_ago)).sum(),
        "days_since_play": smallest(rows.started_ago[begun]),
    }

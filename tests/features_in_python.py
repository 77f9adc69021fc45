"""A second, slow reading of domain.md: plain Python over one account's rows, as `known` at one T, to features."""

import math
from datetime import datetime, timedelta
from itertools import pairwise

from features.contract import TABLES

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
DECIDERS = ("decision_maker", "executive")
SCALES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}
Found = dict[str, float]
Rows = list[dict]


def known(table: str, rows: Rows, account: str, at: datetime) -> Rows:
    """Return what may be read at `at`: the last version of each row recorded before, happened before, later facts masked."""
    contract = TABLES[table]
    last: dict[object, dict] = {}
    for number, row in enumerate(rows):
        row = {column.name: row.get(column.name) for column in contract.columns} | {
            "recorded": row["recorded_at"] or row[contract.event]
        }
        key = tuple(row[name] for name in contract.key)
        key = number if key in ((), (None,)) else key
        if row["recorded"] < at and (key not in last or last[key]["recorded"] < row["recorded"]):
            last[key] = row
    seen = [row for row in last.values() if row[contract.event] < at and row["account_id"] == account]
    return [
        row
        | {
            column.name: None
            for column in contract.columns
            if column.known_at and not (row[column.known_at] is not None and row[column.known_at] < at)
        }
        for row in seen
    ]


def expected(history: dict[str, Rows], account: str, at: datetime) -> Found:
    """Return features and facts of one account at one instant."""
    seen = {table: known(table, rows, account, at) for table, rows in history.items()}
    found = subscriptions(seen["subscriptions"], at)
    tenure, mrr = found["tenure_days"], found["mrr"]
    return {
        **found,
        **usage(seen["usage"], tenure, at),
        **tickets(seen["tickets"], tenure, at),
        **observations(seen["observations"], at),
        **surveys(seen["surveys"], at),
        **outcomes(seen["outcomes"], at),
        **relations(seen["touchpoints"], seen["contacts"], tenure, at),
        **invoices(seen["invoices"], mrr, at),
        **offers(seen["offers"], at),
        **costs(seen["costs"], mrr, at),
        **projects(seen["projects"], at),
        **plays(seen["plays"], at),
    }


def share(top: float, bottom: float) -> float:
    """top / bottom, NaN where the bottom is zero."""
    return top / bottom if bottom else math.nan


def mean(values: list[float]) -> float:
    """The mean, NaN of nothing."""
    return share(sum(values), len(values))


def days(span: timedelta) -> float:
    """A span in days."""
    return span / DAY


def within(rows: Rows, column: str, at: datetime, length: int, skip: int = 0) -> Rows:
    """Rows whose instant lies in [at − skip − length, at − skip), in days."""
    first, last = at - (length + skip) * DAY, at - skip * DAY
    return [row for row in rows if row[column] is not None and first <= row[column] < last]


def since_last(rows: Rows, column: str, at: datetime) -> float:
    """Days since the latest instant in a column, NaN without one."""
    instants = [row[column] for row in rows if row[column] is not None]
    return days(at - max(instants)) if instants else math.nan


def unanswered_run(rows: Rows, column: str) -> int:
    """How many rows stand after the last one that was answered."""
    answered = [row[column] for row in rows if row["responded_at"] is not None]
    return sum(row[column] > max(answered) for row in rows) if answered else len(rows)


def subscriptions(rows: Rows, at: datetime) -> Found:
    """Contract: revenue, price, renewal."""
    running = [row for row in rows if row["ended_at"] is None]
    ago = at - 90 * DAY
    ran = [row for row in rows if row["started_at"] < ago and (row["ended_at"] is None or row["ended_at"] >= ago)]
    mrr = sum(row["mrr"] for row in running)
    rises: dict[datetime, float] = {}
    for line in {(row["subscription_id"], row["product"]) for row in rows}:
        own = sorted((r for r in rows if (r["subscription_id"], r["product"]) == line), key=lambda r: r["started_at"])
        for earlier, later in pairwise(own):
            if earlier["seats"] and later["seats"] and earlier["mrr"]:
                rise = later["mrr"] / later["seats"] / (earlier["mrr"] / earlier["seats"]) - 1
                rises[later["started_at"]] = max(rises.get(later["started_at"], rise), rise)
    passed = {
        row["renewal_at"]
        for row in rows
        if row["renewal_at"] and row["renewal_at"] < at and (row["ended_at"] is None or row["ended_at"] >= row["renewal_at"])
    }
    ahead = [row for row in running if row["renewal_at"] and row["renewal_at"] >= at]
    deadlines = [row["renewal_at"] - (row["notice_days"] or 0) * DAY for row in ahead]
    return {
        "active": mrr > 0,
        "leaving": mrr > 0 and all(row["cancelled_at"] is not None for row in running),
        "mrr": mrr,
        "mrr_change_90d": share(mrr, sum(row["mrr"] for row in ran)) - 1,
        "tenure_days": days(at - min(row["started_at"] for row in rows)) if rows else math.nan,
        "price_rise_max_180d": max([0.0, *(rise for day, rise in rises.items() if day >= at - 180 * DAY)]),
        "price_rise_max_365d": max([0.0, *(rise for day, rise in rises.items() if day >= at - 365 * DAY)]),
        "days_since_price_rise": min([days(at - day) for day, rise in rises.items() if rise >= 0.05], default=math.nan),
        "renewals_passed": len(passed),
        "days_to_renewal": days(min(row["renewal_at"] for row in ahead) - at) if ahead else math.nan,
        "notice_deadline_within_90d": float(at <= min(deadlines) <= at + 90 * DAY) if ahead else math.nan,
    }


def usage(rows: Rows, tenure: float, at: datetime) -> Found:
    """How much, how regularly, and against the account's own past."""
    rows = within(rows, "occurred_at", at, 365)
    is_customer = not math.isnan(tenure)

    def events(length: int, skip: int = 0) -> int:
        return sum(1 if r["quantity"] is None else r["quantity"] for r in within(rows, "occurred_at", at, length, skip))

    def against(length: int, longest: int) -> float:
        there = min(tenure - length, longest)
        if not is_customer or there < length:
            return math.nan
        return math.log((events(length) + 1) / (events(longest, length) * length / there + 1))

    months = [events(30, 30 * month) for month in range(12)]
    best = max(months[1:])
    low = [events < 0.6 * best for events in months]
    recent = within(rows, "occurred_at", at, 30)
    users = {row["user_id"] for row in recent} - {None}
    active = {(at - row["occurred_at"] - TICK) // DAY for row in rows}
    ages = [days(at - row["occurred_at"]) for row in rows]
    lived = math.ceil(max([tenure] * is_customer + ages, default=0))
    silences = "".join("1" if day in active else "0" for day in range(min(90, math.ceil(tenure)) if is_customer else 90))
    return {
        "events_30d": events(30),
        "events_trend_30d": math.log((events(30) + 1) / (events(30, 30) + 1)),
        "events_trend_7d": against(7, 23),
        "events_trend_30d_of_210d": against(30, 180),
        "events_trend_90d_of_365d": against(90, 275),
        "events_30d_of_best_month": share(months[0], best),
        "low_use_months": (low.index(False) if False in low else 12) if best else math.nan,
        "cancellation_page_visits_90d": 0,
        "active_users_30d": max(len(users), *(row["users"] or 0 for row in recent), 0),
        "active_days_30d": sum(day in active for day in range(30)),
        "active_weeks_90d": sum(any(day in active for day in range(7 * week, 7 * week + 7)) for week in range(13)),
        "active_days_share_365d": share(len(active), min(365, lived)),
        "days_since_last_use": min([180.0, *ages]),
        "days_to_first_use": max(tenure - max(ages, default=0.0), 0.0) if is_customer and tenure <= 365 else math.nan,
        "longest_silence_90d": max(map(len, silences.split("1"))),
    }


def against(at: datetime, tenure: float, rows: Rows, column: str, length: int = 30, longest: int = 180) -> float:
    """The last days against as many of those before; unknown without as many before."""
    there = min(tenure - length, longest)
    if math.isnan(tenure) or there < length:
        return math.nan
    now, before = len(within(rows, column, at, length)), len(within(rows, column, at, longest, length))
    return math.log((now + 1) / (before * length / there + 1))


def tickets(rows: Rows, tenure: float, at: datetime) -> Found:
    """Load, speed, trouble and mood."""

    def hours(skip: int = 0) -> float:
        resolved = within(rows, "resolved_at", at, 90, skip)
        return mean([(row["resolved_at"] - row["opened_at"]) / timedelta(hours=1) for row in resolved])

    def sentiment(length: int = 90, skip: int = 0) -> float:
        return mean([r["sentiment"] for r in within(rows, "opened_at", at, length, skip) if r["sentiment"] is not None])

    recent = within(rows, "opened_at", at, 90)
    return {
        **{f"tickets_{length}d": len(within(rows, "opened_at", at, length)) for length in (7, 30, 90, 365)},
        **{f"reopened_{length}d": len(within(rows, "reopened_at", at, length)) for length in (90, 365)},
        **{f"escalated_{length}d": len(within(rows, "escalated_at", at, length)) for length in (30, 90, 365)},
        "tickets_trend_30d_of_210d": against(at, tenure, rows, "opened_at"),
        "days_since_escalation": since_last(rows, "escalated_at", at),
        "open_tickets": sum(
            row["resolved_at"] is None or (row["reopened_at"] is not None and row["reopened_at"] > row["resolved_at"])
            for row in rows
        ),
        "resolution_hours_90d": hours(),
        "resolution_hours_change_90d": hours() - hours(90),
        "sentiment_30d": sentiment(30),
        "sentiment_90d": sentiment(),
        "sentiment_change_90d": sentiment() - sentiment(90, 90),
        "urgent_90d": sum(row["priority"] == "Urgent" for row in recent),
        "high_priority_share_90d": mean([row["priority"] in ("high", "Urgent") for row in recent]),
    }


def observations(rows: Rows, at: datetime) -> Found:
    """What people wrote down."""
    windows = {
        "complaints": ("complaint", (30, 180)),
        "risks_noted": ("risk", (30, 180)),
        "praise": ("praise", (90,)),
        "opportunities": ("opportunity", (90, 365)),
    }
    return {
        f"{name}_{length}d": sum(row["kind"] == kind for row in within(rows, "occurred_at", at, length))
        for name, (kind, lengths) in windows.items()
        for length in lengths
    }


def points(row: dict) -> float:
    """An answer on its kind's own scale."""
    low, high = SCALES[row["kind"]]
    return max(low + (row["score"] - low) / ((row["scale_max"] or high) - low) * (high - low), low)


def surveys(rows: Rows, at: datetime) -> Found:
    """Answers, their age, and those that did not come."""
    given = [row for row in rows if row["responded_at"] is not None and row["score"] is not None]
    found: Found = {}
    for kind in SCALES:
        answers = sorted((row["responded_at"], -points(row)) for row in given if row["kind"] == kind)
        last = -answers[-1][1] if answers else math.nan
        found[f"{kind}_last"] = last
        found[f"{kind}_age_days"] = days(at - answers[-1][0]) if answers else math.nan
        if kind == "nps":
            found["nps_step"] = last + answers[-2][1] if len(answers) > 1 else math.nan
    poor = {"nps": 6, "csat": 2, "ces": 3}
    asked = within(rows, "sent_at", at, 365)
    return found | {
        "csat_mean_90d": mean([points(row) for row in within(given, "sent_at", at, 90) if row["kind"] == "csat"]),
        "poor_answers_180d": sum(points(row) <= poor[row["kind"]] for row in within(given, "sent_at", at, 180)),
        "survey_response_rate_365d": mean([row["responded_at"] is not None for row in asked]),
        "surveys_unanswered_run": unanswered_run(rows, "sent_at"),
        "days_since_survey_answer": since_last(rows, "responded_at", at),
    }


def outcomes(rows: Rows, at: datetime) -> Found:
    """The customer's own goals."""

    def progress(measured: Rows) -> list[float]:
        return [min(row["value"] / row["target"], 10) for row in measured if row["target"] > 0]

    latest = {row["goal"]: row for row in sorted(rows, key=lambda row: row["measured_at"])}
    standing = within(list(latest.values()), "measured_at", at, 365)
    now, before = (progress(within(rows, "measured_at", at, 90, skip)) for skip in (0, 90))
    return {
        "goals_reached_share": mean([row["value"] >= row["target"] for row in standing]),
        "goal_progress_mean": mean(progress(within(rows, "measured_at", at, 365))),
        "goal_progress_change_90d": mean(now) - mean(before),
        "goal_progress_lowest": min(progress(standing), default=math.nan),
        "goal_progress_latest": mean(progress(standing)),
        "goal_progress_of_best": share(
            mean(progress(standing)), max(progress(within(rows, "measured_at", at, 365)), default=math.nan)
        ),
    }


def relations(touches: Rows, contacts: Rows, tenure: float, at: datetime) -> Found:
    """Who answers, who was met, who is known and who has left."""
    now = [row for row in contacts if row["valid_to"] is None and row["role"] is not None]
    role = {row["contact_id"]: row["role"] for row in sorted(now, key=lambda row: row["valid_from"])}
    sent = [row for row in touches if row["direction"] == "out" and row["kind"] == "email"]
    inbound = [row for row in touches if row["direction"] == "in"]
    meetings = [row for row in touches if row["kind"] == "meeting"]
    with_decider = [row for row in meetings if role.get(row["contact_id"]) in DECIDERS]
    champions = [row for row in contacts if row["role"] == "champion"]
    has_champion = any(row["valid_to"] is None for row in champions)

    def of(rows: Rows, length: int, skip: int = 0) -> Rows:
        return within(rows, "occurred_at", at, length, skip)

    def answered(length: int, skip: int = 0) -> float:
        return mean([row["responded_at"] is not None for row in of(sent, length, skip)])

    def decider_share(length: int) -> float:
        named = [role[row["contact_id"]] for row in of(touches, length) if row["contact_id"] in role]
        return mean([held in DECIDERS for held in named])

    took_part = [
        row for row in touches if row["direction"] == "in" or row["responded_at"] is not None or row["kind"] in ("meeting", "qbr")
    ]
    named = [row for row in touches if row["contact_id"] in role]
    decided = [row["occurred_at"] for row in named if role[row["contact_id"]] in DECIDERS]
    return {
        "contact_share_30d": share(len(of(took_part, 30)), len(of(touches, 30))),
        "contact_share_60d": share(len(of(took_part, 60)), len(of(touches, 60))),
        "contacts_60d": len(of(took_part, 60)),
        "contacts_trend_30d_of_365d": against(at, tenure, took_part, "occurred_at", 30, 335),
        "days_since_contact": since_last(took_part, "occurred_at", at),
        "decision_maker_share_60d": decider_share(60),
        "touchpoints_since_decision_maker": sum(row["occurred_at"] > max(decided) for row in named) if decided else len(named),
        "meetings_30d": len(of(meetings, 30)),
        "decision_maker_share_30d": decider_share(30),
        "decision_maker_share_90d": decider_share(90),
        "outreach_answered_share_30d": answered(30),
        "inbound_30d": len(of(inbound, 30)),
        "inbound_90d": len(of(inbound, 90)),
        "inbound_trend_90d": math.log((len(of(inbound, 90)) + 1) / (len(of(inbound, 90, 90)) + 1)),
        "meetings_365d": len(of(meetings, 365)),
        "outreach_answered_share_90d": answered(90),
        "outreach_answered_share_365d": answered(365),
        "outreach_answered_change_90d": answered(90) - answered(90, 90),
        "outreach_unanswered_run": unanswered_run(sent, "occurred_at"),
        "days_since_reply": since_last(touches, "responded_at", at),
        "decision_makers_met_90d": sum(role.get(met) in DECIDERS for met in {row["contact_id"] for row in of(touches, 90)}),
        "decision_maker_meetings_change_90d": len(of(with_decider, 90)) - len(of(with_decider, 90, 90)),
        "decision_maker_meetings_share_365d": share(len(of(with_decider, 365)), len(of(meetings, 365))),
        "days_since_decision_maker_met": since_last(with_decider, "occurred_at", at),
        "roles_known": len({row["role"] for row in now}),
        "has_champion": float(has_champion),
        "days_without_champion": math.nan if has_champion else since_last(champions, "valid_to", at),
        "champions_left_180d": len({row["contact_id"] for row in within(champions, "valid_to", at, 180)}),
    }


def invoices(rows: Rows, mrr: float, at: datetime) -> Found:
    """What is unpaid, and how late the rest was paid."""
    unpaid = [row for row in rows if row["paid_at"] is None and row["amount"] > 0]
    overdue = [row for row in unpaid if row["due_at"] < at]

    def late(length: int) -> float:
        paid = within(rows, "paid_at", at, length)
        return mean([max(days(row["paid_at"] - row["due_at"]), 0.0) for row in paid])

    return {
        "unpaid_over_14_days": sum(row["issued_at"] < at - 14 * DAY for row in unpaid),
        "overdue_over_30_days": sum(row["due_at"] < at - 30 * DAY for row in overdue),
        "overdue_over_60_days": sum(row["due_at"] < at - 60 * DAY for row in overdue),
        "overdue_days_max": max([0.0, *(days(at - row["due_at"]) for row in overdue)]),
        "days_since_payment": since_last(rows, "paid_at", at),
        "overdue_share_of_mrr": share(sum(row["amount"] for row in overdue), mrr),
        "late_days_mean_365d": late(365),
        "late_days_change_90d": late(90) - late(365),
    }


def offers(rows: Rows, at: datetime) -> Found:
    """What was offered, and what became of it."""
    decided = within(rows, "decided_at", at, 365)
    won, lost = (sum(row["status"] == status for row in decided) for status in ("won", "lost"))
    return {
        "offers_open": sum(row["decided_at"] is None for row in rows),
        "offers_won_365d": won,
        "offers_lost_365d": lost,
        "offers_won_share_365d": share(won, won + lost),
        "days_since_offer_decided": since_last(rows, "decided_at", at),
    }


def costs(rows: Rows, mrr: float, at: datetime) -> Found:
    """What service takes."""
    service = [row for row in rows if row["kind"] == "service"]
    hours = {
        f"service_hours_{length}d": sum(row["hours"] or 0 for row in within(service, "incurred_at", at, length))
        for length in (30, 90, 365)
    }
    amount = sum(row["amount"] for row in within(service, "incurred_at", at, 90))
    return hours | {"service_cost_share_90d": share(amount, 3 * mrr)}


def projects(rows: Rows, at: datetime) -> Found:
    """The onboarding and the others."""
    onboarding = [row for row in rows if row["kind"] == "onboarding"]
    waiting = [row for row in onboarding if row["finished_at"] is None]
    others = [row for row in rows if row["kind"] not in ("onboarding", None) and row["finished_at"] is None]
    late = [days(row["finished_at"] - row["due_at"]) for row in onboarding if row["finished_at"] and row["due_at"]]
    overdue = [days(at - row["due_at"]) for row in waiting if row["due_at"] and row["due_at"] < at]
    return {
        "onboarding_open_days": max([0.0, *(days(at - row["started_at"]) for row in waiting)]),
        "onboarding_overdue_days": max([0.0, *overdue]),
        "onboarding_finished": float(not waiting) if onboarding else math.nan,
        "onboarding_late_days": max(late, default=math.nan),
        "other_projects_open": len(others),
        "other_projects_overdue": sum(row["due_at"] is not None and row["due_at"] < at for row in others),
    }


def plays(rows: Rows, at: datetime) -> Found:
    """What was begun; a play held out was not."""
    begun = [row for row in rows if row["assignment"] != "held_out"]
    return {
        "plays_begun_90d": len(within(begun, "started_at", at, 90)),
        "plays_begun_365d": len(within(begun, "started_at", at, 365)),
        "plays_running": sum(row["ended_at"] is None for row in begun),
        "days_since_play": since_last(begun, "started_at", at),
    }

"""*Account*: one account's whole picture, now and at any earlier time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

from features.catalogue import Feature
from models.playbooks import load
from models.sentences import Language
from serving.api.dependencies import own
from serving.picture import scored
from serving.portfolio import View
from serving.store import Score
from serving.store.feedback import Feedback, ManualScore
from serving.store.instants import utc
from serving.web import charts, health_detail
from serving.web.plays import Offer, Running, offer, running
from serving.web.view import Behind, Facts, Reader, Reason, Record, title

#: Below this many others, a median says nothing.
_FEW_OTHERS = 5
_COMMENTS = 5


@dataclass(frozen=True)
class Bar:
    """A driver in the waterfall, with the evidence behind it and what the reader said of it (a verdict, or None)."""

    reason: Reason
    step: charts.Step
    phrase: str | None
    value: str
    before: str
    peers: str
    said: str | None


@dataclass(frozen=True)
class Waterfall:
    """From the base value through the drivers to the raw score; `points`: lost points of health, where no model serves."""

    base_value: float
    base_at: float
    bars: Sequence[Bar]
    other: float
    other_step: charts.Step
    raw_score: float
    points: bool


@dataclass(frozen=True)
class Candidate:
    """A play that competed, and its value; `startable` where the catalogue has it and it does not run yet."""

    name: str
    title: str
    value: float
    chosen: bool
    startable: bool


@dataclass(frozen=True)
class Others:
    """The other accounts of the tier: how many, and their medians."""

    count: int
    health: float | None
    risk: float | None


@dataclass(frozen=True)
class Point:
    """A score out of history."""

    as_of: date
    known_at: datetime
    score: int | None
    band: str | None
    risk: float | None


@dataclass(frozen=True)
class Earlier:
    """What was asked of the past, and the score that stood then (None: there was none)."""

    as_of: str
    known_at: str
    score: Score | None
    facts: Facts | None


@dataclass(frozen=True)
class Account:
    """The page."""

    score: Score
    facts: Facts
    in_last_run: bool
    components: Sequence[health_detail.Component]
    measures: Sequence[health_detail.Measure]
    cap: tuple[str, int] | None
    manual: ManualScore | None
    others: Others | None
    predictions: Sequence[Record]
    risk_scale: float
    waterfall: Waterfall
    offer: Offer | None
    candidates: Sequence[Candidate]
    running: Sequence[Running]
    closed: Sequence[Running]
    points: Sequence[Point]
    history: charts.Line | None
    curve: charts.Line | None
    comments: Sequence[Feedback]
    earlier: Earlier | None

    @property
    def runs_already(self) -> bool:
        """Whether what is offered is under way."""
        return self.offer is not None and any(play.playbook == self.offer.playbook for play in self.running)


def account(
    behind: Behind, view: View | None, reader: Reader, account_id: str, *, as_of: str = "", known_at: str = ""
) -> Account | None:
    """Put the page together; None where the account is not the reader's, or was never scored.

    `as_of` and `known_at` ask what was said of that day, and on that day. Raises UnknownAccountError, and ValueError for text
    that is no day.
    """
    scores = behind.store.scores(account_id)
    if not scores or not reader.sees(scores[-1].record["csm"]):
        return None
    score, language = scores[-1], reader.language
    catalogue = behind.catalogue
    facts = _facts(behind, score, catalogue, language)
    record = facts.record
    given = behind.store.feedback.of(account_id)
    plays = running(behind.store, [account_id], language, closed=True).get(account_id, [])
    under_way = [play for play in plays if not play.closed]
    predictions = sorted(record["predictions"] or (), key=lambda p: (p["outcome"] != "churn", p["outcome"], p["horizon_days"]))
    points = _points(scores)
    return Account(
        score=score,
        facts=facts,
        in_last_run=view is None or account_id in view.lines,
        components=health_detail.components(facts.health, language),
        measures=health_detail.measures(
            behind.store.inputs.read(account_id, run_id=score.run_id), facts.health, catalogue, language
        ),
        cap=health_detail.cap(facts.health, language),
        manual=behind.store.feedback.manual_score(account_id, behind.clock()),
        others=_others(own(view, reader.principal), account_id, record["tier"]) if view else None,
        predictions=predictions,
        risk_scale=charts.scale_top(predictions),
        waterfall=_waterfall(facts, catalogue, _verdicts(given, score, reader)),
        offer=offer(facts),
        candidates=_candidates(score, facts, {play.playbook for play in under_way}),
        running=under_way,
        closed=[play for play in plays if play.closed],
        points=points,
        history=charts.history([(point.as_of, point.score) for point in points if point.score is not None]),
        curve=charts.curve(record["curve"], facts.renewal_days) if record["curve"] else None,
        comments=[each for each in given if each.text][:_COMMENTS],
        earlier=_earlier(behind, account_id, catalogue, language, as_of, known_at) if as_of or known_at else None,
    )


def _facts(behind: Behind, score: Score, catalogue: Mapping[str, Feature], language: Language) -> Facts:
    [record] = scored(behind.store, [behind.portfolio.worded(score, catalogue, language)])
    return Facts(record, language)


def _points(scores: Sequence[Score]) -> list[Point]:
    """Of every instant the score that stands, oldest first."""
    standing = {score.as_of: score for score in scores}
    return [
        Point(
            score.as_of.date(),
            score.known_at,
            score.record["health"]["score"],
            score.record["health"]["band"],
            risk["probability"] if (risk := Facts(score.record, "en").risk) else None,
        )
        for score in standing.values()
    ]


def _waterfall(facts: Facts, catalogue: Mapping[str, Feature], said: Mapping[str, str]) -> Waterfall:
    found, language = facts.record["reasons"], facts.language
    drivers = found["drivers"]
    base_at, steps = charts.waterfall(found["base_value"], [*(each["contribution"] for each in drivers), found["other"]])
    bars = []
    for driver, reason, step in zip(drivers, facts.reasons, steps, strict=False):
        feature = catalogue.get(driver["feature"])
        value, before, peers = (health_detail.figure(driver[name], feature, language) for name in ("value", "before", "peers"))
        phrase = feature.phrase[language] if feature else None
        bars.append(Bar(reason, step, phrase, value, before, peers, said.get(driver["driver"])))
    points = found["outcome"] == "health"
    raw = found["base_value"] + sum(each["contribution"] for each in drivers) + found["other"]
    return Waterfall(found["base_value"], base_at, bars, found["other"], steps[-1], found.get("raw_score", raw), points)


def _verdicts(given: Sequence[Feedback], score: Score, reader: Reader) -> dict[str, str]:
    """Driver → what the reader last said of it, on this score."""
    mine = [
        each
        for each in given
        if each.by.id == reader.principal.id and (each.run_id, each.as_of) == (score.run_id, score.as_of) and each.driver
    ]
    return {each.driver: each.verdict for each in reversed(mine) if each.driver}


def _candidates(score: Score, facts: Facts, under_way: set[str]) -> list[Candidate]:
    chosen = facts.record["play"]["name"]
    return [
        Candidate(
            name=each["name"],
            title=title(each["name"], facts.language),
            value=each["value"],
            chosen=each["name"] == chosen,
            startable=each["name"] in load() and each["name"] not in under_way,
        )
        for each in score.candidates or ()
    ]


def _others(view: View, account_id: str, tier: str | None) -> Others | None:
    lines = [line for line in view.lines.values() if line.tier == tier and line.account_id != account_id and not line.leaving]
    if tier is None or len(lines) < _FEW_OTHERS:
        return None
    health = [line.health_score for line in lines if line.health_score is not None]
    risk = [line.p_churn for line in lines if line.p_churn is not None]
    return Others(len(lines), median(health) if health else None, median(risk) if risk else None)


def _earlier(
    behind: Behind, account_id: str, catalogue: Mapping[str, Feature], language: Language, as_of: str, known_at: str
) -> Earlier:
    found = behind.store.scores(account_id, as_of=_end_of(as_of), known_at=_end_of(known_at))
    score = found[0] if found else None
    return Earlier(as_of, known_at, score, _facts(behind, score, catalogue, language) if score else None)


def _end_of(day: str) -> datetime | None:
    """The last instant of a day (of an instant: itself); ValueError for other text.

    >>> _end_of("2026-03-01"), _end_of("")
    (datetime.datetime(2026, 3, 1, 23, 59, 59, 999999), None)
    """
    if not day:
        return None
    instant = utc(day)
    return instant + timedelta(days=1, microseconds=-1) if len(day) == len("2026-03-01") else instant

"""The forward pass: day by day, what befalls each account, drawn from the rates of course.py."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from simulation.course import (
    ACUTE,
    ACUTE_SEVERELY,
    BREWS,
    BREWS_SEVERELY,
    FLAT,
    GROWING,
    NONE,
    OFFERED,
    WARM_UP_DAYS,
    Course,
    Floats,
    Rates,
    rests,
)
from simulation.history import NO_CAUSE, History, Moment
from simulation.population import Population
from simulation.world import (
    ACCEPTED_RISE,
    BREWING_SHOWS,
    CAUSE_INDEX,
    CAUSES,
    COLD_OFFERS,
    COMES_TO_NOTHING,
    FEWER_SEATS,
    GROWTH_LASTS,
    GROWTH_OFFERS,
    GROWTH_SEATS,
    IDLE_PLAY_CHANCE,
    MILD,
    MILD_SHOWS,
    MORE_SEATS,
    OFFER_OPEN,
    OFFER_WON,
    PLAY_CHANCE,
    PLAY_HARM,
    PLAY_HARMS,
    PLAY_HEALS,
    PLAY_HELD_OUT,
    PLAY_HELP,
    PLAY_HELPS,
    PLAY_REST_DAYS,
    PLAY_WORKS_DAYS,
    PRICE_RISE,
    SEVERE_SHARE,
    SHOWS_AFTER,
)

__all__ = ["HORIZON_DAYS", "live"]
_TYPES = {
    "account": "int64",
    "cause": "int64",
    "day": "int64",
    "kind": "str",
    "ratio": "float64",
    "severe": "bool",
    "won": "bool",
    "held_out": "bool",
}
#: The farthest that the truth looks past the end of the period.
HORIZON_DAYS = 180
_LONG_AGO = -(10**6)
_PAYMENT, _PRICE = CAUSE_INDEX["payment_trouble"], CAUSE_INDEX["price_increase"]
#: By state: how hard a cause acts, and how much of it comes to show.
ACTS = np.array([0.0, 0.0, 0.0, MILD, 1.0])
_SHOWS = np.array([0.0, BREWING_SHOWS * MILD_SHOWS, BREWING_SHOWS, MILD_SHOWS, 1.0])


def chance(rate: Floats) -> Floats:
    """Turn rates per day into chances of at least one in a day."""
    return -np.expm1(-rate)


def steps() -> tuple[Floats, Floats]:
    """Return the rates per day at which each cause becomes acute, and at which it passes: (causes, 1)."""
    return 1 / np.array([[cause.brews] for cause in CAUSES]), 1 / np.array([[cause.lasts] for cause in CAUSES])


def heals(effect: Floats) -> Floats:
    """How much faster a cause passes under a play that cuts its risk by `effect` (negative: harms)."""
    return np.maximum(1 + PLAY_HEALS * effect, 0.2)


@dataclass
class _Now:
    """The state at the start of a day, changed in place as days go by (shapes as in Moment)."""

    state: npt.NDArray[np.int8]
    shows: npt.NDArray[np.float32]
    effect: Floats
    works_until: npt.NDArray[np.int64]
    growth: npt.NDArray[np.int8]
    growing: npt.NDArray[np.float32]
    shrunk: npt.NDArray[np.int64]
    grown: npt.NDArray[np.int64]
    played: npt.NDArray[np.int64]
    seats: npt.NDArray[np.int64]
    notice: Floats
    leave: Floats
    reason: npt.NDArray[np.int64]
    log: dict[str, list[pd.DataFrame]] = field(default_factory=dict)

    def note(self, event: str, accounts: npt.NDArray[np.intp], **columns: object) -> None:
        """Keep what happened to `accounts`, for the tables."""
        if len(accounts):
            self.log.setdefault(event, []).append(pd.DataFrame({"account": accounts, **columns}))

    def noted(self, event: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Return what was kept under `event`, in order of time."""
        rows = [pd.DataFrame({name: pd.Series(dtype=_TYPES[name]) for name in ("account", *columns)}), *self.log.get(event, [])]
        return pd.concat(rows, ignore_index=True)


def live(population: Population, rng: np.random.Generator) -> tuple[History, Course]:
    """Draw the lives of a population, one day after the other, and the course that they were drawn from.

    What a day brings depends on the days before it alone.
    """
    count, clock = len(population), population.clock
    shape = (len(CAUSES), count)
    course = Course(population, np.exp(rng.normal(-0.125, 0.5, shape)), HORIZON_DAYS)
    loud = np.clip(rng.lognormal(-0.01, 0.15, shape), 0.5, 1.4).astype(np.float32)
    effects = _effects(shape, rng)
    now = _beginning(population)
    weekly = np.zeros((len(CAUSES) + 1, count, clock.weeks), dtype=np.float32)
    seats = np.zeros((count, clock.weeks), dtype=int)
    month_starts = set(_month_starts(population))
    moments = []
    for day in range(-WARM_UP_DAYS, clock.days):
        came = population.created <= day
        alive = came & ~np.isfinite(now.notice) & ~np.isfinite(now.leave)
        if day in month_starts:
            moments.append(_moment(day, now, alive & (population.created < day)))
        if day >= 0 and day % 7 == 0:
            weekly[:-1, :, day // 7] = np.minimum(now.shows * loud, 1.0)
            weekly[-1, :, day // 7], seats[:, day // 7] = now.growing, now.seats
        rates = course.on(day)
        if day >= 0:
            staying = alive & ~_leave(day, now, alive, rates, course, rng)
            _change(day, now, staying, rates, rng)
            if day % 7 == 2:
                _play(day, now, staying, loud, effects, rng)
        else:
            staying = alive
            _come_through(day, now, alive, rates, rng)
        _step(day, now, staying, rates, rng)
    end = np.minimum(now.leave, clock.days)
    history = History(
        population=population,
        episodes=_episodes(now),
        signals={cause.name: weekly[index] for index, cause in enumerate(CAUSES)},
        growing=weekly[-1],
        seats=seats,
        begin=np.maximum(population.created, 0).astype(float),
        end=end,
        notice=now.notice,
        leave=now.leave,
        reason=now.reason,
        changes=now.noted("changes", ("day", "kind", "ratio")),
        offers=_offers(now),
        plays=now.noted("plays", ("cause", "day", "held_out")),
        effects=effects,
        moments=tuple(moments),
    )
    return history, course


def _beginning(population: Population) -> _Now:
    count, shape = len(population), (len(CAUSES), len(population))
    return _Now(
        state=np.zeros(shape, dtype=np.int8),
        shows=np.zeros(shape, dtype=np.float32),
        effect=np.zeros(shape),
        works_until=np.full(shape, _LONG_AGO),
        growth=np.zeros(count, dtype=np.int8),
        growing=np.zeros(count, dtype=np.float32),
        shrunk=np.full(count, _LONG_AGO),
        grown=np.full(count, _LONG_AGO),
        played=np.full(count, _LONG_AGO),
        seats=population.seats.copy(),
        notice=np.full(count, np.inf),
        leave=np.full(count, np.inf),
        reason=np.full(count, NO_CAUSE),
    )


def _effects(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Draw by how much each account's risk from each cause falls under the play for it: (causes, accounts)."""
    kind = rng.random(shape)
    help_, harm = rng.uniform(*PLAY_HELP, shape), -rng.uniform(*PLAY_HARM, shape)
    return np.where(kind < PLAY_HELPS, help_, np.where(kind < PLAY_HELPS + PLAY_HARMS, harm, 0.0)).round(3)


def _month_starts(population: Population) -> npt.NDArray[np.int64]:
    start = population.clock.start
    first = start.astype("datetime64[M]")
    months = first + np.arange(population.clock.days // 28 + 2)
    days = (months.astype("datetime64[D]") - start).astype(int)
    return days[(days >= 0) & (days < population.clock.days)]


def _moment(day: int, now: _Now, alive: npt.NDArray[np.bool_]) -> Moment:
    names = ("state", "effect", "works_until", "growth", "shrunk", "grown", "seats")
    return Moment(day=day, alive=alive, **{name: getattr(now, name).copy() for name in names})


def _leave(
    day: int, now: _Now, alive: npt.NDArray[np.bool_], rates: Rates, course: Course, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Let accounts decide to leave; return who did. Who does not pay is gone at noon, the others have given notice."""
    population = course.population
    working = now.effect * (day < now.works_until)
    each = rates.leaves * ACTS[now.state] * (1 - working)
    total = each.sum(axis=0) + rates.causeless_leaves
    leaves = alive & (rng.random(len(total)) < chance(total))
    who = np.flatnonzero(leaves)
    # Competing risks: which of the causes it was is drawn in proportion to their rates.
    pick = rng.random(len(who)) * total[who]
    reason = (pick[None, :] >= each[:, who].cumsum(axis=0)).sum(axis=0)
    now.reason[who] = np.where(reason < len(CAUSES), reason, NO_CAUSE)
    unpaid = who[reason == _PAYMENT]
    now.leave[unpaid] = day + 0.5
    told = who[reason != _PAYMENT]
    now.notice[told] = day + rng.uniform(8, 17, len(told)).round(2) / 24
    month_end = population.month_end(told, np.full(len(told), day + 14))[0]
    bound = (population.term[told] == 12) & (now.reason[told] != CAUSE_INDEX["failed_onboarding"])
    now.leave[told] = np.where(bound, course.service_end(day)[told], month_end)
    return leaves


def _come_through(day: int, now: _Now, alive: npt.NDArray[np.bool_], rates: Rates, rng: np.random.Generator) -> None:
    """Let causes pass before the period where they would have made accounts leave: its customers are those who stayed."""
    leaves = alive & (rng.random(len(alive)) < chance((rates.leaves * ACTS[now.state]).sum(axis=0)))
    cause, who = np.nonzero((now.state != NONE) & leaves)
    now.note("passes", who, cause=cause, day=day, severe=now.state[cause, who] == ACUTE_SEVERELY)
    now.state[cause, who] = NONE


def _change(day: int, now: _Now, staying: npt.NDArray[np.bool_], rates: Rates, rng: np.random.Generator) -> None:
    """Let accounts give up seats, take more, decide on offers, and meet price rises."""
    count = len(staying)
    draw = rng.random((4, count))
    shrinks = (rates.shrinks * ACTS[now.state]).sum(axis=0) + rates.causeless_shrinks
    fewer = staying & ~rests(now.shrunk, day) & (now.seats > 1) & (draw[0] < chance(shrinks))
    who = np.flatnonzero(fewer)
    after = np.minimum(now.seats[who] - 1, np.rint(now.seats[who] * rng.uniform(*FEWER_SEATS, len(who)))).astype(int)
    now.note("changes", who, day=day, kind="fewer", ratio=np.maximum(after, 1).astype(float))
    now.seats[who], now.shrunk[who] = np.maximum(after, 1), day

    free = staying & ~rests(now.grown, day)
    more = free & ~fewer & (now.growth == GROWING) & (draw[1] < GROWTH_SEATS / 30)
    who = np.flatnonzero(more)
    after = np.maximum(now.seats[who] + 1, np.rint(now.seats[who] * rng.uniform(*MORE_SEATS, len(who)))).astype(int)
    now.note("changes", who, day=day, kind="more", ratio=after.astype(float))
    now.seats[who], now.grown[who], now.growth[who] = after, day, FLAT

    decided = staying & ~more & (now.growth == OFFERED) & (draw[2] < 1 / OFFER_OPEN)
    won = decided & free & (draw[3] < OFFER_WON)
    now.note("decided", np.flatnonzero(decided), day=day, won=won[decided])
    now.note("changes", np.flatnonzero(won), day=day, kind="addon", ratio=1.0)
    now.growth[decided], now.grown[won] = FLAT, day

    rises = staying & (rates.rise > 0) & (rng.random(count) < ACCEPTED_RISE)
    who = np.flatnonzero(rises)
    now.note("changes", who, day=day, kind="price", ratio=rng.uniform(*PRICE_RISE, len(who)).round(3))


def _step(day: int, now: _Now, staying: npt.NDArray[np.bool_], rates: Rates, rng: np.random.Generator) -> None:
    """Move causes and growth on by a day, and let what shows of them follow."""
    shape = now.state.shape
    acute, passes = steps()
    draw, severe = rng.random(shape), rng.random(shape) < SEVERE_SHARE
    before = now.state
    brewing, raging = (before == BREWS) | (before == BREWS_SEVERELY), before >= ACUTE
    begins = staying & (before == NONE) & (draw < chance(rates.onset))
    to_nothing = staying & brewing & (draw < COMES_TO_NOTHING)
    worsens = staying & brewing & ~to_nothing & (draw < COMES_TO_NOTHING + acute)
    working = now.effect * (day < now.works_until)
    passed = staying & raging & (draw < passes * heals(working))
    now.state = np.where(begins, np.where(severe, BREWS_SEVERELY, BREWS), before).astype(np.int8)
    now.state[worsens] += ACUTE - BREWS
    now.state[to_nothing | passed] = NONE
    for kind, where in (("begins", begins), ("worsens", worsens), ("passes", to_nothing | passed)):
        cause, who = np.nonzero(where)
        now.note(kind, who, cause=cause, day=day, severe=severe[where])
    if day >= 0:
        who = np.flatnonzero(begins[_PRICE])
        now.note("changes", who, day=day, kind="price", ratio=rng.uniform(*PRICE_RISE, len(who)).round(3))
    now.shows += (_SHOWS[now.state].astype(np.float32) - now.shows) / np.float32(SHOWS_AFTER)

    draw_growth = rng.random((2, shape[1]))
    free = staying & ~rests(now.grown, day)
    flat, growing = now.growth == FLAT, now.growth == GROWING
    starts = free & flat & (draw_growth[0] < rates.growth)
    ends = growing & (draw_growth[0] < 1 / GROWTH_LASTS)
    warm = growing & ~ends & (draw_growth[1] < GROWTH_OFFERS / 30)
    cold = flat & ~starts & (draw_growth[1] < COLD_OFFERS / 30)
    offer = free & (day >= 0) & (warm | cold)
    now.growth[starts], now.growth[ends] = GROWING, FLAT
    now.growth[offer] = OFFERED
    now.note("offered", np.flatnonzero(offer), day=day)
    now.growing += ((now.growth != FLAT) - now.growing) / np.float32(2 * SHOWS_AFTER)


def _play(
    day: int,
    now: _Now,
    staying: npt.NDArray[np.bool_],
    loud: npt.NDArray[np.float32],
    effects: Floats,
    rng: np.random.Generator,
) -> None:
    """Let the team start plays for the causes that it believes to see, some of them held out at random."""
    seen = np.clip(now.shows * loud + rng.normal(0, 0.15, now.shows.shape), 0, 1)
    cause = seen.argmax(axis=0)
    rate = IDLE_PLAY_CHANCE + PLAY_CHANCE * np.maximum(seen.max(axis=0) - 0.35, 0)
    who = np.flatnonzero(staying & (day - now.played >= PLAY_REST_DAYS) & (rng.random(len(staying)) < rate))
    held_out = rng.random(len(who)) < PLAY_HELD_OUT
    now.note("plays", who, cause=cause[who], day=day, held_out=held_out)
    now.played[who] = day
    treated = who[~held_out]
    at = (cause[treated], treated)
    now.effect[at], now.works_until[at] = effects[at], day + PLAY_WORKS_DAYS


def _episodes(now: _Now) -> pd.DataFrame:
    """Join what began, worsened and passed into episodes: account, cause, start, acute, end, severe, leaves."""
    columns = ("cause", "day", "severe")
    begun = now.noted("begins", columns).rename(columns={"day": "start"})
    order = ["account", "cause"]
    begun["number"] = begun.groupby(order).cumcount()
    ended = now.noted("passes", columns)[[*order, "day"]].rename(columns={"day": "end"})
    ended["number"] = ended.groupby(order).cumcount()
    episodes = begun.merge(ended, on=[*order, "number"], how="left", validate="one_to_one")
    worse = now.noted("worsens", columns)[[*order, "day"]].rename(columns={"day": "acute"})
    worse["acute"] = worse["acute"].astype(float)
    found = pd.merge_asof(
        worse.sort_values("acute", kind="stable"),
        episodes.assign(start=episodes["start"].astype(float))[[*order, "number", "start"]].sort_values("start", kind="stable"),
        left_on="acute",
        right_on="start",
        by=order,
    )
    episodes = episodes.merge(found[[*order, "number", "acute"]], on=[*order, "number"], how="left", validate="one_to_one")
    account = episodes["account"].to_numpy()
    event = np.minimum(now.notice, now.leave)[account]
    open_ = episodes["end"].isna()
    episodes["leaves"] = open_ & np.isfinite(event) & (now.reason[account] == episodes["cause"])
    episodes["end"] = episodes["end"].where(~open_ | ~np.isfinite(event), event)
    kept = episodes[~(episodes["end"] <= 0)].astype({"start": float, "acute": float, "end": float})
    kept = kept.sort_values(["account", "start", "cause"], kind="stable").reset_index(drop=True)
    return kept[["account", "cause", "start", "acute", "end", "severe", "leaves"]]


def _offers(now: _Now) -> pd.DataFrame:
    """Join offers with their decisions: account, offered, decided, won."""
    offered = now.noted("offered", ("day",)).rename(columns={"day": "offered"})
    decided = now.noted("decided", ("day", "won")).rename(columns={"day": "decided"})
    for frame in (offered, decided):
        frame["number"] = frame.groupby("account").cumcount()
    joined = offered.merge(decided, on=["account", "number"], how="left", validate="one_to_one")
    return joined[["account", "offered", "decided", "won"]]

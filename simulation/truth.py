"""The truth: the exact chance of each outcome at each month start, the future integrated out over the rates of course.py.

Causes are independent of each other given an account's traits, so the chance that none of them makes it leave is a product,
and each factor comes from a backward recursion over five states. A second recursion that also stops at contractions, and a
third that stops at price rises, give by inclusion and exclusion how MRR ends (domain.md §2, Labels). One approximation: who
gives up seats and meets a price rise counts as contracted, as if the rise could never make up for the seats.
"""

import numpy as np
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
    Course,
    Floats,
    rests,
)
from simulation.history import History, Moment
from simulation.life import chance, heals, steps
from simulation.world import (
    CAUSE_INDEX,
    CAUSES,
    COLD_OFFERS,
    COMES_TO_NOTHING,
    FEWER_SEATS,
    GROWTH_LASTS,
    GROWTH_OFFERS,
    GROWTH_SEATS,
    MILD,
    MORE_SEATS,
    OFFER_OPEN,
    OFFER_WON,
    PLAY_FOR,
    SEVERE_SHARE,
)

HORIZONS = (30, 90, 180)
#: By name of the label, in the order of the columns.
STATES = ("churned", "contracted", "expanded", "flat")
_PRICE = CAUSE_INDEX["price_increase"]


def outcomes(history: History, course: Course, rng: np.random.Generator) -> pd.DataFrame:
    """Return account_id, as_of (each month start), horizon_days, the chance of each of STATES, and `drawn`: one of them.

    Rows: customers at as_of who have given no notice. The chances are those where no new play begins; plays that run already
    work on. `drawn` is drawn from the chances, so it is a label of the world in which the truth holds.
    """
    clock = history.population.clock
    columns = ["account_id", "as_of", "horizon_days", *STATES, "drawn"]
    parts = [pd.DataFrame(columns=columns)] if not history.moments else []
    for moment in history.moments:
        for horizon in HORIZONS:
            who = np.flatnonzero(moment.alive)
            chances = _chances(moment, course, horizon)[who]
            draw = (rng.random((len(who), 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=len(STATES) - 1)
            part = pd.DataFrame(chances, columns=list(STATES))
            part.insert(0, "account_id", history.population.ids[who])
            part.insert(1, "as_of", clock.times(np.full(len(who), moment.day)))
            part.insert(2, "horizon_days", horizon)
            parts.append(part.assign(drawn=np.array(STATES)[draw]))
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype({"account_id": "str", "drawn": "str"})


def _chances(moment: Moment, course: Course, horizon: int) -> Floats:
    """Return (accounts, STATES) of one moment."""
    acute, passes = steps()
    causes, count = moment.state.shape
    # Per cause: nobody left; nor shrank; and for the price rises also: nor rose. (2, causes + 1, accounts) by state.
    index = [*range(causes), _PRICE]
    value = {state: np.ones((2, causes + 1, count)) for state in range(5)}
    growth = {state: np.ones(count) for state in range(3)}
    calm, content, unrisen = np.ones(count), np.ones(count), np.ones(count)
    acute, passes = acute[index], passes[index]
    can_shrink = moment.seats > 1
    for day in range(moment.day + horizon - 1, moment.day - 1, -1):
        rates = course.on(day)
        working = moment.effect * (day < moment.works_until)
        shrinks = can_shrink & ~rests(moment.shrunk, day)
        leave = (rates.leaves * (1 - working))[index]
        shrink = (rates.shrinks * shrinks)[index]
        stop = np.stack([leave, leave + shrink])
        value = _a_day_earlier(value, rates.onset[index], acute, passes * heals(working)[index], stop)
        calm *= np.exp(-rates.causeless_leaves)
        content *= np.exp(-rates.causeless_shrinks * shrinks)
        unrisen *= 1 - rates.rise
        growth = _growth_a_day_earlier(growth, rates.growth, ~rests(moment.grown, day))
    state = moment.state[index]
    last = np.choose(state, [value[each] for each in range(5)])
    stays, no_shrink = (last[flag, :causes].prod(axis=0) * calm for flag in (0, 1))
    no_shrink = no_shrink * content
    # The recursion of the price rises, in which an onset stops everything, takes the place of the price's own.
    ratio = np.divide(last[:, causes], last[:, _PRICE], out=np.zeros((2, count)), where=last[:, _PRICE] > 0)
    steady = np.choose(moment.growth, [growth[each] for each in range(3)])
    no_rise, neither = stays * ratio[0] * unrisen, no_shrink * ratio[1] * unrisen
    both = (no_rise - neither) * (1 - steady)
    fewer = stays - no_shrink - both
    more = no_shrink - neither * steady
    to_less, to_more = _net_of_both()
    contracted, expanded = fewer + to_less * both, more + to_more * both
    return np.stack([1 - stays, contracted, expanded, stays - contracted - expanded], axis=1).clip(0, 1)


def _a_day_earlier(value: dict[int, Floats], onset: Floats, acute: Floats, passes: Floats, stop: Floats) -> dict[int, Floats]:
    """Take the chances of lasting to the end from the end of a day to its start (stop: rates of an acute, severe cause)."""
    begun = (1 - SEVERE_SHARE) * value[BREWS] + SEVERE_SHARE * value[BREWS_SEVERELY]
    begun[:, -1] = 0.0  # in the last recursion a price rise is an end
    onset = chance(onset)
    none = value[NONE]
    return {
        NONE: none + onset * (begun - none),
        BREWS: value[BREWS] + acute * (value[ACUTE] - value[BREWS]) + COMES_TO_NOTHING * (none - value[BREWS]),
        BREWS_SEVERELY: value[BREWS_SEVERELY]
        + acute * (value[ACUTE_SEVERELY] - value[BREWS_SEVERELY])
        + COMES_TO_NOTHING * (none - value[BREWS_SEVERELY]),
        ACUTE: np.exp(-MILD * stop) * (value[ACUTE] + passes * (none - value[ACUTE])),
        ACUTE_SEVERELY: np.exp(-stop) * (value[ACUTE_SEVERELY] + passes * (none - value[ACUTE_SEVERELY])),
    }


def _growth_a_day_earlier(value: dict[int, Floats], onset: Floats, free: np.ndarray) -> dict[int, Floats]:
    """The same for the chance that nothing is bought: in the order in which life draws a day."""
    grows, cold, seats = onset * free, COLD_OFFERS / 30 * free, GROWTH_SEATS / 30 * free
    flat, growing, offered = value[FLAT], value[GROWING], value[OFFERED]
    ends, offer = 1 / GROWTH_LASTS, GROWTH_OFFERS / 30 * free
    at_rest = grows * growing + (1 - grows) * (cold * offered + (1 - cold) * flat)
    going_on = ends * flat + (1 - ends) * (offer * offered + (1 - offer) * growing)
    lost = 1 - OFFER_WON * free
    return {
        FLAT: at_rest,
        GROWING: (1 - seats) * going_on,
        OFFERED: (1 - 1 / OFFER_OPEN) * offered + lost / OFFER_OPEN * at_rest,
    }


def _net_of_both() -> tuple[float, float]:
    """Shares of accounts that gave up seats and took others in which MRR ends at most 5 % lower, and at least 5 % higher."""
    grid = (np.arange(200) + 0.5) / 200
    fewer = FEWER_SEATS[0] + grid * (FEWER_SEATS[1] - FEWER_SEATS[0])
    more = MORE_SEATS[0] + grid * (MORE_SEATS[1] - MORE_SEATS[0])
    net = np.outer(fewer, more)
    return float((net <= 0.95).mean()), float((net >= 1.05).mean())


def effects(history: History) -> pd.DataFrame:
    """Return account_id, playbook, cause, relative_effect: by which share the play cuts the account's risk from the cause."""
    frames = [
        pd.DataFrame(
            {
                "account_id": history.population.ids,
                "playbook": PLAY_FOR[cause.name],
                "cause": cause.name,
                "relative_effect": history.effects[index],
            }
        )
        for index, cause in enumerate(CAUSES)
    ]
    frame = pd.concat(frames, ignore_index=True).sort_values(["account_id", "cause"], kind="stable", ignore_index=True)
    return frame.astype({"account_id": "str", "playbook": "str", "cause": "str"})

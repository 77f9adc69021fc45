"""The money side of a ranking: what contacting the accounts above a cut brings, and the best cut's expected profit."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from models.choice import PlaySettings
from training.intervals import FloatArray
from training.ranking import Ranking

#: The terms of Verbraken, Verbeke, Baesens (2013), doi 10.1109/TKDE.2012.50: an account is worth `CLV`, an offer costs `OFFER`,
#: a contact `CONTACT`, in one currency, and a share g ~ Beta(`ALPHA`, `BETA`) of those about to leave accepts, 30 % on average.
CLV, OFFER, CONTACT, ALPHA, BETA = 200.0, 10.0, 1.0, 6.0, 14.0


@dataclass(frozen=True)
class Terms:
    """What acting on a ranking costs, and how often it works.

    Contacting an account that is about to leave and is worth v brings g(1 − delta)v − f, any other −delta·v − f: `delta` is
    the offer's cost as a share of v, `f` the cost of one contact in v's currency, and g ~ Beta(`alpha`, `beta`) the share of
    those about to leave who accept. v is `margin` × the money at stake. ValueError on a share outside 0…1, a negative cost, or a
    parameter of 0 or less.
    """

    delta: float
    f: float
    alpha: float = ALPHA
    beta: float = BETA
    margin: float = 1.0

    def __post_init__(self) -> None:
        """Refuse terms that nobody can offer."""
        if not 0 <= self.delta <= 1:
            raise ValueError(f"delta is {self.delta}; give the offer's cost as a share of the value, 0 to 1")
        if not 0 < self.margin <= 1:
            raise ValueError(f"margin is {self.margin}; give the margin as a share of the money at stake, above 0, at most 1")
        if not (np.isfinite(self.f) and self.f >= 0):
            raise ValueError(f"f is {self.f}; give the cost of one contact, 0 or more")
        if not (self.alpha > 0 and self.beta > 0):
            raise ValueError(f"alpha and beta are {self.alpha} and {self.beta}; both parameters of the beta law must be above 0")

    @property
    def accepted(self) -> float:
        """The mean of g."""
        return self.alpha / (self.alpha + self.beta)


#: An account is worth a year's margin, as where a play is chosen (domain.md §8: ARR × 80 %). A contact is one hour of work at
#: the same 60 an hour, which is what the catalogue's call takes. The offer's share and the acceptance stay the published
#: ones, since no company's own have been measured: so the two forms differ in worth and in the contact's cost alone.
CONTACT_HOURS = 1.0
_PLAYS = PlaySettings()
BY_VALUE = Terms(delta=OFFER / CLV, f=_PLAYS.hourly_cost * CONTACT_HOURS, margin=_PLAYS.margin)
PER_HEAD = Terms(delta=OFFER / CLV, f=CONTACT)


class Stakes(NamedTuple):
    """Above each cut of a ranking, nobody first, all (k + 1,): weight of `rows`, worth of those who `leave` and who `stay`."""

    rows: FloatArray
    leave: FloatArray
    stay: FloatArray


def per_head(ranking: Ranking, worth: float = CLV) -> Stakes:
    """Return the stakes where every account is worth the same."""
    rows, leave = ranking.total_above, ranking.up_above
    return Stakes(rows, worth * leave, worth * (rows - leave))


def by_value(ranking: Ranking, terms: Terms) -> Stakes:
    """Return the stakes where an account is worth the terms' margin on its own value."""
    return Stakes(ranking.total_above, terms.margin * ranking.value_up_above, terms.margin * ranking.value_down_above)


def expected_maximum(stakes: Stakes, terms: Terms) -> tuple[float, float]:
    """Return the expected profit per row of the best cut for each g, and the expected share of rows above it.

    Exact: profit is a line in g for each cut, so the best profit is the lines' upper envelope, integrated piece by piece
    through the incomplete beta function. Of equally good cuts the smallest is taken.
    """
    # A cut that wins nothing more than the one before it is never better, nor is one past the best cut at g = 1.
    useful = np.append(0, np.flatnonzero(np.diff(stakes.leave) > 0) + 1)
    gain, cost, share = _per_row(Stakes(*(part[useful] for part in stakes)), stakes.rows[-1], terms)
    last = int(np.argmin(cost - gain)) + 1
    corners = _lower_hull(gain[:last], cost[:last])
    gain, cost, share = gain[corners], cost[corners], share[corners]

    with np.errstate(over="ignore"):  # a gain next to nothing: worth it at no g
        change = np.clip(np.diff(cost) / np.diff(gain), 0, 1)
    edges = np.concatenate([[0.0], change, [1.0]])
    probability = np.diff(betainc(terms.alpha, terms.beta, edges))
    mean_g = terms.accepted * np.diff(betainc(terms.alpha + 1, terms.beta, edges))
    return float(gain @ mean_g - cost @ probability), float(share @ probability)


def target_all(stakes: Stakes, terms: Terms) -> float:
    """Return the expected profit per row of contacting everybody.

    >>> rows = np.array([0.0, 1.0, 2.0])
    >>> target_all(Stakes(rows, 200 * np.array([0, 1, 1]), 200 * np.array([0, 0, 1])), PER_HEAD)
    22.5
    """
    everybody = Stakes(*(part[-1:] for part in stakes))
    gain, cost, _ = _per_row(everybody, stakes.rows[-1], terms)
    return float(terms.accepted * gain[0] - cost[0])


def _per_row(stakes: Stakes, size: float, terms: Terms) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what each cut wins at g = 1, what it costs, both per row of all, and its share of the rows."""
    gain = (1 - terms.delta) * stakes.leave / size
    cost = (terms.f * stakes.rows + terms.delta * stakes.stay) / size
    return gain, cost, stakes.rows / size


def _lower_hull(x: FloatArray, y: FloatArray) -> npt.NDArray[np.intp]:
    """Return the indices of the corners of the lower convex hull; `x` rises strictly.

    A point on or above the line between its neighbours is no corner: such points go, all at once, until none is left.

    >>> _lower_hull(np.arange(4.0), np.array([0.0, 2.0, 1.0, 3.0])).tolist()
    [0, 2, 3]
    """
    kept = np.arange(len(x))
    while True:
        right, up = np.diff(x[kept]), np.diff(y[kept])
        corner = up[:-1] * right[1:] < up[1:] * right[:-1]
        if corner.all():
            return kept
        kept = kept[np.concatenate([[True], corner, [True]])]

"""Which calibrator: fitted on earlier rows, judged by log loss on later ones, and nothing dearer than Platt's without need."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.calibration.base import Calibration, checked
from models.calibration.kinds import KINDS
from models.calibration.parametric import Platt
from models.matrix import FloatArray

#: Accounts with the outcome, and without, that either part must hold: below, the standard errors are themselves noise.
ENOUGH = 30


@dataclass(frozen=True)
class Choice:
    """The picked calibrator, fitted on all rows, and what it was compared with.

    `comparison`, ready for JSON, has a row per kind: kind, log_loss (mean nats of the later rows), gain_over_platt and its
    standard error se by account, rows (later rows), judged_from (the instant that parts earlier from later), picked, why.
    """

    calibrator: Calibration
    comparison: tuple[dict[str, Any], ...]

    @property
    def kind(self) -> str:
        """The picked kind."""
        return self.calibrator.kind


@dataclass(frozen=True)
class _Part:
    """Rows of one part: margins, labels, accounts as numbers, all (rows,)."""

    margin: FloatArray
    y: FloatArray
    accounts: npt.NDArray[np.intp]

    def losses(self, calibrator: Calibration) -> FloatArray:
        """Log loss of each row in nats; no probability is 0 or 1."""
        p = calibrator(self.margin)
        return -np.where(self.y == 1, np.log(p), np.log1p(-p))

    def mean_and_error(self, values: FloatArray) -> tuple[float, float]:
        """Mean of one value a row and its standard error by account: rows of one account hang together."""
        mean = float(values.mean())
        by_account = np.bincount(self.accounts, values - mean)
        count = len(np.unique(self.accounts))
        return mean, float(np.sqrt(count / (count - 1) * (by_account @ by_account)) / len(values))

    def too_few(self) -> tuple[int, str] | None:
        """How many accounts stand on the thinner side, and which side, where they are fewer than `ENOUGH`."""
        sides = ((1, "with the outcome"), (0, "without it"))
        count, side = min((len(np.unique(self.accounts[self.y == label])), side) for label, side in sides)
        return (count, side) if count < ENOUGH else None


def choose(
    margins: npt.ArrayLike,
    y: npt.ArrayLike,
    when: npt.ArrayLike,
    accounts: npt.ArrayLike | None = None,
    *,
    later_share: float = 1 / 3,
    horizon_days: int = 0,
) -> Choice:
    """Fit every kind on the earlier rows, judge it on the later, and fit the picked kind on all.

    `margins` (logits of scorers that had not seen the row's account), `y` (0 or 1), `when` (the instant T) and `accounts`
    (None: each row its own) are (rows,), in any order. The rows are parted at an instant, none being cut, so that as near as can
    be `later_share` of the positives come later: in log loss it is the positives that tell. Rows whose label was still open
    at that instant (T + horizon_days later than it) are in neither part, or one departure would stand in both.

    A kind must gain over Platt's more than the gain's standard error by account; of those that do, the best is picked. Platt's
    stands where nothing gains so much, where all
    rows are of one instant, and where a part holds fewer than `ENOUGH` accounts with the outcome or without it; the comparison
    then says so. ValueError on bad rows, a null instant or account, and a share that is not between 0 and 1.
    """
    if not 0 < later_share < 1:
        raise ValueError(f"later_share is {later_share}; give a share of the positives between 0 and 1, a third by default")
    margin, label, instant, codes = _in_order(margins, y, when, accounts)
    cut = _cut(instant, label, later_share)
    if cut is None:
        return _platt_stands(margin, label, "all rows are of one instant: nothing is later")
    early = (instant < cut) & (instant + np.timedelta64(horizon_days, "D") <= cut)
    earlier, later = (_Part(margin[rows], label[rows], codes[rows]) for rows in (early, instant >= cut))
    for part, name in ((earlier, "earlier"), (later, "later")):
        if few := part.too_few():
            why = f"only {few[0]} accounts {few[1]} in the {name} rows: {ENOUGH} are needed to compare"
            return _platt_stands(margin, label, why, len(later.y), cut)
    return _compared(earlier, later, margin, label, cut)


def _in_order(
    margins: npt.ArrayLike, y: npt.ArrayLike, when: npt.ArrayLike, accounts: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.datetime64], npt.NDArray[np.intp]]:
    """Margins, labels, instants and account numbers in one order that does not depend on the given one."""
    margin, label = checked(margins, y)
    instant = np.asarray(when, dtype="datetime64[us]")
    codes = np.zeros(len(margin), dtype=np.intp) if accounts is None else pd.factorize(np.asarray(accounts), sort=True)[0]
    for name, values in (("when", instant), ("accounts", codes)):
        if values.shape != margin.shape:
            raise ValueError(f"{name} has shape {values.shape} but margins have {margin.shape}; give one of each per row")
    for name, null in (("when", np.isnat(instant)), ("accounts", codes < 0)):
        if null.any():
            raise ValueError(f"{name} is null in row {int(np.argmax(null))}; give every row its own")
    order = np.lexsort((codes, label, margin, instant))
    own = np.arange(len(margin)) if accounts is None else codes[order]
    return margin[order], label[order], instant[order], own


def _cut(instant: npt.NDArray[np.datetime64], y: FloatArray, later_share: float) -> np.datetime64 | None:
    """The instant from which on a row is later; None where all are of one."""
    instants, place = np.unique(instant, return_inverse=True)
    if len(instants) < 2:
        return None
    positives = np.bincount(place, y)
    later = np.cumsum(positives[::-1])[::-1][1:]
    return instants[1 + int(np.argmin(np.abs(later - later_share * positives.sum())))]


def _compared(earlier: _Part, later: _Part, margin: FloatArray, y: FloatArray, cut: np.datetime64) -> Choice:
    losses = {kind: later.losses(fitted.fit(earlier.margin, earlier.y)) for kind, fitted in KINDS.items()}
    gains = {kind: later.mean_and_error(losses[Platt.kind] - loss) for kind, loss in losses.items()}
    surer = [kind for kind, (gain, error) in gains.items() if gain > error]
    best = max(surer, key=lambda kind: gains[kind][0], default=Platt.kind)

    def why(kind: str) -> str:
        if kind == best:
            return "the lowest log loss" if kind != Platt.kind else "no other gains more than a standard error"
        if kind == Platt.kind:
            return f"{best} gains more than a standard error"
        return "gains no more than a standard error" if kind not in surer else f"behind {best}"

    comparison = tuple(
        {
            "kind": kind,
            "log_loss": float(losses[kind].mean()),
            "gain_over_platt": gain,
            "se": error,
            "rows": len(later.y),
            "judged_from": _worded(cut),
            "picked": kind == best,
            "why": why(kind),
        }
        for kind, (gain, error) in gains.items()
    )
    return Choice(KINDS[best].fit(margin, y), comparison)


def _platt_stands(margin: FloatArray, y: FloatArray, why: str, rows: int = 0, cut: np.datetime64 | None = None) -> Choice:
    """Nothing to compare: one row that says why."""
    figures = dict.fromkeys(("log_loss", "gain_over_platt", "se"))
    judged = {"rows": rows, "judged_from": None if cut is None else _worded(cut), "picked": True, "why": why}
    return Choice(Platt.fit(margin, y), ({"kind": Platt.kind} | figures | judged,))


def _worded(instant: np.datetime64) -> str:
    return str(np.datetime_as_string(instant, unit="s"))

"""Features that predict too well alone: by rank (AUC) over all rows, or by a value that nearly only positive rows have."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.leaks.leak import Evidence, Leak

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

#: A single feature whose AUC is surely above this is not believed. On the training rows of the data sets of
#: benchmarks/real_data.py and of simulated companies the best honest feature has 0.75, and 0.8 is told of; a copy of the label
#: with every tenth row wrong has 0.9.
TOO_GOOD_AUC = 0.82
#: One-sided 95 %, as the gate judges gains.
_ONE_SIDED = 1.645
#: Below so many accounts on either side of the label nothing is sure.
FEWEST_ACCOUNTS = 10
#: A value gives the label away if it holds this share of the positive rows, ...
_SUBSTANTIAL = 0.1
#: ... and at most this share of the negatives that it would hold by chance.
_IMPURE = 0.1
#: Known when the contract is signed: where accounts can only leave at a renewal, its date rules most rows out, honestly.
#: Their AUC says nothing, so they are judged by the values alone.
CONTRACT_DATES = frozenset(
    {
        "tenure_days",
        "days_since_terms_changed",
        "term_months",
        "periods_so_far",
        "renewals_passed",
        "days_to_renewal",
        "days_to_notice_deadline",
        "notice_deadline_within_90d",
    }
)
_ADVICE = (
    "One feature alone does not predict so well: find out when its source is written, and leave the column out, or give the "
    "instant from which it was known."
)


@dataclass(frozen=True)
class Graded:
    """One feature over all rows of the dataset: `codes` (rows,) number its distinct `values`, ascending; −1 is missing."""

    name: str
    codes: IntArray
    values: FloatArray

    @classmethod
    def of(cls, name: str, column: pd.Series) -> "Graded":
        """Number the values of a column."""
        codes, values = pd.factorize(column.to_numpy(dtype=np.float64, na_value=np.nan), sort=True)
        return cls(name, codes, np.asarray(values, dtype=np.float64))

    def told(self, code: int) -> str:
        """One value in words."""
        return "missing" if code < 0 else f"{self.values[code]:g}"


@dataclass(frozen=True)
class Asked:
    """The training rows of one model: positions in the dataset, labels 0/1, accounts numbered from 0; all (rows,)."""

    model: str
    at: IntArray
    y: FloatArray
    accounts: IntArray

    def accounts_with(self, label: int) -> int:
        """How many accounts have a row with this label."""
        return len(np.unique(self.accounts[self.y == label]))

    @property
    def judgeable(self) -> bool:
        """Whether both labels come from enough accounts."""
        return min(self.accounts_with(0), self.accounts_with(1)) >= FEWEST_ACCOUNTS


def too_good(feature: Graded, asked: Asked) -> Leak | None:
    """Return the leak if the feature alone ranks, or marks, the positive rows of a judgeable model implausibly well."""
    codes = feature.codes[asked.at]
    missing = codes < 0
    values = len(feature.values) + 1
    rows = np.bincount(codes + 1, minlength=values).astype(np.float64)
    positive = np.bincount(codes + 1, weights=asked.y, minlength=values).astype(np.float64)
    if feature.name not in CONTRACT_DATES:
        # Missing values stand below all others, above them, or against them.
        ranks = {"lowest": codes + 1, "highest": np.where(missing, len(feature.values), codes)}
        sides = {"lowest": _auc(positive, rows), "highest": _auc(np.roll(positive, -1), np.roll(rows, -1))}
        ranks["alone"], m = missing.astype(np.intp), slice(0, 1)
        sides["alone"] = _auc(_two(positive, m), _two(rows, m))
        side = max(sides, key=lambda s: abs(sides[s] - 0.5))
        auc = max(sides[side], 1 - sides[side])
        if auc > TOO_GOOD_AUC:
            low = auc - _ONE_SIDED * _standard_error(ranks[side], asked)
            if low > TOO_GOOD_AUC:
                evidence: Evidence = {"model": asked.model, "auc": auc, "auc_low": low, "accounts": asked.accounts_with(1)}
                if missing.any():
                    evidence["missing_values"] = side
                return Leak("too_good", feature.name, evidence, _ADVICE)
    return _pure_value(feature, asked, codes, positive, rows)


def _two(counts: FloatArray, first: slice) -> FloatArray:
    part = float(counts[first].sum())
    return np.array([float(counts.sum()) - part, part])


def _auc(positive: FloatArray, rows: FloatArray) -> float:
    """AUC from the counts of positive rows, and of all rows, per value in ascending order; ties count half."""
    up, down = positive, rows - positive
    return float(up @ (np.cumsum(down) - down / 2) / (up.sum() * down.sum()))


def _standard_error(ranks: IntArray, asked: Asked) -> float:
    """Standard error of the AUC with rows of one account hanging together (DeLong 1988, for clusters Obuchowski 1997).

    A row's placement is the share of the other label that it stands above (or, negative, below). Of a few accounts the placements
    tell too little: it is at least what so many accounts with one row each would give (Hanley and McNeil 1982).
    """
    y = asked.y
    up, down = np.bincount(ranks, weights=y), np.bincount(ranks, weights=1 - y)
    above = (np.cumsum(down) - down / 2) / down.sum()
    below = 1 - (np.cumsum(up) - up / 2) / up.sum()
    auc = up @ above / up.sum()
    influence = np.where(y > 0, (above[ranks] - auc) / up.sum(), (below[ranks] - auc) / down.sum())
    by_account = np.bincount(asked.accounts, weights=influence)
    clustered = np.sum(by_account**2) * len(by_account) / (len(by_account) - 1)
    a, n, m = max(auc, 1 - auc), asked.accounts_with(1), asked.accounts_with(0)
    single = (a * (1 - a) + (n - 1) * (a / (2 - a) - a**2) + (m - 1) * (2 * a**2 / (1 + a) - a**2)) / (n * m)
    return float(np.sqrt(max(clustered, single)))


def _pure_value(feature: Graded, asked: Asked, codes: IntArray, positive: FloatArray, rows: FloatArray) -> Leak | None:
    """The value, or tail of values, that holds a good part of the positive rows and nearly none of the others."""
    needed = max(_SUBSTANTIAL * asked.y.sum(), FEWEST_ACCOUNTS)
    purity = 1 - _IMPURE * (1 - asked.y.mean())
    up, all_rows = positive[1:], rows[1:]
    zones: list[tuple[str, npt.NDArray[np.bool_]]] = []
    pure = np.flatnonzero((positive >= needed) & (positive >= purity * rows)) - 1
    zones += [(feature.told(int(code)), codes == code) for code in pure]
    for sign, order in (("≤", slice(None)), ("≥", slice(None, None, -1))):
        in_tail, in_rows = np.cumsum(up[order]), np.cumsum(all_rows[order])
        reached = np.flatnonzero((in_tail >= needed) & (in_tail >= purity * in_rows))
        if len(reached):
            code = int(np.arange(len(up))[order][reached[-1]])
            inside = (codes >= 0) & (codes <= code) if sign == "≤" else codes >= code
            zones.append((f"{sign} {feature.told(code)}", inside))
    for told, inside in zones:
        y = asked.y[inside]
        accounts = len(np.unique(asked.accounts[inside][y > 0]))
        if accounts >= FEWEST_ACCOUNTS:
            evidence: Evidence = {
                "model": asked.model,
                "value": told,
                "rows": len(y),
                "positive": float(y.mean()),
                "of_all_positive": float(y.sum() / asked.y.sum()),
                "accounts": accounts,
            }
            return Leak("too_good", feature.name, evidence, _ADVICE)
    return None

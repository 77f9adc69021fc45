"""The reference profile of a model: how its inputs and its predictions lay at each date that it learnt from.

It is kept beside the model as text, so that later months can be held against it without the training rows. It holds counts,
never a row of an account.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.matrix import FloatArray, known_values_of
from models.outcome import OutcomeModel

#: Where a registered model keeps its profile, beside its own files: serving does not read it.
PROFILE_FILE = "profile.json"
BINS = 10
#: Dates that are kept: two years of months, so that the months of one year can be held against those of the year before.
KEPT_DATES = 24
#: Dates stand at least so far apart: a month, whatever the training table's own step is.
_MONTH = np.timedelta64(28, "D")
#: Rows on which it is measured how much each input moves the margin.
_EXPLAINED_ROWS = 2_000

Counts = npt.NDArray[np.int64]


def monthly(dates: npt.ArrayLike) -> npt.NDArray[np.datetime64]:
    """Return at most one date a month, ascending, the newest among them.

    >>> [str(date)[:10] for date in monthly(pd.date_range("2026-01-01", periods=6, freq="14D"))]
    ['2026-01-15', '2026-02-12', '2026-03-12']
    """
    known = np.unique(np.asarray(dates, dtype="datetime64[us]"))[::-1]
    kept: list[np.datetime64] = []
    for date in known:
        if not kept or kept[-1] - date >= _MONTH:
            kept.append(date)
    return np.array(kept[::-1], dtype="datetime64[us]")


def cuts(values: npt.ArrayLike, bins: int = BINS) -> FloatArray:
    """Return inner edges of at most `bins` bins of about equal mass; a bin reaches up to its edge, the edge included.

    A value that alone fills more than a bin, such as the zero of a count, has a bin of its own, and the others share the
    rest: what moves among them stays visible. Missing values are left out. No edges where nothing is known.

    >>> cuts([1, 2, 3, 4], 4).tolist()
    [1.0, 2.0, 3.0]
    >>> cuts([0, 0, 0, 0, 0, 0, 1, 2, 3, np.nan], 4)[1:].tolist()
    [0.0, 1.0, 2.0]
    """
    all_values = np.asarray(values, dtype=np.float64)
    known = np.sort(all_values[~np.isnan(all_values)])
    if not len(known):
        return np.empty(0)
    distinct, times = np.unique(known, return_counts=True)
    common = distinct[times.argmax()]
    if times.max() * bins > len(known):
        others = known[known != common]
        edges = np.concatenate([[np.nextafter(common, -np.inf), common], _quantiles(others, bins - 1)])
    else:
        edges = _quantiles(known, bins)
    return np.unique(edges[edges < known[-1]])


def _quantiles(ordered: FloatArray, bins: int) -> FloatArray:
    """The values at the inner borders of equal masses, each one that occurs."""
    return ordered[(np.arange(1, bins) * len(ordered)) // bins - 1] if len(ordered) >= bins else ordered


@dataclass(frozen=True)
class Spread:
    """One column by date: `edges` cut its values, `counts` are the rows per date and bin, those without a value last."""

    edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, values: FloatArray, place: npt.NDArray[np.intp], dates: int) -> "Spread":
        """Count `values` (rows,) at their dates' places (rows,) among `dates`; rows at place −1 only help to set the edges."""
        edges = cuts(values)
        empty = cls(tuple(edges.tolist()), ())
        counts = np.zeros((dates, len(edges) + 2), dtype=np.int64)
        there = place >= 0
        np.add.at(counts, (place[there], empty.bins(values[there])), 1)
        return cls(empty.edges, tuple(tuple(row) for row in counts.tolist()))

    def bins(self, values: FloatArray) -> npt.NDArray[np.intp]:
        """Return the bin of each value (rows,); the last one is that of the missing.

        >>> Spread((1.0, 2.0), ()).bins(np.array([0.5, 1.0, 1.5, 9.0, np.nan])).tolist()
        [0, 0, 1, 2, 3]
        """
        missing = np.isnan(values)
        return np.where(missing, len(self.edges) + 1, np.searchsorted(self.edges, values, side="left"))

    def count(self, values: FloatArray) -> Counts:
        """Return how many of the values (rows,) lie in each bin (bins,)."""
        return np.bincount(self.bins(values), minlength=len(self.edges) + 2)

    @property
    def table(self) -> Counts:
        """The counts as an array (dates × bins)."""
        return np.array(self.counts, dtype=np.int64).reshape(len(self.counts), len(self.edges) + 2)


@dataclass(frozen=True)
class Profile:
    """What a model learnt from, by date: `inputs` by feature, and `score`, its predictions of rows that it had not seen.

    `dates` are ISO 8601 instants, ascending, at most one a month; a spread that has no row at a date counts zeros there.
    `weights` is each input's share of the mean |contribution| to the margin (Σ = 1, or all 0 for a model that says the same
    of everyone). `learnt_to` is the newest instant T that the fit saw.
    """

    dates: tuple[str, ...]
    learnt_to: str
    inputs: dict[str, Spread]
    score: Spread
    weights: dict[str, float]
    rows: int
    accounts: int
    base_rate: float

    @classmethod
    def of(
        cls, model: OutcomeModel, frame: pd.DataFrame, spine: pd.DataFrame, y: npt.ArrayLike, predicted: pd.DataFrame
    ) -> "Profile":
        """Profile a fitted model.

        `frame` (rows × features), `spine` (account_id, as_of) and the labels `y` (0, 1, or nan where the horizon is still open)
        are the rows it was fitted on, in one order; `predicted` (as_of, p) holds probabilities of rows that the fit behind them
        had not seen: later ones, or those of other accounts. ValueError where there is no row, or the lengths differ.
        """
        labels = np.asarray(y, dtype=np.float64)
        if not len(frame) == len(spine) == len(labels) or np.isnan(labels).all():
            rows = f"{len(frame)}, {len(spine)} and {len(labels)} rows"
            raise ValueError(f"frame, spine and y have {rows}; give those of the fit, one of them labelled at least")
        as_of, later = (np.asarray(each["as_of"], dtype="datetime64[us]") for each in (spine, predicted))
        dates = monthly(np.concatenate([as_of, later]))[-KEPT_DATES:]
        values, at = known_values_of(frame, model.inputs), _places(as_of, dates)
        inputs = {name: Spread.of(column, at, len(dates)) for name, column in zip(model.inputs, values.T, strict=True)}
        score = Spread.of(predicted["p"].to_numpy(dtype=np.float64), _places(later, dates), len(dates))
        return cls(
            dates=tuple(np.datetime_as_string(dates, unit="s").tolist()),
            learnt_to=str(np.datetime_as_string(as_of.max(), unit="s")),
            inputs=inputs,
            score=score,
            weights=_weights(model, frame),
            rows=len(frame),
            accounts=int(spine["account_id"].nunique()),
            base_rate=float(np.nanmean(labels)),
        )

    def to_json(self) -> str:
        """The profile as one compact text; `from_json` gives it back."""
        return json.dumps(self.as_dict(), separators=(",", ":"), allow_nan=False)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """Read what `to_json` wrote; ValueError where it is something else."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Profile":
        """Read what `as_dict` gave, through JSON or not; ValueError where a part is lacking or unknown."""
        names = set(cls.__dataclass_fields__)
        if stored.keys() != names:
            raise ValueError(
                f"a profile has {', '.join(sorted(names))}; this one differs in {', '.join(sorted(names ^ stored.keys()))}"
            )
        fields = dict(stored)
        fields["dates"] = tuple(stored["dates"])
        fields["inputs"] = {name: _spread(each) for name, each in stored["inputs"].items()}
        fields["score"] = _spread(stored["score"])
        return cls(**fields)


def _spread(stored: Mapping[str, Any]) -> Spread:
    return Spread(tuple(stored["edges"]), tuple(tuple(row) for row in stored["counts"]))


def _places(as_of: npt.NDArray[np.datetime64], dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.intp]:
    """Where each instant stands among the dates, −1 where it does not."""
    found = np.searchsorted(dates, as_of).clip(max=len(dates) - 1)
    return np.where(dates[found] == as_of, found, -1)


def _weights(model: OutcomeModel, frame: pd.DataFrame) -> dict[str, float]:
    """Each input's share of the mean |contribution|, measured on rows spread evenly over all of them."""
    rows = np.unique(np.linspace(0, len(frame) - 1, _EXPLAINED_ROWS).round().astype(np.intp))
    contributions = model.explain(frame.iloc[rows].reset_index(drop=True)).contributions
    # What is only carried into another input's columns, such as the term, has no contribution of its own.
    size = np.nan_to_num(np.abs(known_values_of(contributions, model.inputs)).mean(axis=0))
    shares = size / size.sum() if size.any() else size
    return dict(zip(model.inputs, shares.tolist(), strict=True))

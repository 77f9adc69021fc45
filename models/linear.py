"""A robust logistic regression on features: every baseline, and what serves where a booster adds nothing."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.matrix import FloatArray, Table, values_of

#: One number for all, or one for each term.
_Each = float | FloatArray
#: Values are clipped to these quantiles of the training rows: one wild amount must not steer a linear model.
CLIP_QUANTILES = (0.01, 0.99)
FORMAT = "kunto.linear/1"


@dataclass(frozen=True)
class Term:
    """One addend of the margin: coefficient × (t − mean), where t in 0…1 comes from one column.

    t is how far the column stands between `low` and `high` (clipped; `fill` stands in for a missing value), or, for
    `missing`, 1 where the value is missing and 0 elsewhere. `mean` is t's training mean, `coefficient` the logits from
    low to high. Terms with adjoining intervals make a piecewise-linear curve.
    """

    column: str
    low: float
    high: float
    fill: float
    missing: bool = False
    mean: float = 0.0
    coefficient: float = 0.0

    def position(self, values: FloatArray) -> FloatArray:
        """Return t for the column's values (rows,), nan = missing."""
        return _position(values, self.low, self.high, self.fill, self.missing)


@dataclass(frozen=True)
class _Layer:
    """At most one term of each column, all reckoned at once; every array is (terms,)."""

    at: npt.NDArray[np.intp]
    low: FloatArray
    high: FloatArray
    fill: FloatArray
    missing: npt.NDArray[np.bool_]
    mean: FloatArray
    coefficient: FloatArray

    @classmethod
    def of(cls, terms: Sequence[tuple[int, Term]]) -> "_Layer":
        """The layer of some terms, each with the place of its column."""
        rows = [(at, term.low, term.high, term.fill, term.missing, term.mean, term.coefficient) for at, term in terms]
        return cls(*(np.array(field) for field in zip(*rows, strict=True)))

    def addends(self, values: FloatArray) -> FloatArray:
        """Return each term's addend (rows, terms) for all columns' values (rows, columns)."""
        t = _position(values.take(self.at, axis=1), self.low, self.high, self.fill, self.missing)
        return self.coefficient * (t - self.mean)


def _position(values: FloatArray, low: _Each, high: _Each, fill: _Each, missing: bool | npt.NDArray[np.bool_]) -> FloatArray:
    """As `Term.position`; broadcasts over terms."""
    empty = np.isnan(values)
    between = (np.clip(np.where(empty, fill, values), low, high) - low) / (high - low)
    return np.where(missing, empty, between)


@dataclass(frozen=True)
class LinearModel:
    """A fitted logistic regression; all of it is numbers, kept as JSON.

    `columns` are what it reads, `base_value` its margin (logit) at the training means, `terms` the rest. Without terms
    (one class, or nothing that varies) it predicts the base rate.
    """

    columns: tuple[str, ...]
    base_value: float
    terms: tuple[Term, ...]

    def contributions(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return each column's addend to the margin, in logits, (rows, columns): coefficient × (t − training mean).

        These are the SHAP values of a linear model with independent features; `base_value` plus a row's sum is its
        raw score. ValueError if a column is absent, not numeric, or holds an infinity.
        """
        return pd.DataFrame(self.addends(frame), index=frame.index, columns=list(self.columns))

    def raw_score(self, table: Table) -> FloatArray:
        """Return the margin (rows,) in logits; errors as `contributions`."""
        return self.base_value + self.addends(table).sum(axis=1)

    def addends(self, table: Table) -> FloatArray:
        """As `contributions`; in C order, so that a row alone is summed in the order in which it is in a batch."""
        values = _values(table, self.columns)
        addends = np.zeros(values.shape)
        for layer in self._layers:
            addends[:, layer.at] += layer.addends(values)
        return addends

    @cached_property
    def _layers(self) -> list[_Layer]:
        """The terms, a column's first, second and so on together, in whose order they are added."""
        index = {column: number for number, column in enumerate(self.columns)}
        layers: list[list[tuple[int, Term]]] = []
        depth: Counter[str] = Counter()
        for term in self.terms:
            if depth[term.column] == len(layers):
                layers.append([])
            layers[depth[term.column]].append((index[term.column], term))
            depth[term.column] += 1
        return [_Layer.of(layer) for layer in layers]

    def predict(self, frame: Table) -> FloatArray:
        """Return P(y = 1) (rows,); other columns of the frame and the order of columns do not matter."""
        return expit(self.raw_score(frame))

    def to_json(self) -> str:
        """Return the model as JSON text; `from_json` gives back the same bits."""
        return json.dumps({"format": FORMAT, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "LinearModel":
        """Read what `to_json` wrote; ValueError on anything else."""
        stored = json.loads(text)
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ValueError(f"text is no linear model of format {FORMAT!r}; give what LinearModel.to_json wrote")
        terms = tuple(Term(**term) for term in stored["terms"])
        return cls(columns=tuple(stored["columns"]), base_value=stored["base_value"], terms=terms)


def fit(
    X: pd.DataFrame,
    y: npt.ArrayLike,
    *,
    columns: Sequence[str],
    c: float = 1.0,
    sample_weight: npt.ArrayLike | None = None,
    pieces: Mapping[str, int] | None = None,
) -> LinearModel:
    """Fit P(y = 1) on `columns` of `X` (rows, …); `y` (rows,) is 0 or 1, `sample_weight` (rows,) ≥ 0.

    Each column is clipped to its 1 % and 99 % quantiles, its gaps filled with the median and marked by an indicator,
    all standardised, then fitted with an L2 penalty (`c` = scikit-learn's C). `pieces` gives a column a curve of that
    many straight pieces between its quantiles instead of one line. Constant and empty columns carry no term; with one
    class in `y` the model is the base rate with half a row of each class added. The fit has no randomness.
    ValueError, naming the column or argument, on what is absent, not numeric, infinite, or of another length.

    >>> frame = pd.DataFrame({"days": [1.0, 2.0, 30.0, 60.0], "empty": [np.nan] * 4})
    >>> model = fit(frame, [0, 0, 1, 1], columns=["days", "empty"])
    >>> model.predict(frame).round(2).tolist(), [term.column for term in model.terms]
    ([0.3, 0.31, 0.58, 0.81], ['days'])
    """
    curves = pieces or {}
    twice = sorted({column for column in columns if list(columns).count(column) > 1})
    if twice:
        raise ValueError(f"columns names {twice} twice; name every column once")
    stray = sorted(set(curves) - set(columns))
    if stray:
        raise ValueError(f"pieces names {stray}, which columns does not; name columns of {list(columns)}")
    values = _values(X, columns)
    labels, weights = _targets(y, sample_weight, len(values))
    total = weights.sum()
    seen = labels[weights > 0]
    if len(np.unique(seen)) < 2:
        return LinearModel(tuple(columns), float(logit((seen.sum() + 0.5) / (len(seen) + 1))), ())

    terms = [
        (index, term) for index, column in enumerate(columns) for term in _terms(column, values[:, index], curves.get(column, 1))
    ]
    design = np.empty((len(values), len(terms)))
    for position, (index, term) in enumerate(terms):
        design[:, position] = term.position(values[:, index])
    mean = weights @ design / total
    design -= mean
    scale = np.sqrt(np.einsum("i,ij,ij->j", weights, design, design) / total)
    # Where only rows of weight 0 differ, rounding alone leaves a spread; it must not be blown up to 1.
    varies = np.flatnonzero(scale > 1e-9)
    if varies.size == 0:
        return LinearModel(tuple(columns), float(logit(labels @ weights / total)), ())
    if varies.size < len(terms):
        design = design[:, varies]
    design /= scale[varies]
    solver = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    # On one thread: sharing out matrices this small costs several times what it saves, and the bits hang on the cores.
    with threadpool_limits(1, user_api="blas"):
        solver.fit(design, labels, sample_weight=weights)
    fitted = tuple(
        replace(terms[at][1], mean=float(mean[at]), coefficient=float(slope / scale[at]))
        for at, slope in zip(varies, solver.coef_[0], strict=True)
    )
    return LinearModel(tuple(columns), float(solver.intercept_[0]), fitted)


def _terms(column: str, values: FloatArray, pieces: int) -> list[Term]:
    """Return the unfitted terms of a column: one per straight piece, and an indicator if some values are missing."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        return []
    edges = np.unique(np.quantile(known, np.linspace(*CLIP_QUANTILES, pieces + 1)))
    if len(edges) == 1:  # a rare event: the quantiles coincide, the extremes need not
        edges = np.unique([known.min(), known.max()])
    fill = float(np.median(known))
    terms = [Term(column, float(low), float(high), fill) for low, high in pairwise(edges)]
    if known.size < values.size:
        terms.append(Term(column, 0.0, 1.0, fill, missing=True))
    return terms


def _values(table: Table, columns: Sequence[str]) -> FloatArray:
    """Return the columns as floats (rows, columns), refusing by name what a linear model cannot read."""
    absent = [column for column in columns if column not in table.columns] if isinstance(table, pd.DataFrame) else []
    if absent:
        raise ValueError(f"the frame lacks the columns {absent}; give every column of {list(columns)}")
    values = values_of(table, tuple(columns))
    infinite = np.isinf(values)
    if infinite.any():
        index, row = np.argwhere(infinite.T)[0].tolist()
        label = table.index[row] if isinstance(table, pd.DataFrame) else row
        raise ValueError(f"column {columns[index]!r} is infinite in row {label!r}; give a finite number, or nan where unknown")
    return values


def _targets(y: npt.ArrayLike, sample_weight: npt.ArrayLike | None, rows: int) -> tuple[FloatArray, FloatArray]:
    labels = np.asarray(y, dtype=np.float64)
    if labels.shape != (rows,) or rows == 0:
        raise ValueError(f"y has shape {labels.shape} for {rows} rows of X; give one label per row, and at least one row")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("y holds other values than 0 and 1; drop immature rows before fitting")
    weights = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (rows,) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"sample_weight must be {rows} finite numbers of 0 or more, not all 0; its shape is {weights.shape}")
    return labels, weights

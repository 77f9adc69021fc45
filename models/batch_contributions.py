"""Exact SHAP values of a booster for many rows: every way through a tree's splits is explained once, and then looked up.

Path-dependent TreeSHAP (Lundberg et al. 2020) explains a row by nothing but the outcomes of each tree's splits, and a tree of a
few splits has few of them (Nadel and Wettenstein 2026, who look up each leaf by itself). The values are LightGBM's `pred_contrib`
to the last digits. Every row is held against LightGBM's own margin; where one misses it, LightGBM explains the batch.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd

from models.matrix import FloatArray

#: From so many rows on the tables repay their making; fewer, and so one account alone, are LightGBM's (`benchmarks.explain`).
BATCH_ROWS = 4_096
#: Contributions and margin of a row may differ by so much: what domain.md §4 asks of one row, and a hundredth of a batch's.
TOLERANCE = 1e-6
#: Rows looked up at a time: bounds memory, and keeps a block near the processor.
_BLOCK_ROWS = 16_384
#: Splits whose every outcome is listed in a table, of 2 to this power columns.
_WIDTH = 8
#: Outcomes of splits are the bits of one integer.
_MOST_SPLITS = 62

#: What LightGBM takes for 0 (float32's 1e-35), and what its dump writes for infinity, the threshold of missing against known.
_ZERO, _INFINITE = float(np.float32(1e-35)), 1e300

Codes = npt.NDArray[np.int64]
_log = logging.getLogger("kunto.models")


@dataclass(frozen=True)
class _Split:
    """A row goes left where its feature is at most the threshold; `missing_left` tells where it goes without a value."""

    feature: int
    threshold: float
    missing_left: bool

    def left(self, values: FloatArray) -> npt.NDArray[np.bool_]:
        """Which of the feature's values (rows,) go left."""
        return ~(values > self.threshold) if self.missing_left else values <= self.threshold


@dataclass(frozen=True)
class _Turn:
    """One split on the way to a leaf: on which feature, to which side, and the share of the training rows that went there."""

    split: int
    feature: int
    left: bool
    share: float


@dataclass(frozen=True)
class _Leaf:
    value: float
    path: tuple[_Turn, ...]


@dataclass(frozen=True)
class _Part:
    """Leaves of one tree, and the few splits on the ways to them: a row's outcomes there are its code, a bit each."""

    leaves: tuple[_Leaf, ...]

    @cached_property
    def splits(self) -> tuple[int, ...]:
        """The splits, by their number in the tree."""
        return tuple(sorted({turn.split for leaf in self.leaves for turn in leaf.path}))

    @cached_property
    def features(self) -> tuple[int, ...]:
        """The features that they read."""
        return tuple(sorted({turn.feature for leaf in self.leaves for turn in leaf.path}))

    @cached_property
    def table(self) -> FloatArray:
        """The values of every code (features × codes)."""
        return self.values(np.arange(2 ** len(self.splits), dtype=np.int64))

    def code(self, left: Mapping[int, npt.NDArray[np.bool_]]) -> Codes:
        """The code of each row (rows,), by which of them go left at each split."""
        kind = np.uint8 if len(self.splits) <= 8 else np.int64
        found = np.zeros(len(left[self.splits[0]]), dtype=kind)
        for bit, split in enumerate(self.splits):
            np.bitwise_or(found, np.left_shift(left[split], bit, dtype=kind), out=found)
        return found.astype(np.int64)

    def looked_up(self, code: Codes) -> tuple[FloatArray, Codes]:
        """Return values (features × codes that are told apart) and each row's place among them (rows,)."""
        if len(self.splits) <= _WIDTH:
            return self.table, code
        places, seen = pd.factorize(code)
        return self.values(seen), places

    def values(self, codes: Codes) -> FloatArray:
        """SHAP values (features × codes), the sum over the leaves."""
        bits = {split: (codes >> bit & 1).astype(bool) for bit, split in enumerate(self.splits)}
        total = np.zeros((len(self.features), len(codes)))
        for leaf in self.leaves:
            own = list(dict.fromkeys(turn.feature for turn in leaf.path))
            passed, reach = np.ones((len(own), len(codes)), dtype=bool), np.ones((len(own), 1))
            for turn in leaf.path:
                place = own.index(turn.feature)
                passed[place] &= bits[turn.split] == turn.left
                reach[place] *= turn.share
            total[[self.features.index(feature) for feature in own]] += leaf.value * shapley(reach, passed)
        return total


@dataclass(frozen=True)
class _Tree:
    splits: Mapping[int, _Split]
    parts: tuple[_Part, ...]


class Unreadable(ValueError):
    """A booster with what the tables cannot tell, such as a split by category, or zero that counts as missing; says what."""


class BatchExplainer:
    """A booster's trees as tables, which are made when they are first needed; Unreadable where they cannot be."""

    def __init__(self, booster: lgb.Booster) -> None:
        self._booster = booster
        told = booster.dump_model()["tree_info"]
        self._trees = tuple(_tree(tree["tree_structure"]) for tree in told if "split_index" in tree["tree_structure"])
        self._used = sorted({split.feature for tree in self._trees for split in tree.splits.values()})

    def contributions(self, values: FloatArray, base_value: float, margins: FloatArray) -> FloatArray:
        """Return SHAP values (rows × columns) in logits, in C order; `base_value` plus a row's sum is its margin to 1e-6.

        `values` (rows × columns); `margins` (rows,): LightGBM's. A row's values hang on nothing but the row. Memory beyond the
        answer: that of a block of rows.
        """
        found, missed = np.empty(values.shape), 0
        for first in range(0, len(values), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            by_column = self._looked_up(values[block])
            found[block] = by_column.T
            # A gap that is no number is a miss too.
            missed += int(np.count_nonzero(~(np.abs(base_value + by_column.sum(axis=0) - margins[block]) <= TOLERANCE)))
        if missed:
            _log.warning("LightGBM explains a batch of %d rows: by the tables %d miss their margin", len(values), missed)
            return np.asarray(self._booster.predict(values, pred_contrib=True), dtype=np.float64)[:, :-1]
        return found

    def _looked_up(self, values: FloatArray) -> FloatArray:
        """SHAP values by column (columns × rows), the sum over the trees, in their order."""
        read = dict(zip(self._used, np.ascontiguousarray(values.T[self._used]), strict=True))
        total, addend = np.zeros(values.shape[::-1]), np.empty(len(values))
        for tree in self._trees:
            left = {number: split.left(read[split.feature]) for number, split in tree.splits.items()}
            for part in tree.parts:
                table, places = part.looked_up(part.code(left))
                for feature, row in zip(part.features, table, strict=True):
                    # No place lies outside; "clip" spares numpy a copy.
                    total[feature] += row.take(places, out=addend, mode="clip")
        return total


def batch_explainer(booster: lgb.Booster) -> BatchExplainer | None:
    """Return the booster's tables, or None where it is not one for tables: LightGBM explains then, in more time."""
    try:
        return BatchExplainer(booster)
    except Unreadable as error:
        _log.warning("LightGBM explains the booster's batches: %s", error)
        return None


def shapley(reach: FloatArray, passed: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the Shapley values (features × codes) of a leaf of value 1.

    `reach` (features × 1): the share of the training rows that pass the leaf's splits on that feature; `passed` (features ×
    codes): whether a row does. The leaf is worth Π over known features of `passed` × Π over the others of `reach`; a feature's
    value is the integral of that game's slope along the diagonal of its multilinear extension (Owen 1972), here a polynomial
    that Gauss-Legendre quadrature integrates exactly.

    >>> shapley(np.array([[0.5], [0.25]]), np.array([[True], [True]])).ravel().tolist()
    [0.3125, 0.5625]
    """
    gain = passed - reach
    slope = np.zeros(passed.shape)
    for at, weight in _quadrature(len(reach)):
        factors = reach + at * gain
        slope += weight * factors.prod(axis=0) / factors
    return gain * slope


@lru_cache
def _quadrature(features: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on (0, 1) that are exact for polynomials of degree `features` − 1."""
    nodes, weights = np.polynomial.legendre.leggauss((features + 1) // 2)
    return tuple(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def _tree(root: Mapping[str, Any]) -> _Tree:
    return _Tree({node["split_index"]: _split(node) for node in _inner(root)}, tuple(_Part(leaves) for leaves in _cut(root, ())))


def _inner(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "split_index" in node:
        yield node
        for child in ("left_child", "right_child"):
            yield from _inner(node[child])


def _split(node: Mapping[str, Any]) -> _Split:
    if node["decision_type"] != "<=" or node["missing_type"] not in ("None", "NaN"):
        raise Unreadable(f"a split is {node['decision_type']!r}, its missing values {node['missing_type']!r}")
    threshold = node["threshold"]
    if abs(threshold) <= _ZERO:
        # LightGBM reads a value so near to 0 as 0.
        threshold = _ZERO if threshold >= 0 else math.nextafter(-_ZERO, -math.inf)
    elif abs(threshold) >= _INFINITE:
        threshold = math.copysign(math.inf, threshold)
    # Where no value was missing in training, LightGBM reads a missing one as 0.
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
    return _Split(node["split_feature"], threshold, missing_left)


def _cut(node: Mapping[str, Any], path: tuple[_Turn, ...]) -> Iterator[tuple[_Leaf, ...]]:
    """The leaves below a node in groups that few splits lead to: as many together as a table holds."""
    leaves = tuple(_leaves(node, path))
    splits = len({turn.split for leaf in leaves for turn in leaf.path})
    if splits <= _WIDTH or len(leaves) == 1:
        if splits > _MOST_SPLITS:
            raise Unreadable(f"a leaf lies under {splits} splits, more than {_MOST_SPLITS}")
        yield leaves
        return
    for child, turn in _turns(node):
        yield from _cut(child, (*path, turn))


def _leaves(node: Mapping[str, Any], path: tuple[_Turn, ...]) -> Iterator[_Leaf]:
    if "split_index" not in node:
        yield _Leaf(node["leaf_value"], path)
        return
    for child, turn in _turns(node):
        yield from _leaves(child, (*path, turn))


def _turns(node: Mapping[str, Any]) -> Sequence[tuple[Mapping[str, Any], _Turn]]:
    found = []
    for child, left in ((node["left_child"], True), (node["right_child"], False)):
        share = child.get("internal_count", child.get("leaf_count", 0)) / node["internal_count"]
        if not share > 0:
            raise Unreadable("a branch was reached by no training row")
        found.append((child, _Turn(node["split_index"], node["split_feature"], left, share)))
    return found

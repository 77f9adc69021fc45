"""Fitting one outcome: landmarks, booster or logistic, calibrated on other accounts than the fit (domain.md §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.catalogue import catalog
from models import linear
from models.booster import BoosterModel, BoosterSettings, cross_fit, fit_booster
from models.calibration import Platt, Precision, choose
from models.hazard import CARRIED, EXPOSURE, case_control, expand, settled, step_length
from models.linear import LinearModel
from models.outcome import OutcomeModel
from models.prior import Prior
from training.priors import SIGN, prior, with_columns_of
from training.rows import FloatArray, Positions, Rows, account_folds
from training.settings import Task

Kind = Literal["booster", "logistic"]
Scorer = BoosterModel | LinearModel
#: Rows of which each fold's model is asked, to see how far they disagree.
_ASKED = 4_000


@dataclass(frozen=True)
class Unseen:
    """Margins of rows whose account, or whose time, the scorer had not seen: what calibrates; all (rows,)."""

    margin: FloatArray
    y: FloatArray
    as_of: npt.NDArray[np.datetime64]
    accounts: npt.NDArray[np.object_]

    def plus(self, others: "Unseen") -> "Unseen":
        """These rows and the others."""
        fields = ("margin", "y", "as_of", "accounts")
        return Unseen(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in fields))


@dataclass(frozen=True)
class Fit:
    """A fitted model, and what fitting it again on more rows takes.

    `predicted` (as_of, p): probabilities of rows that the fits behind them had not seen. `calibrators`: how the kinds of
    calibrator compared (`models.calibration.choose`). `loss`: the booster's held-out log loss a row of examples.
    `disagreement` (parts × rows): what the models without a part of the accounts say of some rows.
    """

    model: OutcomeModel
    unseen: Unseen
    predicted: pd.DataFrame
    calibrators: tuple[dict[str, Any], ...]
    disagreement: FloatArray | None
    loss: float | None

    @property
    def rounds(self) -> int | None:
        """Rounds of the booster."""
        return self.model.scorer.rounds if isinstance(self.model.scorer, BoosterModel) else None

    @property
    def prior(self) -> dict[str, Any] | None:
        """What the booster started from, and how far it was believed (slope 1: as it came)."""
        found = self.model.scorer.prior if isinstance(self.model.scorer, BoosterModel) else None
        return None if found is None else {"kind": found.kind, "slope": found.slope}


@dataclass(frozen=True)
class Examples:
    """What a scorer is fitted on: X, y, weights, and the position of the row that each comes from."""

    X: pd.DataFrame
    y: FloatArray
    weight: FloatArray
    origin: Positions

    def of(self, rows: Positions) -> Positions:
        """Positions of the examples that come from some rows (positions)."""
        return np.flatnonzero(np.isin(self.origin, rows))

    def take(self, rows: Positions) -> "Examples":
        """The examples of some rows (positions)."""
        at = self.of(rows)
        return Examples(self.X.iloc[at], self.y[at], self.weight[at], self.origin[at])


def usable_columns(frame: pd.DataFrame) -> list[str]:
    """Features that vary in the training rows; the rest has nothing to say."""
    return [name for name in frame.columns if not _constant(frame[name])]


def _constant(values: pd.Series) -> bool:
    missing = values.isna()
    return bool(missing.all() or (not missing.any() and (values == values.iloc[0]).all()))


def fit_outcome(
    task: Task,
    kind: Kind,
    rows: Rows,
    *,
    product_features: tuple[str, ...] = (),
    settings: BoosterSettings | None = None,
    base: OutcomeModel | None = None,
    seed: int = 0,
) -> Fit:
    """Fit on all `rows`, calibrated on margins of accounts that the calibrating fits had not seen (cross-fitting).

    Not on later dates: where history is short, the fit before them saw half of it, and its margins are not those of the
    served scorer, which is fitted on all rows (docs/test-looks.md has both ways measured). The calibrator's kind is picked by
    what each makes of later dates. The booster starts from the `base` model, or else from the scorecard (`training.priors`).
    """
    rows = _readable(task, rows, product_features, base)
    examples = _examples(task, rows, settings, base, seed)
    start = _prior(task, kind, rows, examples, base)
    directions = _directions(task, product_features)
    folds = account_folds(rows)
    parts, loss = _parts(kind, examples, folds, directions, settings, start, seed)
    rounds = parts[0].rounds if isinstance(parts[0], BoosterModel) else None
    scorer = _fit(kind, examples, directions, settings, rounds, start, seed)

    bare = _model(task, rows, scorer, product_features)
    held = [rows.take(out) for _, out in folds]
    unseen = [_unseen(task, replace(bare, scorer=part), out) for part, out in zip(parts, held, strict=True)]
    together = unseen[0]
    for others in unseen[1:]:
        together = together.plus(others)
    choice = choose(together.margin, together.y, together.as_of, together.accounts, horizon_days=task.horizon_days)
    model = replace(bare, calibrator=choice.calibrator)
    asked = np.random.default_rng(seed).choice(len(rows), min(_ASKED, len(rows)), replace=False)
    some = rows.take(np.sort(asked))
    disagreement = np.array([replace(model, scorer=part).probability(some.frame) for part in parts])
    known = [out.labelled() for out in held]
    p = np.concatenate([replace(model, scorer=part).probability(out.frame) for part, out in zip(parts, known, strict=True)])
    precision = Precision.fit(p, np.concatenate([out.accounts for out in known]), disagreement)
    predicted = pd.DataFrame({"as_of": np.concatenate([out.as_of for out in known]), "p": p})
    return Fit(replace(model, precision=precision), together, predicted, choice.comparison, disagreement, loss)


def refit(
    task: Task,
    kind: Kind,
    rows: Rows,
    before: Fit,
    tested: Rows,
    *,
    settings: BoosterSettings | None,
    base: OutcomeModel | None = None,
    seed: int,
) -> Fit:
    """Fit again on all that has matured since, as `before` was: the same rounds, the same kind of calibrator.

    The calibrator is fitted again on what calibrated before and on the `tested` rows, which that model had not seen either.
    """
    rows = _readable(task, rows, before.model.product_features, base)
    examples, directions = _examples(task, rows, settings, base, seed), _directions(task, before.model.product_features)
    scorer = _fit(kind, examples, directions, settings, before.rounds, _prior(task, kind, rows, examples, base), seed)
    unseen = before.unseen.plus(_unseen(task, before.model, tested))
    calibrator = type(before.model.calibrator).fit(unseen.margin, unseen.y)
    model = replace(_model(task, rows, scorer, before.model.product_features), calibrator=calibrator)
    labelled = rows.labelled()
    precision = Precision.fit(model.probability(labelled.frame), labelled.accounts, before.disagreement)
    later = pd.DataFrame({"as_of": tested.as_of, "p": before.model.probability(tested.frame)})
    predicted = pd.concat([before.predicted, later], ignore_index=True)
    return replace(before, model=replace(model, precision=precision), unseen=unseen, predicted=predicted)


def _readable(task: Task, rows: Rows, product_features: tuple[str, ...], base: OutcomeModel | None) -> Rows:
    """The rows with the features that a model of these may read: the frame may hold others, which a champion reads."""
    declared = catalog(product_features)
    usable = usable_columns(rows.frame[[name for name in rows.frame.columns if name in declared]])
    columns = list(dict.fromkeys((*usable, *(CARRIED if task.outcome == "churn" else ()), *(base.inputs if base else ()))))
    return replace(rows, frame=rows.frame[columns])


def _directions(task: Task, product_features: tuple[str, ...]) -> dict[str, int]:
    return {name: f.direction * SIGN[task.outcome] for name, f in catalog(product_features).items()}


def _prior(task: Task, kind: Kind, rows: Rows, examples: Examples, base: OutcomeModel | None) -> Prior | None:
    """What the booster starts from; the logistic regression is its baseline, and starts from nothing."""
    if kind == "logistic":
        return None
    return prior(task, examples.X, examples.y, examples.weight, accounts=rows.accounts[examples.origin], base=base)


def _examples(task: Task, rows: Rows, settings: BoosterSettings | None, base: OutcomeModel | None, seed: int) -> Examples:
    rng, negatives = np.random.default_rng(seed), (settings or BoosterSettings()).negatives
    if task.outcome == "churn":
        found = expand(
            rows.frame,
            rows.timeline,
            horizon_days=task.horizon_days,
            rng=rng,
            exposed=None if rows.exposure is None else rows.exposure.begun,
            negatives=negatives,
        )
        return Examples(with_columns_of(base, found.frame), found.y, found.weight, found.origin)
    kept, weight = case_control(rows.y, negatives, rng)
    frame = rows.frame.iloc[kept].reset_index(drop=True)
    if rows.exposure is not None:
        frame[EXPOSURE] = rows.exposure.begun[kept, 0].astype(np.float64)
    return Examples(with_columns_of(base, frame), rows.y[kept], weight, kept)


def _parts(
    kind: Kind,
    examples: Examples,
    folds: list[tuple[Positions, Positions]],
    directions: Mapping[str, int],
    settings: BoosterSettings | None,
    start: Prior | None,
    seed: int,
) -> tuple[list[Scorer], float | None]:
    """One scorer per fold, fitted without its held-out accounts, and the boosters' held-out log loss."""
    kept = [examples.take(rows) for rows, _ in folds]
    if kind == "logistic" or any(part.y.min() == part.y.max() for part in kept):
        return [_fit(kind, part, directions, settings, None, start, seed) for part in kept], None
    at = [(examples.of(inside), examples.of(out)) for inside, out in folds]
    given: dict[str, Any] = {"directions": directions, "settings": settings, "sample_weight": examples.weight, "seed": seed}
    boosters, loss = cross_fit(examples.X, examples.y, at, prior=start, **given)
    return list(boosters), loss


def _fit(
    kind: Kind,
    examples: Examples,
    directions: Mapping[str, int],
    settings: BoosterSettings | None,
    rounds: int | None,
    start: Prior | None,
    seed: int,
) -> Scorer:
    X, y, weight = examples.X, examples.y, examples.weight
    if kind == "logistic":
        return linear.fit(X, y, columns=list(X.columns), sample_weight=weight)
    given: dict[str, Any] = {"directions": directions, "settings": settings, "sample_weight": weight, "seed": seed}
    return fit_booster(X, y, rounds=rounds, prior=start, **given)


def _model(task: Task, rows: Rows, scorer: Scorer, product_features: tuple[str, ...]) -> OutcomeModel:
    """The model without its calibrator and its interval."""
    known = rows.labelled()
    return OutcomeModel(
        outcome=task.outcome,
        horizon_days=task.horizon_days,
        scorer=scorer,
        calibrator=Platt(),
        precision=Precision((), (1,)),
        base_rates={task.horizon_days: float(known.y.mean())},
        mean_change=float(np.abs(known.change[known.y > 0]).mean()) if known.y.any() else 0.0,
        steps_known=_steps_known(task, rows),
        product_features=product_features,
    )


def _unseen(task: Task, model: OutcomeModel, rows: Rows) -> Unseen:
    """Margins and labels that calibrate: for churn of the steps up to the horizon, each its own question.

    Calibrated as it will score, without a play: on those who stand for everyone, had none begun (`Exposure.untreated`).
    """
    if task.outcome != "churn":
        origin, step, y = np.arange(len(rows)), np.zeros(len(rows), dtype=np.intp), rows.y
        margins = model.margin(rows.frame)[:, None]
    else:
        step_days = step_length(task.horizon_days)
        steps = task.horizon_days // step_days
        origin, step, y = settled(rows.timeline, step_days, steps)
        margins = model.margins(rows.frame, steps)
    at = np.arange(len(y)) if rows.exposure is None else rows.exposure.untreated(origin, step, y)
    origin, step = origin[at], step[at]
    return Unseen(margins[origin, step], y[at], rows.as_of[origin], rows.accounts[origin])


def _steps_known(task: Task, rows: Rows) -> int:
    """Steps whose end lies before what is known, for at least one row."""
    if task.outcome != "churn":
        return 1
    reach = (rows.timeline["known_until"] - rows.timeline["as_of"]).max()
    return max(int(reach / pd.Timedelta(days=step_length(task.horizon_days))), 1)

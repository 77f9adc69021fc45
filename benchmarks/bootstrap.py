"""A bootstrap of the churn model, beside which the width of its intervals is measured (Efron and Tibshirani 1993, chapter 13).

The model is fitted again on accounts drawn with replacement. It is dear, so it serves nobody: a draw costs a fit.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.known_truth import FloatArray, Judged, KnownCompany
from training.dataset import build_dataset
from training.exposure import Plays
from training.fit import Fit, Unseen, refit
from training.period import Period, period
from training.rows import Positions, Rows
from training.settings import Task, TrainingSettings


def bootstrap(
    company: KnownCompany,
    found: Judged,
    draws: int,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FloatArray:
    """Return what each of so many refits of the judged model says of the test rows (draws × rows).

    A refit is that of training (`training.fit.refit`): the same kind, settings, rounds and seed, so that nothing but the accounts
    differs; each keeps the calibrator of the judged model.
    """
    settings = TrainingSettings()
    task = Task(outcome="churn", horizon_days=settings.horizon)
    kind, cut = found.model.served_by, _cut(company, task, settings)
    nothing = Unseen(np.empty(0), np.empty(0), np.empty(0, dtype="datetime64[us]"), np.empty(0, dtype=object))
    before = Fit(found.model, nothing, pd.DataFrame(), (), None, None)
    rng, p = np.random.default_rng(seed), np.empty((draws, len(found.frame)))
    for draw in range(draws):
        rows = resample(cut.known, rng)
        again = refit(task, kind, rows, before, cut.test, settings=settings.booster, seed=settings.seed)
        # The calibrator that a refit brings along stays unused: it has seen the test.
        p[draw] = replace(found.model, scorer=again.model.scorer).probability(found.frame)
        progress(draw + 1, draws)
    return p


def resample(rows: Rows, rng: np.random.Generator) -> Rows:
    """Return the rows of as many accounts as there are, drawn with replacement; one drawn twice is two, of other names."""
    positions, copies = draw_accounts(rows.accounts, rng)
    drawn = rows.take(positions)
    return replace(drawn, timeline=drawn.timeline.assign(account_id=copies.astype(str)))


def draw_accounts(accounts: npt.NDArray[np.object_], rng: np.random.Generator) -> tuple[Positions, Positions]:
    """Return the positions of the rows drawn, and by how manyth draw each came: an account brings all rows of its own.

    >>> rows, draws = draw_accounts(np.array(["a", "b", "a"], dtype=object), np.random.default_rng(2))
    >>> rows.tolist(), draws.tolist()
    ([1, 0, 2], [0, 1, 1])
    """
    codes, names = pd.factorize(accounts)
    rows_of = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    drawn = [rows_of[account] for account in rng.integers(len(names), size=len(names))]
    return np.concatenate(drawn), np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn])


def percentile_interval(draws: FloatArray, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Return low and high (rows,) between which the middle `level` of the draws (draws × rows) lies.

    >>> percentile_interval(np.linspace(0.0, 1.0, 21)[:, None])
    (array([0.05]), array([0.95]))
    """
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _cut(company: KnownCompany, task: Task, settings: TrainingSettings) -> Period:
    """The rows that the judged model was fitted on and tested on, built once more."""
    tables, until = company.tables, company.data_until
    data = build_dataset(tables, data_until=until, settings=settings, horizons=[task.horizon_days])
    return period(tables, data, task, data_until=until, settings=settings, plays=Plays(tables))

"""How a model does before anybody can know: what its own probabilities promise, month by month, and the real figures beside.

Confidence-based performance estimation (CBPE; Kivimäki, Białek, Kuberski, Nurminen 2025, arXiv:2505.05295): where probabilities
are calibrated, labels drawn from them are as good as the ones to come, so every figure has an expectation and an interval
before a single label has matured. It sees what a shift of the inputs does to the figures. It cannot see a changed relation
between inputs and outcome; that is why the real figure follows as soon as the window and the grace have passed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from training import metrics
from training.intervals import FloatArray, percentile_interval

FIGURES = ("auc", "lift_top_decile", "log_loss")
DRAWS = 300
LEVEL = 0.95
#: What a real figure must miss its expectation by, beside lying outside the interval, to be called a shortfall: a thousand
#: accounts would tell a difference that no one would act on.
AUC_SHORT, POSITIVES_RATIO = 0.05, 1.5


def performance(scored: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> list[dict[str, Any]]:
    """Return a record per date of `scored`, ascending.

    `scored` (rows): as_of; p; label: 0, 1, or null where it has not matured; fit: whose p it is, "served", or "tested" (the fit
    before it, which never saw the test period); learnt: whether that fit saw this date. The last two are the same for all rows
    of a date. A record has as_of, rows, fit, learnt; mature: some label is known, and then every figure is of the rows that have
    one. For positives and each of FIGURES: expected_…, with _low and _high (LEVEL) over `draws` sets of labels drawn from p, and
    real_…, which is left out of a learnt date, where it would flatter. None where a figure cannot be given. ValueError for a p
    outside 0…1.

    >>> rows = pd.DataFrame({"as_of": pd.Timestamp("2026-01-01"), "p": [0.2] * 50 + [0.6] * 50, "label": [None] * 100})
    >>> found = performance(rows.assign(fit="served", learnt=False))[0]
    >>> round(found["expected_positives"]), found["mature"], found["real_positives"]
    (40, False, None)
    """
    dates = pd.DatetimeIndex(scored["as_of"].unique()).sort_values()
    return [_month(at, scored[scored["as_of"] == at], np.random.default_rng(seed), draws) for at in dates]


def _month(as_of: pd.Timestamp, month: pd.DataFrame, rng: np.random.Generator, draws: int) -> dict[str, Any]:
    known = month["label"].notna()
    mature, learnt, fit = bool(known.any()), bool(month["learnt"].iloc[0]), str(month["fit"].iloc[0])
    rows = month[known] if mature else month
    p = metrics.as_probabilities(rows["p"].to_numpy(dtype=np.float64), len(rows))
    # Each row stands there as a positive and as a negative; labels weight one of the two.
    ranked = metrics.ranked(np.repeat([1.0, 0.0], len(p)), np.tile(p, 2))

    def figures(labels: FloatArray) -> list[float]:
        table = ranked.ranking(np.concatenate([labels, 1.0 - labels]))
        return [table.positives, *(metrics.BY_LABEL[name](table) for name in FIGURES)]

    drawn = np.array([figures((rng.random(len(p)) < p).astype(np.float64)) for _ in range(draws)])
    tells = mature and not learnt
    real = figures(rows["label"].to_numpy(dtype=np.float64)) if tells else [float("nan")] * drawn.shape[1]
    record: dict[str, Any] = {"as_of": as_of.isoformat(), "rows": len(p), "fit": fit, "learnt": learnt, "mature": mature}
    for name, values, found in zip(("positives", *FIGURES), drawn.T, real, strict=True):
        low, high = percentile_interval(values, LEVEL)
        defined = values[~np.isnan(values)]
        expected = float(defined.mean()) if len(defined) else float("nan")
        told = {"expected": expected, "expected_low": low, "expected_high": high, "real": found}
        for key, value in told.items():
            kind, _, bound = key.partition("_")
            record[f"{kind}_{name}{'_' + bound if bound else ''}"] = None if np.isnan(value) else float(value)
    return record


def shortfalls(months: Sequence[dict[str, Any]]) -> list[str]:
    """Say where the newest month with real figures falls short of what was expected of it, in sentences; none where it does not.

    Months of the fit that serves alone: how the tested one did is in the record of its training, and its gate judged it. A
    figure falls short where it lies outside its interval and is off by AUC_SHORT, or by POSITIVES_RATIO in either direction.
    """
    told = [month for month in months if month["fit"] == "served" and month["real_positives"] is not None]
    if not told:
        return []
    month, sentences = told[-1], []
    day = month["as_of"][:10]
    auc, expected = month["real_auc"], month["expected_auc"]
    if auc is not None and expected is not None and auc < month["expected_auc_low"] and expected - auc >= AUC_SHORT:
        sentences.append(
            f"On the accounts of {day} the AUC turned out {auc:.3f}, where its predictions promised {expected:.3f} "
            f"({month['expected_auc_low']:.3f}–{month['expected_auc_high']:.3f}): they rank worse than they say."
        )
    real, promised = month["real_positives"], month["expected_positives"]
    outside = not month["expected_positives_low"] <= real <= month["expected_positives_high"]
    if outside and max(real, promised) >= POSITIVES_RATIO * min(real, promised):
        sentences.append(
            f"Of the {month['rows']} accounts of {day} {real:.0f} had the outcome, where the predictions promised {promised:.0f} "
            f"({month['expected_positives_low']:.0f}–{month['expected_positives_high']:.0f}): the probabilities are off."
        )
    return sentences

"""Several models on the same rows: each one's figures, and how far ours is ahead of it, with intervals by account."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from training.intervals import FloatArray, bootstrap, gap_interval, percentile_interval
from training.metrics import BY_LABEL, ranked

#: The model that the others are compared with.
OURS = "booster"
#: Figures of `training.metrics` that are given of each model.
_READ = ("auc", "log_loss", "lift_top_decile", "ece")
FIGURES = (*_READ, "log_loss_gain")
#: How far ours is ahead of a model: above 0 where ours is better.
AHEAD = ("auc_ahead", "log_loss_ahead")
#: Resamples of the accounts; all models are read on the same ones.
DRAWS = 300


def compare(rows: pd.DataFrame, models: Sequence[str], *, draws: int = DRAWS, seed: int) -> pd.DataFrame:
    """Return one row per model: model, rows, accounts, positives, base_rate, every figure, and the lead of ours over it.

    `rows` (rows × columns): account_id, label (0 or 1), base_rate (the constant forecast that was known when the models were
    fitted) and the probabilities of each of `models`, of which `OURS` is one. `log_loss_gain` is the log loss of that constant
    less the model's, in nats a row. `auc_ahead` is the AUC of ours less the model's, `log_loss_ahead` the model's log loss less
    that of ours. Each has its 95 % interval beside it, `_low` and `_high`, by resampling accounts; paired, because all models are
    read on the same draws. What cannot be given is NaN.

    >>> rows = pd.DataFrame({"account_id": list("abcd"), "label": [0, 1, 0, 1], "base_rate": 0.5})
    >>> rows = rows.assign(booster=[0.2, 0.8, 0.3, 0.6], coin=0.5)
    >>> compare(rows, ["booster", "coin"], seed=0)[["model", "auc", "log_loss_gain", "auc_ahead"]].round(3).values.tolist()
    [['booster', 1.0, 0.365, 0.0], ['coin', 0.5, 0.0, 0.5]]
    """
    rows_of = [ranked(rows["label"], rows[name], name) for name in models]
    constant, ours = ranked(rows["label"], rows["base_rate"], "base_rate"), list(models).index(OURS)

    def read(weights: FloatArray | None = None) -> FloatArray:
        """Per model its figures, its leads, and the gaps that its ECE sums up."""
        tables = [each.ranking(weights) for each in rows_of]
        found = np.array([[BY_LABEL[figure](table) for figure in _READ] for table in tables])
        auc, loss = found[:, 0], found[:, 1]
        gain = BY_LABEL["log_loss"](constant.ranking(weights)) - loss
        return np.column_stack([found, gain, auc[ours] - auc, loss - loss[ours], [table.gaps for table in tables]])

    names = (*FIGURES, *AHEAD)
    estimates = read()
    # One bootstrap for all models: `metrics.with_intervals` and `paired.paired` give the same, a model and a pair at a time.
    drawn = bootstrap(read, rows["account_id"], len(rows), draws=draws, seed=seed)
    shared: dict[str, object] = {
        "rows": len(rows),
        "accounts": rows["account_id"].nunique(),
        "positives": int(rows["label"].sum()),
        "base_rate": float(rows["label"].mean()),
    }
    found = []
    for at, name in enumerate(models):
        row = {"model": name} | shared
        for column, figure in enumerate(names):
            if figure == "ece":
                low, high = gap_interval(estimates[at, len(names) :], drawn[:, at, len(names) :])
            else:
                low, high = percentile_interval(drawn[:, at, column])
            row |= {figure: estimates[at, column], f"{figure}_low": low, f"{figure}_high": high}
        found.append(row)
    return pd.DataFrame(found)

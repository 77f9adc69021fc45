"""`python -m benchmarks.flat_table [--json]`: the estimator alone, on one flat table that this project did not make.

mlc_churn (5,000 customers × 19 columns, 14 % left) by five-fold stratified cross-validation, five times over: all that is
chosen is chosen inside the training folds. Beside it LightGBM as it comes and logistic regression, on the same folds.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models.classifier import BoosterClassifier
from training.metrics import auc, log_loss

TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlc_churn" / "mlc_churn.parquet"
LABEL, LEFT = "churn", "yes"
FOLDS = 5
REPEATS = 5
OURS = "booster"


def _logistic() -> Pipeline:
    words = make_column_selector(dtype_exclude="number")
    told = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("words", told, words), ("numbers", StandardScaler(), make_column_selector(dtype_include="number"))]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def contenders() -> dict[str, Any]:
    """Unfitted estimators by name: ours, LightGBM as it comes (which reads pandas categories itself), logistic regression."""
    return {OURS: BoosterClassifier(), "lightgbm": lgb.LGBMClassifier(n_jobs=1, verbose=-1), "logistic": _logistic()}


def measure(X: pd.DataFrame, y: np.ndarray, *, repeats: int, models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per model: mean AUC and log loss over all folds, the AUC's mean in each repeat, shapes picked, seconds.

    `ahead` is the mean over repeats of how much higher our AUC is, `ahead_folds` the share of folds in which it is higher.
    """
    splitter = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0)
    folds = list(splitter.split(X, y))
    aucs: dict[str, list[float]] = {name: [] for name in models}
    rows = []
    for name, model in models.items():
        began, losses, shapes = time.perf_counter(), [], []
        for kept, held in folds:
            model.fit(X.iloc[kept], y[kept])
            p = model.predict_proba(X.iloc[held])[:, 1]
            aucs[name].append(auc(y[held], p))
            losses.append(log_loss(y[held], p))
            shapes.append(getattr(model, "shape_", None))
        rows.append(
            {
                "model": name,
                "auc": float(np.mean(aucs[name])),
                "auc_by_repeat": np.reshape(aucs[name], (repeats, FOLDS)).mean(axis=1).tolist(),
                "log_loss": float(np.mean(losses)),
                "ahead": float(np.mean(np.subtract(aucs[OURS], aucs[name]))),
                "ahead_folds": float(np.mean(np.greater(aucs[OURS], aucs[name]))),
                "shapes": {shape: shapes.count(shape) for shape in sorted({shape for shape in shapes if shape})},
                "seconds": round(time.perf_counter() - began, 1),
            }
        )
    return rows


def main() -> None:
    """Measure the table; --repeats of the five folds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    if not TABLE.is_file():
        sys.exit(f"{TABLE} is not there: these figures need the data sets beside the project")
    table = pd.read_parquet(TABLE)
    y = (table.pop(LABEL) == LEFT).to_numpy(dtype=np.float64)
    rows = measure(table, y, repeats=options.repeats, models=contenders())
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        shapes = ", ".join(f"{name} {count}" for name, count in row["shapes"].items())
        print(
            f"{row['model']:9} AUC {row['auc']:.4f}  log loss {row['log_loss']:.4f}  {row['seconds']:6.1f} s  "
            f"ours ahead by {row['ahead']:+.4f}, in {row['ahead_folds']:.0%} of folds  {shapes}"
        )


if __name__ == "__main__":
    main()

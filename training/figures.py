"""The pictures of a training run. Each figure's label says in words what it shows, for those who do not see it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.booster import BoosterModel
from models.hazard import settled, step_count
from models.matrix import FloatArray
from models.outcome import OutcomeModel
from models.profile import Profile
from training import metrics
from training.intervals import bootstrap, percentile_interval
from training.reliability import reliability_bins
from training.rows import Rows
from training.watching import LARGE, SCORE, novelty

_DRAWS = 200
_SEED = 0
_LEADING = 20
#: Rows whose curves are drawn at most: so many give the mean of a group to a line's breadth.
_CURVES = 5_000
_BESIDE = ("booster", "logistic", "health_score")
_RANKED = ("booster", "logistic", "tenure_calendar", "recency", "health_score")


def reliability(test: pd.DataFrame, served: str) -> Figure:
    """Observed against predicted by tenths of the risk, with 95 % intervals by account for the model `served` (a column)."""
    figure, axes = _empty((5.5, 5.5))
    for name in (each for each in _BESIDE if each in test):
        bins = reliability_bins(test["label"], test[name], test["account_id"], draws=_DRAWS, seed=_SEED)
        line = axes.plot(bins["mean_p"], bins["rate"], marker="o" if name == served else ".", label=name)[0]
        if name == served:
            error = (bins["rate"] - bins["rate_low"], bins["rate_high"] - bins["rate"])
            axes.errorbar(bins["mean_p"], bins["rate"], yerr=error, fmt="none", color=line.get_color(), capsize=3)
            top = bins.iloc[-1]
            figure.set_label(
                f"Reliability on the test period: in the highest tenth {served} predicts {top['mean_p']:.1%} and "
                f"{top['rate']:.1%} came true (95 % interval {top['rate_low']:.1%} to {top['rate_high']:.1%})."
            )
    top_of_both = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, top_of_both], [0, top_of_both], color="grey", linestyle=":")
    axes.set(xlabel="predicted", ylabel="observed", title="Reliability on the test period")
    axes.legend()
    return figure


def gains(test: pd.DataFrame, served: str) -> Figure:
    """Share of the outcome caught by the share of accounts looked at, highest risk first."""
    figure, axes = _empty((6, 4))
    share = np.arange(1, len(test) + 1) / len(test)
    for name in (each for each in _RANKED if each in test):
        caught = test.sort_values(name, ascending=False, kind="stable")["label"].cumsum() / max(test["label"].sum(), 1)
        axes.plot(share, caught, label=name)
        if name == served:
            tenth = float(np.interp(0.1, share, caught))
            figure.set_label(f"Gains on the test period: the highest tenth by {served} holds {tenth:.0%} of the outcome.")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="share of accounts looked at", ylabel="share of the outcome caught", title="Gains on the test period")
    axes.legend()
    return figure


def auc_by_date(test: pd.DataFrame, served: str) -> Figure:
    """AUC at each date of the test period with its 95 % interval by account; dates with one class alone are left out."""
    figure, axes = _empty((6, 4))
    found = []
    for as_of in pd.DatetimeIndex(test["as_of"].unique()).sort_values():
        rows = test[test["as_of"] == as_of]
        if rows["label"].nunique() < 2:
            continue
        found.append((as_of, *_auc(rows, served)))
    if found:
        dates, values, low, high = (np.array(each) for each in zip(*found, strict=True))
        axes.errorbar(dates.astype("datetime64[us]"), values, yerr=(values - low, high - values), fmt="o", capsize=3)
    axes.axhline(0.5, color="grey", linestyle=":")
    axes.set(xlabel="T", ylabel="AUC", title=f"AUC of {served} by test date")
    axes.tick_params(axis="x", rotation=30)
    told = "; ".join(f"{as_of.date()} {value:.3f} ({low:.3f} to {high:.3f})" for as_of, value, low, high in found)
    figure.set_label(f"AUC of {served} at each test date: {told or 'no date has both classes'}.")
    return figure


def _auc(rows: pd.DataFrame, served: str) -> tuple[float, float, float]:
    """AUC and its interval."""
    ranked, auc = metrics.ranked(rows["label"], rows[served]), metrics.BY_LABEL["auc"]
    drawn = bootstrap(lambda weight: auc(ranked.ranking(weight)), rows["account_id"], len(rows), draws=_DRAWS, seed=_SEED)
    return auc(ranked.ranking()), *percentile_interval(drawn)


def leading_features(model: OutcomeModel) -> Figure:
    """The features that the fit leans on most: a booster's gain, a logistic model's summed coefficients."""
    if isinstance(model.scorer, BoosterModel):
        weight = pd.Series(model.scorer.booster.feature_importance("gain"), index=list(model.scorer.columns))
    else:
        weight = pd.Series(
            {c: sum(abs(t.coefficient) for t in model.scorer.terms if t.column == c) for c in model.scorer.columns}
        )
    leading = weight.nlargest(_LEADING)
    figure, axes = _empty((7, 6))
    _bars(axes, leading)
    axes.set(title="Leading features")
    figure.set_label(f"Leading features, the heaviest first: {', '.join(map(str, leading.index[:5]))}.")
    return figure


def survival(tested: OutcomeModel, rows: Rows) -> Figure:
    """Predicted and observed survival of test rows by risk: the highest tenth, all, and the lower half.

    The prediction is for no new play; what was observed had the plays that were. Observed: the product of 1 − departures /
    accounts still there, step by step, over rows whose step is settled (Kaplan–Meier), with a 95 % interval by account.
    """
    some = rows.take(np.unique(np.linspace(0, len(rows) - 1, _CURVES).round().astype(np.intp)))
    steps = step_count(tested.step_days)
    predicted = tested.survival(some.frame, steps)
    risk = 1.0 - predicted[:, tested.horizon_days // tested.step_days - 1]
    days = np.arange(1, steps + 1) * tested.step_days
    groups = {
        "highest tenth": risk >= np.quantile(risk, 0.9),
        "all": np.ones(len(risk), dtype=bool),
        "lower half": risk <= np.quantile(risk, 0.5),
    }
    figure, axes = _empty((6.5, 4.5))
    told = []
    for number, (name, inside) in enumerate(groups.items()):
        members, mean = some.take(inside), predicted[inside].mean(axis=0)
        axes.plot([0, *days], [1.0, *mean], color=f"C{number}", label=name)
        observed, low, high = _observed(members, tested.step_days, steps)
        axes.errorbar(
            days, observed, yerr=(observed - low, high - observed), fmt="o", color=f"C{number}", capsize=3, markersize=4
        )
        at = tested.horizon_days // tested.step_days - 1
        told.append(f"{name}: predicted {mean[at]:.1%}, observed {observed[at]:.1%}")
    axes.set(xlabel="days after T", ylabel="still there", title="Survival on the test period: lines predicted, dots observed")
    axes.legend()
    figure.set_label(f"Survival after {tested.horizon_days} days on the test period. {'; '.join(told)}.")
    return figure


def _observed(rows: Rows, step_days: int, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Observed survival at the end of each step with its interval, each (steps,); nan where no row is settled so far."""
    origin, step, left = settled(rows.timeline, step_days, steps)

    def curve(weight: FloatArray) -> FloatArray:
        there = np.bincount(step, weight[origin], minlength=steps)
        gone = np.bincount(step, weight[origin] * left, minlength=steps)
        hazard = np.divide(gone, there, out=np.full(steps, np.nan), where=there > 0)
        return np.asarray(np.cumprod(1.0 - hazard), dtype=np.float64)

    found = curve(np.ones(len(rows)))
    drawn = bootstrap(curve, rows.accounts, len(rows), draws=_DRAWS, seed=_SEED)
    low, high = np.array([percentile_interval(column) for column in drawn.T]).T
    return found, np.fmin(low, found), np.fmax(high, found)


def months(profile: Profile) -> Figure:
    """How unlike any earlier month that was learnt each one lay: the predictions, then the heaviest inputs (stability index)."""
    heaviest = sorted(profile.weights, key=lambda name: (-profile.weights[name], name))[: _LEADING - 1]
    spreads = {SCORE: profile.score, **{name: profile.inputs[name] for name in heaviest}}
    effects = np.array([novelty(spread.table) for spread in spreads.values()])
    names, dates = list(spreads), [date[:7] for date in profile.dates]
    figure, axes = _empty((8, 6))
    image = axes.imshow(effects, cmap="Blues", vmin=0.0, vmax=2 * LARGE, aspect="auto")
    axes.set_yticks(range(len(names)), labels=names)
    axes.set_xticks(range(len(dates)), labels=dates, rotation=60)
    axes.set(title="How unlike any earlier month")
    figure.colorbar(image, ax=axes, label=f"PSI; from {LARGE} on it would be drift", extend="max")
    known = np.nan_to_num(effects)
    row, column = np.unravel_index(known.argmax(), known.shape)
    figure.set_label(
        f"How unlike any earlier month each month was that the model learnt from, of the predictions and the {len(heaviest)} "
        f"heaviest inputs: {int((known >= LARGE).any(axis=1).sum())} of these reached {LARGE} in some month; the most is "
        f"{known[row, column]:.2f}, of {names[row]} in {dates[column]}."
    )
    return figure


def _empty(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    return figure, figure.subplots()


def _bars(axes: Axes, values: pd.Series) -> None:
    """Horizontal bars, the first on top."""
    axes.barh([str(name) for name in values.index[::-1]], values.to_numpy(dtype=np.float64)[::-1])

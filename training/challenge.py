"""Challenger against champion: on the latest matured period, paired by account, by fits that saw no row of it.

Non-inferiority (ICH E9, 3.3.2): a challenger replaces the champion where it is shown to be no worse by more than a margin,
overall and in every segment with enough positives. Doubt keeps the champion. The margin is a share of the *effect*, what the
champion gains over the base rate: a share of the log loss itself would, where little can be predicted, let through a challenger
that predicts nothing. docs/registry.md has what the margins can see.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.catalogue import catalog
from models.outcome import OutcomeModel
from training.gate import LOWER_BOUND
from training.intervals import FloatArray, account_codes, bootstrap
from training.ranking import row_log_loss
from training.rows import Rows
from training.settings import ChallengeSettings

BoolArray = npt.NDArray[np.bool_]
State = Literal["unopposed", "passed", "failed", "undecided"]
#: With fewer accounts that have the outcome nothing is judged, as at the training gate.
FEWEST_ACCOUNTS = 5
#: Resamples of the accounts; a segment's p-value must be able to fall below Holm's smallest level.
DRAWS = 2000


@dataclass(frozen=True)
class Contender:
    """A version's fit as it was tested: it has seen no row from `test_from` on. `version`: its number in the registry, if any."""

    model: OutcomeModel
    test_from: pd.Timestamp
    version: int | None = None


@dataclass(frozen=True)
class Trial:
    """What a new version is compared by: its fit as it was tested, and the labelled rows of its test period.

    `rows` hold every column that either fit reads; those without a label are left out. `segments` (rows × columns, in the order
    of the rows) names each row's segment by column, null for none.
    """

    challenger: Contender
    rows: Rows
    segments: pd.DataFrame
    settings: ChallengeSettings = field(default_factory=ChallengeSettings)
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """What came of it: `state`, and why, in plain sentences.

    `unopposed`: there is no champion to compare with, so that the training gate alone decides; `passed`: no worse; `failed`: not
    shown to be no worse; `undecided`: too little to compare by, and a person decides. `champion` is the version that was
    challenged; `period`, `overall` and `segments` hold the figures (log loss in nats a row; gain > 0: the challenger is better).
    """

    state: State
    reasons: list[str]
    champion: int | None = None
    period: dict[str, Any] = field(default_factory=dict)
    overall: dict[str, Any] = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the challenger may replace the champion by itself.

        >>> Comparison("unopposed", []).passed, Comparison("undecided", []).passed
        (True, False)
        """
        return self.state in ("unopposed", "passed")

    @property
    def record(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return asdict(self) | {"passed": self.passed}


def unopposed(reason: str, champion: int | None = None) -> Comparison:
    """Return what a version is told that has no opponent."""
    return Comparison("unopposed", [reason, "The training gate alone decides."], champion)


def undecided(reason: str, champion: int | None, period: dict[str, Any] | None = None) -> Comparison:
    """Return what a version is told that cannot be compared."""
    return Comparison("undecided", [reason, "The champion stays, unless a person promotes this version."], champion, period or {})


def compare(champion: Contender, trial: Trial) -> Comparison:
    """Compare the champion's tested fit with the trial's, on the rows of the trial that neither has seen.

    A champion that today's code cannot ask any more, or that answers another question, is no opponent. ValueError where
    `segments` has another length than the rows.
    """
    if len(trial.segments) != len(trial.rows):
        raise ValueError(f"segments has {len(trial.segments)} rows for {len(trial.rows)} of the trial; give one per row")
    challenger = trial.challenger
    no_opponent = _no_opponent(champion.model, challenger.model)
    if no_opponent:
        return unopposed(no_opponent, champion.version)
    start = max(champion.test_from, challenger.test_from)
    matured = (trial.rows.timeline["as_of"] >= start).to_numpy(dtype=bool) & ~np.isnan(trial.rows.y)
    rows, segments = trial.rows.take(matured), trial.segments[matured].reset_index(drop=True)
    period = _period(rows, start)
    too_little = _too_little(champion.model, rows, start)
    if too_little:
        return undecided(too_little, champion.version, period)
    loss = np.column_stack([row_log_loss(rows.y, fit.model.probability(rows.frame)) for fit in (champion, challenger)])
    parts = _parts(segments, rows.y, rows.accounts, trial.settings.segment_positives)
    figures = _figures(loss, rows, parts, trial)
    overall, others = figures[0], figures[1:]
    adjusted = holm([each["p"] for each in others])
    others = [each | {"p_holm": p, "no_worse": p <= LOWER_BOUND} for each, p in zip(others, adjusted, strict=True)]
    overall["no_worse"] = overall["gain_low"] >= -overall["margin"]
    worse = [each for each in others if not each["no_worse"]]
    passed = overall["no_worse"] and not worse
    reasons = [_told_period(period), _told_overall(overall, trial.settings), *_told_segments(others, worse, trial.settings)]
    reasons.append("The challenger is no worse." if passed else "The champion stays: in doubt nothing is replaced.")
    return Comparison("passed" if passed else "failed", reasons, champion.version, period, overall, others)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979): those at most α are rejected, with α the risk of one false rejection in all.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(p) for p in adjusted]


def _no_opponent(champion: OutcomeModel, challenger: OutcomeModel) -> str | None:
    """Why the champion cannot be asked what the challenger is asked."""
    if champion.event != challenger.event:
        return f"The champion reads churn by {champion.event}, the challenger by {challenger.event}: there is no common question."
    gone = sorted({*champion.inputs} - {*catalog(champion.product_features)})
    if gone:
        return f"The champion reads {', '.join(gone[:5])}{' …' if len(gone) > 5 else ''}, which is no feature any more."
    return None


def _too_little(champion: OutcomeModel, rows: Rows, start: pd.Timestamp) -> str | None:
    """Why nothing can be judged by these rows."""
    lacking = [name for name in champion.inputs if name not in rows.frame.columns]
    if lacking:
        return f"The rows were built without what the champion reads: {', '.join(lacking[:5])}{' …' if len(lacking) > 5 else ''}."
    found = rows.positive_accounts()
    if found < FEWEST_ACCOUNTS:
        return (
            f"From {start.date()} on, which neither fit has seen, {found} accounts with the outcome have matured; "
            f"at least {FEWEST_ACCOUNTS} are needed to compare."
        )
    return None


def _parts(
    segments: pd.DataFrame, y: FloatArray, accounts: npt.NDArray[np.object_], fewest_positives: int
) -> list[tuple[str, str, BoolArray]]:
    """Return column, name and rows of each segment with enough positives, and accounts behind them, that is not all there is."""
    found = []
    for column in segments.columns:
        for name in sorted(segments[column].dropna().unique(), key=str):
            inside = segments[column].eq(name).fillna(False).to_numpy(dtype=bool)
            positive = inside & (y > 0)
            if not inside.all() and positive.sum() >= fewest_positives and len(set(accounts[positive])) >= FEWEST_ACCOUNTS:
                found.append((str(column), str(name), inside))
    return found


def _figures(loss: FloatArray, rows: Rows, parts: Sequence[tuple[str, str, BoolArray]], trial: Trial) -> list[dict[str, Any]]:
    """Gain, margin and the one-sided p-value of "worse by more than the margin": overall, then of each part.

    `loss` (rows × 2): log loss of the champion and of the challenger.
    """
    members = np.column_stack([np.ones(len(rows), dtype=bool), *(inside for _, _, inside in parts)])
    entropy = np.array([_entropy(rows.y[inside]) for inside in members.T])
    # The share of the base rate's log loss that the champion saves overall: in a small part it would be a matter of luck.
    effect = max(1.0 - loss[:, 0].mean() / entropy[0], 0.0)
    shares = np.array([trial.settings.margin, *(trial.settings.segment_margin for _ in parts)])
    margins = shares * effect * entropy
    codes, count = account_codes(rows.accounts, len(rows))
    gains, sizes = np.zeros((count, members.shape[1])), np.zeros((count, members.shape[1]))
    np.add.at(gains, codes, (loss[:, 0] - loss[:, 1])[:, None] * members)
    np.add.at(sizes, codes, members)

    def means(weight: FloatArray) -> FloatArray:
        drawn = weight @ sizes
        return np.divide(weight @ gains, drawn, out=np.full(len(drawn), -np.inf), where=drawn > 0)

    draws = max(DRAWS, int(2 * len(parts) / LOWER_BOUND))
    resampled = bootstrap(means, np.arange(count), count, draws=draws, seed=trial.seed)
    low = np.quantile(resampled, LOWER_BOUND, axis=0)
    p_values = (1 + (resampled < -margins).sum(axis=0)) / (draws + 1)
    found = []
    for at, (column, name, inside) in enumerate([("", "", members[:, 0]), *parts]):
        found.append(
            ({"by": column, "segment": name} if column else {})
            | {
                "rows": int(inside.sum()),
                "positives": int(rows.y[inside].sum()),
                "champion_log_loss": float(loss[inside, 0].mean()),
                "challenger_log_loss": float(loss[inside, 1].mean()),
                "gain": float((loss[inside, 0] - loss[inside, 1]).mean()),
                "gain_low": float(low[at]),
                "margin": float(margins[at]),
                "p": float(p_values[at]),
            }
        )
    return found


def _entropy(y: FloatArray) -> float:
    """Log loss of the rows' own base rate, in nats a row."""
    return float(row_log_loss(y, np.full(len(y), y.mean())).mean())


def _period(rows: Rows, start: pd.Timestamp) -> dict[str, Any]:
    as_of = rows.timeline["as_of"]
    return {
        "from": start.isoformat(),
        "to": as_of.max().isoformat() if len(rows) else start.isoformat(),
        "rows": len(rows),
        "accounts": len(set(rows.accounts)),
        "positives": int(rows.y.sum()),
    }


def _told_period(period: dict[str, Any]) -> str:
    return (
        f"Compared on {period['rows']} rows of {period['accounts']} accounts ({period['positives']} positive) "
        f"from {period['from'][:10]} to {period['to'][:10]}, of which neither fit has seen one."
    )


def _told_overall(overall: dict[str, Any], settings: ChallengeSettings) -> str:
    return (
        f"The challenger's log loss is {abs(overall['gain']):.5f} a row {'below' if overall['gain'] >= 0 else 'above'} "
        f"the champion's; the lower 95 % bound of the gain is {overall['gain_low']:+.5f}, with {-overall['margin']:+.5f} allowed "
        f"({settings.margin:.0%} of what the champion gains over the base rate): "
        f"{'no worse' if overall['no_worse'] else 'not shown to be no worse'}."
    )


def _told_segments(segments: Sequence[dict[str, Any]], worse: Sequence[dict[str, Any]], settings: ChallengeSettings) -> list[str]:
    if not segments:
        return [f"No segment has {settings.segment_positives} positives."]
    if not worse:
        return [f"No worse in any of the {len(segments)} segments with at least {settings.segment_positives} positives (Holm)."]
    return [
        f"Not shown to be no worse where {each['by']} is {each['segment']} ({each['positives']} positives): "
        f"gain {each['gain']:+.5f}, {-each['margin']:+.5f} allowed, one-sided p {each['p']:.3f}, after Holm {each['p_holm']:.3f}."
        for each in worse
    ]

"""A model's whole answer for a frame of features, for those who score by the model alone and not through the service."""

import json

import pandas as pd

from features.catalogue import catalog
from models.column_diff import column_diff
from models.explain import reasons
from models.matrix import KEY
from models.outcome import OutcomeModel
from models.sentences import LANGUAGES, Language

#: Horizons in days at which a curve is read, beside the model's own (domain.md §4).
HORIZONS = (30, 90, 180)
REASONS = "reasons"


class QuestionError(ValueError):
    """A frame, or what is asked of it, that cannot be answered."""


def answer_columns(model: OutcomeModel) -> tuple[str, ...]:
    """Return the numeric columns of `answer`, in order; the reasons, a text, stand after them.

    A curve is there for churn alone, and only at whole steps.
    """
    return ("probability", "low", "high", "base_rate", *(f"probability_{days}d" for days in _on_the_curve(model)))


def answer(model: OutcomeModel, frame: pd.DataFrame, *, explained: bool = True, language: Language = "en") -> pd.DataFrame:
    """Return one row per row of `frame` (columns of the catalogue, in any order), on its index.

    probability with its 90 % interval low … high (contraction, expansion: given that the account stays); base_rate, the share in
    training; for churn probability_30d, _90d and _180d on the curve; reasons, a JSON text (interface.md "reasons") in `language`,
    null unless `explained`. The account's earlier values and its peers' are not known here, so no sentence names them.
    QuestionError where the frame's columns are not those that the model reads, with the difference.
    """
    if language not in LANGUAGES:
        raise QuestionError(f"language is {language!r}; give one of {', '.join(LANGUAGES)}")
    check_frame(model, frame)
    given = frame[list(model.inputs)]
    p = model.probability(given)
    low, high = model.precision.interval(p)
    found = pd.DataFrame({"probability": p, "low": low, "high": high}, index=frame.index)
    found["base_rate"] = model.base_rates[model.horizon_days]
    if horizons := _on_the_curve(model):
        survival = model.survival(given, max(horizons) // model.step_days)
        for days in horizons:
            found[f"probability_{days}d"] = 1.0 - survival[:, days // model.step_days - 1]
    told = _reasons(model, given, language) if explained else [None] * len(frame)
    found[REASONS] = pd.Series(told, index=frame.index, dtype=object)
    return found


def check_frame(model: OutcomeModel, frame: pd.DataFrame) -> None:
    """Raise QuestionError with the difference where a frame's columns are not those that the model reads.

    What says whose row it is, and features of the catalogue that the model does without, may be there.
    """
    diff = column_diff(frame, model.inputs, known={*catalog(model.product_features), *KEY})
    if diff:
        raise QuestionError(
            f"the frame's columns differ from the {len(model.inputs)} that the model reads: {diff}. "
            f"Build them with features.build(tables, spine, {model.product_features!r}), nan where a value is not known"
        )


def _on_the_curve(model: OutcomeModel) -> tuple[int, ...]:
    return tuple(days for days in HORIZONS if days % model.step_days == 0) if model.outcome == "churn" else ()


def _reasons(model: OutcomeModel, given: pd.DataFrame, language: Language) -> list[str]:
    records = reasons(
        model.explain(given),
        catalog(model.product_features),
        given,
        outcome=model.outcome,
        horizon_days=model.horizon_days,
        language=language,
    )
    return [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records]

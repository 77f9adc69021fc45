"""A scorer as texts: LightGBM's own format or a linear model's JSON, and beside a booster the prior that it was started from."""

from collections.abc import Mapping
from typing import Any

from models.booster import BoosterModel
from models.booster_text import check_booster_text
from models.linear import LinearModel
from models.prior import Prior, Scorer

_BOOSTER, _LINEAR = "booster.txt", "linear.json"
#: Goes before the names of a prior's files; a base model may have a prior of its own.
_OF_PRIOR = "prior-"


def scorer_to_files(scorer: Scorer, before: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Return what to write down of a scorer, as JSON holds it, and its texts by file name, `before` put before each."""
    if isinstance(scorer, LinearModel):
        return {}, {before + _LINEAR: scorer.to_json()}
    if not isinstance(scorer, BoosterModel):
        raise TypeError(f"scorer is a {type(scorer).__name__}; only boosters and linear models are kept as texts")
    described: dict[str, Any] = {"columns": scorer.columns}
    files = {before + _BOOSTER: scorer.text}
    if scorer.prior is not None:
        inner, more = scorer_to_files(scorer.prior.scorer, before + _OF_PRIOR)
        prior = {"kind": scorer.prior.kind, "slope": scorer.prior.slope, "shift": scorer.prior.shift, "scorer": inner}
        described["prior"], files = prior, files | more
    return described, files


def scorer_from_files(described: dict[str, Any], files: Mapping[str, str], before: str = "") -> BoosterModel | LinearModel:
    """Read what `scorer_to_files` gave, and take it out of `described`; ValueError where a text is missing or damaged."""
    booster, linear = files.get(before + _BOOSTER), files.get(before + _LINEAR)
    columns, stored = tuple(described.pop("columns", ())), described.pop("prior", None)
    if linear is not None:
        return LinearModel.from_json(linear)
    if booster is None:
        given = ", ".join(sorted(files))
        raise ValueError(f"the model's files are {given}; needed: {before}{_BOOSTER} or {before}{_LINEAR}")
    check_booster_text(booster, len(columns))
    if stored is None:
        return BoosterModel(columns, booster)
    scorer = scorer_from_files(stored.pop("scorer"), files, before + _OF_PRIOR)
    return BoosterModel(columns, booster, Prior(scorer=scorer, **stored))

"""What of a scored account goes into history: every number, no identity, no text.

Sentences are left out because they are worded from the numbers, in the reader's language; names and contacts because
history is never rewritten, and must outlive the erasure of a person. The lists are complete on purpose: a new field is
refused until it is entered on one side.
"""

import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from serving.store.instants import utc

#: Fields of a scored account that history keeps inside `record`.
KEPT = frozenset(
    {
        *("tier", "stage", "leaving", "health", "predictions", "curve", "reasons", "play"),
        *("arr", "arr_at_risk", "expected_lifetime_value", "renewal", "disagreement"),
    }
)
#: Kept in columns of their own, or in `accounts`.
_IN_COLUMNS = frozenset({"account_id", "name", "csm", "as_of", "versions"})
#: Fields that history leaves out.
LEFT_OUT = frozenset({"contacts"})
#: Fields of a driver and of a play: kept, left out.
DRIVER = (
    frozenset({"driver", "direction", "contribution", "feature", "value", "before", "peers"}),
    frozenset({"text"}),
)
PLAY = (frozenset({"name", "expected_value", "beaten", "assignment"}), frozenset({"why"}))
#: Figures, and figures of a renewal, that the earliest scores in a history may lack.
_LATER: Mapping[str, None] = {"expected_lifetime_value": None}
_LATER_OF_RENEWAL: Mapping[str, None] = dict.fromkeys(("expected_arr", "expected_arr_low", "expected_arr_high"))
#: What may stand in a decision's `known`.
KNOWN = KEPT | {"probabilities", "drivers", "versions"}
#: `p_churn` is the probability at this horizon (domain.md §4: reasons and plays look at 90 days).
CHURN_HORIZON_DAYS = 90


class Json(str):
    """Text that is JSON already, checked where its owner could still be named."""

    __slots__ = ()


def columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row of `scores` that come out of one scored account (all but keys and scored_at).

    Raises ValueError, naming account and field, for a field that is not declared here or that JSON cannot hold.
    """
    account = f"account {record.get('account_id')!r}"
    if record.get("as_of") is None:
        raise ValueError(f"{account}: the scored account has no as_of; give the instant that it speaks of")
    kept = _without_text(_only(record, KEPT, _IN_COLUMNS | LEFT_OUT, account), account)
    health = kept.get("health") or {}
    stored = {
        "versions": _json(record.get("versions") or {}, f"{account}, versions"),
        "record": _json(kept, account),
    }
    return {
        "as_of": utc(record["as_of"]),
        "health_score": _or_none(int, health.get("score")),
        "band": health.get("band"),
        "p_churn": _or_none(float, _p_churn(kept.get("predictions") or [])),
        "arr_at_risk": _or_none(float, kept.get("arr_at_risk")),
        **stored,
    }


def whole(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `columns` kept as `record`, also of a score made before some figure existed: there it is null."""
    record = {**_LATER, **kept}
    if renewal := record.get("renewal"):
        record["renewal"] = {**_LATER_OF_RENEWAL, **renewal}
    return record


def known(facts: Mapping[str, Any], account_id: str) -> Json:
    """Return what was known at a decision, without text; ValueError for a field outside KNOWN, or that JSON cannot hold."""
    account = f"account {account_id!r}, what was known"
    kept = _without_text(_only(facts, KNOWN, frozenset(), account), account)
    if kept.get("drivers"):
        kept["drivers"] = [_only(driver, *DRIVER, account) for driver in kept["drivers"]]
    return _json(kept, account)


def candidates(plays: list[dict[str, Any]], account_id: str) -> Json:
    """Return the plays considered at a decision; ValueError for what JSON cannot hold."""
    return _json(plays, f"account {account_id!r}, candidates")


def to_json(value: Any) -> str:
    """Return `value` as JSON; NumPy's numbers and instants included, ValueError for NaN, TypeError for other objects."""
    if isinstance(value, Json):
        return value
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return utc(value).isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} has no JSON form")


def _json(value: Any, owner: str) -> Json:
    try:
        return Json(to_json(value))
    except (TypeError, ValueError) as error:
        where, misfit = _misfit(value, "")
        raise ValueError(f"{owner}: {where} is {misfit!r}, which JSON cannot hold; a missing value is null (None)") from error


def _misfit(value: Any, path: str) -> tuple[str, Any]:
    """Return path and value of the first innermost part that JSON cannot hold."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in parts:
        try:
            to_json(part)
        except (TypeError, ValueError):
            return _misfit(part, f"{path}.{name}".removeprefix("."))
    return path, value


def _only(fields: Mapping[str, Any], kept: frozenset[str], left_out: frozenset[str], owner: str) -> dict[str, Any]:
    """Return a copy with the kept fields; ValueError where one is neither kept nor left out."""
    copy = dict(fields)
    for name in left_out:
        copy.pop(name, None)
    if not copy.keys() <= kept:
        raise ValueError(
            f"{owner}: field {', '.join(sorted(copy.keys() - kept))} is not declared; "
            f"declared: {', '.join(sorted(kept | left_out))}. Enter it in serving/store/scored_account.py "
            "as kept (a number) or left out (a name or text)"
        )
    return copy


def _without_text(fields: dict[str, Any], owner: str) -> dict[str, Any]:
    """Return the fields with the sentences taken out of reasons and play; the caller's record stays as it is."""
    if reasons := fields.get("reasons"):
        drivers = [_only(driver, *DRIVER, owner) for driver in reasons.get("drivers") or []]
        fields["reasons"] = {**reasons, "drivers": drivers}
    if play := fields.get("play"):
        fields["play"] = _only(play, *PLAY, owner)
    return fields


def _p_churn(predictions: list[dict[str, Any]]) -> Any:
    for prediction in predictions:
        if prediction["outcome"] == "churn" and prediction["horizon_days"] == CHURN_HORIZON_DAYS:
            return prediction["probability"]
    return None


def _or_none(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)

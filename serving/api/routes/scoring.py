"""`POST /v1/score` and what-if: scores made now, which are told and not kept."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import TypeAdapter, ValidationError

from models.sentences import Language
from serving.api.dependencies import LanguageOf, Reader, ServiceOf, only_own
from serving.api.paging import answered
from serving.api.problems import Problem, documented
from serving.api.routes.accounts import AccountId
from serving.api.schemas.scoring import AccountToScore, ScoreAnswer, ScoreRequest, WhatIfAnswer, WhatIfRequest
from serving.api.service import Service
from serving.on_demand import LateError
from serving.principal import Principal

router = APIRouter(prefix="/v1", tags=["scoring"])
_ROW = TypeAdapter(AccountToScore)
Row = dict[str, Any]


@router.post("/score", response_model=ScoreAnswer, responses=documented(400, 401, 403, 413, 422, 429, 503))
def score_accounts(
    request: Request, service: ServiceOf, principal: Reader, language: LanguageOf, asked: Annotated[ScoreRequest, Body()]
) -> Response:
    """Score 1 to 1,000 accounts, by id from the stored history or by features given inline; one bad row fails alone.

    Of an account's history everything is read that had happened and was recorded before `as_of`, events that arrived a moment
    ago included. With inline features, those not given are unknown, and so are earlier values and peers.
    """
    inline: dict[int, Row] = {}
    by_id: dict[int, str] = {}
    errors: list[Row] = []
    for index, row in enumerate(asked.accounts):
        try:
            read = _ROW.validate_python(row)
        except ValidationError as error:
            errors.append(_error(index, row, "invalid", _first(error)))
            continue
        if read.account_id is not None:
            by_id[index] = read.account_id
        else:
            inline[index] = read.features or {}
    items = _inline(service, inline, asked, asked.language or language, errors)
    if by_id:
        items |= _of_history(service, principal, by_id, asked, asked.language or language, errors)
    service.metrics.scored(list(items.values()))
    ordered = [{"index": index, **items[index]} for index in sorted(items)]
    return answered(request, {"items": ordered, "errors": sorted(errors, key=lambda error: error["index"])})


@router.post(
    "/accounts/{account_id}/what-if", response_model=WhatIfAnswer, responses=documented(400, 401, 403, 404, 413, 422, 429, 503)
)
def what_if(
    request: Request,
    service: ServiceOf,
    principal: Reader,
    account_id: AccountId,
    language: LanguageOf,
    asked: Annotated[WhatIfRequest, Body()],
) -> Response:
    """The account as it was scored, and as the models in use would score it with some features changed."""
    only_own(principal, account_id, service.store.csm_of(account_id))
    inputs = service.store.inputs.read(account_id, as_of=asked.as_of)
    if inputs is None:
        raise Problem(
            404,
            "no-inputs",
            "Nothing to change",
            f"what account {account_id!r} was scored from is not stored for that instant; score it with `kunto score` first",
        )
    scorer = service.scorer
    answer, problem = scorer.what_if(
        inputs.features, inputs.facts, asked.features, inputs.as_of, account_id=account_id, language=asked.language or language
    )
    if problem is not None:
        raise Problem(422, "columns-differ", "Columns differ", problem.detail, unknown=problem.unknown, expected=problem.expected)
    return answered(request, answer)


def _inline(service: Service, rows: dict[int, Row], asked: ScoreRequest, language: Language, errors: list[Row]) -> dict[int, Row]:
    if not rows:
        return {}
    places = list(rows)
    as_of = asked.as_of or service.clock()
    records, problems = service.scorer.score(list(rows.values()), as_of, language=language)
    failed = {problem.index for problem in problems}
    for problem in problems:
        members = {"unknown": problem.unknown, "missing": problem.missing, "expected": problem.expected}
        errors.append(_error(places[problem.index], {}, "columns_differ", problem.detail) | members)
    good = [place for number, place in enumerate(places) if number not in failed]
    return dict(zip(good, records, strict=True))


def _of_history(
    service: Service, principal: Principal, rows: dict[int, str], asked: ScoreRequest, language: Language, errors: list[Row]
) -> dict[int, Row]:
    try:
        found, known = service.score_accounts(sorted(set(rows.values())), asked.as_of, language)
    except LateError as error:
        raise Problem(422, "after-the-data", "After the data", str(error)) from None
    items = {}
    for index, account_id in rows.items():
        record = found.get(account_id)
        if account_id not in known or (record is not None and principal.csm not in (None, record["csm"])):
            told = f"account {account_id!r} is in no row of the source; check the id"
            errors.append(_error(index, {"account_id": account_id}, "unknown_account", told))
        elif record is None:
            told = f"account {account_id!r} is not active and observed at that instant, so there is nothing to score"
            errors.append(_error(index, {"account_id": account_id}, "not_active", told))
        else:
            items[index] = record
    return items


def _error(index: int, row: Any, kind: str, detail: str) -> Row:
    given = row.get("account_id") if isinstance(row, dict) else None
    # half a surrogate pair is JSON, but no text that could be sent back
    told = given.encode("utf-8", "backslashreplace").decode() if isinstance(given, str) else None
    named = {"index": index, "account_id": told}
    return named | {"kind": kind, "detail": detail, "unknown": {}, "missing": [], "expected": None}


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    where = ".".join(map(str, found["loc"]))
    return f"{where}: {found['msg']}" if where else str(found["msg"]).removeprefix("Value error, ")

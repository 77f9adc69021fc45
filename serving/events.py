"""Events of the source tables as other systems send them: their models, made from the contract, and one line read by them.

>>> line = b'{"event_id": "e1", "table": "tickets", "account_id": "A", "ticket_id": "T", "opened_at": "2026-03-01T10:00+02:00"}'
>>> event = read(line, latest=datetime(2026, 3, 2))
>>> event.occurred_at, event.payload
(datetime.datetime(2026, 3, 1, 8, 0), '{"ticket_id":"T","opened_at":"2026-03-01T08:00:00"}')
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from hashlib import blake2b
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from features.catalogue.voice import _SCALES as SURVEY_SCALES  # a survey's scale by its kind (domain.md §2)
from features.contract import DECIMAL_SCALE, RECORDED_AT, TABLES, Column, Table
from serving.store.instants import utc
from serving.store.intake_records import Event

#: The tables whose rows are events that other systems see happen.
EVENT_TABLES = ("usage", "tickets", "surveys", "touchpoints")
#: How far a sender's clock may be ahead.
AHEAD = timedelta(minutes=5)
#: Beyond these a number is a mistake, and sums of it would leave the 64 bits of an integer, the 24 digits of a decimal.
_LARGEST = 10**12
_LONGEST_ID, _LONGEST_TEXT, _LONGEST_TOLD = 200, 10_000, 300
_MOST_TOLD = 3
_PLACES = Decimal(1).scaleb(-DECIMAL_SCALE)
#: Columns that come in an event under its own rules, not as columns of its table.
_OWN = ("event_id", "table", RECORDED_AT.name)


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("give ISO 8601 text such as 2026-03-01T08:00:00Z")
    try:
        return utc(value)
    except OverflowError:
        raise ValueError(f"{value!r} lies outside the years 1 to 9999 in UTC") from None


def _to_places(value: Decimal) -> Decimal:
    """Round as the loader does, so that an equal value is an equal text."""
    return (value + 0).quantize(_PLACES, ROUND_HALF_UP)


_Id = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT, pattern=r"^[^\x00]+$")]
#: ISO 8601 text, read as naive UTC.
Instant = Annotated[datetime, BeforeValidator(_instant, json_schema_input_type=datetime)]


def _type(column: Column, table: Table) -> Any:
    """Return the type of a column's values; bounds and lists of allowed values are the contract's."""
    if column.allowed:
        return Literal[column.allowed]
    if column.kind == "text":
        return _Id if column.name in table.key or column.name.endswith("_id") else _Text
    if column.kind == "time":
        return Instant
    if column.kind == "boolean":
        return bool
    low = -_LARGEST if column.low is None else column.low
    high = _LARGEST if column.high is None else column.high
    if column.kind == "integer":
        return Annotated[int, Field(ge=low, le=high)]
    return Annotated[Decimal, Field(ge=low, le=high, allow_inf_nan=False), AfterValidator(_to_places)]


class _Event(BaseModel):
    """An event of any table; unknown columns are refused, text is trimmed, null is the same as left out."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    event_id: _Id = Field(exclude=True, description="Unique within the table: delivered again the event counts once")


def _model(table: Table) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "table": (Literal[table.name], Field(exclude=True)),
        "account_id": (_Id, Field(exclude=True)),
    }
    for column in table.columns:
        if column.name in fields or column.name in _OWN:
            continue
        kind = _type(column, table)
        fields[column.name] = (kind, ...) if column.required else (kind | None, None)
    return create_model(f"{table.name.title()}Event", __base__=_Event, __doc__=f"One row of {table.name}.", **fields)


#: The model of each table's events.
MODELS: Mapping[str, type[BaseModel]] = {name: _model(TABLES[name]) for name in EVENT_TABLES}
#: An event of any table, told apart by `table`.
AnyEvent: Any = Annotated[reduce(or_, MODELS.values()), Field(discriminator="table")]  # type: ignore[arg-type]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyEvent)
_PERSON = {
    name: next((column.name for column in TABLES[name].columns if column.personal and column.name.endswith("_id")), None)
    for name in EVENT_TABLES
}


def read(line: bytes, latest: datetime) -> Event:
    """Return the event of one JSON text; `latest` is the last instant at which it may have happened.

    Raises ValueError where it is none; `problem` words it.
    """
    event = _ADAPTER.validate_json(line)
    table = TABLES[event.table]
    values: dict[str, Any] = event.__dict__
    if table.name == "surveys":
        _complete_survey(values)
    occurred_at = values[table.event]
    if occurred_at is None:
        raise ValueError(f"{table.event}: give the instant at which it happened")
    if occurred_at > latest:
        raise ValueError(
            f"{table.event}: {occurred_at.isoformat()} lies in the future; allowed is up to {latest.isoformat()} UTC, "
            "so send it when it has happened, and look at the sender's clock and zone"
        )
    for later, earlier in table.not_before:
        if values[later] is not None and values[earlier] is not None and values[later] < values[earlier]:
            raise ValueError(
                f"{later}: {values[later].isoformat()} lies before {earlier} {values[earlier].isoformat()}; correct one"
            )
    payload = event.model_dump_json(exclude_none=True)
    digest = blake2b(f"{event.account_id}\n{payload}".encode(), digest_size=16).digest()
    person = _PERSON[table.name]
    return Event(
        table.name,
        event.event_id,
        event.account_id,
        None if person is None else values[person],
        occurred_at,
        payload,
        digest,
    )


def _complete_survey(values: dict[str, Any]) -> None:
    """Read a missing sent_at from responded_at, and refuse an answer above its scale, as the loader does."""
    if values["sent_at"] is None:
        values["sent_at"] = values["responded_at"]
    top = values["scale_max"] or SURVEY_SCALES[values["kind"]][1]
    if values["score"] is not None and values["score"] > top:
        raise ValueError(
            f"score: {values['score']:f} is above {top}, the top of {values['kind']}; correct kind, or give scale_max"
        )


def problem(error: ValueError) -> str:
    """Word why a line is no event: what was wrong, with its value, and what is allowed.

    >>> try: read(b'{"event_id": "e1", "table": "usage", "account_id": "A1", "occurred_at": "soon"}', datetime(2026, 3, 2))
    ... except ValueError as error: print(problem(error))  # doctest: +ELLIPSIS
    feature: missing; usage needs account_id, feature, occurred_at; occurred_at: 'soon' is no instant; ...
    """
    if not isinstance(error, ValidationError):
        return str(error)
    errors = error.errors(include_url=False, include_context=False)
    told = [_told(item) for item in errors[:_MOST_TOLD]]
    more = f"; and {len(errors) - _MOST_TOLD} more" if len(errors) > _MOST_TOLD else ""
    return "; ".join(told) + more


def _told(item: Any) -> str:
    place = [str(part) for part in item["loc"]]
    kind = item["type"]
    if kind == "json_invalid":
        return f"not JSON: {item['msg'].removeprefix('Invalid JSON: ')}; write one object on one line"
    if len(place) < 2:  # no object, or of no table
        return f"table: give one of {', '.join(EVENT_TABLES)} in an object of event_id, table, account_id and its columns"
    table, column = TABLES[place[0]], ".".join(place[1:])
    if kind == "missing":
        return f"{column}: missing; {table.name} needs {', '.join(table.required)}"
    if kind == "extra_forbidden":
        if column == RECORDED_AT.name:
            return f"{column}: leave it out; it is the instant at which the event comes in here"
        taken = ", ".join(MODELS[table.name].model_fields)
        return f"{_shortened(column)}: no column of {table.name}; it takes {taken}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{column}: {message}" if kind == "value_error" else f"{column}: {message}, got {_shortened(repr(item['input']))}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}…"


def event_id_of(line: bytes) -> str | None:
    """Return the event_id of a line that could not be read, None where it has none.

    >>> event_id_of(b'{"event_id": "e1"}'), event_id_of(b"[")
    ('e1', None)
    """
    try:
        value = from_json(line)
    except ValueError:
        return None
    found = value.get("event_id") if isinstance(value, dict) else None
    return found[:_LONGEST_ID] if isinstance(found, str) else None

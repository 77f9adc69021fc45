"""The mapping of a company's own tables onto the contract: the `[data]`, `[tables]` and `[checks]` of kunto.toml.

Every option stands with an example in docs/mapping.md.
"""

import tomllib
from collections.abc import Mapping as Dict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from features.contract import TABLES

Constant = str | int | float | bool | datetime
DATE_STYLES = ("iso", "day_first", "month_first")


class MappingError(ValueError):
    """A mapping that cannot be read: the message names the key, the value and what is allowed."""


def _naive_utc(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _date_style(value: str) -> str:
    if value not in DATE_STYLES and "%" not in value:
        raise ValueError(f"{value!r} is not a date style; use one of {', '.join(DATE_STYLES)} or a pattern like %d.%m.%Y")
    return value


def _shorthand(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


DateStyle = Annotated[str, AfterValidator(_date_style)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


class ColumnMapping(_Strict):
    """Where one contract column comes from: a source column, a constant, or an SQL expression over source columns."""

    from_: str | None = Field(default=None, validation_alias="from")
    constant: Constant | None = None
    sql: str | None = None
    scale: float | None = None
    values: dict[str, Constant] = {}
    dates: DateStyle | None = None
    through: str | None = None
    key: str | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "ColumnMapping":
        if sum(origin is not None for origin in (self.from_, self.constant, self.sql)) != 1:
            raise ValueError("give exactly one of from, constant and sql")
        if self.through is not None and self.from_ is None:
            raise ValueError("through needs from: the column here that holds the other table's key")
        if self.through is None and (self.key is not None or self.value is not None):
            raise ValueError("key and value belong to through: name the other table with through")
        return self


class TableMapping(_Strict):
    """Where one contract table comes from, and what to do to it on the way."""

    from_: str | None = Field(default=None, validation_alias="from")
    grain: Literal["event", "day"] = "event"
    dates: DateStyle = "iso"
    decimal_comma: bool = False
    where: str | None = None
    ignore: tuple[str, ...] = ()
    columns: dict[str, Annotated[ColumnMapping, BeforeValidator(_shorthand)]] = {}


class FlagMapping(_Strict):
    """A column that says which accounts have left; without `flag`, every row of the table says so."""

    from_: str = Field(validation_alias="from")
    account_id: str = "account_id"
    flag: str | None = None


class DataMapping(_Strict):
    """Where the tables are, until when they are complete (exclusive), and the currency of the reports.

    `data_until = "today"` is the midnight (UTC) that began the day on which it is asked: for tables that are filled every night.
    """

    source: str = "."
    until: Annotated[datetime, AfterValidator(_naive_utc)] | Literal["today"] | None = Field(
        default=None, validation_alias="data_until"
    )
    reporting_currency: str | None = None
    ignore: tuple[str, ...] = ()

    @property
    def data_until(self) -> datetime | None:
        """The end of the data, naive UTC.

        >>> DataMapping(data_until="today").data_until.hour
        0
        """
        if self.until == "today":
            return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return self.until


class ChecksMapping(_Strict):
    """What `kunto check` looks at besides the contract."""

    churn_flags: tuple[FlagMapping, ...] = ()


class Mapping(_Strict):
    """The whole mapping. A table or column not mentioned is taken by its own contract name where the source has it.

    >>> mapping = Mapping.from_dict({"tables": {"subscriptions": {"columns": {"mrr": {"from": "cents", "scale": 0.01}}}}})
    >>> mapping.table("subscriptions").columns["mrr"].scale
    0.01
    >>> mapping.table("tickets").grain
    'event'
    """

    data: DataMapping = DataMapping()
    tables: dict[str, TableMapping] = {}
    checks: ChecksMapping = ChecksMapping()

    @field_validator("tables")
    @classmethod
    def _contract_names(cls, tables: dict[str, TableMapping]) -> dict[str, TableMapping]:
        for name, table in tables.items():
            if name not in TABLES:
                raise ValueError(f"{name!r} is not a table of the contract; the tables are {', '.join(TABLES)}")
            for column in (*table.columns, *table.ignore):
                if column not in TABLES[name].names and column not in table.ignore:
                    raise ValueError(
                        f"{name}.columns.{column} is not a column of the contract; "
                        f"the columns of {name} are {', '.join(TABLES[name].names)}"
                    )
            if table.grain == "day" and name != "usage":
                raise ValueError(f"{name}.grain: only usage has daily sums; leave grain out")
        return tables

    def table(self, name: str) -> TableMapping:
        """Return the mapping of one contract table; an empty one where it is not mentioned."""
        return self.tables.get(name, TableMapping())

    @classmethod
    def from_dict(cls, config: Dict[str, Any]) -> "Mapping":
        """Build the mapping from kunto.toml's content; sections other than data, tables and checks are left alone.

        Raises:
            MappingError: a key is unknown or a value is not allowed; every problem is listed.
        """
        sections = {name: config[name] for name in cls.model_fields if name in config}
        try:
            return cls.model_validate(sections)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, item['loc']))}: {_told(item)}" for item in error.errors()]
            raise MappingError("the mapping cannot be used:\n  " + "\n  ".join(lines)) from None


def _told(item: Any) -> str:
    """Return pydantic's message with the value that caused it, and a next step for an unknown key."""
    if item["type"] == "extra_forbidden":
        return "unknown key; remove it, or see the options in docs/mapping.md"
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if item["type"] == "value_error" else f"{message}, got {item['input']!r}"


def read_mapping(path: Path) -> Mapping:
    """Read the mapping from kunto.toml.

    Raises:
        MappingError: the file is missing, is not TOML, or holds a key or value that is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MappingError(f"cannot read {path}: {error.strerror}; `kunto init DIR --from TABLES` writes one") from None
    try:
        return Mapping.from_dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"{path} is not TOML: {error}; correct that line") from None

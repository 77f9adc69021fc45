"""SQL that turns one source cell into the contract's type; a cell that cannot be read gives null, and is told apart.

Text is trimmed; the empty string is missing, and so are null, none, nan, na and n/a where a text is not asked for.
"""

from collections.abc import Iterable
from datetime import datetime

from features.contract import DECIMAL_SCALE, DECIMAL_TYPE, Kind
from features.mapping import Constant
from features.sources import literal

_MISSING = "('', 'null', 'none', 'nan', 'nat', 'na', 'n/a')"
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0', 'on')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0', 'off')"
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE")


def constant(value: Constant) -> str:
    """Return a constant as SQL text.

    >>> constant(True), constant("it's"), constant(2.5)
    ("'true'", "'it''s'", "'2.5'")
    """
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    return literal(value.isoformat(sep=" ") if isinstance(value, datetime) else str(value))


def as_text(cell: str, source_type: str) -> str:
    """Return SQL for a cell as trimmed text, null where empty; a whole float reads like an integer."""
    if source_type in _FLOATS:
        whole = f"cast(cast({cell} as hugeint) as varchar)"
        return (
            f"case when isnan({cell}) then null when abs({cell}) < 1e18 and {cell} = floor({cell}) then {whole} "
            f"else cast({cell} as varchar) end"
        )
    return f"nullif(trim(cast({cell} as varchar)), '')"


def recoded(text: str, values: dict[str, Constant]) -> str:
    """Return SQL that maps texts by `values`, whatever their case; others stay as they are."""
    pairs = " ".join(f"when {literal(key.lower())} then {constant(value)}" for key, value in values.items())
    return f"case lower({text}) {pairs} else {text} end"


def unmapped(text: str, values: Iterable[str]) -> str:
    """Return an SQL condition: the text is there and `values` does not list it."""
    return f"({text} is not null and lower({text}) not in ({', '.join(literal(key.lower()) for key in values)}))"


def present(cell: str, source_type: str, kind: Kind) -> str | None:
    """Return an SQL condition: the cell holds something to be read. None where reading it cannot fail."""
    native = {"time": source_type.startswith(("TIMESTAMP", "DATE")), "boolean": source_type == "BOOLEAN"}
    if kind == "text" or native.get(kind, source_type in _INTEGERS[:4]):
        return None
    return f"({as_text(cell, source_type)} is not null and lower({as_text(cell, source_type)}) not in {_MISSING})"


def value(cell: str, source_type: str, kind: Kind, dates: str, *, decimal_comma: bool = False) -> str:
    """Return SQL for the cell in the contract's type; null where it is missing or cannot be read.

    `dates` is iso, day_first, month_first or a strptime pattern; instants with an offset become naive UTC.
    """
    text = as_text(cell, source_type)
    if kind == "text":
        return text
    if kind == "time":
        return _time(cell, text, source_type, dates)
    if kind == "boolean":
        if source_type == "BOOLEAN":
            return cell
        return f"case when lower({text}) in {_TRUE} then true when lower({text}) in {_FALSE} then false end"
    return _number(cell, text, source_type, kind, decimal_comma)


def _number(cell: str, text: str, source_type: str, kind: Kind, decimal_comma: bool) -> str:
    if source_type in _INTEGERS or source_type.startswith("DECIMAL"):
        number = cell
    elif source_type in _FLOATS:
        number = f"case when isfinite({cell}) then {cell} end"
    else:
        number = f"replace(replace({text}, ' ', ''), ',', '.')" if decimal_comma else text
    exact = f"try_cast({number} as {DECIMAL_TYPE})"
    if source_type not in (*_INTEGERS, *_FLOATS):
        # Text is read into 64 bits a hundred times faster than into 128; only what does not fit goes the long way.
        exact = f"coalesce(try_cast({number} as decimal(18, {DECIMAL_SCALE})), {exact})"
    if kind == "decimal":
        return exact
    if source_type in _INTEGERS:
        return f"try_cast({number} as bigint)"
    return f"case when {exact} = floor({exact}) then try_cast({exact} as bigint) end"


def _time(cell: str, text: str, source_type: str, dates: str) -> str:
    if source_type.startswith(("TIMESTAMP", "DATE")):
        instant = f"try_cast({cell} as timestamp)"
    elif dates == "iso":
        instant = _iso(text)
    elif dates in ("day_first", "month_first"):
        instant = _iso(_year_first(text, dates))
    else:
        instant = f"cast(try_strptime({text}, {literal(dates)}) as timestamp)"
    return f"case when isfinite({instant}) then {instant} end"


def _iso(text: str) -> str:
    # A cast to a naive timestamp would drop an offset silently; the connection's zone is UTC.
    return f"cast(try_cast({text} as timestamptz) as timestamp)"


def _year_first(text: str, dates: str) -> str:
    """Return SQL that writes the year first: try_strptime over a list of patterns takes ten times as long."""
    order = r"\3-\2-\1" if dates == "day_first" else r"\3-\1-\2"
    for year, century in ((4, ""), (2, "20")):
        pattern = rf"^(\d{{1,2}})[-/.](\d{{1,2}})[-/.](\d{{{year}}})\b"
        text = f"regexp_replace({text}, {literal(pattern)}, {literal(century + order)})"
    return text

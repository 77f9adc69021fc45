"""What a company's tables look like and when they are read: shared by the histories that are compared in one call."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st

from features.contract import REQUIRED_TABLES, TABLES

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
#: A midnight, on which day borders and windows meet, and an instant of the same day, whose peers are the midnight's.
INSTANTS = (
    (datetime(2025, 6, 10), datetime(2025, 6, 10, 13, 37)),
    (datetime(2025, 3, 1), datetime(2025, 3, 1, 0, 0, 0, 1)),
    (datetime(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59, 999999)),
    (datetime(2025, 1, 1), datetime(2025, 1, 1, 6)),
    (datetime(2024, 12, 31), datetime(2024, 12, 31, 12)),
)
#: Days back from T at which windows, weeks, months and blocks of days begin or end, and days ahead.
EDGES = (-40, -5, 0, 1, 2, 7, 14, 29, 30, 31, 37, 60, 63, 90, 91, 120, 126, 180, 189, 210, 252, 270, 315, 330, 360, 365, 366, 420)
OPTIONAL_TABLES = tuple(name for name in TABLES if name not in REQUIRED_TABLES)
OPTIONAL_COLUMNS = tuple(
    (table.name, column.name)
    for table in TABLES.values()
    for column in table.columns
    if not column.required and table.name != "accounts"
)


@dataclass(frozen=True)
class Shape:
    """The instants of the snapshots; tables that are not there, or are empty; columns that the source lacks."""

    instants: tuple[datetime, ...] = INSTANTS[0]
    missing: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()
    lacking: frozenset[tuple[str, str]] = frozenset()

    def columns(self, table: str) -> list[str]:
        """The columns that the source has."""
        return [name for name in TABLES[table].names if (table, name) not in self.lacking]

    def edges(self) -> list[datetime]:
        """Instants at, just before and just after the ends of windows, midnights and months."""
        windows = [at - days * DAY for at in self.instants for days in EDGES]
        midnight = self.instants[0].replace(hour=0, minute=0, second=0, microsecond=0)
        months = {(midnight - days * DAY).replace(day=1) for days in range(0, 400, 28)}
        days = [midnight - days * DAY for days in (0, 1, 2, 3, 45, 100, 200)]
        return sorted({edge + ticks * TICK for edge in (*windows, *months, *days) for ticks in (-1, 0, 1)})


#: Everything; no optional column; no optional table; subscriptions in the reporting currency, invoices not.
EVERYTHING = Shape()
SHAPES = (
    EVERYTHING,
    Shape(INSTANTS[1], lacking=frozenset(OPTIONAL_COLUMNS)),
    Shape(INSTANTS[2], missing=frozenset(OPTIONAL_TABLES)),
    Shape(INSTANTS[3], lacking=frozenset({("subscriptions", "currency")})),
)
_none: st.SearchStrategy[frozenset] = st.just(frozenset())
shapes = st.builds(
    Shape,
    st.sampled_from(INSTANTS),
    _none | st.frozensets(st.sampled_from(OPTIONAL_TABLES), max_size=5),
    _none | st.frozensets(st.sampled_from([*OPTIONAL_TABLES, "subscriptions"]), max_size=3),
    _none
    | st.frozensets(st.sampled_from(OPTIONAL_COLUMNS), max_size=30)
    | st.frozensets(st.sampled_from(OPTIONAL_COLUMNS), min_size=10),
)

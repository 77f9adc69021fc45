"""One update of kept rollups: what is new in the files is counted, and what recurs is set apart."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa

from features import rollup
from features.contract import IBIS_TYPES, TABLES
from features.rollup_files import Arrivals, arrivals, unreadable
from features.rollup_parts import PartWriter
from features.rollup_state import CountedFile, State, month_days
from features.sources import SourceError, literal
from features.visible import prepare

#: The rows of a file, on a DuckDB connection: SQL to select the contract's columns from, in parts that fit into memory. Parts may
#: be asked for again, from the first, while a later one is counted.
Reader = Callable[[duckdb.DuckDBPyConnection, Path], Iterable[str]]
#: What is noted about a file that was just read to its end, as JSON holds it.
Notes = Callable[[Path], Mapping[str, Any]]
_CONTRACT = TABLES["usage"]
_COLUMNS = ", ".join(_CONTRACT.names)
_SQL = {"time": "bigint", "integer": "bigint", "text": "varchar", "boolean": "boolean", "decimal": IBIS_TYPES["decimal"]}
_PRESENT = " and ".join(f"{name} is not null" for name in _CONTRACT.required)
#: Stands for a record that gives no time: a null stays one, as rows of one id and one record are told by it.
_UNRECORDED = -62_135_596_800_000_000
_MONTH = "strftime(make_timestamp(occurred_at), '%Y-%m')"


@dataclass(frozen=True)
class Updated:
    """What an update did: rows counted, rows that were there already, files with a content counted before, months written.

    `refused`: rows of the files counted that lack a required value, and are left out.
    """

    rows: int
    absorbed: int
    delivered_twice: tuple[str, ...]
    months: tuple[str, ...]
    refused: int = 0


class Update:
    """One update: its files are written, the state that lists them is not."""

    def __init__(
        self,
        folder: Path,
        read: Reader,
        notes: Notes,
        before: State,
        files: Mapping[str, Path],
    ) -> None:
        self.read, self.notes, self.before, self.files = read, notes, before, files
        self.counted = dict(before.files)
        self.backend = ibis.duckdb.connect()
        self.connection = self.backend.con
        self.parts = PartWriter(folder, self.connection, before.number + 1, dict(before.parts), set(before.spelled))
        self.recurring = before.recurring
        self.rows = self.absorbed = self.refused = 0
        self._counting = ("", 0)
        self._touched: dict[str, set[str]] = {}
        kept = literal(str(folder / before.recurring)) if before.recurring else f"({nothing()})"
        self._run(f"create temp table recurring as from {kept}")
        self._stage("", f"({nothing('timestamp')})", "incoming")

    def state(self) -> State:
        """The state as it will be."""
        spelled = tuple(sorted(self.parts.spelled))
        return replace(self.before, files=self.counted, parts=self.parts.parts, recurring=self.recurring, spelled=spelled)

    def run(self, progress: Callable[[int, int], None]) -> Updated:
        """Find what is new and count it."""
        found = self._arrived()
        for number, (name, file) in enumerate(found.new.items()):
            self._count(name, file)
            progress(number + 1, len(found.new))
        # once for all new files: each rebuild reads the month's files again
        for month, accounts in sorted(self._touched.items()):
            self._rebuild(month, sorted(accounts))
        self.parts.compact()
        if found.new or found.changed:
            some = self._one("select count(*) from recurring")
            self.recurring = self.parts.copy("from recurring order by all", "recurring") if some else None
        months = tuple(sorted(month for month, there in self.parts.parts.items() if self.before.parts.get(month) != there))
        return Updated(self.rows, self.absorbed, found.twice, months, self.refused)

    def _arrived(self) -> Arrivals:
        """What is new; what stood in a changed file is taken back."""
        found = arrivals(self.before.files, self.files, self.parts.folder)
        self.counted = found.counted
        self._run("delete from recurring where _file in (select unnest(?))", [[file.digest for file in found.changed]])
        for month in sorted({month for file in found.changed for month in file.months}):
            self._rebuild(month, None)
        return found

    def _count(self, name: str, file: CountedFile) -> None:
        """Count the rows of a file: what recurs is set apart, the rest is rolled up."""
        self.counted[name] = file
        for part, relation in enumerate(self._relations(name)):
            self._counting = (name, part)
            columns = self._stage(name, relation, "incoming", "true")
            self.refused += self._one(f"select count(*) from incoming where not ({_PRESENT})")
            self._run(f"delete from incoming where not ({_PRESENT})")
            rows, months = self._one("select count(*) from incoming"), self._months("incoming")
            self._set_apart()
            self.rows += self._one("select count(*) from incoming")
            for month in sorted(self._months("incoming")):
                first, last = month_days(month)
                self._run(
                    f"create or replace temp view placed as select *, {first}::bigint as first from incoming "
                    f"where day >= {first} and day < {last}"
                )
                self.parts.add(month)
            file = replace(
                file,
                rows=file.rows + rows,
                columns=tuple(column for column in _CONTRACT.names if column in {*file.columns, *columns}),
                months=tuple(sorted({*file.months, *months})),
            )
            self.counted[name] = file
        self._counting = ("", 0)
        self.counted[name] = replace(file, notes=self.notes(self.files[name]))

    def _relations(self, name: str) -> Iterator[str]:
        try:
            yield from self.read(self.connection, self.files[name])
        except duckdb.Error as error:
            raise unreadable(name, error) from None

    def _stage(self, name: str, relation: str, into: str, where: str = _PRESENT) -> tuple[str, ...]:
        """Make a table of the rows of a relation in the contract's types, on their days; return the columns that they have."""
        try:
            there = [row[0] for row in self.connection.execute(f"describe select * from {relation}").fetchall()]
            for column in _CONTRACT.required:
                if column not in there:
                    told = f"{name} lacks the column {column!r}; it has {', '.join(there)}: export it with {column}, or map it"
                    raise SourceError("missing_column", told)
            columns = tuple(column for column in _CONTRACT.names if column in there)
            self._run(f"create or replace temp view raw as select {', '.join(columns)} from {relation}")
            raw = self.backend.table("raw")
            prepare("usage", raw)  # refuses what cannot be read as it stands
            if "recorded_at" in columns:
                unrecorded = ibis.literal(_UNRECORDED // 1_000_000, "int64").as_timestamp("s").cast("timestamp(6)")
                raw = raw.mutate(recorded_at=raw.recorded_at.cast("timestamp(6)").fill_null(unrecorded))
            prepared = prepare("usage", raw, versions=False)
            placed = rollup.on_days(prepared.mutate(clock=ibis.literal(0, "int64")), versioned="recorded_at" in columns)
            recorded = placed.recorded_at.nullif(_UNRECORDED) if "recorded_at" in columns else ibis.null("int64")
            placed = placed.mutate(recorded_at=recorded)
            file = literal(self.counted[name].digest if name else "")
            query = f"select *, {file} as _file from ({self.backend.compile(placed)}) where {where}"
            self._run(f"create or replace temp table {into} as {query}")
        except SourceError:
            raise
        except (duckdb.Error, ibis.IbisError, ValueError) as error:
            raise unreadable(name, error) from None
        return columns

    def _months(self, table: str) -> set[str]:
        return {row[0] for row in self.connection.execute(f"select distinct {_MONTH} from {table}").fetchall()}

    def _set_apart(self) -> None:
        """Take rows whose id is there already out of `incoming`: equal copies go, versions move to `recurring`."""
        self._run(
            "create or replace temp table arrived as select hash(event_id) as id, count(*) as n from incoming "
            "where event_id is not null group by all"
        )
        self._run(f"create or replace temp table before as from ({self.parts.counted_ids()}) semi join arrived using (id)")
        self._run(
            "create or replace temp table suspect as select id from arrived where n > 1 union select id from before "
            "union select id from arrived semi join (select hash(event_id) as id from recurring) using (id)"
        )
        if not self._one("select count(*) from suspect"):
            return
        old = self._counted_rows({row[0] for row in self.connection.execute("select distinct month from before").fetchall()})
        new = "from incoming where hash(event_id) in (from suspect)"
        found = self._one(f"select count(*) {new}")
        self._run(
            f"create or replace temp table versions as select {_COLUMNS}, _file, 0 as age from recurring "
            f"where hash(event_id) in (from suspect) union all select {_COLUMNS}, _file, 1 as age from {old} "
            f"union all select {_COLUMNS}, _file, 2 as age {new}"
        )
        self._run(
            "create or replace temp table ids as select event_id, min(age) < 2 as counted, "
            f"min(age) = 0 or count(distinct row({_COLUMNS})) > 1 as recurs from versions group by event_id"
        )
        # Equal copies count once; an id may also stand alone because two hashes met.
        self._run(
            "create or replace temp table alone as select incoming.* from incoming semi join "
            "(from ids where not counted and not recurs) using (event_id) "
            "qualify row_number() over (partition by event_id) = 1"
        )
        self._run(f"delete {new}")
        recurs = "semi join (from ids where recurs) using (event_id)"
        touched = self.connection.execute(f"select distinct {_MONTH}, account_id from versions {recurs} where age = 1").fetchall()
        self._run("delete from recurring where hash(event_id) in (from suspect)")
        # Each file's own rows: without a file that changes, those of the others still hold.
        self._run(f"insert into recurring select distinct {_COLUMNS}, _file from versions {recurs}")
        for month, account in touched:
            self._touched.setdefault(month, set()).add(account)
        self._run("insert into incoming from alone")
        there = f"select {_COLUMNS} from versions {recurs} where age < 2"
        arrived = self._one(f"select count(*) from (select {_COLUMNS} from versions {recurs} where age = 2 except {there})")
        self.rows += arrived
        self.absorbed += found - arrived - self._one("select count(*) from alone")

    def _counted_rows(self, months: set[str]) -> str:
        """The name of a table: rows of the suspect ids that are in the months' partitions, out of the files they came from."""
        self._run(f"create or replace temp table old as select {_COLUMNS}, _file from recurring limit 0")
        for name, relation in self._files_of(months):
            suspect = f"{_PRESENT} and hash(event_id) in (from suspect) and event_id not in (select event_id from recurring)"
            self._stage(name, relation, "staged", suspect)
            self._run(f"insert into old select {_COLUMNS}, _file from staged")
        return "old"

    def _files_of(self, months: set[str]) -> Iterator[tuple[str, str]]:
        for name, file in self.counted.items():
            if file.same_as is None and months & set(file.months):
                counting, part = self._counting
                for relation in islice(self._relations(name), part if name == counting else None):
                    yield name, relation

    def _rebuild(self, month: str, accounts: list[str] | None) -> None:
        """Roll up a month anew out of the files that are counted, for these accounts (None: all), without what recurs."""
        self._place(month, accounts)
        self.parts.rewrite(month, "false" if accounts is None else "account_id not in (from accounts)")

    def rows_of(self, accounts: Mapping[str, Collection[str]]) -> pa.Table:
        """Read the rows of some accounts of each month again, as the partitions count them: the contract's columns."""
        self._run(f"create or replace temp table read_again as select {_COLUMNS} from recurring limit 0")
        for month, among in accounts.items():
            self._place(month, list(among))
            self._run(f"insert into read_again select {_COLUMNS} from placed")
        times = {column.name for column in _CONTRACT.columns if column.kind == "time"}
        cells = ", ".join(f"make_timestamp({name}) as {name}" if name in times else name for name in _CONTRACT.names)
        return self.connection.execute(f"select {cells} from read_again").to_arrow_table()

    def _place(self, month: str, accounts: list[str] | None) -> None:
        """Have `placed` be the rows of a month out of the files that are counted, for these accounts, without what recurs."""
        first, last = month_days(month)
        self._run("create or replace temp table accounts (account_id varchar)")
        self._run("insert into accounts select unnest(?)", [accounts or []])
        among = "true" if accounts is None else "account_id in (from accounts)"
        inside = (
            f"{_PRESENT} and day >= {first} and day < {last} and {among} and (event_id is null or event_id not in (from again))"
        )
        self._run("create or replace temp table again as select distinct event_id from recurring")
        self._run("create or replace temp table rebuilt as select * exclude (_file) from incoming limit 0")
        for name, relation in self._files_of({month}):
            self._stage(name, relation, "staged", inside)
            self._run("insert into rebuilt by name select * exclude (_file) from staged")
        # The same row may stand in several files.
        once = "event_id is null or row_number() over (partition by event_id) = 1"
        self._run(f"create or replace temp view placed as select *, {first}::bigint as first from rebuilt qualify {once}")

    def _run(self, query: str, values: list[Any] | None = None) -> None:
        self.connection.execute(query, values)

    def _one(self, query: str) -> int:
        row = self.connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def nothing(time: str = "bigint") -> str:
    """SQL of no row of the contract's columns; times are microseconds since 1970, as recurring rows are kept, or of this type."""
    types = _SQL | {"time": time}
    columns = ", ".join(f"null::{types[column.kind]} as {column.name}" for column in _CONTRACT.columns)
    return f"select {columns}, null::varchar as _file limit 0"

"""Raw source tables: a folder of CSV or Parquet files, or a database, as relations on one DuckDB connection.

Nothing is interpreted here: text stays text, and every row has a number, `_row`, to be named by.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import sqlalchemy as sa

ROW = "_row"
CSV_SUFFIXES = (".csv", ".tsv", ".txt")
_SUFFIXES = (*CSV_SUFFIXES, ".parquet")
_CHUNK = 100_000
_HEAD = 65_536


class SourceError(ValueError):
    """A source that cannot be read; `rule` names the kind of fault, the message says what to do."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Oddity:
    """Something noticed while reading: a byte-order mark, lines that cannot be read, an encoding."""

    rule: str
    rows: int
    example: str
    what_to_do: str


@dataclass(frozen=True)
class Raw:
    """One source table: `relation` is SQL to select from (its columns and `_row`), `types` are DuckDB's type names."""

    name: str
    relation: str
    types: dict[str, str]
    oddities: tuple[Oddity, ...] = ()


class Sources(Protocol):
    """Something that holds source tables by name."""

    def names(self) -> list[str]:
        """Return the names of the tables there are, sorted."""

    def open(self, name: str) -> Raw:
        """Return one table; SourceError where there is none or it cannot be read."""

    def close(self) -> None:
        """Drop what opening has made."""


def quote(name: str) -> str:
    """Quote an SQL identifier.

    >>> quote("end date")
    '"end date"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def is_url(source: str) -> bool:
    """Tell a database URL from a folder.

    >>> is_url("sqlite:///crm.db"), is_url("tables")
    (True, False)
    """
    return re.match(r"[a-z][a-z0-9+]*://", source) is not None


def is_parquet(path: Path) -> bool:
    """Tell a Parquet file from a CSV file, by its name.

    >>> is_parquet(Path("usage.PARQUET")), is_parquet(Path("usage.csv"))
    (True, False)
    """
    return path.suffix.lower() == ".parquet"


def open_sources(source: str, base: Path, connection: duckdb.DuckDBPyConnection) -> Sources:
    """Open a folder or a database URL; relative paths start from `base`, `${NAME}` is read from the environment.

    Raises:
        SourceError: the folder or the database is not there.
    """
    source = os.path.expandvars(source)
    if is_url(source):
        return Database(source, base, connection)
    return Folder(base / source, connection)


@dataclass
class Folder:
    """CSV and Parquet files in one folder; a name may also be a pattern such as `usage/*.parquet`."""

    path: Path
    connection: duckdb.DuckDBPyConnection
    _opened: dict[str, Raw] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look whether the folder is there."""
        if not self.path.is_dir():
            raise SourceError("missing_source", f"{self.path} is not a folder; set data.source to the tables' folder or URL")

    def names(self) -> list[str]:
        """Return the names of the CSV and Parquet files, and of folders of such files the pattern, such as `usage/*.parquet`."""
        inside = {f"{path.parent.name}/*{path.suffix}" for path in self.path.glob("*/*") if _is_table(path)}
        return sorted({path.name for path in self.path.iterdir() if _is_table(path)} | inside)

    def open(self, name: str) -> Raw:
        """Return the file or files as one table; files are looked at before their names are believed."""
        if name not in self._opened:
            paths = self.files(name)
            for path in paths:
                _check_content(path)
            parquet = is_parquet(paths[0])
            self._opened[name] = self._parquet(name, paths) if parquet else self._csv(name, paths)
        return self._opened[name]

    def files(self, name: str) -> list[Path]:
        """Return the files behind a name or a pattern, sorted; SourceError where there is none."""
        paths = sorted(self.path.glob(name)) if "*" in name else [self.path / name]
        if not paths or not all(path.is_file() for path in paths):
            there = ", ".join(self.names()) or "no CSV or Parquet file"
            raise SourceError("missing_table", f"{name} is not in {self.path}; there: {there}")
        return paths

    def close(self) -> None:
        """Drop the text tables read from CSV."""
        for index in range(len(self._opened)):
            self.connection.execute(f"drop table if exists _raw_{index}")

    def _parquet(self, name: str, paths: list[Path]) -> Raw:
        files = "[" + ", ".join(literal(str(path)) for path in paths) + "]"
        if len(paths) == 1:
            numbered = f"read_parquet({files}, file_row_number = true)"
            inner = f"select file_row_number + 1 as {ROW}, * exclude (file_row_number) from {numbered}"
        else:
            inner = f"select row_number() over () as {ROW}, * from read_parquet({files}, union_by_name = true)"
        return Raw(name, f"({inner})", _types(self.connection, inner, name))

    def _csv(self, name: str, paths: list[Path]) -> Raw:
        table = f"_raw_{len(self._opened)}"
        oddities: list[Oddity] = []
        for index, path in enumerate(paths):
            oddities += _read_csv(self.connection, path, table, append=index > 0)
        inner = f"select rowid + 1 as {ROW}, * from {table}"
        return Raw(name, f"({inner})", _types(self.connection, inner, name), tuple(oddities))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def stem(name: str) -> str:
    """What a table is called in its source, without the ending of its file or files.

    >>> stem("usage.csv"), stem("usage/*.csv"), stem("usage.parquet/*.parquet"), stem("usage")
    ('usage', 'usage', 'usage', 'usage')
    """
    endings = "|".join(map(re.escape, _SUFFIXES))
    return re.sub(rf"(({endings})?/\*)?({endings})$", "", name, flags=re.IGNORECASE)


def _types(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> dict[str, str]:
    try:
        described = connection.execute(f"describe {query}").fetchall()
    except duckdb.Error as error:
        raise SourceError("unreadable_file", f"{name} cannot be read: {_first_line(error)}; export it again") from None
    return {column: kind for column, kind, *_ in described if column != ROW}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _check_content(path: Path) -> None:
    """Refuse a file whose first bytes say that it is not what its name says."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if len(head) >= 12:
            file.seek(-4, os.SEEK_END)
        tail = file.read(4)
    if not head.strip():
        raise SourceError("empty_file", f"{path.name} is empty; export it again, or leave the table out")
    parquet = is_parquet(path)
    found = _kind_of(head)
    if parquet and found == "a Parquet file" and tail != b"PAR1":
        raise SourceError("unreadable_file", f"{path.name} is cut off; copy or export it again")
    if parquet == (found == "a Parquet file") and (parquet or found == "text"):
        return
    said = "a Parquet file" if parquet else "a CSV file"
    raise SourceError(
        "not_what_its_name_says",
        f"{path.name} is named as {said} but holds {found}; give it the right ending or export it as {said}",
    )


def _kind_of(head: bytes) -> str:
    signatures = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive or an Excel workbook", b"\x1f\x8b": "a gzip archive"}
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "binary data"
    return "text"


def _encoding(path: Path) -> str:
    """Return utf-8, utf-16, or latin-1 where the bytes are neither."""
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    try:
        with path.open(encoding="utf-8") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _layout(head: str) -> tuple[str, list[str]]:
    """Return the delimiter and the header: the delimiter that cuts the first lines into most, equally many, fields.

    >>> _layout("id;price\\n1;2,50\\n")
    (';', ['id', 'price'])
    """
    best: tuple[int, int, str, list[str]] = (0, 0, ",", [])
    for delimiter in ",;\t|":
        rows = list(csv.reader(io.StringIO(head), delimiter=delimiter))[:20]
        widths = [len(row) for row in rows if row]
        even = sum(width == widths[0] for width in widths)
        best = max(best, (min(widths[0], 2) * even, widths[0], delimiter, rows[0]))
    seen: dict[str, int] = {}
    header = []
    for position, title in enumerate(best[3], start=1):
        name = title.strip() or f"column_{position}"
        seen[name.lower()] = seen.get(name.lower(), 0) + 1
        header.append(name if seen[name.lower()] == 1 else f"{name}_{seen[name.lower()]}")
    return best[2], header


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path, table: str, *, append: bool) -> Iterator[Oddity]:
    """Read a CSV file as text into `table`, yielding what was odd about it."""
    encoding = _encoding(path)
    with path.open("rb") as file:
        marked = file.read(3) == b"\xef\xbb\xbf"
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as text:
        head = text.read(_HEAD)
    delimiter, header = _layout(head)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
    verb = f"insert into {table} by name" if append else f"create or replace temp table {table} as"
    connection.execute("drop table if exists _rejects; drop table if exists _scans")
    try:
        connection.execute(
            f"{verb} select * from read_csv({literal(str(path))}, auto_detect = false, header = true, "
            f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', columns = {{{columns}}}, "
            f"encoding = {literal(encoding)}, store_rejects = true, rejects_table = '_rejects', rejects_scan = '_scans')"
        )
    except duckdb.Error as error:
        raise SourceError("unreadable_file", f"{path.name} cannot be read: {_first_line(error)}; export it again") from None
    if marked:
        yield Oddity("byte_order_mark", 1, f"{path.name} starts with the bytes EF BB BF", "nothing: the mark was skipped")
    if encoding != "utf-8":
        yield Oddity("encoding", 1, f"{path.name} is {encoding}", "nothing, if names read well; else export it as UTF-8")
    found = connection.execute("select count(distinct line), min(line), arg_min(csv_line, line) from _rejects").fetchone()
    if found and found[0]:
        advice = f"correct the lines: each needs {len(header)} fields divided by {delimiter!r}; they were left out"
        yield Oddity("unreadable_row", found[0], f"{path.name} line {found[1]}: {str(found[2])[:120]!r}", advice)


@dataclass
class Database:
    """Tables and views of a database that SQLAlchemy reaches, read as text in chunks."""

    url: str
    base: Path
    connection: duckdb.DuckDBPyConnection
    _opened: dict[str, Raw] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Connect, and list the tables and views."""
        try:
            url = sa.make_url(self.url)
            if url.drivername == "sqlite" and url.database and url.database != ":memory:":
                path = self.base / url.database
                if not path.is_file():
                    raise SourceError("missing_source", f"{path} is not a file; correct the path in data.source")
                url = url.set(database=str(path))
            if url.drivername in ("postgres", "postgresql"):
                url = url.set(drivername="postgresql+psycopg")
            self._shown = url.render_as_string(hide_password=True)
            self._engine = sa.create_engine(url)
            inspector = sa.inspect(self._engine)
            self._names = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
        except sa.exc.SQLAlchemyError as error:
            shown = re.sub(r"//[^/@]*@", "//…@", self.url)
            message = f"{shown} cannot be read: {_first_line(error)}; correct the URL in data.source or the access rights"
            raise SourceError("missing_source", message) from None

    def names(self) -> list[str]:
        """Return the names of the default schema's tables and views."""
        return list(self._names)

    def open(self, name: str) -> Raw:
        """Return one table, or `schema.table`, every cell cast to text by the database itself."""
        if name not in self._opened:
            schema, _, table = name.rpartition(".")
            target = f"_raw_{len(self._opened)}"
            try:
                columns = [column["name"] for column in sa.inspect(self._engine).get_columns(table, schema or None)]
                self._copy(table, schema, columns, target)
            except sa.exc.NoSuchTableError:
                there = ", ".join(self._names) or "no table"
                raise SourceError("missing_table", f"{name} is not in {self._shown}; there: {there}") from None
            except sa.exc.SQLAlchemyError as error:
                message = f"{name} cannot be read: {_first_line(error)}; check the access rights"
                raise SourceError("unreadable_file", message) from None
            relation = f"(select rowid + 1 as {ROW}, * from {target})"
            self._opened[name] = Raw(name, relation, dict.fromkeys(columns, "VARCHAR"))
        return self._opened[name]

    def _copy(self, table: str, schema: str, columns: list[str], target: str) -> None:
        cells = [sa.cast(sa.column(name), sa.Text).label(name) for name in columns]
        query = sa.select(*cells).select_from(sa.table(table, schema=schema or None))
        names = ", ".join(f"{quote(name)} varchar" for name in columns)
        self.connection.execute(f"create or replace temp table {target} ({names})")
        with self._engine.connect().execution_options(stream_results=True, yield_per=_CHUNK) as source:
            for rows in source.execute(query).partitions(_CHUNK):
                chunk = _arrow(rows, columns)
                self.connection.register("_chunk", chunk)
                self.connection.execute(f"insert into {target} select * from _chunk")
                self.connection.unregister("_chunk")

    def close(self) -> None:
        """Drop the text tables and let the database go."""
        for index in range(len(self._opened)):
            self.connection.execute(f"drop table if exists _raw_{index}")
        self._engine.dispose()


def _arrow(rows: Any, columns: list[str]) -> pa.Table:
    cells = list(zip(*rows, strict=True))
    return pa.table({name: pa.array(cells[i], pa.string()) for i, name in enumerate(columns)})

"""Spark as the engine: a session, its connection to Ibis, and Parquet tables as its Ibis tables.

Only Arrow crosses between Python and the JVM: by way of pandas, whole numbers with a null would become floats.
"""

import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.contract import TABLES
from features.sources import SourceError

#: What Spark calls a master: this process, with so many threads, or a cluster's manager.
_MASTER = re.compile(r"(?P<local>local(\[(\*|[1-9]\d*)\])?)|spark://[\w.,:-]+:\d+|yarn|k8s://\S+")
_LOGGING = Path(__file__).with_name("spark.log4j2.properties")
#: Without these, Spark would read and count otherwise than DuckDB does.
_SAME_RESULTS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # what does not fit stops the query, it does not wrap round or become null
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",  # a product keeps its decimal places
    "spark.sql.caseSensitive": "false",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
}


def connect(master: str, *, memory: str | None = None, settings: Mapping[str, str] | None = None) -> Any:
    """Start Spark, or join the session that runs, and return its Ibis connection; `disconnect()` on it stops the session.

    `master`: local, local[2], local[*] (on this machine, reachable from it alone), spark://host:port, yarn or k8s://…;
    `memory`: of the driver, such as "4g" (default: the environment's SPARK_DRIVER_MEMORY, else Spark's own); it holds until this
    process ends. `settings`: further Spark settings, over those made here. SourceError where PySpark or Java is missing, or the
    master is none or cannot be reached.
    """
    is_local = _checked(master)
    session_class = _pyspark("pyspark.sql").SparkSession
    _require_java()
    running = session_class.getActiveSession()
    if running is not None and running.conf.get("spark.master") != master:
        there = running.conf.get("spark.master")
        message = f"Spark runs here already, on {there!r}, not on {master!r}: disconnect() from it first"
        raise SourceError("spark_master", message)
    if is_local:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = session_class.builder.master(master).appName("kunto")
    for name, value in (_session_settings(master, is_local, memory) | dict(settings or {})).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except _spark_errors() as error:
        advice = "is the cluster's manager up and reachable from here, and java 17 or later? Its own log is above"
        message = f"Spark did not start on {master!r}: {_first_line(error)}; {advice}"
        raise SourceError("spark_start", message) from error
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # the error itself says what this would print
    return _backend()().connect(session)


@contextmanager
def session(master: str) -> Iterator[Any]:
    """Yield a connection as `connect` does; at the end Spark is stopped, unless it ran before."""
    ran = _checked(master) is not None and _pyspark("pyspark.sql").SparkSession.getActiveSession() is not None
    connection = connect(master)
    try:
        yield connection
    finally:
        if not ran:
            connection.disconnect()


@contextmanager
def stopped() -> Iterator[None]:
    """Tell what stops Spark in the block as SourceError."""
    try:
        yield
    except _spark_errors() as error:
        raise SourceError("spark_run", f"Spark stopped: {_first_line(error)}") from error


def read_tables(connection: Any, path: str | Path) -> dict[str, Any]:
    """Return name → Ibis table for every table of the contract found under `path`, a folder or its URL (file, hdfs, s3a, …).

    A table is the file `<table>.parquet`, or a folder of Parquet files called `<table>.parquet` or `<table>`; where the files of
    a folder differ, columns that one of them lacks are null in its rows. Nothing is read but the files' schemas. SourceError
    where a file cannot be read, files of a table contradict each other, or no table is found.
    """
    base = str(path).rstrip("/")
    found = {}
    for name in TABLES:
        for candidate in (f"{base}/{name}.parquet", f"{base}/{name}"):
            table = connection.parquet(candidate)
            if table is not None:
                found[name] = table
                break
    if not found:
        message = f"{base} holds none of the tables {', '.join(TABLES)}: give a folder with <table>.parquet or <table>/ for each"
        raise SourceError("missing_table", message)
    return found


def arrow_schema(schema: pa.Schema) -> Any:
    """Return Spark's schema of an Arrow one; its timestamps stay naive."""
    return _pyspark("pyspark.sql.pandas.types").from_arrow_schema(schema, prefer_timestamp_ntz=True)


def _checked(master: str) -> bool:
    """Whether the master is this machine; SourceError where it is no master."""
    match = _MASTER.fullmatch(master)
    if match is None:
        known = "local, local[<threads>], local[*], spark://<host>:<port>, yarn, k8s://<address>"
        raise SourceError("spark_master", f"{master!r} is no Spark master; give one of: {known}")
    return match["local"] is not None


def _pyspark(module: str) -> Any:
    """Import by name: what a model needs is read from import statements, and no model needs Spark."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SourceError("pyspark", "PySpark is not installed: run `make install-spark`, or choose --engine duckdb") from error


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    if java is None:
        where = f"JAVA_HOME is {home!r}, where there is no bin/java" if home else "there is no java on the PATH"
        raise SourceError("java", f"Spark needs Java 17 or later, and {where}: install it, or choose --engine duckdb")


def _session_settings(master: str, is_local: bool, memory: str | None) -> dict[str, str]:
    settings = _SAME_RESULTS | {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
    }
    if is_local:
        threads = re.search(r"\d+", master)
        partitions = int(threads[0]) if threads else os.cpu_count() or 1
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(partitions if "[" in master else 1),
        }
    memory = memory or os.environ.get("SPARK_DRIVER_MEMORY")
    return settings | ({"spark.driver.memory": memory} if memory else {})


def _spark_errors() -> tuple[type[Exception], ...]:
    return _pyspark("pyspark.errors").PySparkException, _pyspark("py4j.protocol").Py4JJavaError


def _first_line(error: Exception) -> str:
    """What the error says; of a Java one, what its first cause does."""
    java = getattr(error, "java_exception", None)
    if java is None:
        return str(error).strip().splitlines()[0]
    while java.getCause() is not None:
        java = java.getCause()
    return str(java.getMessage() or java).strip().splitlines()[0]


def _unreadable(path: str, error: Exception) -> SourceError:
    advice = "each file must be Parquet with the same types, times in microseconds, and the URL one that Spark can open"
    return SourceError("unreadable_file", f"{path} cannot be read: {_first_line(error)}; {advice}")


@cache
def _backend() -> type[Any]:
    """Return Ibis' PySpark backend, with Arrow in place of pandas at its border and the operations that its compiler lacks."""
    from ibis.backends.pyspark import Backend
    from ibis.backends.pyspark.datatypes import PySparkSchema
    from ibis.backends.sql.compilers.pyspark import PySparkCompiler

    class Compiler(PySparkCompiler):
        """Ibis to Spark's SQL."""

        def visit_CountStar(self, op: Any, *, arg: Any, where: Any) -> Any:
            """Count as DuckDB does: where the condition is null in every row of a group there are none, and not null."""
            return self.f.count_if(where) if where is not None else super().visit_CountStar(op, arg=arg, where=where)

        def visit_BitOr(self, _: Any, *, arg: Any, where: Any) -> Any:
            """Aggregate by bitwise or."""
            return self.agg.bit_or(arg, where=where)

        def visit_BitwiseLeftShift(self, op: Any, *, left: Any, right: Any) -> Any:
            """Shift 64 bits: a literal to the left would be of 32, and bits past them be lost."""
            return super().visit_BitwiseLeftShift(op, left=self.cast(left, op.dtype), right=right)

    class ArrowBackend(Backend):
        """Ibis on Spark."""

        compiler = Compiler()

        def _register_in_memory_table(self, op: Any) -> None:
            table = op.data.to_pyarrow(op.schema)
            self._session.createDataFrame(table, PySparkSchema.from_ibis(op.schema)).createOrReplaceTempView(op.name)

        def to_pyarrow(self, expr: Any, /, *, params: Any = None, limit: Any = None, **options: Any) -> Any:
            """Run the expression and bring its rows here."""
            table = expr.as_table()
            arrow = self.data_frame(table, params=params, limit=limit, **options).toArrow()
            return expr.__pyarrow_result__(arrow.cast(table.schema().to_pyarrow()))

        def execute(self, expr: Any, /, *, params: Any = None, limit: Any = None, **options: Any) -> Any:
            """Run the expression and bring its rows here, as pandas."""
            arrow = self.to_pyarrow(expr.as_table(), params=params, limit=limit, **options)
            return expr.__pandas_result__(arrow.to_pandas())

        def data_frame(self, table: Any, **options: Any) -> Any:
            """Return the Spark DataFrame of an Ibis table: nothing runs, nothing leaves Spark."""
            self._run_pre_execute_hooks(table)
            return self._session.sql(self.compile(table, **options))

        def parquet(self, path: str) -> Any | None:
            """Return the Parquet file or folder as a table; None: nothing is there."""
            try:
                frame = self._session.read.option("mergeSchema", value=True).parquet(path)
            except _pyspark("pyspark.errors").AnalysisException as error:
                if error.getCondition() == "PATH_NOT_FOUND":
                    return None
                raise _unreadable(path, error) from error
            except _spark_errors() as error:
                raise _unreadable(path, error) from error
            name = f"parquet_{hashlib.sha256(path.encode()).hexdigest()[:16]}"
            frame.createOrReplaceTempView(name)
            return self.table(name)

        def query(self, sql: str) -> Any:
            """Return the Spark DataFrame of a query: nothing runs."""
            return self._session.sql(sql)

        def rows(self, table: pa.Table) -> Any:
            """Return a few rows as a Spark DataFrame."""
            return self._session.createDataFrame(table)

        def stored(self, path: str, schema: Any = None) -> Any:
            """Return the Spark DataFrame of Parquet files that Spark wrote."""
            reader = self._session.read
            return (reader if schema is None else reader.schema(schema)).parquet(path)

        def exists(self, path: str) -> bool:
            """Whether there is a file or folder at the path or URL; SourceError where Spark cannot open it."""
            with stopped():
                place, files = self._files(path)
                return bool(files.exists(place))

        def delete(self, path: str) -> None:
            """Delete a folder with all that is in it, if it is there."""
            place, files = self._files(path)
            files.delete(place, True)

        def _files(self, path: str) -> tuple[Any, Any]:
            place = self._session._jvm.org.apache.hadoop.fs.Path(path)
            return place, place.getFileSystem(self._session._jsc.hadoopConfiguration())

    ArrowBackend.register_options()  # as Ibis does for the backends it finds by name
    return ArrowBackend

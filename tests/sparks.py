"""One local Spark for a whole test session, and the settings under which small queries are quick."""

import gc
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from features.spark import connect

MASTER = "local[1]"
#: Generating and compiling Java code for each query takes longer than these few rows do.
INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
#: PySpark leaves it to the garbage collector to close the sockets that results come through.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def spark(spark_of_session: Any) -> Iterator[Any]:
    """The session's Spark; its sockets are closed while it is still this test that leaves them, which is `UNCLOSED`."""
    yield spark_of_session
    gc.collect()


@pytest.fixture(scope="session")
def spark_of_session() -> Iterator[Any]:
    """A connection to Spark on one thread; skips where PySpark or Java is not installed."""
    pytest.importorskip("pyspark", reason="PySpark is not installed: make install-spark")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")  # the JVM's better compiler pays over minutes, not here
        connection = connect(MASTER, memory="2g", settings=INTERPRETED)
    yield connection
    connection.disconnect()

"""Tables on an engine: the one place where each engine's tables are made."""

from collections.abc import Callable, Mapping
from typing import Any

import ibis
import pandas as pd

Frames = Mapping[str, pd.DataFrame]


def _duckdb(frames: Frames) -> dict[str, Any]:
    connection = ibis.duckdb.connect()
    return {name: connection.create_table(name, frame) for name, frame in frames.items()}


#: Engine → how its tables are made of pandas frames.
ENGINES: dict[str, Callable[[Frames], dict[str, Any]]] = {"duckdb": _duckdb}


def on_engine(name: str, frames: Frames) -> dict[str, Any]:
    """Return `frames` as tables of the engine called `name`, as `features.builder.snapshot` takes them."""
    return ENGINES[name](frames)

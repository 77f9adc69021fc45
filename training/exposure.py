"""Plays in the data: what was begun after T changes what came of it, so the fit is told, and scoring says none (domain.md §4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.contract import TABLES
from features.revenue import NEVER, instants, read_columns, text

HELD_OUT = "held_out"
#: Rows held out that had the outcome, from which on they may stand for all for whom a play was called for.
ENOUGH = 30
Instants = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Exposure:
    """Plays begun, and held out by lot, between T and the end of a span; (rows × spans), spans ascending.

    `called_per_held_out`: plays called for, for each one that was held out; 0: none ever was.
    """

    begun: npt.NDArray[np.int8]
    held_out: npt.NDArray[np.int8]
    called_per_held_out: float

    def take(self, at: npt.NDArray[np.intp]) -> "Exposure":
        """The rows at positions."""
        return replace(self, begun=self.begun[at], held_out=self.held_out[at])

    def untreated(
        self, row: npt.NDArray[np.intp], span: npt.NDArray[np.intp], y: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.intp]:
        """Return positions into `row` (and `span`, `y`) that stand for all of them, had no play begun.

        A play is called for where trouble is seen, so those without one are the quieter ones. Those whose play was held out by
        lot stand for all for whom one was called for, and come as often (inverse probability; Horvitz and Thompson 1952). Where
        no lot was ever drawn, nobody can stand for them, and where fewer than `ENOUGH` held out had the outcome, the level would
        hang on one of them: then all rows are returned.
        """
        begun, held_out = self.begun[row, span] > 0, self.held_out[row, span] > 0
        everyone = np.arange(len(row))
        if len(np.unique(row[held_out & ~begun & (y > 0)])) < ENOUGH:
            return everyone
        times = np.where(begun, 0, np.where(held_out, round(self.called_per_held_out), 1))
        return np.repeat(everyone, times)


class Plays:
    """When plays began, and when they would have, had the lot not held them out; by account, as the latest rows tell it."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        """Read the `plays` among the contract's tables, the latest version of each row; without it nothing was ever begun."""
        rows = _latest(tables["plays"]) if "plays" in tables else pd.DataFrame({"account_id": [], "started_at": [], HELD_OUT: []})
        held_out = rows[HELD_OUT].to_numpy(dtype=bool)
        self._ids = pd.Index(rows["account_id"].unique())
        self._begun, self._held_out = (self._ordered(rows[where]) for where in (~held_out, held_out))

    def _ordered(self, rows: pd.DataFrame) -> npt.NDArray[np.void]:
        found = np.empty(len(rows), dtype=[("account", "i8"), ("at", "i8")])
        found["account"], found["at"] = self._ids.get_indexer(rows["account_id"]), rows["started_at"]
        found.sort(order=["account", "at"])
        return found

    def exposure(self, accounts: pd.Series, as_of: pd.Series, spans: Sequence[int]) -> Exposure | None:
        """What was begun and held out in [T, T + days) for each of `spans`; None where no play is known."""
        if not len(self._ids):
            return None
        ids, start = accounts.to_numpy(dtype=object), as_of.to_numpy().astype("datetime64[us]")
        begun, held_out = (
            np.column_stack([self._within(plays, ids, start, days) for days in spans]) for plays in (self._begun, self._held_out)
        )
        called, held = len(self._begun) + len(self._held_out), len(self._held_out)
        return Exposure(begun, held_out, called / held if held else 0.0)

    def _within(self, plays: npt.NDArray[np.void], accounts: npt.ArrayLike, as_of: Instants, days: int) -> npt.NDArray[np.int8]:
        codes = self._ids.get_indexer(pd.Index(np.asarray(accounts, dtype=object)))
        start = as_of.astype("datetime64[us]").astype("int64")
        asked = np.empty(len(codes), dtype=plays.dtype)
        asked["account"] = codes
        bounds = []
        for instant in (start, start + days * 86_400_000_000):
            asked["at"] = instant
            bounds.append(np.searchsorted(plays, asked))
        return np.where(codes < 0, 0, bounds[1] - bounds[0]).astype(np.int8)


def _latest(plays: Any) -> pd.DataFrame:
    """The last version of each play: account_id, started_at (microseconds since 1970), held_out."""
    key = TABLES["plays"].key
    table = read_columns(plays, (*key, "assignment", "recorded_at"))
    rows = pd.DataFrame({name: text(table, name).to_pandas() for name in (*key, "assignment") if name in table.column_names})
    rows["started_at"] = instants(table, "started_at", NEVER)
    rows[HELD_OUT] = rows["assignment"].eq(HELD_OUT) if "assignment" in rows else False
    order = np.argsort(instants(table, "recorded_at", rows["started_at"].to_numpy()), kind="stable")
    return rows.iloc[order].drop_duplicates([name for name in key if name in rows], keep="last")

"""The spine: which accounts at which instants, in the order and on the index in which they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import pandas as pd

from features.catalogue import DAY

#: To read all use in the order of days costs about as much as adding it up at so many midnights.
MANY_MIDNIGHTS = 4


@dataclass(frozen=True)
class Spine:
    """`rows`: account_id, as_of and the midnight whose peers it reads (microseconds since 1970), and the row's position."""

    rows: pd.DataFrame
    index: pd.Index

    @classmethod
    def of(cls, given: Any) -> Self:
        """Read rows of (account_id, as_of), of a frame or anything that has `to_pandas`; a spine stays as it is.

        Raises ValueError where a column is missing or a cell is null.

        >>> Spine.of(pd.DataFrame({"account_id": ["a"], "as_of": ["1970-01-02 00:00:01"]})).rows["midnight"].tolist()
        [86400000000]
        """
        if isinstance(given, cls):
            return given
        frame = given.to_pandas() if hasattr(given, "to_pandas") else pd.DataFrame(given)
        for column in ("account_id", "as_of"):
            if column not in frame.columns:
                raise ValueError(f"spine lacks the column {column!r}; it has: {', '.join(map(str, frame.columns))}")
            if frame[column].isna().any():
                raise ValueError(f"spine.{column} is null in {int(frame[column].isna().sum())} row(s): give every row one")
        instants = pd.to_datetime(frame["as_of"], utc=True).dt.tz_localize(None).astype("datetime64[us]")
        rows = {
            "account_id": frame["account_id"].astype(str).to_numpy(),
            "as_of": instants.astype("int64").to_numpy(),
            "midnight": instants.dt.floor("D").astype("int64").to_numpy(),
            "position": range(len(frame)),
        }
        return cls(pd.DataFrame(rows), given.index if isinstance(given, pd.DataFrame) else pd.RangeIndex(len(frame)))

    def __len__(self) -> int:
        """How many rows are asked for."""
        return len(self.rows)

    @property
    def many_midnights(self) -> tuple[int, int] | None:
        """The days of the first and the last midnight, where all rows are at so many that use is better read once for all."""
        midnights = self.rows["midnight"]
        if midnights.nunique() < MANY_MIDNIGHTS or (self.rows["as_of"] != midnights).any():
            return None
        return int(midnights.min()) // DAY, int(midnights.max()) // DAY

    def chunks(self, accounts: int, size: int) -> Iterator[pd.DataFrame]:
        """Whole midnights together, about `size` rows, so that each population, of at most `accounts`, is computed once."""
        sizes = self._ordered.groupby("midnight", sort=True).size().clip(lower=accounts)
        block = (sizes.cumsum() - sizes) // size
        for _, chunk in self._ordered.groupby(self._ordered["midnight"].map(block), sort=True):
            yield chunk
        if self.rows.empty:
            yield self.rows

    @cached_property
    def _ordered(self) -> pd.DataFrame:
        return self.rows.sort_values(["midnight", "position"])

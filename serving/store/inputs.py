"""`Inputs`: what each score was computed from, to the bit, so that it can be computed again."""

import hashlib
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import Connection, insert, select

from serving.store.database import Database
from serving.store.instants import utc
from serving.store.scored_account import to_json
from serving.store.tables.history import AccountRow
from serving.store.tables.work import InputColumnsRow, InputRow
from serving.store.transactions import account_key, append_to_run, known_keys, standing_score

Instant = datetime | date | str
#: Facts that stand beside the features; anything else, such as a name, is refused.
FACTS = ("active", "leaving", "mrr", "seats", "renewal_at", "notice_by", "product", "plan", "strategic", "parent_account_id")
_KEYS = ("account_id", "as_of")
_VALUE = np.dtype("<f8")


@dataclass(frozen=True)
class ScoreInputs:
    """What one score was computed from: features by name (None: missing), and facts (instants as ISO 8601 text).

    `facts["parent_account_id"]` is None too where the parent was erased since.
    """

    run_id: str
    as_of: datetime
    features: dict[str, float | None]
    facts: dict[str, Any]


class Inputs:
    """What each score was computed from; append-only, and seen once its run is finished."""

    def __init__(self, database: Database):
        self._database = database

    def append(self, run_id: str, features: pd.DataFrame, facts: pd.DataFrame) -> int:
        """Append a run's inputs, all or none, and return how many are new; those it holds are passed over.

        `features`: account_id, as_of and numbers (NaN: missing); `facts`: a row for each of its rows, in its order, with columns
        of FACTS, and account_id and as_of if they are there. Raises StoreError for an unknown run or account and for a new row in
        a finished run, ValueError for what cannot be kept. A parent that was never scored draws a key of its own.
        """
        names = [column for column in features.columns if column not in _KEYS]
        stored = _facts(features, facts)
        packed = _pack(features, names)
        as_of = [utc(instant) for instant in features["as_of"]]
        digest = hashlib.sha256(to_json(names).encode()).hexdigest()
        with self._database.writing() as connection:
            parents = _parent_keys(connection, {fact["parent_account_id"] for fact in stored} - {None})
            for fact in stored:
                parent = fact.pop("parent_account_id")
                fact["parent_key"] = None if parent is None else parents[parent].hex
            if connection.scalar(select(InputColumnsRow.digest).where(InputColumnsRow.digest == digest)) is None:
                connection.execute(insert(InputColumnsRow), [{"digest": digest, "names": names}])
            rows = [
                {"account_id": account_id, "as_of": instant, "columns_digest": digest, "packed": values, "facts": fact}
                for account_id, instant, values, fact in zip(features["account_id"], as_of, packed, stored, strict=True)
            ]
            return append_to_run(connection, InputRow, run_id, rows, self._database.where)

    def read(
        self,
        account_id: str,
        *,
        run_id: str | None = None,
        as_of: Instant | None = None,
        known_at: Instant | None = None,
    ) -> ScoreInputs | None:
        """Return the inputs of the score that stands, as in `Store.scores`, or of the run given; None where none are kept.

        Raises UnknownAccountError.
        """
        with self._database.reading() as connection:
            key = account_key(connection, account_id, self._database.where)
            score = standing_score(connection, key, run_id=run_id, as_of=_utc(as_of), known_at=_utc(known_at))
            if score is None:
                return None
            row = connection.execute(
                select(InputColumnsRow.names, InputRow.packed, InputRow.facts)
                .join(InputColumnsRow, InputColumnsRow.digest == InputRow.columns_digest)
                .where(InputRow.run_id == score.run_id, InputRow.account_key == key, InputRow.as_of == score.as_of)
            ).first()
            if row is None:
                return None
            facts = dict(row.facts)
            parent = facts.pop("parent_key")
            parent_id = select(AccountRow.account_id).where(AccountRow.account_key == uuid.UUID(parent)) if parent else None
            facts["parent_account_id"] = None if parent_id is None else connection.scalar(parent_id)
        return ScoreInputs(score.run_id, score.as_of, _unpack(row.names, row.packed), facts)


def _facts(features: pd.DataFrame, facts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the facts as JSON's own values, a dict per row; ValueError where they are not those of the features' rows."""
    for key in _KEYS:
        if key not in features:
            raise ValueError(f"features lacks the column {key!r}; it has: {', '.join(map(str, features.columns)) or 'none'}")
        if key in facts and list(facts[key]) != list(features[key]):
            raise ValueError(f"facts.{key} is not features.{key}: give both frames in one order")
    if len(facts) != len(features):
        raise ValueError(f"facts has {len(facts)} rows and features {len(features)}: give one row of facts for each")
    if unknown := [str(column) for column in facts.columns if column not in (*_KEYS, *FACTS)]:
        raise ValueError(f"facts has {', '.join(unknown)}; only these are kept: {', '.join(FACTS)}")
    columns = {name: _plain(facts[name]) if name in facts else [None] * len(facts) for name in FACTS}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(column: pd.Series) -> list[Any]:
    return column.astype(object).where(column.notna().to_numpy(), None).tolist()


def _pack(features: pd.DataFrame, names: Sequence[str]) -> list[bytes]:
    """Return each row's values, compressed to about a third: most features of most accounts are zero or missing."""
    try:
        values: npt.NDArray[np.float64] = np.ascontiguousarray(features[list(names)].to_numpy(dtype=_VALUE))
    except (TypeError, ValueError) as error:
        raise ValueError(f"features holds something that is no number: {error}; give float64 columns") from error
    return [zlib.compress(row.tobytes()) for row in values]


def _unpack(names: Sequence[str], packed: bytes) -> dict[str, float | None]:
    values = np.frombuffer(zlib.decompress(packed), _VALUE).tolist()
    return {name: None if value != value else value for name, value in zip(names, values, strict=True)}


def _parent_keys(connection: Connection, parents: set[str]) -> dict[str, uuid.UUID]:
    """Return the keys of the parents; one that was never scored is saved by its id alone, so that it can be erased too."""
    keys = known_keys(connection) if parents else {}
    new = {account_id: uuid.uuid4() for account_id in sorted(parents - keys.keys())}
    if new:
        connection.execute(insert(AccountRow), [{"account_key": key, "account_id": name} for name, key in new.items()])
    return keys | new


def _utc(instant: Instant | None) -> datetime | None:
    return None if instant is None else utc(instant)

"""Many histories in one set of tables, told apart by a prefix, built in one call and compared value by value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from features.catalogue import catalog
from features.contract import TABLES
from reference.account import Expected, expected
from reference.engines import ENGINES
from reference.histories import ACCOUNTS, FOREIGN, History
from reference.peers import Peers, versus
from reference.shapes import Shape

#: Two of them make one column name.
PRODUCT_FEATURES = ("open", "Open", "Save As")
OWN = [name for name, feature in catalog(PRODUCT_FEATURES).items() if feature.versus is None]
VERSUS = {name: feature.versus for name, feature in catalog(PRODUCT_FEATURES).items() if feature.versus is not None}
FACTS = ["active", "leaving", "mrr", "seats", "renewal_at", "notice_by"]
_DTYPES = {"time": "datetime64[us]", "integer": "Int64", "decimal": "float64", "boolean": "boolean", "text": "str"}
#: An account that has no row in any table.
NOBODY = "nobody"
Wrong = dict[str, tuple[object, object]]


@dataclass
class Compared:
    """Outcome of a comparison: what disagrees, as column → (built, expected), by history, account and instant."""

    wrong: dict[tuple[int | None, str, datetime], Wrong] = field(default_factory=dict)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    #: Whether the peers were compared too, and who they were: 0 a segment, 1 a product, 2 all accounts.
    peers_compared: bool = False
    peer_levels: list[int] = field(default_factory=list)


def together(histories: Sequence[History], shape: Shape) -> dict[str, pd.DataFrame]:
    """Return the tables of all histories: every id, and the currency that has rates, gets the history's number in front."""
    accounts = [f"{number}.{account}" for number in range(len(histories)) for account in ACCOUNTS]
    frames = {"accounts": pd.DataFrame({"account_id": [*accounts, NOBODY]})}
    for table in (name for name in TABLES if name != "accounts" and name not in shape.missing):
        columns = shape.columns(table)
        rows = [_told_apart(row, number) for number, history in enumerate(histories) for row in history[table]]
        frame = pd.DataFrame(rows, columns=columns, dtype=object)
        frames[table] = frame.astype({name: _DTYPES[TABLES[table].column(name).kind] for name in columns})
    return frames


def _told_apart(row: dict, number: int) -> dict:
    return {
        name: f"{number}.{value}" if value is not None and (name.endswith("_id") or value == FOREIGN) else value
        for name, value in row.items()
    }


def compare(histories: Sequence[History], shape: Shape, engine: str) -> Compared:
    """Build and compare all of them; the peers, who are all accounts, only where nothing else disagrees."""
    frames = together(histories, shape)
    accounts = list(frames["accounts"]["account_id"])
    wanted = {at: expected(frames, accounts, at, PRODUCT_FEATURES) for at in shape.instants}
    spine = pd.MultiIndex.from_product([shape.instants, accounts], names=["as_of", "account_id"]).to_frame(index=False)
    built = ENGINES[engine](frames, spine, PRODUCT_FEATURES)
    facts = built.facts.assign(
        **{name: (built.facts[name] - built.facts["as_of"]) / pd.Timedelta(days=1) for name in ("renewal_at", "notice_by")}
    )
    reference = [wanted[at][account] for at, account in spine.itertuples(index=False)]
    compared = Compared(rows=pd.DataFrame([row.features for row in reference], columns=OWN))
    _note(compared, spine, built.features[OWN], compared.rows)
    _note(compared, spine, facts[FACTS], pd.DataFrame([row.facts for row in reference], columns=FACTS))
    names = pd.DataFrame([row.facts for row in reference], columns=["product", "plan"])
    _note_different(compared, spine, facts, names)
    if not compared.wrong:
        _compare_peers(compared, spine, built, wanted)
    return compared


def _compare_peers(compared: Compared, spine: pd.DataFrame, built: object, wanted: dict[datetime, dict[str, Expected]]) -> None:
    """The shapes' instants begin with the midnight whose peers all of them read."""
    peers = Peers(next(iter(wanted.values())))
    medians = [peers.medians(wanted[at][account].facts) for at, account in spine.itertuples(index=False)]
    medians = pd.DataFrame(medians, columns=OWN)
    relative = {
        name: [versus(own, peer) for own, peer in zip(compared.rows[of], medians[of], strict=True)] for name, of in VERSUS.items()
    }
    _note(compared, spine, built.peers[OWN], medians)
    _note(compared, spine, built.features[list(VERSUS)], pd.DataFrame(relative))
    compared.peers_compared, compared.peer_levels = True, peers.levels


def _note(compared: Compared, spine: pd.DataFrame, built: pd.DataFrame, wanted: pd.DataFrame) -> None:
    got, right = built.to_numpy(dtype="float64"), wanted.to_numpy(dtype="float64")
    for row, column in np.argwhere(~np.isclose(got, right, rtol=1e-9, atol=1e-9, equal_nan=True)):
        _add(compared, spine, row, built.columns[column], got[row, column], right[row, column])


def _note_different(compared: Compared, spine: pd.DataFrame, built: pd.DataFrame, wanted: pd.DataFrame) -> None:
    for name in wanted.columns:
        got, right = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (built, wanted))
        for row in np.flatnonzero(got.to_numpy() != right.to_numpy()):
            _add(compared, spine, row, name, got.iloc[row], right.iloc[row])


def _add(compared: Compared, spine: pd.DataFrame, row: int, column: str, got: object, right: object) -> None:
    at, account = spine.iloc[row]
    number, _, name = account.rpartition(".")
    where = (int(number) if number else None, name, at.to_pydatetime())
    compared.wrong.setdefault(where, {})[column] = (got, right)

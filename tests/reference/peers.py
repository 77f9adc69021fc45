"""Peers: accounts active at the midnight in the same segment; below 20 the product, then all (domain.md §2 "Peers")."""

import math
from collections.abc import Mapping

import pandas as pd

from reference.account import Expected
from reference.arithmetic import Found

SMALLEST_SEGMENT = 20


class Peers:
    """The accounts active at one midnight, given what is expected of every account of the company then."""

    def __init__(self, at_midnight: Mapping[str, Expected]) -> None:
        self.active = [account for account in at_midnight.values() if account.facts["active"]]
        self._medians: dict[tuple[object, object], Found] = {}
        #: How often a segment, a product and all accounts were the peers.
        self.levels: list[int] = []

    def medians(self, facts: dict[str, float | str | None]) -> Found:
        """Medians of every feature over the peers of an account with these facts at T; none for one that is not active."""
        if not facts["active"]:
            return {}
        segment = facts["product"], facts["plan"]
        if segment not in self._medians:
            self._medians[segment] = pd.DataFrame([peer.features for peer in self._of(*segment)]).median().to_dict()
        return self._medians[segment]

    def _of(self, product: object, plan: object) -> list[Expected]:
        same_product = [peer for peer in self.active if peer.facts["product"] == product]
        same_plan = [peer for peer in same_product if peer.facts["plan"] == plan]
        levels = [same_plan, same_product, self.active]
        level = next((n for n, peers in enumerate(levels) if len(peers) >= SMALLEST_SEGMENT), 2)
        self.levels.append(level)
        return levels[level]


def versus(own: float, peers: float) -> float:
    """(own − peers) / (|own| + |peers|), 0 where both are."""
    if own == peers == 0:
        return 0.0
    return (own - peers) / (abs(own) + abs(peers)) if not math.isnan(own + peers) else math.nan

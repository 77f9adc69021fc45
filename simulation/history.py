"""What happened to the accounts: the hidden life from which every table is written."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from simulation.population import Population
from simulation.world import CAUSELESS, CAUSES

#: Index of the cause of an account that left without one.
NO_CAUSE = -1


@dataclass(frozen=True)
class Moment:
    """All that the simulator knows at the start of `day`: what the future after it depends on.

    `state`: (causes, accounts); `effect` of the play on each cause, working until `works_until`; `growth` state;
    `shrunk`, `grown`: day of the last change in each direction; `seats`; `alive`: a customer who has given no notice.
    """

    day: int
    state: npt.NDArray[np.int8]
    effect: npt.NDArray[np.float64]
    works_until: npt.NDArray[np.int64]
    growth: npt.NDArray[np.int8]
    shrunk: npt.NDArray[np.int64]
    grown: npt.NDArray[np.int64]
    seats: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """Days count from the start of the period; inf or NaN = has not happened.

    An account may act from `begin` to before `end`; `notice` and `leave` are days, `reason` an index of CAUSES or NO_CAUSE.
    `signals`: cause → (accounts, weeks) in [0, 1], what shows of it at the start of each week; `growing` and `seats` likewise.
    `episodes`: account, cause, start, acute, end (passed, or left), severe, leaves. `changes`: account, day, kind, ratio.
    `offers`: account, offered, decided, won. `plays`: account, cause, day, held_out. `effects`: (causes, accounts).
    Nothing in `signals` or `seats` at a day depends on anything drawn for that day or a later one.
    """

    population: Population
    episodes: pd.DataFrame
    signals: dict[str, npt.NDArray[np.float32]]
    growing: npt.NDArray[np.float32]
    seats: npt.NDArray[np.int64]
    begin: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    notice: npt.NDArray[np.float64]
    leave: npt.NDArray[np.float64]
    reason: npt.NDArray[np.int64]
    changes: pd.DataFrame
    offers: pd.DataFrame
    plays: pd.DataFrame
    effects: npt.NDArray[np.float64]
    moments: tuple[Moment, ...]

    def of(self, cause: str) -> pd.DataFrame:
        """Return the episodes of one cause, in order of account and start."""
        return self.episodes[self.episodes["cause"] == [each.name for each in CAUSES].index(cause)]

    def causes(self) -> pd.DataFrame:
        """Return one row per cause that was at work in the period, and per departure without one.

        Columns: account_id, cause, driver (which the cause should read as), started_at, acute_at, faded_at (it passed), severe,
        notice_at, left_at (end of service, which a notice can put after the end of the data); empty = has not happened.
        """
        clock = self.population.clock
        gone = np.flatnonzero((self.reason == NO_CAUSE) & (np.minimum(self.notice, self.leave) < clock.days))
        causeless = pd.DataFrame({"account": gone, "cause": NO_CAUSE, "leaves": True})
        rows = pd.concat([self.episodes, causeless], ignore_index=True)
        account, leaves = rows["account"].to_numpy(), rows["leaves"].to_numpy(dtype=bool)
        names = {index: cause.name for index, cause in enumerate(CAUSES)} | {NO_CAUSE: CAUSELESS}
        drivers = {index: cause.driver for index, cause in enumerate(CAUSES)}
        frame = pd.DataFrame(
            {
                "account_id": self.population.ids[account],
                "cause": rows["cause"].map(names).astype("str"),
                "driver": rows["cause"].map(drivers).astype("str"),
                "started_at": clock.times(rows["start"]),
                "acute_at": clock.times(rows["acute"]),
                "faded_at": clock.times(rows["end"].where(~leaves)),
                "severe": rows["severe"].astype("boolean"),
                "notice_at": clock.times(np.where(leaves, self.notice[account], np.inf)),
                "left_at": clock.times(np.where(leaves, self.leave[account], np.inf)),
            }
        )
        return frame.sort_values(["account_id", "started_at", "cause"], kind="stable").reset_index(drop=True)

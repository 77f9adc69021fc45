"""Relations: the customer's people, how we keep in touch with them, and what they want to reach."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from simulation.contracts import Contracts
from simulation.draws import happenings, late, until, weekly
from simulation.history import History
from simulation.names import addresses
from simulation.population import Population
from simulation.world import SIZES

#: In the order in which an account has them: a small account has the first three.
_ROLES = ("admin", "decision_maker", "champion", "user", "executive", "user")
_GOALS = ("hours saved a month", "reports on time (%)", "users trained", "processes automated", "errors found")
_KINDS = ("email", "call", "meeting", "in_app", "training", "webinar")
_KIND_SHARES = (0.46, 0.18, 0.18, 0.10, 0.04, 0.04)
_ATTENDED = ("meeting", "qbr", "training", "webinar")


@dataclass(frozen=True)
class Contacts:
    """People: account, contact_id, role, since, gone (days; inf = still there)."""

    people: pd.DataFrame

    def at(self, account: np.ndarray, role: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Return the contact_id of who held `role` at `account` on `day`; the admin's where nobody did."""
        asked = pd.DataFrame({"account": account, "role": role, "day": day, "row": np.arange(len(account))})
        asked = asked.astype({"role": "str"})
        held = self._holder(asked)
        nobody = asked[held.isna().to_numpy()].assign(role="admin")
        held[nobody.index] = self._holder(nobody)
        return held.to_numpy(dtype=object)

    def _holder(self, asked: pd.DataFrame) -> pd.Series:
        people = self.people.sort_values("since", kind="stable")
        found = pd.merge_asof(
            asked.sort_values("day", kind="stable"), people, left_on="day", right_on="since", by=["account", "role"]
        )
        found["contact_id"] = found["contact_id"].where(found["gone"] > found["day"])
        return found.set_index("row").loc[asked["row"], "contact_id"]


def employ(history: History, rng: np.random.Generator) -> Contacts:
    """Draw the customer's people: places with a holder each, who change at times; a champion may leave a gap."""
    population = history.population
    places = np.array([size.contacts for size in SIZES])[population.size]
    account = np.repeat(np.arange(len(population)), places)
    place = np.arange(len(account)) - np.repeat(np.cumsum(places) - places, places)
    first = pd.DataFrame({"account": account, "role": np.array(_ROLES)[place]}).astype({"role": "str"})
    first["since"] = population.created[account].astype(float)
    first["gone"] = np.inf
    champion = (first["role"] == "champion").to_numpy()
    moves = ~champion & (first["role"] != "admin").to_numpy() & (rng.random(len(first)) < 0.15)
    goes = np.where(moves, np.floor(np.maximum(first["since"], 0) + rng.uniform(60, 600, len(first))), np.inf)
    goes = np.where(goes < history.end[account], goes, np.inf)
    first["gone"] = goes
    following = first[np.isfinite(goes)].assign(since=goes[np.isfinite(goes)], gone=np.inf)
    people = pd.concat([first[~champion], following, _champions(first[champion], history, rng)])
    everyone = people[people["since"] < history.end[people["account"].to_numpy()]]
    everyone = everyone.reset_index(drop=True).sort_values(["account", "since", "role"], kind="stable")
    everyone["contact_id"] = addresses(population.names[everyone["account"].to_numpy()], rng)
    return Contacts(everyone.reset_index(drop=True))


def _champions(first: pd.DataFrame, history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return the champions: who leaves with the cause leaves a gap until it has passed; some are followed at once."""
    lost = history.of("champion_left")
    lost = lost[lost["start"] > history.population.created[lost["account"].to_numpy()] + 1]
    calm = first[~first["account"].isin(lost["account"]) & (rng.random(len(first)) < 0.2)]
    day = np.floor(np.maximum(calm["since"], 0) + rng.uniform(60, 600, len(calm)))
    changes = pd.concat([lost[["account", "start", "end"]], pd.DataFrame({"account": calm["account"], "start": day, "end": day})])
    changes = changes[changes["start"] < history.end[changes["account"].to_numpy()]].sort_values(["account", "start"])
    starts = pd.concat([first[["account", "since"]], changes.rename(columns={"end": "since"})[["account", "since"]].dropna()])
    starts = starts.sort_values(["account", "since"], kind="stable").reset_index(drop=True)
    left = changes.rename(columns={"start": "gone"})[["account", "gone"]].sort_values("gone", kind="stable")
    found = pd.merge_asof(
        starts.sort_values("since", kind="stable"),
        left,
        left_on="since",
        right_on="gone",
        by="account",
        direction="forward",
        allow_exact_matches=False,
    )
    return found.assign(role="champion", gone=found["gone"].fillna(np.inf)).astype({"role": "str"})


def contacts(history: History, employed: Contacts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `contacts` table: a departure is a later version of the row, written down weeks later or never."""
    population, people, clock = history.population, employed.people, history.population.clock
    since, gone = people["since"].to_numpy(), people["gone"].to_numpy()
    told = gone + rng.gamma(1.2, 10.0, len(people))
    noticed = (told < clock.days) & (rng.random(len(people)) < 0.9)
    first = _contact_rows(people, population, np.inf, since)
    later = _contact_rows(people[noticed], population, gone[noticed], told[noticed])
    return pd.concat([first, later], ignore_index=True)


def _contact_rows(people: pd.DataFrame, population: Population, gone: np.ndarray | float, recorded: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contact_id": people["contact_id"].to_numpy(),
            "account_id": population.ids[people["account"].to_numpy()],
            "role": people["role"].to_numpy(),
            "valid_from": population.clock.times(people["since"]),
            "valid_to": population.clock.times(np.broadcast_to(gone, len(people))),
            "recorded_at": population.clock.times(recorded),
        }
    )


def touchpoints(history: History, employed: Contacts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `touchpoints` table: our outreach (more of it where we see trouble) and the customer's own calls."""
    population, clock, signals = history.population, history.population.clock, history.signals
    usual = np.array([size.touches for size in SIZES])[population.size][:, None]
    seen = np.maximum(signals["usage_decline"], np.maximum(signals["support_trouble"], signals["failed_onboarding"]))
    reacted = np.concatenate([np.zeros((len(population), 3), dtype=np.float32), seen[:, :-3]], axis=1)[:, : clock.weeks]
    parts = []
    reached = (1 - 0.97 * signals["silence"]) * (1 - 0.2 * signals["champion_left"])
    qbr = np.where(population.size[:, None] > 0, 0.05, 0.0) * reached
    for direction, rate, kinds, shares in (
        ("out", usual * (1 + 1.2 * reacted), _KINDS, _KIND_SHARES),
        ("out", qbr, ("qbr",), (1.0,)),
        ("in", 0.45 * usual * reached, ("email", "call"), (0.7, 0.3)),
    ):
        account, day = happenings(history, rate, rng)
        kind = rng.choice(np.array(kinds, dtype=object), len(account), p=shares)
        parts.append(pd.DataFrame({"account": account, "day": day, "kind": kind, "direction": direction}))
    parts.append(_kick_offs(history, rng))
    rows = pd.concat(parts, ignore_index=True).sort_values("day", kind="stable").reset_index(drop=True)
    account, day = rows["account"].to_numpy(), rows["day"].to_numpy()
    felt = weekly(reached, account, day)
    attended = rows["kind"].isin(_ATTENDED).to_numpy()
    held = ~attended | (rng.random(len(rows)) < np.maximum(felt, 0.08))
    answered = rng.random(len(rows)) < 0.92 * felt * (1 - 0.2 * weekly(seen, account, day))
    replied = np.where(attended, day, np.where(answered, day + rng.lognormal(np.log(0.4), 1.0, len(rows)), np.nan))
    replied = np.where(rows["direction"] == "out", replied, np.nan)
    unmet = rng.random(len(rows)) < 1.6 * weekly(signals["decision_maker_not_met"], account, day)
    roles = np.array(["admin", "champion", "user", "decision_maker", "executive"], dtype=object)
    role = rng.choice(roles, len(rows), p=[0.12, 0.18, 0.12, 0.48, 0.10])
    role = np.where(unmet & np.isin(role, ["decision_maker", "executive"]), "user", role)
    recorded = late(day, 0.06, rng)
    table = pd.DataFrame(
        {
            "account_id": population.ids[account],
            "kind": rows["kind"],
            "occurred_at": clock.times(day),
            "direction": rows["direction"],
            "contact_id": employed.at(account, role, day),
            "responded_at": clock.times(until(replied, np.minimum(history.leave[account], clock.days))),
            "recorded_at": clock.times(recorded),
        }
    )
    return table[held & (recorded < clock.days)].drop_duplicates(["account_id", "kind", "occurred_at", "contact_id"])


def _kick_offs(history: History, rng: np.random.Generator) -> pd.DataFrame:
    """Return each new account's kick-off meeting: in the first days, or weeks later where the handover was lost."""
    population = history.population
    kept, lost = rng.uniform(1, 7, len(population)), rng.uniform(9, 30, len(population))
    day = population.created + np.where(population.handover_lost, lost, kept)
    new = np.flatnonzero((population.created >= 0) & (day < history.end))
    return pd.DataFrame({"account": new, "day": day[new], "kind": "meeting", "direction": "out"})


def outcomes(history: History, contracts: Contracts, rng: np.random.Generator) -> pd.DataFrame:
    """Return the `outcomes` table: one to three own goals per account, measured about monthly, with noise."""
    population, clock = history.population, history.population.clock
    goals = rng.integers(2, 4, len(population))
    account = np.repeat(np.arange(len(population)), goals)
    number = np.arange(len(account)) - np.repeat(np.cumsum(goals) - goals, goals)
    shift = rng.integers(0, len(_GOALS), len(population))
    frame = pd.DataFrame({"account": account, "goal": np.array(_GOALS, dtype=object)[(shift[account] + number) % 5]})
    frame["target"] = rng.choice([20.0, 50.0, 100.0, 200.0], len(frame))
    frame["bias"] = rng.normal(0, 0.05, len(frame))
    visits = pd.DataFrame({"day": np.arange(20, clock.days, 28)})
    rows = frame.merge(visits, how="cross")
    rows["day"] = rows["day"] + rng.integers(-8, 9, len(rows)) + 0.5
    account, day = rows["account"].to_numpy(), rows["day"].to_numpy()
    alive = (day >= history.begin[account] + 21) & (day < history.end[account])
    rows, account, day = rows[alive], account[alive], day[alive]
    reached = weekly(contracts.progress, account, day) + rows["bias"] + rng.normal(0, 0.05, len(rows))
    table = pd.DataFrame(
        {
            "account_id": population.ids[account],
            "goal": rows["goal"],
            "target": rows["target"],
            "value": np.round(rows["target"] * np.maximum(reached, 0), 1),
            "measured_at": clock.times(day),
        }
    )
    return table.sort_values(["measured_at", "account_id", "goal"], kind="stable")

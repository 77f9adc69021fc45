"""`python -m benchmarks.regularities [--accounts N --months M --seed S] [--json | --markdown]`: the simulation beside life.

The same figures by the same functions on the simulated company, on real data where there is some, and beside published
figures. A figure without a real counterpart has no range. The prose around the table is docs/simulation-and-life.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

import simulation

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NOTE = Path(__file__).resolve().parents[1] / "docs" / "simulation-and-life.md"
BEGIN, END = "<!-- regularities: begin -->", "<!-- regularities: end -->"

DAY = pd.Timedelta(days=1)
MONTH_DAYS = 365.25 / 12
#: Blocks of weeks before leaving (from, to; inclusive), all relative to the BASE weeks.
BLOCKS = {"weeks 12–9": (12, 9), "weeks 8–5": (8, 5), "weeks 4–1": (4, 1), "last week": (1, 1)}
BASE = (16, 13)
#: Below this share of its own earlier level (peers' change taken out), use has visibly fallen.
FALLEN = 0.8
#: A stayer in a comparison does not leave within this time.
STAYS = 90
EARLY_DAYS = 60

#: Survival of yearly contracts, % after 0, 1, 2 … years: Fader & Hardie (2007), table 1.
HIGH_END = (100, 86.9, 74.3, 65.3, 59.3)
REGULAR = (100, 63.1, 46.8, 38.2, 32.6)
_CURVES = {"Fader–Hardie high end": HIGH_END, "regular": REGULAR}
#: Survival of 56,942 paid subscriptions after so many days: Buffer (2022).
BUFFER_SURVIVAL = {0: 1.0, 30: 0.882, 90: 0.724, 277: 0.5}
#: NPS group of the subscriber → (left, all) of the subscriptions begun in 2016, seen until May 2017: Buffer (2017).
BUFFER_NPS = {"promoter": (8223, 17043), "passive": (2756, 5498), "detractor": (1359, 2537), "no answer": (23283, 37939)}
#: The fifth of subscriptions that used least (most) in their first 60 days → (left, all), likewise.
BUFFER_EARLY = {"least": (8336, 12558), "most": (6347, 12711)}


@dataclass(frozen=True)
class Lives:
    """Accounts as they were observed, and their use.

    `accounts`, indexed by account_id: born, seen_from, seen_until, left (NaT: did not) and peers (whose calendar they
    share). `use`: account_id, day, users (active that day), quantity. `name` stands in the table's columns.
    """

    name: str
    accounts: pd.DataFrame
    use: pd.DataFrame


@dataclass(frozen=True)
class Row:
    """One figure: what life says (`real`, named by source), what the simulation does, and the range that matches life.

    `percent` says how to print it; no range where there is nothing to match.
    """

    regularity: str
    figure: str
    real: dict[str, str]
    simulated: float
    low: float | None = None
    high: float | None = None
    percent: bool = True

    @property
    def matches(self) -> bool | None:
        """Whether the simulated figure lies in the range; None where there is no range or no figure."""
        if self.low is None or self.high is None or np.isnan(self.simulated):
            return None
        return bool(self.low <= self.simulated <= self.high)


# --- laws of any set of lives ------------------------------------------------------------------------------------------


def hazard(accounts: pd.DataFrame, low: float, high: float) -> float:
    """Return departures per account and month while tenure is in [low, high) months; NaN where nobody was that old.

    Accounts enter when they are first seen, not when they were born, so that early leavers who were never seen do not
    count as stayers.

    >>> seen = pd.DataFrame({"left": pd.to_datetime(["2026-02-01", None])})
    >>> seen = seen.assign(born="2026-01-01", seen_from="2026-01-01", seen_until="2026-03-01").astype("datetime64[us]")
    >>> round(hazard(seen, 0, 2), 2)
    0.34
    """
    first, last, left = (_months(accounts[name], accounts["born"]) for name in ("seen_from", "seen_until", "left"))
    gone = left.lt(last)
    stop = left.where(gone, last)
    exposed = (stop.clip(upper=high) - first.clip(lower=low)).clip(lower=0).sum()
    events = (gone & stop.ge(low) & stop.lt(high) & stop.ge(first)).sum()
    return float(events / exposed) if exposed > 0 else float("nan")


def _months(times: pd.Series, since: pd.Series) -> pd.Series:
    return (times - since).dt.total_seconds() / 86_400 / MONTH_DAYS


def before_leaving(lives: Lives, chosen: pd.Series | None = None) -> dict[str, float]:
    """Return the use of leavers before they left, relative to their own weeks 16–13 before and to stayers' same weeks.

    `chosen` (boolean by account_id) restricts the leavers. For each block of weeks the median over leavers; `unseen`: the
    share of leavers whose last four weeks had not visibly fallen; `alarm`: the share of stayers whose had; `leavers`: how
    many were seen long enough and used the product in the weeks they are compared with.
    """
    accounts = lives.accounts
    first = accounts["seen_from"].min().normalize() - BASE[0] * 7 * DAY
    width = int((accounts["seen_until"].max() - first) / DAY) + 2
    total = np.zeros((len(accounts), width))
    use = lives.use[lives.use["account_id"].isin(accounts.index)]
    day = ((use["day"] - first) / DAY).astype(int).to_numpy() + 1
    inside = (day > 0) & (day < width)
    place = accounts.index.get_indexer(pd.Index(use["account_id"]))
    np.add.at(total, (place[inside], day[inside]), use["users"].to_numpy()[inside])
    total = total.cumsum(axis=1)
    number = {name: ((accounts[name] - first) / DAY).to_numpy() for name in ("seen_from", "seen_until", "left")}
    peers = accounts["peers"].to_numpy()
    wanted = np.ones(len(accounts), bool) if chosen is None else chosen.reindex(accounts.index, fill_value=False).to_numpy()
    ratios, unseen, alarms = [], [], []
    for row in np.flatnonzero(wanted & (number["left"] < number["seen_until"])):
        last = int(number["left"][row])
        weeks = {name: (last - 7 * start, last - 7 * (stop - 1)) for name, (start, stop) in (BLOCKS | {"base": BASE}).items()}
        opened = weeks["base"][0]
        if opened < number["seen_from"][row]:
            continue
        mean = {name: (total[:, stop] - total[:, start]) / (stop - start) for name, (start, stop) in weeks.items()}
        stayers = (peers == peers[row]) & (number["seen_from"] <= opened) & (number["seen_until"] >= last)
        stayers &= ~(number["left"] < last + STAYS) & (mean["base"] > 0)
        if mean["base"][row] <= 0 or not stayers.any():
            continue
        usual = {name: mean[name][stayers].sum() / mean["base"][stayers].sum() for name in BLOCKS}
        own = {name: mean[name][row] / mean["base"][row] / usual[name] if usual[name] else np.nan for name in BLOCKS}
        ratios.append(own)
        unseen.append(own["weeks 4–1"] >= FALLEN)
        alarms.append(np.mean(mean["weeks 4–1"][stayers] / mean["base"][stayers] < FALLEN * usual["weeks 4–1"]))
    medians = pd.DataFrame(ratios, columns=list(BLOCKS)).median().to_dict()
    shares = {"unseen": np.mean(unseen), "alarm": np.mean(alarms)} if ratios else {"unseen": np.nan, "alarm": np.nan}
    return {str(name): float(value) for name, value in (medians | shares).items()} | {"leavers": float(len(ratios))}


def leaving_by_early_use(lives: Lives, seats: pd.Series | None = None) -> float:
    """Return the share that left later among the fifth that used least in its first 60 days over that of the top fifth.

    Accounts seen from their birth that stayed those 60 days; use per seat where `seats` (by account_id) is given.
    """
    accounts = lives.accounts
    until = accounts["born"] + EARLY_DAYS * DAY
    known = accounts[(accounts["seen_from"] <= accounts["born"]) & (accounts["seen_until"] > until) & ~(accounts["left"] < until)]
    use = lives.use.merge(until.rename("until"), left_on="account_id", right_index=True)
    early = use[use["day"] < use["until"]].groupby("account_id")["users"].sum().reindex(known.index, fill_value=0)
    order = (early / seats.reindex(known.index) if seats is not None else early).rank(method="first", pct=True)
    left = known["left"].lt(known["seen_until"])
    return _over(left[order <= 0.2].mean(), left[order > 0.8].mean())


def leaving_by_goals(lives: Lives, goals: pd.DataFrame, days: int) -> dict[str, float]:
    """Return the share that leaves within `days` by own goals measured in the 90 days before each month's first.

    Relative to accounts that reached half of them or more: `missed` (fewer than half reached), `none` (nothing measured).
    """
    accounts, groups = lives.accounts, []
    for start in pd.date_range(accounts["seen_from"].min(), accounts["seen_until"].max() - days * DAY, freq="MS"):
        seen = accounts[(accounts["seen_from"] + STAYS * DAY <= start) & (accounts["seen_until"] >= start + days * DAY)]
        seen = seen[~(seen["left"] < start)]
        recent = goals[(goals["measured_at"] < start) & (goals["measured_at"] >= start - 90 * DAY)]
        reached = (recent["value"] >= recent["target"].astype(float)).groupby(recent["account_id"]).mean().reindex(seen.index)
        kind = np.select([reached.isna(), reached < 0.5], ["none", "missed"], "reached")
        groups.append(pd.DataFrame({"kind": kind, "left": seen["left"] < start + days * DAY}))
    share = pd.concat(groups).groupby("kind")["left"].mean()
    return {kind: _over(share.get(kind, np.nan), share.get("reached", np.nan)) for kind in ("missed", "none")}


def gini(amounts: pd.Series) -> float:
    """Return the Gini coefficient of amounts that are not negative: 0 all equal, towards 1 one has it all.

    >>> gini(pd.Series([1, 1, 1, 1])), gini(pd.Series([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    ordered = np.sort(amounts.to_numpy(dtype=float))
    rank = np.arange(1, len(ordered) + 1)
    return float((2 * rank - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))


def top_share(amounts: pd.Series, share: float = 0.1) -> float:
    """Return what the largest `share` of them make of the sum.

    >>> top_share(pd.Series([5, 1, 1, 1, 1, 1]), share=0.17)
    0.5
    """
    largest = amounts.nlargest(max(1, round(share * len(amounts))))
    return float(largest.sum() / amounts.sum())


def christmas(lives: Lives) -> float:
    """Return use per day on 24–31 December over that of 26 November–16 December, the mean over years; NaN without one."""
    daily = lives.use.groupby("day")["users"].sum()
    ratios = []
    for year in lives.use["day"].dt.year.unique():
        before, feast = daily[f"{year}-11-26" : f"{year}-12-16"], daily[f"{year}-12-24" : f"{year}-12-31"]  # type: ignore[misc]
        if len(before) >= 21 and f"{year}-12-31" in daily.index:
            ratios.append(feast.sum() / 8 / before.mean())
    return float(np.mean(ratios)) if ratios else float("nan")


def weekend(lives: Lives) -> float:
    """Return the share of use that falls on Saturday and Sunday (2/7 = 0.29: no week)."""
    return float(lives.use.loc[lives.use["day"].dt.day_of_week >= 5, "users"].sum() / lives.use["users"].sum())


# --- where the lives come from -----------------------------------------------------------------------------------------


def daily(usage: duckdb.DuckDBPyRelation, users: str, time: str = "occurred_at") -> pd.DataFrame:
    """Return account_id, day, users and quantity of a usage table; `users` is the aggregate that counts a day's users."""
    day = f"date_trunc('day', {time})::timestamp"
    columns = f"account_id, {day} as day, ({users})::double as users, sum(quantity)::double as quantity"
    return usage.aggregate(columns, f"account_id, {day}").df()


def oulad(folder: Path) -> tuple[Lives, pd.DataFrame]:
    """Read the real course registrations and their goals; birth is the term's start, withdrawals before it are left out."""
    accounts = pd.read_parquet(folder / "accounts.parquet").set_index("account_id")
    accounts["left"] = pd.read_parquet(folder / "subscriptions.parquet").set_index("account_id")["ended_at"]
    accounts["peers"] = accounts["module"] + accounts["presentation"]
    lives = accounts.assign(
        born=accounts["observed_from"], seen_from=accounts["observed_from"], seen_until=accounts["observed_until"]
    )
    lives = lives.loc[~(lives["left"] < lives["born"]), ["born", "seen_from", "seen_until", "left", "peers"]]
    use = daily(duckdb.read_parquet(str(folder / "usage.parquet")), "1")
    return Lives("oulad", lives, use), pd.read_parquet(folder / "outcomes.parquet")


def crm5(folder: Path) -> Lives:
    """Read the third-party simulation; an account has left when no paid period follows its last."""
    periods = (
        pd.read_parquet(folder / "subscriptions.parquet")
        .groupby("account_id")
        .agg(born=("start_at", "min"), left=("end_at", "max"))
    )
    until = pd.Timestamp("2024-01-01")
    lives = periods.assign(
        seen_from=periods["born"], seen_until=until, left=periods["left"].where(periods["left"] < until), peers="all"
    )
    return Lives("crm5", lives, daily(duckdb.read_parquet(str(folder / "usage_events.parquet")), "max(users)", "ts"))


def simulated(company: simulation.Company, months: int) -> Lives:
    """Return the simulated accounts; they leave when they give notice, or when they are gone without one."""
    causes = company.truth["causes"]
    leaving = causes["notice_at"].fillna(causes["left_at"]).groupby(causes["account_id"]).min()
    accounts = company.tables["accounts"].set_index("account_id")
    born = accounts["created_at"]
    start = company.data_until - pd.DateOffset(months=months)
    lives = pd.DataFrame({"born": born, "seen_from": born.where(born > start, start)})
    lives = lives.assign(seen_until=company.data_until, peers="all")
    lives["left"] = leaving.reindex(lives.index)
    return Lives(
        "simulated",
        lives[~(lives["left"] < lives["seen_from"])],
        daily(duckdb.from_df(company.tables["usage"]), "count(distinct user_id)"),
    )


# --- the table ---------------------------------------------------------------------------------------------------------


def tenure_rows(lives: Lives, term: pd.Series, real: Lives) -> Iterator[Row]:
    """Yield how leaving goes with tenure; `term` (months, by account_id) parts monthly from yearly contracts."""
    named = {(0, 1): "month 1", (1, 3): "months 2–3", (3, 9): "months 4–9", (9, 12): "months 10–12", (12, 24): "months 13–24"}
    buffer = {(0, 1): _buffer_hazard(0, 30), (1, 3): _buffer_hazard(30, 90), (3, 9): _buffer_hazard(90, 277)}
    for (low, high), name in (named | {(24, 1200): "later"}).items():
        known = {
            "Buffer 2022": buffer.get((low, high), np.nan),
            "oulad": hazard(real.accounts, low, high) if high <= 9 else np.nan,
        }
        yield Row("tenure", f"leave a month, {name}", _percents(known), hazard(lives.accounts, low, high))
    known = {"Fader–Hardie high end": 1 - (HIGH_END[4] / 100) ** (1 / 48), "regular": 1 - (REGULAR[4] / 100) ** (1 / 48)}
    yield Row("tenure", "leave a month, all", _percents(known), hazard(lives.accounts, 0, 1200), 0.010, 0.025)
    monthly, yearly = (lives.accounts[(term == months).reindex(lives.accounts.index, fill_value=False)] for months in (1, 12))
    ratios = {
        "Buffer 2022": _buffer_hazard(0, 90) / _buffer_hazard(90, 277),
        "oulad": hazard(real.accounts, 0, 3) / hazard(real.accounts, 3, 9),
    }
    ours = _over(hazard(monthly, 0, 3), hazard(monthly, 3, 9))
    yield Row("tenure", "monthly terms: months 1–3 ÷ months 4–9", _ratios(ratios), ours, 1.2, 2.8, percent=False)
    years = [1 - np.exp(-12 * hazard(yearly, 12 * year, 12 * (year + 1))) for year in range(3)]
    for year, (least, most) in enumerate(((0.09, 0.40), (0.10, 0.37), (0.08, 0.28))):
        known = {name: 1 - curve[year + 1] / curve[year] for name, curve in _CURVES.items()}
        yield Row("tenure", f"yearly terms: leave in year {year + 1}", _percents(known), years[year], least, most)
    ratios = {name: (1 - curve[1] / curve[0]) / (1 - curve[3] / curve[2]) for name, curve in _CURVES.items()}
    yield Row("tenure", "yearly terms: year 1 ÷ year 3", _ratios(ratios), _over(years[0], years[2]), 1.0, 2.5, percent=False)
    ours = _over(hazard(yearly, 0, 1200), hazard(monthly, 0, 1200))
    yield Row("tenure", "yearly terms ÷ monthly terms", {"Buffer 2022": "0.33"}, ours, 0.22, 0.50, percent=False)


def use_rows(lives: Lives, company: simulation.Company, real: Lives, flat: Lives) -> Iterator[Row]:
    """Yield what use does before leaving: all leavers, and those without a cause, whose use must not fall."""
    causes = company.truth["causes"]
    causeless = pd.Series(True, index=causes.loc[causes["cause"] == "none", "account_id"].unique())
    ours, none = before_leaving(lives), before_leaving(lives, causeless)
    life, made = before_leaving(real), before_leaving(flat)
    ranges: dict[str, tuple[float | None, float | None]]
    ranges = {"weeks 12–9": (0.80, 1.0), "weeks 8–5": (0.55, 0.95), "weeks 4–1": (0.40, 0.85), "last week": (None, None)}
    for name, (least, most) in ranges.items():
        beside = _ratios({"oulad": life[name], "crm5 (synthetic)": made[name]})
        yield Row("use", f"median before leaving, {name}", beside, ours[name], least, most, percent=False)
    yield Row("use", "leavers with no visible fall", _percents({"oulad": life["unseen"]}), ours["unseen"], 0.25, 0.65)
    yield Row("use", "stayers whose use fell as far", _percents({"oulad": life["alarm"]}), ours["alarm"], 0.20, 0.45)
    yield Row("use", "median before leaving without a cause, weeks 4–1", {}, none["weeks 4–1"], 0.85, 1.15, percent=False)
    seats = company.tables["subscriptions"].groupby("account_id")["seats"].max()
    known = {"Buffer 2017": _share("least", BUFFER_EARLY) / _share("most", BUFFER_EARLY), "oulad": leaving_by_early_use(real)}
    ours_early = leaving_by_early_use(lives, seats)
    yield Row("use", "left later: least early use ÷ most", _ratios(known), ours_early, 1.1, 2.2, percent=False)


def survey_rows(lives: Lives, surveys: pd.DataFrame) -> Iterator[Row]:
    """Yield who answers surveys, and how leaving goes with the answers."""
    sent = surveys.sort_values("sent_at", kind="stable")
    sent = sent.assign(answered=sent["responded_at"].notna(), nps=_nps_group(sent))
    nps, after = sent[sent["kind"] == "nps"], sent[sent["kind"] != "nps"]
    told = {"Satmetrix 2015": "32 %", "Deep-Insight": "mean 35 %, mode 26–30 %", "CustomerGauge 2026": "3–26 %"}
    yield Row("surveys", "NPS answered", told, float(nps["answered"].mean()), 0.20, 0.38)
    told = {"Satmetrix 2015": "23 %", "Sonassi": "20 %"}
    yield Row("surveys", "CSAT and CES answered", told, float(after["answered"].mean()), 0.15, 0.32)
    before = nps["nps"].where(nps["answered"]).groupby(nps["account_id"]).transform(lambda group: group.ffill().shift())
    again = nps["answered"].groupby(before).mean()
    ours = _over(again.get("promoter", np.nan), again.get("detractor", np.nan))
    yield Row(
        "surveys", "NPS answered after a promoter's answer ÷ a detractor's", {"Bain": "> 1"}, ours, 1.02, 2.0, percent=False
    )
    left = nps["account_id"].map(lives.accounts["left"])
    soon = left.between(nps["sent_at"], nps["sent_at"] + STAYS * DAY)
    here = nps["account_id"].isin(lives.accounts.index)
    ours = _over(nps.loc[here & soon, "answered"].mean(), nps.loc[here & ~soon, "answered"].mean())
    yield Row(
        "surveys",
        "NPS answered in the 90 days before leaving ÷ otherwise",
        {"CustomerGauge": "< 1"},
        ours,
        0.5,
        0.95,
        percent=False,
    )
    last = nps[nps["answered"]].groupby("account_id")["nps"].last().reindex(lives.accounts.index, fill_value="no answer")
    share = lives.accounts["left"].notna().groupby(last).mean()
    for name, (low, high) in {"passive": (0.70, 1.56), "detractor": (1.0, 1.67), "no answer": (1.0, 1.90)}.items():
        known = {"Buffer 2017": _share(name, BUFFER_NPS) / _share("promoter", BUFFER_NPS)}
        ours = _over(share.get(name, np.nan), share.get("promoter", np.nan))
        yield Row("surveys", f"left: {name} ÷ promoter", _ratios(known), ours, low, high, percent=False)


def other_rows(lives: Lives, company: simulation.Company, real: Lives, goals: pd.DataFrame, flat: Lives) -> Iterator[Row]:
    """Yield goals and leaving, unpaid departures, how uneven use is, and the calendar."""
    life, ours = leaving_by_goals(real, goals, STAYS), leaving_by_goals(lives, company.tables["outcomes"], STAYS)
    for kind, name in {"missed": "under half of own goals reached", "none": "none measured"}.items():
        low, high = (1.3, 4.5) if kind == "missed" else (None, None)
        figure = f"leave within 90 days: {name} ÷ half or more"
        yield Row("goals", figure, _ratios({"oulad": life[kind]}), ours[kind], low, high, percent=False)
    gone = (
        company.tables["subscriptions"].query("ended_at.notna() and voluntary.notna()").groupby("account_id")["voluntary"].last()
    )
    unpaid = float(1 - gone[gone.index.isin(lives.accounts.index[lives.accounts["left"].notna()])].astype(float).mean())
    yield Row("leaving", "departures for want of payment", {"Buffer 2022": "over 30 %, by card"}, unpaid, 0.03, 0.30)
    start = company.data_until - STAYS * DAY
    usage = company.tables["usage"]
    people = usage[usage["occurred_at"] >= start].groupby("user_id")["quantity"].sum()
    term = real.use.merge(real.accounts["born"], left_on="account_id", right_index=True)
    students = term[term["day"] < term["born"] + STAYS * DAY].groupby("account_id")["quantity"].sum()
    yield Row(
        "spread", "Gini of use per person, 90 days", _ratios({"oulad": gini(students)}), gini(people), 0.40, 0.80, percent=False
    )
    yield Row(
        "spread", "use by the top tenth of people", _percents({"oulad": top_share(students)}), top_share(people), 0.29, 0.65
    )
    accounts = {each.name: each.use.groupby("account_id")["quantity"].sum() for each in (lives, flat)}
    known = {"crm5 (synthetic)": gini(accounts["crm5"])}
    yield Row("spread", "Gini of use per account", _ratios(known), gini(accounts["simulated"]), percent=False)
    known = {"oulad (students)": weekend(real), "crm5 (synthetic)": weekend(flat), "no week": 2 / 7}
    yield Row("calendar", "use on Saturday and Sunday", _percents(known), weekend(lives))
    yield Row(
        "calendar", "Christmas week ÷ before", _ratios({"oulad (students)": christmas(real)}), christmas(lives), percent=False
    )


def _buffer_hazard(start: int, stop: int) -> float:
    return float(np.log(BUFFER_SURVIVAL[start] / BUFFER_SURVIVAL[stop]) / (stop - start) * MONTH_DAYS)


def _over(one: float, other: float) -> float:
    return float(one / other) if other else float("nan")


def _share(name: str, counts: dict[str, tuple[int, int]]) -> float:
    left, everyone = counts[name]
    return left / everyone


def _nps_group(surveys: pd.DataFrame) -> pd.Series:
    groups = np.select([surveys["score"] >= 9, surveys["score"] >= 7], ["promoter", "passive"], "detractor")
    return pd.Series(groups, index=surveys.index)


def _percents(known: dict[str, float]) -> dict[str, str]:
    return {name: f"{100 * value:.1f} %" for name, value in known.items() if not np.isnan(value)}


def _ratios(known: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.2f}" for name, value in known.items() if not np.isnan(value)}


def measure(accounts: int, months: int, seed: int, data: Path = DATA) -> list[Row]:
    """Return every figure for one simulated company; FileNotFoundError where the real data are not in `data`."""
    (real, goals), flat = oulad(data / "oulad"), crm5(data / "crm5")
    company = simulation.simulate(accounts, months, seed)
    lives = simulated(company, months)
    term = company.tables["subscriptions"].groupby("account_id")["term_months"].last()
    return [
        *tenure_rows(lives, term, real),
        *use_rows(lives, company, real, flat),
        *survey_rows(lives, company.tables["surveys"]),
        *other_rows(lives, company, real, goals, flat),
    ]


def markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| regularity | figure | in life | simulated | range | |", "|---|---|---|---|---|---|"]
    for row in rows:

        def shown(value: float | None, percent: bool = row.percent) -> str:
            if value is None or np.isnan(value):
                return "–"
            return f"{100 * value:.1f} %" if percent else f"{value:.2f}"

        life = "; ".join(f"{source} {figure}" for source, figure in row.real.items()) or "–"
        span = "–" if row.low is None else f"{shown(row.low)} to {shown(row.high)}"
        mark = {True: "matches", False: "**differs**", None: ""}[row.matches]
        lines.append(f"| {row.regularity} | {row.figure} | {life} | {shown(row.simulated)} | {span} | {mark} |")
    return "\n".join(lines)


def write_note(table: str, note: Path = NOTE) -> None:
    """Put the table between the note's two marker comments; ValueError where they are not there once each, in order."""
    text = note.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{note} has no single pair of markers: put {BEGIN} and {END} where the table shall stand")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    note.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Print the table, its records with --json, or write it into the note with --markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true")
    shape.add_argument("--markdown", action="store_true", help=f"write the table into {NOTE.name}")
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there: these figures need the data sets beside the project")
    rows = measure(options.accounts, options.months, options.seed)
    if options.json:
        records = [asdict(row) | {"matches": row.matches} for row in rows]
        nothing = {"simulated": None}
        print(json.dumps([record | (nothing if np.isnan(record["simulated"]) else {}) for record in records]))
        return
    table = markdown(rows)
    if options.markdown:
        size = f"--accounts {options.accounts} --months {options.months} --seed {options.seed}"
        write_note(f"`python -m benchmarks.regularities {size}`\n\n{table}")
    else:
        print(table)


if __name__ == "__main__":
    main()

"""*Today*: who needs someone, in order, with the totals above and those under notice below."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args
from urllib.parse import urlencode

from models.playbooks import BANDS, TIERS
from serving.api.dependencies import own
from serving.picture import scored
from serving.portfolio import Filter, Sort, View, in_order
from serving.store import Line
from serving.web.charts import scale_top
from serving.web.plays import Running, running
from serving.web.view import Behind, Facts, Reader

PAGE = 25
SORTS: tuple[Sort, ...] = ("urgency", "arr_at_risk", "p_churn", "health", "arr", "name")
#: Of those under notice, and of the disagreements, so many are shown before the reader asks for all.
FEW = 5
_ALL = 200
#: One account of high risk must not flatten the bars of all others.
_ON_THE_SCALE = 0.9


@dataclass(frozen=True)
class Query:
    """What the reader asked for, as it stands in the address; what is not allowed there counts as not asked."""

    name: str = ""
    csm: str = ""
    tier: str = ""
    band: str = ""
    sort: Sort = "urgency"
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Query":
        """Read an address.

        >>> Query.of({"tier": "key", "band": "purple", "page": "-3"})
        Query(name='', csm='', tier='key', band='', sort='urgency', page=1)
        """
        number = given.get("page", "")
        wanted = given.get("sort", "")
        return cls(
            name=given.get("name", "").strip()[:200],
            csm=given.get("csm", "")[:200],
            tier=_one_of(given.get("tier", ""), TIERS),
            band=_one_of(given.get("band", ""), BANDS),
            sort=next((sort for sort in get_args(Sort) if sort == wanted), "urgency"),
            page=max(int(number), 1) if number.isascii() and number.isdigit() and len(number) < 6 else 1,
        )

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.name or self.csm or self.tier or self.band)

    @property
    def filter(self) -> Filter:
        """What the portfolio is narrowed to."""
        return Filter(csm=self.csm or None, band=self.band or None, tier=self.tier or None, name=self.name or None)

    def address(self, page: int = 1) -> str:
        """The address of this question, at another page.

        >>> Query(tier="key").address(2)
        '/?tier=key&page=2'
        """
        fresh = Query()
        asked = {name: value for name, value in vars(replace(self, page=page)).items() if value != getattr(fresh, name)}
        return f"/?{urlencode(asked)}" if asked else "/"


def _one_of(given: str, allowed: Sequence[str]) -> str:
    return given if given in allowed else ""


@dataclass(frozen=True)
class Totals:
    """The reader's whole portfolio; money is None where none is known, `arr_at_risk` also where no model serves."""

    accounts: int
    arr: float | None
    arr_at_risk: float | None
    noticed: int
    noticed_arr: float | None
    predicted: bool

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Totals":
        """Add up."""
        noticed = [line for line in lines if line.leaving]
        return cls(
            accounts=len(lines),
            arr=_sum(line.arr for line in lines),
            arr_at_risk=_sum(line.arr_at_risk for line in lines),
            noticed=len(noticed),
            noticed_arr=_sum(line.arr for line in noticed),
            predicted=any(line.p_churn is not None for line in lines),
        )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(frozen=True)
class Today:
    """The page: rows worth doing something for, those under notice, and where health and model disagree."""

    query: Query
    totals: Totals
    rows: Sequence[Facts]
    first: int
    worth: int
    noticed: Sequence[Facts]
    noticed_all: int
    disagreeing: Sequence[Facts]
    disagreeing_all: int
    csms: Sequence[str]
    tiers: Sequence[str]
    running: Mapping[str, Sequence[Running]]
    risk_scale: float

    @property
    def last(self) -> int:
        """The place of the last row shown."""
        return self.first + len(self.rows) - 1

    @property
    def before(self) -> str | None:
        """The address of the page before."""
        return self.query.address(self.query.page - 1) if self.query.page > 1 else None

    @property
    def after(self) -> str | None:
        """The address of the next page."""
        return self.query.address(self.query.page + 1) if self.last < self.worth and self.rows else None


def today(behind: Behind, view: View, reader: Reader, query: Query) -> Today:
    """Put the page together: of the reader's own accounts, those that the question is about."""
    mine, wanted = own(view, reader.principal), query.filter
    kept = View(view.run, {key: line for key, line in mine.lines.items() if wanted.keeps(line)})
    worth = in_order(kept.worth_doing(), query.sort)
    noticed = in_order([line for line in kept.lines.values() if line.leaving], "arr")
    disagreeing = in_order([line for line in kept.lines.values() if line.disagreement and not line.leaving], "arr_at_risk")
    first = (query.page - 1) * PAGE
    shown = worth[first : first + PAGE]

    ids = [line.account_id for line in (*shown, *noticed[:_ALL], *disagreeing[:_ALL])]
    catalogue = behind.catalogue
    records = behind.portfolio.records(view.run.run_id, list(dict.fromkeys(ids)), catalogue, reader.language)
    facts = {record["account_id"]: Facts(record, reader.language) for record in scored(behind.store, records)}

    def of(lines: Sequence[Line]) -> list[Facts]:
        return [facts[line.account_id] for line in lines if line.account_id in facts]

    rows = of(shown)
    everyone = list(mine.lines.values())
    return Today(
        query=query,
        totals=Totals.of(everyone),
        rows=rows,
        first=first + 1,
        worth=len(worth),
        noticed=of(noticed[:_ALL]),
        noticed_all=len(noticed),
        disagreeing=of(disagreeing[:_ALL]),
        disagreeing_all=len(disagreeing),
        csms=sorted({line.csm for line in everyone if line.csm}, key=str.casefold),
        tiers=[tier for tier in TIERS if any(line.tier == tier for line in everyone)],
        running=running(behind.store, ids, reader.language),
        risk_scale=scale_top((each.risk for each in rows), _ON_THE_SCALE),
    )

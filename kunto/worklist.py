"""The worklist: who needs someone, why, and what to do (the CSM's first look)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kunto.console import money
from kunto.worklist_words import WORDS
from models.choice import NOTHING
from models.choice_sentences import share
from models.playbooks import load
from models.sentences import Language, shown

MOST = 15
MOST_UNDER_NOTICE = 5
#: Below this width the facts of an account stand in one column, and beside it why and what to do.
NARROW = 130
_LONGEST_CONTACT = 24
#: The widest that a column of figures and dates gets.
_SHORT = 15
_COLOURS = {"healthy": "green", "neutral": "yellow", "at_risk": "dark_orange", "critical": "red"}

Record = Mapping[str, Any]


def worklist(
    records: Sequence[Record], currency: str | None, *, language: Language = "en", width: int = 150, most: int = MOST
) -> RenderableType:
    """Return what is worth doing for accounts that can be kept or can grow, most valuable first; then those under notice.

    `records`: scored accounts in the order of scoring; `width` in characters decides the layout.
    """
    cells = _Cells(currency, language)
    wanted = [record for record in records if not record["leaving"] and record["play"]["name"] != NOTHING]
    noticed = [record for record in records if record["leaving"]]
    parts: list[RenderableType] = [cells.worth_doing(wanted, most, width) if wanted else cells.words.nothing]
    if noticed:
        parts.append(cells.under_notice(noticed, width))
        if len(noticed) > MOST_UNDER_NOTICE:
            parts.append(cells.words.notice_more.format(rest=len(noticed) - MOST_UNDER_NOTICE))
    return Group(*parts)


def summary(records: Sequence[Record], currency: str | None, *, language: Language = "en") -> str:
    """One line on the whole portfolio."""
    words = WORDS[language]
    arr = sum(record["arr"] or 0.0 for record in records)
    at_risk = [record["arr_at_risk"] for record in records if record["arr_at_risk"] is not None]
    parts = [words.accounts.format(n=len(records)), words.total_arr.format(arr=money(arr or None, currency, language))]
    if at_risk:
        parts.append(words.total_at_risk.format(arr=money(sum(at_risk), currency, language)))
    if not any(record["predictions"] for record in records):
        parts.append(words.no_model)
    parts.append(words.under_notice.format(n=sum(record["leaving"] for record in records)))
    return ", ".join(parts) + "."


class _Cells:
    """One account's cells, in one currency and language."""

    def __init__(self, currency: str | None, language: Language) -> None:
        self.currency, self.language, self.words = currency, language, WORDS[language]

    def worth_doing(self, wanted: Sequence[Record], most: int, width: int) -> Table:
        """The main table."""
        words, rows = self.words, wanted[:most]
        title = words.title.format(as_of=rows[0]["as_of"][:10], shown=len(rows), worth=len(wanted))
        if width < NARROW:
            table = _table(title, {words.account: 2, words.why_and_what: 3})
            for record in rows:
                table.add_row(_lines(self._facts(record)), _lines((*self._why(record), *self._do(record))))
            return table
        headings = (words.account, words.at_risk, words.health, words.risk, words.renewal, words.why, words.what)
        table = _table(title, dict(zip(headings, (3, None, None, None, None, 7, 5), strict=True)))
        for record in rows:
            at_risk = self._money(record["arr_at_risk"])
            columns = ([at_risk], self._health(record), self._risk(record), self._renewal(record))
            cells = (self._account(record), *columns, self._why(record), self._do(record))
            table.add_row(*(_lines(cell) for cell in cells))
        return table

    def under_notice(self, noticed: Sequence[Record], width: int) -> Table:
        """The shorter table of those who leave."""
        words, rows = self.words, noticed[:MOST_UNDER_NOTICE]
        title = words.notice_title.format(shown=len(rows), all=len(noticed))
        if width < NARROW:
            table = _table(title, {words.account: 2, words.why_and_what: 3})
            for record in rows:
                ends = f"{words.ends} {record['renewal']['date'] or '–'}"
                facts = (*self._account(record), f"{words.arr} {self._money(record['arr'])}", ends)
                table.add_row(_lines(facts), _lines((*self._why(record, 1), *self._do(record))))
            return table
        table = _table(title, {words.account: 3, words.arr: None, words.ends: None, words.why: 8, words.what: 6})
        for record in rows:
            cells = ([self._money(record["arr"])], [record["renewal"]["date"] or "–"], self._why(record, 1), self._do(record))
            table.add_row(*(_lines(cell) for cell in (self._account(record), *cells)))
        return table

    def _facts(self, record: Record) -> Iterator[Text | str]:
        """What the narrow layout says of an account, each line with its heading."""
        words, risk, renewal = self.words, self._risk(record), record["renewal"]["date"]
        yield from self._account(record)
        if record["arr_at_risk"] is not None:
            yield f"{words.at_risk} {self._money(record['arr_at_risk'])}"
        yield _lines((words.health, *self._health(record)), " ")
        if risk:
            yield f"{words.risk} {' '.join(risk)}"
        if renewal:
            yield f"{words.renewal} {renewal}"
            yield from self._renewal(record)[1:]

    def _money(self, value: float | None) -> str:
        return money(value, self.currency, self.language)

    def _account(self, record: Record) -> list[Text | str]:
        return [Text(record["name"], style="bold"), *([record["csm"]] if record["csm"] else [])]

    def _health(self, record: Record) -> list[Text | str]:
        health, words = record["health"], self.words
        if health["score"] is None:
            return [words.no_score]
        moved = f" ({health['change_30d']:+d})" if health["change_30d"] else ""
        band = health["band"]
        shown_band = Text(words.bands[band] if band else words.provisional, style=_COLOURS.get(band or "", "dim"))
        return [f"{health['score']}{moved}", shown_band]

    def _risk(self, record: Record) -> list[str]:
        horizon = record["reasons"]["horizon_days"]
        found = self._prediction(record, "churn", horizon)
        if found is None:
            return []
        p, low, high = (shown(found[name], "share", self.language) for name in ("probability", "low", "high"))
        return [self.words.probability.format(p=p, days=horizon), f"({low}–{high})"]

    def _prediction(self, record: Record, outcome: str, horizon: int | None = None) -> Record | None:
        there = (p for p in record["predictions"] or () if p["outcome"] == outcome and horizon in (None, p["horizon_days"]))
        return next(there, None)

    def _renewal(self, record: Record) -> list[str]:
        renewal = record["renewal"]
        if not renewal["date"]:
            return ["–"]
        over = renewal["notice_by"] < record["as_of"][:10]
        template = self.words.notice_over if over else self.words.notice_by
        return [renewal["date"], template.format(date=renewal["notice_by"])]

    def _why(self, record: Record, most: int = 2) -> list[str]:
        """What raises the risk; for a play of growth, the chance of it and what speaks for the account."""
        growing = record["play"]["name"] != NOTHING and load()[record["play"]["name"]].outcome == "expansion"
        direction = "lowers" if growing else "raises"
        texts = [driver["text"] for driver in record["reasons"]["drivers"] if driver["direction"] == direction][:most]
        expansion = self._prediction(record, "expansion") if growing else None
        if expansion:
            p = share(round(expansion["probability"], 2), self.language)
            texts = [self.words.growth.format(p=p, days=expansion["horizon_days"]), *texts[: most - 1]]
        return texts or ([] if growing else [self.words.no_reason])

    def _do(self, record: Record) -> Iterator[Text | str]:
        play, words = record["play"], self.words
        if play["name"] == NOTHING:
            yield "–"
            return
        title = getattr(load()[play["name"]].title, self.language)
        yield Text.assemble("→ ", (title, "bold"), f": {words.worth.format(value=self._worth(record))}")
        if play["assignment"]["arm"] == "held_out":
            yield words.held_out
        for contact in record["contacts"][:1]:
            role = words.roles.get(contact["role"], contact["role"])
            yield words.call.format(who=_shortened(contact["contact_id"]), role=role)

    def _worth(self, record: Record) -> str:
        value = record["play"]["expected_value"]
        if record["arr"] is not None:
            return self._money(value)
        return self.words.of_accounts.format(value=shown(value, "accounts", self.language))


def _table(title: str, columns: Mapping[str, int | None]) -> Table:
    """A table with lines; a column without a ratio is as wide as its content, which is short."""
    table = Table(title=title, title_justify="left", expand=True, show_lines=True)
    for heading, ratio in columns.items():
        table.add_column(heading, ratio=ratio, max_width=None if ratio else _SHORT, overflow="fold")
    return table


def _lines(parts: Sequence[Text | str] | Iterator[Text | str], between: str = "\n") -> Text:
    return Text(between).join(part if isinstance(part, Text) else Text(part) for part in parts) or Text("–")


def _shortened(name: str) -> str:
    """Keep the start of a name that would not fit into a row; of an e-mail address the person."""
    if len(name) <= _LONGEST_CONTACT:
        return name
    person, at, _ = name.partition("@")
    return f"{person}{at}…" if len(person) < _LONGEST_CONTACT - 1 else f"{name[: _LONGEST_CONTACT - 1]}…"

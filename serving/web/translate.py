"""The reader's language: catalogues, and numbers, money, dates as that language writes them.

English stands in the templates and in the code; `translations/fi.po` holds the Finnish, compiled in memory at the start.

>>> english, finnish = speech("en"), speech("fi")
>>> finnish.gettext("Health"), english.percent(0.024), finnish.percent(0.3149), english.percent(0.002)
('Terveys', '2.4%', '31\\xa0%', '<1%')
>>> english.day(date(2026, 7, 1)), finnish.day("2026-07-01T00:00:00"), finnish.signed(-7), english.money(1234.6, "EUR")
('1 Jul 2026', '1.7.2026', '−7', '€1,235')
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib.resources import files

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

from models.choice_sentences import amount
from models.sentences import LANGUAGES, Language

#: English is British: the day before the month.
_LOCALES: dict[Language, str] = {"en": "en_GB", "fi": "fi"}
_DAY = {"en": "d MMM y", "fi": "d.M.y"}
_WEEKDAY = {"en": "EEE d MMM", "fi": "ccc d.M."}
_MONTH = {"en": "MMM y", "fi": "L/y"}
_PERCENT = {"en": ("0%", "0.0%"), "fi": ("0\N{NO-BREAK SPACE}%", "0.0\N{NO-BREAK SPACE}%")}
#: Below this a percentage shows one decimal.
_COARSE = 0.1
_LEAST = 0.01
_NONE = "–"


@dataclass(frozen=True)
class Speech:
    """One language: its words (`gettext`, `ngettext`) and its way to write values; None is a dash everywhere."""

    language: Language
    gettext: Callable[[str], str]
    ngettext: Callable[[str, str, int], str]

    @property
    def locale(self) -> str:
        """Babel's name of it."""
        return _LOCALES[self.language]

    def money(self, value: float | None, currency: str | None) -> str:
        """Whole money."""
        if value is None:
            return _NONE
        # choice_sentences calls an amount without a currency a share of an account
        return amount(round(value), currency, self.language) if currency else self.number(round(value))

    def worth(self, value: float | None, currency: str | None) -> str:
        """The value of a play: money, or, where no money is known (`currency` None), a share of an account."""
        return _NONE if value is None else amount(value, currency, self.language)

    def percent(self, fraction: float | None) -> str:
        """A share: whole percents from ten on, one decimal below, and no false zero or certainty."""
        if fraction is None:
            return _NONE
        whole, fine = _PERCENT[self.language]
        if 0 < fraction < _LEAST:
            return f"<{format_percent(_LEAST, whole, locale=self.locale)}"
        if 1 - _LEAST / 2 <= fraction < 1:
            return f">{format_percent(1 - _LEAST, whole, locale=self.locale)}"
        pattern = fine if 0 < fraction < _COARSE else whole
        return str(format_percent(fraction, pattern, locale=self.locale))

    def number(self, value: float | None, places: int = 0) -> str:
        """A number with that many decimals."""
        if value is None:
            return _NONE
        pattern = "#,##0" + ("." + "0" * places if places else "")
        return str(format_decimal(value, pattern, locale=self.locale)).replace("-", "−")

    def signed(self, value: float | None, places: int = 0) -> str:
        """A change, always with its sign."""
        if value is None:
            return _NONE
        sign = "+" if value > 0 else "−" if value < 0 else "±"
        return f"{sign}{self.number(abs(value), places)}"

    def day(self, value: date | str | None) -> str:
        """A date, with its year."""
        return _NONE if value is None else str(format_date(_date(value), _DAY[self.language], locale=self.locale))

    def month(self, value: date) -> str:
        """A month, with its year."""
        return str(format_date(value, _MONTH[self.language], locale=self.locale))

    def weekday(self, value: date | str | None) -> str:
        """A date of these weeks, with its weekday."""
        return _NONE if value is None else str(format_date(_date(value), _WEEKDAY[self.language], locale=self.locale))

    def minute(self, value: datetime | None) -> str:
        """An instant of UTC, to the minute."""
        if value is None:
            return _NONE
        return f"{self.day(value)} {value:%H:%M}" if self.language == "en" else f"{self.day(value)} klo {value:%H.%M}"


def _date(value: date | str) -> date:
    return date.fromisoformat(value[:10]) if isinstance(value, str) else value


@cache
def speech(language: Language) -> Speech:
    """Return one of the languages; a text that its catalogue lacks stays English."""
    found = NullTranslations() if language == LANGUAGES[0] else _compiled(language)
    return Speech(language, found.gettext, found.ngettext)


def _compiled(language: Language) -> NullTranslations:
    with files("serving.web").joinpath("translations", f"{language}.po").open("rb") as source:
        catalog = read_po(source, locale=language)
    binary = io.BytesIO()
    write_mo(binary, catalog)
    binary.seek(0)
    return Translations(binary)


def N_(text: str) -> str:
    """Mark a text for translation where it is declared; `gettext` translates it where it is shown."""
    return text

"""A driver as a sentence, in English or Finnish: what moves the score, by which value, earlier, and at peers."""

import math
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

import yaml
from babel import Locale
from babel.numbers import parse_pattern

from features.catalogue import Feature

Language = Literal["en", "fi"]
LANGUAGES: tuple[Language, ...] = ("en", "fi")
LOCALES = {language: Locale.parse(language) for language in LANGUAGES}
#: The parsed patterns of numbers: reading one again each time takes longer than using it.
_DECIMAL = parse_pattern("#,##0.######")
_PERCENT = {"en": parse_pattern("0%"), "fi": parse_pattern("0\N{NO-BREAK SPACE}%")}
_SIGNED = {"en": parse_pattern("+0%"), "fi": parse_pattern("+0\N{NO-BREAK SPACE}%")}
_BESIDE = {"en": ("90 days earlier", "peers"), "fi": ("90 päivää aiemmin", "verrokit")}
_PASSED = {"en": "passed {} days ago", "fi": "ohi {} päivää sitten"}
_YES_NO = {"en": ("no", "yes"), "fi": ("ei", "kyllä")}
#: The unit of a feature that stands against its peers (`features.peers.relative_difference`).
RELATIVE = "relative difference"
_MOST = 9.99
#: What is said where the leading feature of a driver has no value.
_NOT_KNOWN = {
    "raises": {"en": "Nothing is known that would lower the risk", "fi": "Mitään riskiä laskevaa ei tiedetä"},
    "lowers": {"en": "Nothing is known that would raise the risk", "fi": "Mitään riskiä nostavaa ei tiedetä"},
}
#: A change is told up to this power of e: more than any count, and its percentage still has the digits of a decimal.
_MOST_LOG = 50.0
_ABOVE_BELOW = {"en": ("{} above", "{} below", "level"), "fi": ("{} yli", "{} alle", "tasoissa")}


@cache
def headlines() -> dict[str, dict[str, dict[str, str]]]:
    """Driver → raises/lowers → language → text."""
    found: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(files("models").joinpath("drivers.yaml").read_text("utf-8"))
    return found


def shown(value: float | None, unit: str, language: Language) -> str:
    """Return a value as a person reads it.

    >>> shown(0.4, "share", "en"), shown(-0.693147, "log ratio", "en"), shown(1234.5, "events", "fi").replace(chr(160), " ")
    ('40%', '-50%', '1 234')
    >>> shown(0.0123, "events per money", "en"), shown(-0.5, RELATIVE, "en")
    ('0.012', '67% below')
    """
    if value is None or math.isnan(value):
        return "–"
    if unit == "share":
        return _percent(value, language)
    if unit == "log ratio":
        return _percent(math.expm1(min(value, _MOST_LOG)), language, sign=True)
    if unit == RELATIVE:
        return _against(value, language)
    if unit == "days" and round(value) < 0:
        return _PASSED[language].format(_decimal(round(-value), language))
    if unit == "0/1":
        return _YES_NO[language][value > 0.5]
    return _decimal(_rounded(value), language)


@lru_cache(maxsize=16_384)
def _decimal(value: float, language: Language) -> str:
    return str(_DECIMAL.apply(value, LOCALES[language]))


def _rounded(value: float) -> float:
    """Whole from ten on, one decimal from one on, two digits below; no minus before a zero."""
    size = abs(value)
    places = 0 if size >= 10 else 1 if size >= 1 or size == 0 else 1 - math.floor(math.log10(size))
    return round(value, min(places, 6)) + 0.0


def _percent(share: float, language: Language, *, sign: bool = False) -> str:
    return _whole_percent(round(share, 2) + 0.0, language, sign)


@lru_cache(maxsize=16_384)
def _whole_percent(share: float, language: Language, sign: bool) -> str:
    patterns = _SIGNED if sign and share > 0 else _PERCENT
    return str(patterns[language].apply(share, LOCALES[language]))


def _against(value: float, language: Language) -> str:
    above, below, level = _ABOVE_BELOW[language]
    if abs(value) < 0.005:
        return level
    # (own − peers) / (own + peers) back to own / peers − 1, with an end for peers at zero.
    share = min(2 * value / (1 - value), _MOST) if value < 1 else _MOST
    return (above if share > 0 else below).format(_percent(abs(share), language))


def sentence(
    driver: str, direction: str, feature: Feature, value: float, before: float | None, peers: float | None, language: Language
) -> str:
    """Return headline, leading feature, its value, and beside it the account's own earlier value and its peers' median.

    >>> from features.catalogue import catalog
    >>> sentence("low_adoption", "raises", catalog()["active_days_30d"], 4.0, 15.0, 12.0, "en")
    'The product is used little – active days in the last 30 days: 4 (90 days earlier 15, peers 12)'

    Of a value that is missing no headline is claimed: what moves the score is that it is missing.

    >>> sentence("champion_left", "raises", catalog()["has_champion"], math.nan, None, None, "en")
    'Nothing is known that would lower the risk – someone speaks for us: –'
    """
    unit = feature.unit if feature.versus is None else RELATIVE
    headline = _NOT_KNOWN[direction][language] if math.isnan(value) else headlines()[driver][direction][language]
    text = f"{headline} – {feature.phrase[language]}: {shown(value, unit, language)}"
    named = zip(_BESIDE[language], (before, peers), strict=True)
    beside = [f"{name} {shown(other, unit, language)}" for name, other in named if other is not None and other == other]
    return f"{text} ({', '.join(beside)})" if beside else text

r"""What a choice says to a person, in English and in Finnish. Babel writes the numbers.

>>> share(0.125, "fi"), amount(1234.4, "EUR", "en"), amount(0.123, None, "fi")
('12,5\xa0%', '€1,234', '0,12 asiakkuutta')
"""

import math
from collections.abc import Mapping
from functools import lru_cache

from babel.numbers import parse_pattern

from models.playbooks import DRIVER_LABELS, Playbook, Text
from models.sentences import LOCALES, Language

_SHARE = {"en": parse_pattern("0.#%"), "fi": parse_pattern("0.#\N{NO-BREAK SPACE}%")}
_MONEY = {"en": parse_pattern("¤#,##0"), "fi": parse_pattern("#,##0\N{NO-BREAK SPACE}¤")}
_ACCOUNTS, _HOURS = parse_pattern("0.00"), parse_pattern("0.##")
NOTHING_TITLE = Text(en="Doing nothing", fi="Ei toimenpiteitä")
DOING_NOTHING = Text(en="It costs nothing and changes nothing.", fi="Ei maksa mitään eikä muuta mitään.")


@lru_cache(maxsize=4096)
def share(fraction: float, language: Language) -> str:
    """Return a fraction as a percentage with at most one decimal."""
    return str(_SHARE[language].apply(fraction, LOCALES[language]))


@lru_cache(maxsize=4096)
def amount(value: float, currency: str | None, language: Language) -> str:
    """Return whole money, or, where no money is known (`currency` None), a share of one account."""
    if currency is None:
        number = _ACCOUNTS.apply(value, LOCALES[language])
        return f"{number} of an account" if language == "en" else f"{number} asiakkuutta"
    return str(_MONEY[language].apply(round(value), LOCALES[language], currency=currency, currency_digits=False))


@lru_cache(maxsize=256)
def _hours(hours: float, language: Language) -> str:
    return str(_HOURS.apply(hours, LOCALES[language]))


def reckoning(
    playbook: Playbook, probability: float, effect: float, stake: float | None, raising: Mapping[str, float], currency: str
) -> Text:
    """Return what the value of a play is made of, and which of the account's risk-raising drivers it treats.

    `stake` is the yearly margin that the play is about, in `currency` (None: no money is known); `raising` the drivers that raise
    the risk → contribution.
    """
    treated = [driver for driver in DRIVER_LABELS if driver in playbook.effects and driver in raising]
    treated.sort(key=lambda driver: -raising[driver])
    churn = playbook.outcome == "churn"

    def say(language: Language) -> str:
        english = language == "en"
        what = ("churn risk", "poistumariski") if churn else ("chance of expansion", "laajennuksen todennäköisyys")
        parts = [
            f"{what[0] if english else what[1]} {share(probability, language)}",
            f"{'relative effect' if english else 'suhteellinen vaikutus'} {share(round(effect, 3), language)}",
        ]
        if stake is not None:
            parts.append(f"{'yearly margin' if english else 'vuosikate'} {amount(stake, currency, language)}")
        hours = _hours(playbook.hours, language)
        parts.append(f"{hours} h of work" if english else f"työtä {hours} h")
        sentence = ", ".join(parts) + "."
        if churn and treated:
            names = ", ".join(getattr(DRIVER_LABELS[driver], language) for driver in treated)
            part = math.fsum(raising[driver] for driver in treated) / math.fsum(raising.values())
            percent = share(round(part, 2), language)
            sentence += (
                f" It treats {percent} of what raises the predicted risk: {names}."
                if english
                else f" Vaikuttaa {percent.removesuffix('%')}prosenttiin ennustettua riskiä nostavista tekijöistä: {names}."
            )
        return sentence[0].upper() + sentence[1:]

    return Text(en=say("en"), fi=say("fi"))


def play_chosen(title: Text, why: Text | None, value: float, rival: Text, rival_value: float, currency: str | None) -> Text:
    """Return why the play is chosen (as far as is known), what it is worth over 90 days, and what it beat."""
    en = f"{title.en}: worth {amount(value, currency, 'en')} over 90 days. {f'{why.en} ' if why else ''}"
    fi = f"{title.fi}: arvo {amount(value, currency, 'fi')} 90 päivässä. {f'{why.fi} ' if why else ''}"
    return Text(
        en=f"{en}Next best: {rival.en}, {amount(rival_value, currency, 'en')}.",
        fi=f"{fi}Seuraavaksi paras: {rival.fi}, {amount(rival_value, currency, 'fi')}.",
    )


def nothing_chosen(rival: Text | None, rival_value: float, currency: str | None) -> Text:
    """Return why no play is chosen: none fits, or the best would cost more than it brings."""
    if rival is None:
        return Text(
            en="Doing nothing: no playbook fits what is known of the account.",
            fi="Ei toimenpiteitä: mikään toimintamalli ei sovi siihen, mitä asiakkuudesta tiedetään.",
        )
    return Text(
        en=f"Doing nothing: the best play, {rival.en}, would not bring back its cost ({amount(rival_value, currency, 'en')}).",
        fi=f"Ei toimenpiteitä: paras toimintamalli, {rival.fi}, ei toisi kustannustaan takaisin "
        f"({amount(rival_value, currency, 'fi')}).",
    )

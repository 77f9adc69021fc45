"""Nothing is left in English on a Finnish page, every code has a word, and every colour can be read."""

import re
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from models.playbooks import BANDS, STAGES, TIERS, Step
from serving import web
from serving.people import ROLES
from serving.portfolio import Sort
from serving.store.feedback import VERDICTS
from serving.store.play_records import OUTCOMES
from serving.web import words
from serving.web.today import SORTS

HERE = Path(web.__file__).parent
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%|<[^>]+>")


def extracted() -> set[str]:
    """Every text that the templates and the code mark for translation (of a plural the first form)."""
    with (HERE / "translations" / "babel.cfg").open() as config:
        methods, options = parse_mapping_cfg(config)
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}
    found = extract_from_dir(HERE, methods, options, keywords=keywords)
    return {message[0] if isinstance(message, tuple) else message for _, _, message, _, _ in found}


def finnish() -> Catalog:
    with (HERE / "translations" / "fi.po").open("rb") as source:
        return read_po(source, locale="fi")


def forms(message: Message) -> tuple[list[str], list[str]]:
    """The English and the Finnish forms of a message."""
    ids, strings = message.id, message.string
    return [*ids] if isinstance(ids, tuple) else [ids], [*strings] if isinstance(strings, tuple) else [strings]


def test_every_text_is_in_finnish_and_none_is_left_over() -> None:
    translated = {forms(message)[0][0]: message for message in finnish() if message.id}
    assert extracted() == set(translated)
    for text, message in translated.items():
        assert not message.fuzzy, text
        assert all(form.strip() for form in forms(message)[1]), text


def test_translations_keep_placeholders_and_punctuation() -> None:
    for message in finnish():
        if not message.id:
            continue
        english, translated = forms(message)
        wanted = set(PLACEHOLDER.findall(english[-1]))
        for form in translated:
            assert set(PLACEHOLDER.findall(form)) == wanted, form
            assert form[-1] in ".:" or english[-1][-1] not in ".:", form


def test_every_code_has_a_word() -> None:
    assert set(words.BANDS) == set(BANDS)
    assert set(words.TIERS) == set(TIERS)
    assert set(words.STAGES) == set(STAGES)
    assert set(words.ROLES) >= set(ROLES)
    assert set(words.VERDICTS) == set(VERDICTS)
    assert set(words.ENDINGS) == set(OUTCOMES)
    assert set(words.SORTS) == set(SORTS) <= set(get_args(Sort))
    for names, field in ((words.DOERS, "who"), (words.CHANNELS, "channel")):
        assert set(names) == set(get_args(Step.model_fields[field].annotation))


def palettes() -> dict[str, dict[str, str]]:
    """Scheme → name → colour, out of the style sheet."""
    css = (HERE / "static" / "kunto.css").read_text()
    light, after = css.split("prefers-color-scheme: dark")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+);", part)) for part in (light, after.partition("\n}")[0]))
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    linear = []
    for value in (int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)):
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of WCAG 2.2."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_text_can_be_read(scheme: str) -> None:
    colours = palettes()[scheme]
    on = [*product(("ink", "soft", "accent", *BANDS), ("paper", "card", "tint")), ("on-accent", "accent"), ("soft", "faint")]
    on += [(band, f"{band}-tint") for band in BANDS] + [("ink", "faint"), ("accent", "faint")]
    poor = {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in on}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}

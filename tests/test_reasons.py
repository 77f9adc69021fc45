"""Reasons: drivers in order, and a sentence for every feature and driver in both languages."""

import math

import numpy as np
import pandas as pd
import pytest

from features.catalogue import DRIVERS, catalog
from models.explain import ordered, reasons
from models.outcome import Explanation
from models.playbooks import DRIVER_LABELS
from models.sentences import LANGUAGES, RELATIVE, headlines, sentence, shown

CATALOGUE = catalog(["export report"])


def test_equal_drivers_stand_by_name() -> None:
    assert [name for name, _ in ordered({"silence": 0.3, "growth": -0.3, "low_adoption": 0.30002})] == [
        *("growth", "low_adoption", "silence")
    ]


def test_the_leading_feature_pulls_the_way_of_its_driver() -> None:
    shap = pd.DataFrame({"active_days_30d": [0.5], "active_days_7d": [-2.0], "seat_use_30d": [0.1]})
    found = reasons(Explanation(np.array([0.0]), shap, np.array([-1.4])), catalog(), shap)[0]["drivers"]
    assert [(driver["driver"], driver["feature"]) for driver in found] == [("low_adoption", "active_days_7d")]


def test_contributions_that_miss_the_score_are_refused() -> None:
    shap = pd.DataFrame({"seats": [1.0]})
    with pytest.raises(ValueError, match=r"miss the raw score by 0\.5"):
        reasons(Explanation(np.array([0.0]), shap, np.array([1.5])), catalog(), shap)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_feature_has_a_sentence_in_both_languages(name: str) -> None:
    feature = CATALOGUE[name]
    cases = [(0.0, None, None), (3.7, 0.2, 0.0123), (-0.4, 12_345.6, 1.0), (math.nan, None, math.nan)]
    if feature.versus is not None:
        cases = [(0.0, None, None), (0.4, -1.0, None), (-0.4, 1.0, None), (math.nan, None, math.nan)]
    if feature.unit == "log ratio":
        cases = [(0.0, None, None), (1.7, -3.0, 0.001), (-0.4, 5.0, 1.0), (math.nan, None, math.nan)]
    if feature.unit == "0/1":
        cases = [(0.0, 1.0, 0.5), (math.nan, None, None)]
    for value, before, peers in cases:
        for direction in ("raises", "lowers"):
            told = {at: sentence(feature.driver, direction, feature, value, before, peers, at) for at in LANGUAGES}
            assert told["en"] != told["fi"]
            for language, text in told.items():
                claimed = text.startswith(headlines()[feature.driver][direction][language])
                assert claimed != math.isnan(value)  # of what is not known nothing is claimed
                assert feature.phrase[language] in text
                assert not any(bad in text for bad in ("nan", "{", "}", "None", "-0 ", "-0%", "−0 "))


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_has_headlines_and_a_label(driver: str) -> None:
    lines = headlines()[driver]
    assert lines.keys() == {"raises", "lowers"}
    for told in lines.values():
        assert told.keys() == set(LANGUAGES)
        assert all(text == text.strip() != "" for text in told.values())
        assert told["en"] != told["fi"]
    assert lines["raises"] != lines["lowers"]
    assert DRIVER_LABELS[driver].en != DRIVER_LABELS[driver].fi


@pytest.mark.parametrize(
    "value, unit, en, fi",
    [
        (0.4, "share", "40%", "40 %"),
        (-0.001, "share", "0%", "0 %"),
        (math.log(1.5), "log ratio", "+50%", "+50 %"),
        (math.log(0.5), "log ratio", "-50%", "-50 %"),
        (0.0, "log ratio", "0%", "0 %"),
        (1.0, "0/1", "yes", "kyllä"),
        (0.0, "0/1", "no", "ei"),
        (1 / 3, RELATIVE, "100% above", "100 % yli"),
        (-1.0, RELATIVE, "100% below", "100 % alle"),
        (1.0, RELATIVE, "999% above", "999 % yli"),
        (0.0, RELATIVE, "level", "tasoissa"),
        (12.6, "days", "13", "13"),
        (2.25, "tickets a user", "2.2", "2,2"),
        (0.01234, "events per money", "0.012", "0,012"),
        (-0.0000001, "value", "0", "0"),
        (12_345.0, "events", "12,345", "12 345"),
        (None, "days", "–", "–"),
        (math.nan, "days", "–", "–"),
    ],
)  # fmt: skip
def test_values_as_a_person_reads_them(value: float | None, unit: str, en: str, fi: str) -> None:
    assert [shown(value, unit, at).replace("\N{NO-BREAK SPACE}", " ") for at in LANGUAGES] == [en, fi]

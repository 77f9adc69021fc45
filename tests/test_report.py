"""The page of a training run: everything is on it, it needs nothing beside it, and it can be read without seeing pictures."""

import base64
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from models.booster import BoosterSettings, fit_booster
from models.calibration import Platt, Precision
from models.hazard import CARRIED, STEP, at_step
from models.outcome import OutcomeModel
from models.profile import Profile
from training import metrics
from training.challenge import Contender, Trial, compare
from training.report import page, plots
from training.rows import Rows
from training.settings import Task

TASK = Task(outcome="churn", horizon_days=90)
ACCOUNTS, MONTHS = 120, 4
USE = "days_since_last_use"
PARTS = ("gate", "challenge", "figures", "pictures", "segments", "plays", "calibrators", "leaks", "profile", "origin")
PICTURES = ("reliability", "gains", "auc_by_date", "features", "survival", "drift")
VOID = {"meta", "img", "br", "link", "input"}


def rows() -> Rows:
    """Accounts at month starts, of whom the silent leave; every label is settled."""
    rng = np.random.default_rng(0)
    dates = pd.date_range("2026-01-01", periods=MONTHS, freq="MS")
    spine = pd.DataFrame({"as_of": dates}).merge(pd.DataFrame({"account_id": [f"a{k}" for k in range(ACCOUNTS)]}), how="cross")
    silence = rng.exponential(10, len(spine))
    days = np.where(rng.random(len(spine)) < 0.02 + 0.3 * (silence > 15), rng.uniform(0, 89, len(spine)), np.nan)
    columns = {USE: silence, "days_to_renewal": 200.0, "days_to_notice_deadline": 140.0, "term_months": 12.0}
    frame = pd.DataFrame(columns, index=spine.index)
    timeline = spine.assign(churn_at=spine["as_of"] + pd.to_timedelta(days, unit="D"), known_until=pd.Timestamp("2026-12-01"))
    return Rows(frame, timeline, (~np.isnan(days)).astype(float), np.zeros(len(spine)))


@pytest.fixture(scope="module")
def tested() -> Rows:
    return rows()


@pytest.fixture(scope="module")
def model(tested: Rows) -> OutcomeModel:
    columns = [USE, *CARRIED]
    X = at_step(tested.frame[columns], 0, 30)
    scorer = fit_booster(X, tested.y, directions={}, settings=BoosterSettings(rounds=20, learning_rate=0.2))
    assert STEP in scorer.columns
    return OutcomeModel("churn", 90, scorer, Platt(-1.0, 1.0), Precision((), (9,)), {90: float(tested.y.mean())})


@pytest.fixture(scope="module")
def test(tested: Rows, model: OutcomeModel) -> pd.DataFrame:
    p = model.probability(tested.frame)
    beside = {name: np.full(len(p), p.mean()) for name in ("logistic", "health_score", "recency", "tenure_calendar")}
    return pd.DataFrame({"account_id": tested.accounts, "as_of": tested.as_of, "label": tested.y, "booster": p, **beside})


@pytest.fixture(scope="module")
def profile(tested: Rows, model: OutcomeModel, test: pd.DataFrame) -> Profile:
    predicted = test[["as_of"]].assign(p=test["booster"])
    return Profile.of(model, tested.frame, tested.timeline[["account_id", "as_of"]], tested.y, predicted)


@pytest.fixture(scope="module")
def trial(tested: Rows, model: OutcomeModel) -> Trial:
    return Trial(Contender(model, pd.Timestamp("2026-01-01")), tested, pd.DataFrame({"plan": ["pro"] * len(tested)}))


@pytest.fixture(scope="module")
def record(test: pd.DataFrame) -> dict[str, Any]:
    extent = {"from": "2026-01-01T00:00:00", "to": "2026-05-01T00:00:00", "rows": len(test), "accounts": 120, "positives": 50}
    names = ("booster", "logistic", "health_score", "recency", "tenure_calendar")
    found = {name: metrics.evaluate(test["label"], test[name], test["account_id"], draws=20, seed=0) for name in names}
    return {
        "train": extent,
        "test": extent | found.pop("booster"),
        "baselines": found,
        "gate": {"state": "pass", "passed": True, "reasons": ["The booster <serves> & it is better."]},
        "leaks_allowed": [
            {"kind": "too_good", "name": "status", "evidence": {"auc": 0.971}, "what_to_do": "Look at its source."}
        ],
        "calibrators": [
            {
                "kind": "platt",
                "log_loss": 0.2,
                "gain_over_platt": 0.0,
                "se": 0.0,
                "rows": 9,
                "picked": True,
                "why": "the simplest",
            }
        ],
        "plays": [{"plays": "held_out", "rows": 3, "accounts": 3, "mean_p": 0.1, "observed": None}],
        "reliability": [
            {"segment": "plan", "value": None, "accounts": 3, "positives": 1, "evidence": "not enough evidence"}
            | dict.fromkeys(("ratio", "ratio_low", "ratio_high", "ece", "ece_low", "ece_high"))
        ],
    }


@pytest.fixture(scope="module")
def pictures(test: pd.DataFrame, model: OutcomeModel, trial: Trial, profile: Profile) -> dict[str, Any]:
    return plots(test, model, trial=trial, profile=profile)


@pytest.fixture(scope="module")
def html(record: Any, model: OutcomeModel, pictures: Any, trial: Trial, profile: Profile) -> str:
    comparison = compare(trial.challenger, trial)
    return page(TASK, record, model, pictures, tags={"code": "0.1.0"}, profile=profile, comparison=comparison)


class Outline(HTMLParser):
    """Ids and images of a page; an assertion where elements do not close in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [known["id"]] if known.get("id") else []
        self.images += [known] if tag == "img" else []
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_part_is_on_the_page(html: str) -> None:
    outline = Outline(html)
    assert [name for name in outline.ids if name in PARTS] == list(PARTS)
    assert {name for name in outline.ids if name not in PARTS} == set(PICTURES)
    assert len(set(outline.ids)) == len(outline.ids)
    for said in ("Look at its source.", "the simplest", "not enough evidence", "held out", "AUC", "0.1.0"):
        assert said in html, said
    assert "&lt;serves&gt; &amp; it is better" in html


def test_the_page_needs_nothing_beside_it(html: str) -> None:
    assert not re.search(r"https?:|//[a-z]|<script|<link|url\(|@import", html)
    for image in Outline(html).images:
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        picture = ElementTree.fromstring(base64.b64decode(data))
        assert not [
            each
            for each in picture.iter()
            for name, value in each.attrib.items()
            if name.endswith("href") and not value.startswith(("#", "data:image/png;base64,"))
        ]


def test_pictures_are_told_in_words(html: str, tested: Rows, model: OutcomeModel) -> None:
    told = {str(image["alt"]).split(":")[0].split(" ")[0]: str(image["alt"]) for image in Outline(html).images}
    assert all(len(alt) > 40 for alt in told.values())
    assert re.search(r"predicts \d+\.\d% and \d+\.\d% came true \(95 % interval", told["Reliability"])
    survival = re.search(r"all: predicted (\d+\.\d)%, observed (\d+\.\d)%", told["Survival"])
    assert survival is not None
    assert float(survival[1]) == pytest.approx(100 * (1 - model.probability(tested.frame).mean()), abs=0.06)
    assert float(survival[2]) == pytest.approx(100 * (1 - tested.y.mean()), abs=0.06), "all is settled: the share that stayed"
    assert told["AUC"].count("2026-0") == MONTHS


def test_the_same_run_gives_the_same_page(
    html: str, record: Any, model: OutcomeModel, test: Any, trial: Any, profile: Any
) -> None:
    again = plots(test, model, trial=trial, profile=profile)
    comparison = compare(trial.challenger, trial)
    assert page(TASK, record, model, again, tags={"code": "0.1.0"}, profile=profile, comparison=comparison) == html


def test_what_a_run_does_not_have_is_said(record: Any, model: OutcomeModel, test: pd.DataFrame) -> None:
    bare = {name: value for name, value in record.items() if name in ("train", "test", "baselines", "gate")}
    told = page(TASK, bare, model, plots(test, model), tags={})
    assert [name for name in Outline(told).ids if name in PARTS] == list(PARTS)
    assert told.count("Not part of this training's record.") == 2
    assert "No profile was made of this version." in told
    assert "Calibrated by platt" in told


def test_dates_with_one_class_have_no_auc(test: pd.DataFrame, model: OutcomeModel) -> None:
    nobody = test.assign(label=0.0)
    assert "no date has both classes" in plots(nobody, model)["auc_by_date"].get_label()

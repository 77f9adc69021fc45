"""The worklist as a CSM reads it: who is on it, in what order, in two widths and two languages."""

import io
from typing import Any

import pytest
from rich.console import Console

from kunto.console import out
from kunto.worklist import MOST_UNDER_NOTICE, NARROW, summary, worklist
from kunto.worklist_words import WORDS
from models.playbooks import BANDS, load
from models.sentences import LANGUAGES
from serving.people import ROLES


def record(account_id: str, *, leaving: bool = False, play: str = "rescue_plan", **changed: Any) -> dict[str, Any]:
    """A scored account of interface shape."""
    predictions = [
        {"outcome": "churn", "horizon_days": 90, "probability": 0.31, "low": 0.2, "high": 0.44, "base_rate": 0.05},
        {"outcome": "expansion", "horizon_days": 90, "probability": 0.25, "low": 0.1, "high": 0.4, "base_rate": 0.1},
    ]
    drivers = [
        {"driver": "silence", "direction": "raises", "contribution": 0.9, "text": f"{account_id} has gone quiet"},
        {"driver": "growth", "direction": "lowers", "contribution": -0.5, "text": f"{account_id} is growing"},
        {"driver": "low_adoption", "direction": "raises", "contribution": 0.4, "text": f"{account_id} uses little"},
    ]
    return {
        "account_id": account_id,
        "name": f"{account_id} Oy",
        "csm": "Aino",
        "as_of": "2026-07-01T00:00:00",
        "health": {"score": 41, "band": "at_risk", "change_30d": -7},
        "predictions": None if leaving else predictions,
        "reasons": {"horizon_days": 90, "drivers": drivers},
        "play": {"name": play, "expected_value": 1234.0, "assignment": {"arm": "treated"}},
        "arr": 12_000.0,
        "arr_at_risk": None if leaving else 4321.0,
        "renewal": {"date": "2026-09-30", "notice_by": "2026-08-01", "probability": None},
        "contacts": [{"contact_id": "liisa", "role": "decision_maker"}],
        "leaving": leaving,
    } | changed


def printed(records: list[dict[str, Any]], *, width: int = 150, **options: Any) -> str:
    """The worklist as the console prints it."""
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    console.print(worklist(records, "EUR", width=width, **options))
    return console.file.getvalue()


def test_only_accounts_with_something_worth_doing_and_in_order() -> None:
    text = printed([record("first"), record("idle", play="nothing"), record("second"), record("third")], most=2)
    assert "Worklist of 2026-07-01: 2 of 3 accounts" in text
    assert text.index("first Oy") < text.index("second Oy")
    assert "idle" not in text
    assert "third" not in text


def test_those_under_notice_stand_apart_and_do_not_crowd_out_the_others() -> None:
    noticed = [record(f"gone{k}", leaving=True) for k in range(MOST_UNDER_NOTICE + 3)]
    text = printed([*noticed, record("kept")], most=1)
    assert text.index("kept Oy") < text.index("Under notice: 5 of 8") < text.index("gone0 Oy")
    assert "gone4 Oy" in text
    assert "gone5" not in text
    assert "3 more under notice" in text
    assert "more under notice" not in printed(noticed[:MOST_UNDER_NOTICE])


def test_with_nothing_to_do_it_says_so() -> None:
    assert WORDS["en"].nothing in printed([record("idle", play="nothing")])
    assert WORDS["en"].nothing in printed([record("gone", leaving=True)])


@pytest.mark.parametrize("width", [72, 80, NARROW - 1, NARROW, 150, 220])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_width_holds_every_fact(width: int, language: Any) -> None:
    text = printed([record("acme"), record("gone", leaving=True)], width=width, language=language)
    assert max(map(len, text.splitlines())) <= width
    words, title = WORDS[language], getattr(load()["rescue_plan"].title, language)
    dates, band = ("2026-09-30", "2026-08-01"), words.bands["at_risk"]
    for fact in ("acme Oy", "gone Oy", "Aino", "41 (-7)", band, *dates, "liisa", "31", title.split()[0], words.account):
        assert fact in text, text


def test_a_narrow_terminal_gets_two_columns() -> None:
    lines = printed([record("acme")], width=80).splitlines()
    heading = next(line for line in lines if "Account" in line)
    assert heading.count("┃") == 3
    assert "acme has gone quiet" in next(line for line in lines if "acme Oy" in line)


def test_long_contacts_and_names_do_not_blow_up_a_row() -> None:
    someone = {"contact_id": "maximiliana.hohenstein-langenburg@a-very-long-domain.example", "role": "executive"}
    text = printed([record("acme", contacts=[someone])])
    usual = printed([record("acme")])
    assert "maximiliana.hohenstein-…" in text
    person = someone | {"contact_id": "maximiliana@a-very-long-domain.example"}
    assert "contact maximiliana@… (" in printed([record("acme", contacts=[person])], width=100)
    assert len(text.splitlines()) <= len(usual.splitlines()) + 2
    assert "langenburg" not in text


def test_a_play_of_growth_says_why_it_may_grow() -> None:
    text = " ".join(printed([record("acme", play="upsell")], width=200).split())
    assert "chance of expansion 25% in 90 d" in text
    assert "acme is growing" in text
    assert "gone quiet" not in text


def test_held_out_and_past_deadline_are_told() -> None:
    play = {"name": "activation", "expected_value": 10.0, "assignment": {"arm": "held_out"}}
    renewal = {"date": "2026-07-20", "notice_by": "2026-06-20", "probability": 0.1}
    text = " ".join(printed([record("acme", renewal=renewal) | {"play": play}], width=100).replace("│", " ").split())
    assert "held out at random: start later" in text
    assert "notice was due 2026-06-20" in text


def test_what_is_not_known_is_a_dash() -> None:
    renewal = {"date": None, "notice_by": None, "probability": None}
    health = {"score": None, "band": None, "change_30d": None}
    unknown = record("acme", renewal=renewal, health=health, predictions=None, arr=None, arr_at_risk=None, csm=None, contacts=[])
    for width in (80, 150):
        text = printed([unknown], width=width)
        assert "no score" in text
        assert "None" not in text
    assert "1,234 of an account" in " ".join(printed([unknown], width=100).replace("│", " ").split())
    assert "no churn model serves" in summary([unknown], None)
    assert "ARR –" in summary([unknown], None)


@pytest.mark.parametrize("name", ["[/bold] Oy", "[red]Oy", ":smile: Oy"])
def test_a_name_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out.print(worklist([record("acme", name=name)], "EUR"))
    assert name in capsys.readouterr().out


def test_the_summary_adds_up() -> None:
    told = summary([record("a"), record("b"), record("c", leaving=True)], "EUR")
    assert told == "3 active accounts, ARR 36,000 EUR, ARR at risk 8,642 EUR, 1 under notice."
    finnish = summary([record("a"), record("c", leaving=True)], "EUR", language="fi").replace("\N{NO-BREAK SPACE}", " ")
    assert finnish == "2 aktiivista asiakkuutta, ARR 24 000 EUR, ARR vaarassa 4 321 EUR, 1 irtisanoutunutta."


def test_words_are_whole_in_both_languages() -> None:
    for language in LANGUAGES:
        words = vars(WORDS[language])
        assert WORDS[language].bands.keys() == set(BANDS)
        assert WORDS[language].roles.keys() == set(ROLES)
        assert all(text.strip() for text in words.values() if isinstance(text, str))
    same = {name for name, text in vars(WORDS["en"]).items() if text == getattr(WORDS["fi"], name)}
    assert same == {"arr", "total_arr"}

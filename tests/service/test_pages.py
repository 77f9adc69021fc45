"""The pages as they are rendered: what they show, and to whom."""

import re
from datetime import timedelta

import pytest
from page_app import PEOPLE, Behind, address, behind, changing, client, mine, text
from page_company import AS_OF, EVERYBODY, LEAVING, SCRIPT, SCRIPT_ID, account, first_day, scored_health, without_money, write

from models.sentences import LANGUAGES
from serving.web.today import PAGE, Query

__all__ = ["behind", "changing", "mine"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_whole_and_strict(behind: Behind, language: str) -> None:
    app = client(behind, language=language)
    for path in ("/", *map(address, EVERYBODY), f"{address('acme')}?as_of=2026-06-10", "/nowhere", "/accounts/nobody"):
        answer = app.get(path)
        html = answer.text
        assert answer.status_code == (404 if "no" in path.split("/")[-1][:2] and path != address("none") else 200), path
        assert f'<html lang="{language}">' in html
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert not re.search(r"<[^>]+\s(style|on\w+)=", re.sub(r'"[^"]*"', '""', html)), path
        assert not re.search(r"<script(?! src=)|<style|(src|href)=\"(https?:)?//", html), path
        assert not re.search(r"\bNone\b(?! Oy)|\bnan\b|undefined|%\(|\{\{", text(html)), (path, text(html))


def test_names_and_ids_are_text_wherever_they_stand(behind: Behind) -> None:
    app = client(behind)
    for path in ("/", address(SCRIPT_ID)):
        html = app.get(path).text
        assert "&lt;script&gt;" in html
        assert "<script>" not in html
        assert "<img" not in html
    assert SCRIPT.partition("&")[0].replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;")[:20] in html


def test_today_tells_who_needs_someone_and_why(behind: Behind) -> None:
    read = text(client(behind).get("/").text)
    assert read.index("Acme Oy") < read.index("Suomi" if "Suomi" in read else "Åkerö Öljy Oy") < read.index("Grows Ab")
    for fact in (
        "€12,345 of €48,000",
        "31%",
        "22% – 43%",
        "10 Aug 2026",
        "notice by 10 Jul 2026 (in 9 days)",
        "notice was due 20 Jun 2026 (11 days ago)",
        "Use is weakening – active days in the last 30 days: 4 (90 days earlier 15, peers 12)",
        "liisa.virtanen , decision maker",
        "Rescue plan worth €9,000",
        "Wed 1 Jul Name the owner",
        "was Neutral",
        "Chance of expansion 25% in 90 days",
        "Start anyway",
        "no score",
        "Provisional",
    ):
        assert fact in read, fact
    worth_doing, noticed = read[: read.index("Under notice 7 accounts")], read[read.index("Under notice 7 accounts") :]
    assert "Idle Oy" not in read
    assert "Gone0 Oy" not in worth_doing
    assert all(f"{each.title()} Oy" in noticed for each in LEAVING)
    assert "2 more" in noticed
    assert "Odd Oy" in noticed[noticed.index("Health and model disagree 1 account") :]


def test_finnish_is_finnish(behind: Behind) -> None:
    app = client(behind, language="fi")
    read = text(app.get("/").text)
    for fact in (
        "Tänään",
        "12 345 €",
        "31 %",
        "1.7.2026",
        "irtisanottava viimeistään 10.7.2026 (9 päivän päästä)",
        "Käyttö hiipuu",
    ):
        assert fact in read, fact
    assert not re.search(r"\b(Why|Start|worth|Health|Renewal|and|the|days?)\b", read.replace(SCRIPT, "")), read
    read = text(app.get(address("acme")).text)
    assert not re.search(r"\b(Why|Start|worth|Health|Renewal|and|the|days?)\b", read), read


def test_the_totals_are_those_of_everybody_the_reader_sees(behind: Behind) -> None:
    count = len(EVERYBODY)
    read = text(client(behind).get("/?name=acme").text)
    assert f"ARR €{48 * count},000 ARR at risk €{12345 * (count - 7):,}" in read
    assert f"Active accounts {count} Under notice 7" in read
    own = text(client(behind, who="own").get("/").text)
    assert "ARR €48,000" in own
    assert "Active accounts 1 " in own
    assert "Acme" not in own


def test_filters_and_order_stand_in_the_address(behind: Behind) -> None:
    def names(asked: str) -> list[str]:
        html = client(behind).get(f"/?{asked}").text
        table = html[html.index('id="worklist"') : re.search(r'id="(noticed|disagreeing)"|$', html).start()]
        return re.findall(r'<a class="name"[^>]*>([^<]*)</a>', table)

    assert names("name=ÅKERÖ") == ["Åkerö Öljy Oy"]
    assert names("csm=Bertta&tier=key") == ["Åkerö Öljy Oy"]
    assert names("band=healthy&sort=name") == ["Grows Ab", "Odd Oy"]
    assert names("tier=developing") == ["Few Oy"]
    assert names("band=healthy&csm=Bertta") == []
    assert names("sort=health")[:3] != names("sort=name")[:3]
    assert names("sort=bogus&band=bogus&tier=bogus&page=99999999") == names("")
    assert names("page=7") == []
    assert "No account on the list fits" in client(behind).get("/?name=zzz").text


def test_a_long_list_comes_in_pages(mine: Behind) -> None:
    many = [account(f"a{k:03}", play=account("a")["play"] | {"expected_value": 1000.0 - k}) for k in range(PAGE + 2)]
    write(mine.store, many)
    app = client(mine)
    first, second = app.get("/?sort=urgency&tier=key").text, app.get("/?tier=key&page=2").text
    assert 'rel="next" href="/?tier=key&amp;page=2"' in first
    assert f"1–{PAGE} of {PAGE + 2} accounts" in text(first)
    assert 'rel="prev" href="/?tier=key"' in second
    assert "A025 Oy" in second
    assert "A024 Oy" not in second
    assert 'rel="next"' not in second


def test_an_address_that_nobody_wrote_is_read_as_none() -> None:
    assert Query.of({"page": "٣", "name": " x " * 200, "sort": "name"}) == Query(name=(" x " * 200).strip()[:200], sort="name")
    assert Query.of({}).address() == "/"
    assert Query.of({"name": "a&b", "band": "critical"}).address(3) == "/?name=a%26b&band=critical&page=3"


def test_the_account_page_has_the_evidence(behind: Behind) -> None:
    read = text(client(behind).get(address("acme")).text)
    for fact in (
        "Use is weakening active days in the last 30 days",
        "+0.90",
        "Where every account begins −3.00",
        "Raw score of this account −1.90",
        "67% below",
        "Leaves 90 d 31%",
        "usual: 6.0%",
        "calibrated on what happened: 31%",
        "Reasons explain the model, not causes.",
        "What it beat",
        "Reach-out call €4,500",
        "Doing nothing €0",
        "What costs most",
        "decision makers met 0 −7.5",
        "Coverage 100%",
        "renewal on 10 Aug 2026; probability of not renewing 35%",
        "Expected ARR then €31,415 (€27,182 – €35,500)",
        "ARR €48,000 lifetime value €87,654: five years' margin, discounted",
        "by churn/3, configuration 9f2c, data 77ab",
        "4 scores; the last is",
        "Key accounts: 41 (median)",
    ):
        assert fact in read, (fact, read)
    assert f"{first_day().day} Apr 2026" in read
    assert "Not enough evidence" not in read


def test_an_estimate_that_leaves_everything_open_says_so(mine: Behind) -> None:
    unsure = account("a")
    for prediction in unsure["predictions"]:
        prediction |= {"low": 0.01, "high": 0.45}
    write(mine.store, [unsure])
    read = text(client(mine).get(address("a")).text)
    assert "usual: 6.0%. Not enough evidence to call it safer than usual, or at risk." in read


def test_special_accounts_say_what_is_special(behind: Behind) -> None:
    app = client(behind)
    said = {
        "gone0": ("Under notice", "Held down to 19: notice given.", "the account is listed, not predicted", "The contract ends"),
        "few": ("Provisional: too few sources for a colour", "Below half, a score is provisional"),
        "none": ("No score: the connected tables hold nothing that could be measured.",),
        "odd": ("Health and model disagree", "The product is used little"),
        "grows": ("Drawn to start later",),
        "idle": ("the best play, Reach-out call, would not bring back its cost", "Doing nothing chosen"),
    }
    for account_id, facts in said.items():
        read = text(app.get(address(account_id)).text)
        for fact in facts:
            assert fact in read, (account_id, fact, read)


def test_expected_revenue_is_told_where_it_is_known(mine: Behind) -> None:
    older = account("older", renewal={"date": "2026-09-30", "notice_by": "2026-08-31", "probability": 0.35})
    del older["expected_lifetime_value"]
    write(mine.store, [account("acme"), older, account("gone", leaving=True)])
    finnish, app = client(mine, language="fi"), client(mine)
    read = text(finnish.get(address("acme")).text)
    assert "elinkaariarvo 87 654 €: viiden vuoden kate diskontattuna" in read
    assert "Odotettu ARR silloin 31 415 € (27 182 € – 35 500 €)" in read
    for account_id in ("older", "gone"):
        read = text(app.get(address(account_id)).text)
        assert "lifetime value" not in read
        assert "Expected ARR" not in read


def test_what_was_said_earlier_can_be_asked(behind: Behind) -> None:
    app = client(behind)
    then = text(app.get(f"{address('acme')}?as_of=2026-06-10").text)
    assert "Then: about 1 Jun 2026 Now: about 1 Jul 2026 Health 53 Neutral 65 Neutral" in then
    assert "Nothing was said then" in text(app.get(f"{address('acme')}?known_at=2020-01-01").text)
    assert "Nothing was said then" in text(app.get(f"{address('acme')}?as_of=2020-01-01").text)
    for wrong in ("yesterday", "2026-13-01", "9999-12-31", "0001-01-01"):
        assert app.get(f"{address('acme')}?as_of={wrong}").status_code == 200
    assert "That is no day" in text(app.get(f"{address('acme')}?known_at=yesterday").text)


def test_an_account_that_dropped_out_of_the_last_run_says_so(mine: Behind) -> None:
    write(mine.store, [account("left"), account("stays")], AS_OF - timedelta(days=1))
    write(mine.store, [account("stays")])
    app = client(mine)
    assert "Not in the last run: these figures are of 30 Jun 2026" in text(app.get(address("left")).text)
    assert "Not in the last run" not in text(app.get(address("stays")).text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_money_and_without_a_model(mine: Behind, language: str) -> None:
    mine.currency = None
    write(mine.store, without_money())
    app = client(mine, language=language)
    today, one = text(app.get("/").text), text(app.get(address("plain")).text)
    assert "€" not in today + one
    if language == "en":
        assert "No churn model serves" in today
        assert "worth 0.12 of an account" in today
        assert "Why: where the health points are lost" in one
        assert "−20.0" in one
        assert "Lost in all, before caps −40.0" in one


def test_before_the_first_run_it_says_what_to_do(mine: Behind) -> None:
    answer = client(mine).get("/")
    assert answer.status_code == 200
    assert "kunto run" in answer.text


@pytest.mark.parametrize(("days", "told"), [(1, None), (2, None), (3, "The data are 3 days old"), (-200, None)])
def test_old_data_are_warned_of(mine: Behind, days: int, told: str | None) -> None:
    write(mine.store, [account("acme")])
    mine.now = AS_OF + timedelta(days=days)
    read = text(client(mine).get("/").text)
    assert ("days old" in read) == bool(told)
    assert (told or "") in read


def test_static_files_change_their_address_with_their_content(behind: Behind) -> None:
    app = client(behind)
    found = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', app.get("/").text))
    assert {path.partition("?")[0] for path in found} == {"/static/kunto.css", "/static/kunto.js", "/static/kunto.svg"}
    assert all("?v=" in path and app.get(path).status_code == 200 for path in found)
    assert app.get("/static/../pages.py").status_code == 404


def test_a_manual_score_stands_beside(changing: Behind) -> None:
    until = changing.now + timedelta(days=9)
    changing.store.feedback.set_manual_score("acme", 77, "Met the board", until, PEOPLE["csm"], at=changing.now)
    read = text(client(changing).get(address("acme")).text)
    assert "77 holds until 10 Jul 2026 Met the board" in read


def test_health_of_another_scorecard_is_not_taken_apart(mine: Behind) -> None:
    stale = scored_health(50, components={"usage": 1.0, "engagement": 2.0, "support": 3.0, "business": 4.0, "feedback": 5.0})
    write(mine.store, [account("acme", health=stale)], inputs=True)
    assert "What costs most" not in client(mine).get(address("acme")).text

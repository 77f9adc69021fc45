"""The door, what people do on the pages, and what is refused."""

import re

from fastapi.testclient import TestClient
from page_app import CSRF, HTML, PEOPLE, Behind, address, behind, changing, client, mine, page_app, text

from serving.settings import OidcSettings, ServiceSettings

__all__ = ["behind", "changing", "mine"]


def test_who_has_not_signed_in_is_sent_to_the_door(behind: Behind) -> None:
    app = client(behind, who="nobody")
    answer = app.get("/?csm=Aino&done=told")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2F%3Fcsm%3DAino")
    assert app.post("/feedback", data={}).headers["location"] == "/sign-in"
    assert app.get("/", headers={"accept": "application/json"}).status_code == 401
    page = app.get("/sign-in?next=/accounts/acme&problem=wrong").text
    assert 'value="/accounts/acme"' in page
    assert "do not belong together" in page
    assert 'value="/"' in app.get("/sign-in?next=//evil.example").text
    assert "through your company" not in page
    assert client(behind).get("/sign-in?next=/accounts/acme").headers["location"] == "/accounts/acme"


def test_the_door_to_the_company_is_there_where_one_is(behind: Behind) -> None:
    oidc = OidcSettings(issuer="https://id.example", client_id="kunto")
    app = client(Behind(behind.store, settings=ServiceSettings(oidc=oidc)), who="nobody")
    assert 'href="/sign-in/oidc?next=/accounts/acme"' in app.get("/sign-in?next=/accounts/acme").text
    assert "Kunto does not yet" in app.get("/sign-in?problem=oidc&reason=unknown").text
    assert "did not work" in app.get("/sign-in?problem=oidc&reason=failed").text
    assert "<b>" not in app.get("/sign-in?problem=<b>").text


def test_errors_are_pages_for_people_and_problems_for_machines(behind: Behind) -> None:
    for language, told in (("en", "There is nothing here"), ("fi", "Täällä ei ole mitään")):
        assert told in client(behind, language=language).get("/nowhere").text
    app = client(behind)
    broken = app.get("/breaks")
    assert (broken.status_code, "secret" in broken.text) == (500, False)
    assert "Something went wrong on our side" in broken.text
    assert app.get("/nowhere", headers={"accept": "*/*"}).headers["content-type"] == "application/problem+json"
    assert app.get("/v1/nothing").headers["content-type"] == "application/problem+json"


def test_a_person_limited_to_own_accounts_sees_no_other(changing: Behind) -> None:
    app = client(changing, who="own")
    assert app.get(address("suomi")).status_code == 200
    unknown, foreign = app.get(address("nobody")), app.get(address("acme"))
    assert (foreign.status_code, foreign.text) == (404, unknown.text.replace("nobody", "acme"))
    form = {"csrf": CSRF, "account_id": "acme", "playbook": "rescue_plan", "driver": "growth", "verdict": "wrong", "run_id": "x"}
    assert app.post("/plays", data=form).status_code == 404
    assert app.post("/feedback", data=form).status_code == 404
    play = changing.store.plays.start("acme", "rescue_plan", PEOPLE["csm"])
    assert (
        app.post(f"/plays/{play.play_id}/steps", data={"csrf": CSRF, "version": 1, "step": 1, "done": "yes"}).status_code == 404
    )
    assert changing.store.plays.get(play.play_id).version == 1


def test_who_may_only_read_is_offered_no_button_and_refused(changing: Behind) -> None:
    app = client(changing, who="viewer")
    for path in ("/", address("acme")):
        html = app.get(path).text
        assert 'action="/plays' not in html
        assert 'action="/feedback"' not in html
    assert app.post("/plays", data={"csrf": CSRF, "account_id": "acme", "playbook": "rescue_plan"}).status_code == 403
    assert not changing.store.plays.list("acme")


def test_a_form_of_another_session_changes_nothing(changing: Behind) -> None:
    app = client(changing)
    form = {"account_id": "acme", "playbook": "rescue_plan"}
    for csrf in ({}, {"csrf": ""}, {"csrf": "ä"}, {"csrf": CSRF + "0"}):
        assert app.post("/plays", data=form | csrf).status_code == 403
    assert not changing.store.plays.list("acme")


def test_a_play_is_started_taken_step_by_step_and_closed(changing: Behind) -> None:
    app, store = client(changing), changing.store
    form = {"csrf": CSRF, "account_id": "acme", "playbook": "rescue_plan", "next": "/?csm=Aino"}
    started = app.post("/plays", data=form)
    assert (started.status_code, started.headers["location"]) == (303, "/?csm=Aino&done=started")
    [play] = store.plays.list("acme")
    assert (play.owner, play.started_at) == ("u1", changing.now)
    assert "The play has started." in app.get("/?done=started").text
    assert "under way, 0 of 5 steps done" in text(app.get("/").text)
    assert app.post("/plays", data=form).headers["location"] == "/?csm=Aino&done=runs"

    step = {"csrf": CSRF, "version": 1, "step": 1, "done": "yes", "next": address("acme")}
    assert app.post(f"/plays/{play.play_id}/steps", data=step).headers["location"] == "/accounts/acme?done=step#plays"
    assert store.plays.get(play.play_id).steps[0].done_at is not None
    assert app.post(f"/plays/{play.play_id}/steps", data=step).status_code == 409
    assert app.post(f"/plays/{play.play_id}/steps", data=step | {"version": 2, "done": ""}).status_code == 303
    assert store.plays.get(play.play_id).steps[0].done_at is None

    end = {"csrf": CSRF, "version": 3, "outcome": "goal_reached", "text": "signed"}
    assert app.post(f"/plays/{play.play_id}/close", data=end | {"outcome": "bogus"}).status_code == 422
    assert app.post(f"/plays/{play.play_id}/close", data=end).status_code == 303
    assert store.plays.log(play.play_id)[-1].text == "signed"
    assert "1 play before" in text(app.get(address("acme")).text)
    assert [action for action, _ in changing.audited] == ["play.start", "play.change", "play.change", "play.change"]
    assert app.post("/plays", data=form | {"playbook": "bogus"}).status_code == 422
    assert app.post("/plays", data=form | {"account_id": "nobody"}).status_code == 404


def test_feedback_lands_with_the_score_that_was_seen(changing: Behind) -> None:
    app, store = client(changing), changing.store
    seen = store.scores("acme")[0]
    form = {"csrf": CSRF, "account_id": "acme", "driver": "usage_decline", "verdict": "wrong", "next": address("acme")}
    answer = app.post("/feedback", data=form | {"run_id": seen.run_id, "text": "They <b>moved</b> offices"})
    assert answer.headers["location"] == "/accounts/acme?done=told#reasons"
    [given] = store.feedback.of("acme")
    assert (given.verdict, given.driver, given.run_id, given.by.id) == ("wrong", "usage_decline", seen.run_id, "u1")
    html = app.get(address("acme")).text
    assert "They &lt;b&gt;moved&lt;/b&gt; offices" in html
    assert 'aria-pressed="true"' not in html  # that was another score
    app.post("/feedback", data=form | {"run_id": store.scores("acme")[-1].run_id, "verdict": "useful"})
    pressed = re.findall(r'value="(\w+)" aria-pressed="true"', app.get(address("acme")).text)
    assert pressed == ["useful"]
    assert 'aria-pressed="true"' not in client(changing, who="viewer").get(address("acme")).text
    assert app.post("/feedback", data=form | {"run_id": "bogus"}).status_code in (404, 422)
    assert app.post("/feedback", data=form | {"run_id": "x", "verdict": "bogus"}).status_code == 422


def test_a_language_is_kept_and_leads_back_to_this_site_only(behind: Behind) -> None:
    app = client(behind)
    answer = app.post("/language", data={"language": "fi", "next": "/accounts/acme?as_of=2026-06-10"})
    assert answer.headers["location"] == "/accounts/acme?as_of=2026-06-10"
    assert "kunto_language=fi" in answer.headers["set-cookie"]
    assert app.post("/language", data={"language": "fi", "next": "https://evil.example/"}).headers["location"] == "/"
    assert "set-cookie" not in app.post("/language", data={"language": "sv", "next": "/"}).headers
    person = TestClient(page_app(behind), headers=HTML, cookies={"who": "viewer"})
    assert '<html lang="fi">' in person.get("/").text


def test_where_nobody_signs_in_nobody_signs_out(changing: Behind) -> None:
    assert 'action="/sign-out"' in client(changing).get("/").text
    changing.sign_in = False
    html = client(changing).get("/").text
    assert 'action="/sign-out"' not in html
    assert 'action="/plays"' in html

"""The pages over the whole service: real sign-in, real scores, real models."""

import re
from typing import Any

from fastapi.testclient import TestClient
from page_app import HTML, address, text

from serving.principal import ROLE_SCOPES


def csrf(html: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', html)
    assert found
    return found[1]


def test_everybody_reads_their_accounts(served: Any) -> None:
    for role in (*ROLE_SCOPES, "own"):
        answer = served.people[role].get("/", headers=HTML)
        assert answer.status_code == 200, role
        assert ('action="/plays"' in answer.text) == (role != "viewer")
        csms = set(re.findall(r'<span class="soft meta">([^·<]+) ·', answer.text))
        assert (csms == {served.own_csm}) == (role == "own"), csms
    asked = TestClient(served.app, base_url="http://localhost").get("/?tier=key", headers=HTML, follow_redirects=False)
    assert asked.headers["location"] == "/sign-in?next=%2F%3Ftier%3Dkey"


def test_every_account_has_a_page(served: Any) -> None:
    view = served.service.portfolio.at()
    for account_id, line in list(view.lines.items())[:25]:
        read = text(served.people["csm"].get(address(account_id), headers=HTML).text)
        assert (line.name or account_id) in read
        assert "What costs most" in read or (line.health_score or 0) > 95 or line.health_score is None
        assert not re.search(r"\bNone\b|\bnan\b", read)


def test_a_play_and_a_word_on_a_reason_are_kept_and_told(served: Any) -> None:
    person, store = served.people["csm"], served.service.store
    line = served.service.portfolio.at().worth_doing()[-1]
    html = person.get(address(line.account_id), headers=HTML).text
    run_id = re.search(r'name="run_id" value="([\w-]+)"', html)
    driver = re.search(r'name="driver" value="(\w+)"', html)
    assert run_id
    assert driver
    form = {"csrf": csrf(html), "account_id": line.account_id, "next": address(line.account_id)}
    told = form | {"run_id": run_id[1], "driver": driver[1], "verdict": "useful"}
    assert "Thank you" in person.post("/feedback", data=told, headers=HTML).text
    assert store.feedback.of(line.account_id)[0].driver == driver[1]
    started = person.post("/plays", data=form | {"playbook": line.playbook}, headers=HTML)
    assert "The play has started" in started.text
    assert store.plays.list(line.account_id)[0].playbook == line.playbook
    actions = [entry.action for entry in store.access.audits()]
    assert {"feedback.give", "play.start"} <= set(actions)

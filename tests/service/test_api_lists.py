"""Lists as a user walks them: every item once, in one order, whatever is written between two pages; and as they stood earlier."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import page_company
import pytest
from own_service import Own, beside, own_service
from page_company import AS_OF, account, scored_health
from small_service import PASSWORD, sign_in

from serving.api.paging import encode
from serving.portfolio import Sort
from serving.store import Store

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def running(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with own_service(demo.path, tmp_path_factory.mktemp("own") / "workspace") as made:
        yield made


@pytest.fixture
def own(running: Own, tmp_path: Path) -> Iterator[Own]:
    """The service over a dozen accounts made by hand, of one test's own."""
    with beside(running, f"sqlite:///{tmp_path / 'own.db'}") as made:
        page_company.company(made.service.store)
        yield made


def get(own: Own, path: str, **asked: Any) -> Any:
    answer = own.client.get(f"/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(own: Own, path: str, limit: int = 3, **asked: Any) -> Iterator[list[dict[str, Any]]]:
    """The items of each page, once those of the page before have been looked at."""
    cursor: dict[str, str] = {}
    while True:
        page = get(own, path, limit=limit, **asked, **cursor)
        yield page["items"]
        if page["next_cursor"] is None:
            return
        assert len(page["items"]) == limit
        cursor = {"cursor": page["next_cursor"]}


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["account_id"] for item in items]


def run(store: Store, changed: int, as_of: Any = AS_OF) -> str:
    """Another run, with another health of every account."""
    records = [row | {"health": scored_health(changed)} for row in page_company.accounts()]
    return page_company.write(store, records, as_of)


ASKED = [("accounts", {"sort": sort}) for sort in get_args(Sort)]
ASKED += [("accounts", {"leaving": True}), ("worklist", {}), ("worklist", {"hours": 60}), ("signals", {}), ("plays", {})]


@pytest.mark.parametrize(("path", "asked"), [*ASKED, ("accounts/acme/scores", {}), ("webhooks/dead-letters", {})])
def test_pages_hold_the_whole_list_once_and_in_order(own: Own, path: str, asked: dict[str, Any]) -> None:
    run(own.service.store, 20, AS_OF + DAY)
    for account_id in ("acme", "long", "few", "odd", "suomi", "past", "idle"):
        own.client.post("/v1/plays", json={"account_id": account_id, "playbook": "activation"}).raise_for_status()
    whole = get(own, path, limit=500, **asked)["items"]
    assert [item for page in pages(own, path, **asked) for item in page] == whole
    assert len(whole) > 3 or path == "webhooks/dead-letters"


@pytest.mark.parametrize("path", ["accounts", "worklist", "signals"])
def test_a_run_between_two_pages_comes_into_neither(own: Own, path: str) -> None:
    run(own.service.store, 20, AS_OF + DAY)
    whole = get(own, path, limit=500)
    found = []
    for number, items in enumerate(pages(own, path)):
        found += items
        run(own.service.store, 90 - number, AS_OF + (2 + number) * DAY)
    assert found == whole["items"]
    assert get(own, path, limit=500)["items"] != found, "whoever starts anew has the new run"


def test_a_run_that_comes_late_shifts_no_page_of_a_history(own: Own) -> None:
    before = get(own, "accounts/acme/scores", limit=500)["items"]
    found = []
    for items in pages(own, "accounts/acme/scores", limit=1):
        found += items
        run(own.service.store, 33, AS_OF - 100 * DAY)
    assert found == before
    assert len(get(own, "accounts/acme/scores", limit=500)["items"]) == 2 * len(before)


def test_what_is_started_between_two_pages_does_not_end_the_worklist(own: Own) -> None:
    whole = ids(get(own, "worklist", limit=500)["items"])
    found = []
    for items in pages(own, "worklist"):
        found += ids(items)
        asked = {"account_id": items[-1]["account_id"], "playbook": items[-1]["play"]["name"]}
        assert own.client.post("/v1/plays", json=asked).status_code == 201
    assert found == whole


def test_a_list_whose_last_account_was_erased_says_so(own: Own) -> None:
    first = get(own, "accounts", limit=3)
    own.service.store.forget_account(first["items"][-1]["account_id"])
    answer = own.client.get("/v1/accounts", params={"cursor": first["next_cursor"]})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:kunto:problem:invalid-cursor")


def test_a_cursor_of_another_list_is_refused(own: Own) -> None:
    for number in range(2):
        asked = {"account_id": "acme", "playbook": ("activation", "rescue_plan")[number]}
        own.client.post("/v1/plays", json=asked).raise_for_status()
    other = get(own, "plays", limit=1)["next_cursor"]
    for path in ("accounts", "worklist", "signals", "accounts/acme/scores", "webhooks/dead-letters"):
        answer = own.client.get(f"/v1/{path}", params={"cursor": other})
        assert (answer.status_code, "next_cursor" in answer.json()["detail"]) == (422, True)


def test_a_cursor_tells_nothing_of_the_accounts_of_others(own: Own) -> None:
    own.service.store.access.add_user("b@example.com", "csm", password=PASSWORD, csm="Bertta", own_accounts=True)
    bertta = sign_in(own.app, "b@example.com")
    for path in ("accounts", "worklist", "signals"):
        for account_id, status in (("suomi", 200), ("acme", 422), ("nobody", 422)):
            cursor = encode([own.service.clock(), account_id])
            assert bertta.get(f"/v1/{path}", params={"cursor": cursor}).status_code == status, (path, account_id)


def test_filters_keep_what_they_name(own: Own) -> None:
    everything = get(own, "accounts", limit=500)["items"]

    def kept(**asked: Any) -> set[str]:
        found = get(own, "accounts", limit=500, **asked)
        assert found["total"] == len(found["items"])
        return set(ids(found["items"]))

    assert kept(csm="Bertta") == {"suomi"}
    assert kept(name="ÖLJY") == {"suomi"}
    assert kept(band="healthy") == {item["account_id"] for item in everything if item["health"]["band"] == "healthy"} != set()
    assert kept(leaving=True) == set(page_company.LEAVING)
    assert kept(disagreement=True) == {"odd"}
    assert kept(playbook="nothing") == {"idle"}
    assert kept(tier="developing", leaving=False) == {"few"}


def test_fields_chooses_members(own: Own) -> None:
    [item] = get(own, "accounts", limit=1, fields="health, arr")["items"]
    assert item.keys() == {"account_id", "health", "arr"}
    answer = own.client.get("/v1/accounts", params={"fields": "helth"})
    assert answer.status_code == 422
    assert all(told in answer.json()["detail"] for told in ("helth", "health", "renewal"))


def test_the_portfolio_as_it_stood_at_two_times(own: Own) -> None:
    store, before = own.service.store, own.service.clock()
    first = get(own, "accounts")["run_id"]
    # the day after: a new score; then the first day's data were corrected, and it was scored again
    later, corrected = run(store, 70, AS_OF + DAY), run(store, 10, AS_OF)
    known = {name: _finished(own, name) for name in (first, later, corrected)}

    def stood(**asked: Any) -> Any:
        return get(own, "accounts", limit=1, **asked)["run_id"]

    assert stood() == stood(as_of="2100-01-01") == stood(known_at="2100-01-01T00:00:00+02:00") == later
    assert stood(as_of=AS_OF) == corrected
    assert stood(as_of=AS_OF, known_at=known[later]) == first
    assert stood(known_at=known[later]) == later
    assert stood(known_at=known[first]) == first
    assert get(own, "worklist", known_at=known[first])["run_id"] == first
    assert stood(known_at=before - DAY) is None
    assert get(own, "accounts", known_at=before - DAY) == {"items": [], "next_cursor": None, "run_id": None, "total": 0}
    assert get(own, "worklist", known_at=before - DAY)["items"] == []


def test_the_score_that_spoke_of_an_instant_and_the_one_that_stood_then(own: Own) -> None:
    def health(path: str = "accounts/long/scores", **asked: Any) -> list[int]:
        return [item["score"]["health"]["score"] for item in get(own, path, **asked)["items"]]

    store, [first] = own.service.store, health()
    known = _finished(own, get(own, "accounts")["run_id"])
    run(store, 70, AS_OF + DAY)
    run(store, 10, AS_OF)
    assert health() == [first, 10, 70]
    assert health(as_of=AS_OF) == [10]
    assert health(as_of=AS_OF + DAY / 2) == [10]
    assert health(as_of=AS_OF, known_at=known) == [first]
    assert health(as_of=AS_OF + DAY) == health(known_at="2100-01-01") == [70]
    assert health(as_of=AS_OF - 365 * DAY) == []
    then = get(own, "accounts/long", known_at=known)
    assert (then["score"]["health"]["score"], [point["score"] for point in then["history"]]) == (first, [first])
    assert own.client.get("/v1/accounts/long", params={"as_of": AS_OF - 365 * DAY}).status_code == 404


def _finished(own: Own, run_id: str) -> str:
    """When the run was finished, as the API tells it: from then on it was known."""
    rows = [row for each in ("acme", "long") for row in get(own, f"accounts/{each}/scores", limit=500)["items"]]
    return next(row["known_at"] for row in rows if row["run_id"] == run_id)


def test_instants_are_told_as_utc_and_taken_back_as_told(own: Own) -> None:
    item = get(own, "accounts/acme/scores", limit=1)["items"][0]
    assert item["score"]["as_of"].endswith("T00:00:00Z")
    assert item["known_at"].endswith("Z")
    assert get(own, "accounts/acme/scores", as_of=item["score"]["as_of"], known_at=item["known_at"])["items"] == [item]
    assert account("acme")["as_of"] == AS_OF.isoformat(), "inside they are naive"

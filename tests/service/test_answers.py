"""Answers that are kept: given again only as long as nobody, in any process, has changed the database."""

import subprocess
import sys

from serving.store import Identity, Store


def test_a_revision_differs_after_every_change_by_anybody(new_url):
    url = new_url()
    with Store.open(url) as store, Store.open(url) as other:
        first = store.revision()
        store.latest_scores()
        assert store.revision() == first
        if url.startswith("postgresql"):
            assert first is None
            return
        store.save_accounts([Identity("a1", "Acme")])
        second = store.revision()
        other.save_accounts([Identity("a2", "Beta")])
        third = store.revision()
        code = f"from serving.store import Identity, Store\nwith Store.open({url!r}) as s: s.save_accounts([Identity('a3', 'C')])"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert len({first, second, third, store.revision()}) == 4


def test_nothing_is_kept_of_a_database_in_memory():
    with Store.open("sqlite://") as store:
        assert store.revision() is None


def test_a_kept_answer_is_made_anew_after_a_change(served):
    store, account_id = served.service.store, served.people["own"].get("/v1/accounts?limit=1").json()["items"][0]["account_id"]
    before = store.contacts.of(account_id)

    def contacts():
        [item] = served.people["own"].get(f"/v1/accounts/{account_id}/scores?as_of=2100-01-01").json()["items"]
        return item["score"]["contacts"]

    assert contacts() == contacts() == before
    store.contacts.replace({account_id: [{"contact_id": "new@example.com", "role": "executive"}]})
    assert contacts() == [{"contact_id": "new@example.com", "role": "executive"}]
    store.contacts.replace({account_id: before})
    assert contacts() == before


def test_what_is_kept_for_one_is_not_told_another(served):
    everything = served.people["csm"].get("/v1/accounts?limit=500").json()["items"]
    theirs = next(item["account_id"] for item in everything if item["csm"] != served.own_csm)
    for _ in range(2):
        assert served.people["csm"].get(f"/v1/accounts/{theirs}/scores").status_code == 200
        assert served.people["own"].get(f"/v1/accounts/{theirs}/scores").status_code == 404

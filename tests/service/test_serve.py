"""`kunto serve` before it serves: who gets a link, what is refused; and the demo, which erases only what is its own."""

import socket

import pytest
from small_service import PASSWORD

from kunto import demo
from kunto.commands.serve import _first_link
from serving.store import Store


@pytest.fixture
def access(tmp_path):
    with Store.open(tmp_path / "kunto.db") as store:
        yield store, store.access


def test_a_link_is_made_until_an_administrator_can_sign_in(access):
    store, people = access
    first, second = (_first_link(store, "http://localhost:8000") for _ in range(2))
    assert first.startswith("http://localhost:8000/welcome?token=")
    assert first != second  # one that lapsed does not lock the owner out
    people.add_user("maija@example.com", "csm", password=PASSWORD)
    assert _first_link(store, "http://localhost:8000") is not None
    people.add_user("anna@example.com", "admin", password=PASSWORD)
    assert _first_link(store, "http://localhost:8000") is None


def test_an_owner_who_was_disabled_gets_none(access):
    store, people = access
    _first_link(store, "http://localhost:8000")
    [owner] = people.users()
    people.disable_user(owner.user_id)
    assert _first_link(store, "http://localhost:8000") is None


def test_open_pages_are_for_this_machine_alone(kunto, csv):
    ran = kunto("serve", "-w", csv(), "--no-sign-in", "--host", "0.0.0.0")
    assert ran.code == 2
    assert "others could come in" in ran.told


def test_a_port_that_is_taken_is_told(kunto, csv):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = kunto("serve", "-w", csv(), "--port", taken.getsockname()[1])
    assert ran.code == 2
    assert "name another --port" in ran.told


def test_the_demo_leaves_a_workspace_alone_that_is_not_its_own(csv, monkeypatch, capsys):
    monkeypatch.chdir(csv().parent)
    with pytest.raises(SystemExit) as stop:
        demo.main()
    assert stop.value.code == 2
    assert (demo.WORKSPACE / "kunto.toml").exists()

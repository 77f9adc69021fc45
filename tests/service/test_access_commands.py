"""`kunto key` and `kunto user`: what they print, keep and refuse, through the entry point that a user calls."""

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sign_in_app
from small_company import CONFIG

from kunto.workspace import Workspace
from serving.store import Store
from serving.store.access import Access
from serving.store.access_records import SignInError
from serving.store.instants import now

# autouse
quick_hashes = sign_in_app.quick_hashes
PASSWORD = "correct horse battery"


@pytest.fixture
def workspace(csv: Any, new_url: Callable[[], str]) -> Path:
    """A workspace whose store is on either database."""
    made: Path = csv(f'{CONFIG}\n[service]\nstore = "{new_url()}"\n')
    return made


@pytest.fixture
def access(workspace: Path) -> Iterator[Access]:
    with Store.open(Workspace(workspace).store_url) as store:
        yield store.access


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says what standard input holds, and whether it is a terminal."""

    def hold(text: str, *, terminal: bool = False) -> None:
        stream = io.StringIO(text)
        stream.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", stream)

    return hold


def test_a_key_is_printed_once_listed_and_revoked(kunto, workspace, access):
    made = kunto(
        "key", "create", "--name", "billing", "--scope", "events:write", "--scope", "scores:read", "-w", workspace, "--json"
    )
    assert made.code == 0, made.told
    assert made.json.keys() == {"key", "id", "name", "scopes", "expires_at"}
    assert (made.json["name"], made.json["scopes"], made.json["expires_at"]) == ("billing", ["scores:read", "events:write"], None)
    key, key_id = made.json["key"], made.json["id"]
    assert access.principal_of_key(key, now()).id == key_id
    [listed] = kunto("key", "list", "-w", workspace, "--json").json
    assert (listed["id"], listed["last_used_day"], listed["revoked_at"]) == (key_id, None, None)
    shown = kunto("key", "list", "-w", workspace)
    assert key_id in shown.told
    assert key not in shown.told
    assert kunto("key", "revoke", key_id, "-w", workspace, "--json").json["revoked_at"] is not None
    assert f"Key {key_id} (billing) is revoked." in kunto("key", "revoke", key_id, "-w", workspace).told
    assert access.principal_of_key(key, now()) is None
    unknown = kunto("key", "revoke", "k1", "-w", workspace)
    assert (unknown.code, "there is no key 'k1'" in unknown.told) == (1, True)
    actions = [(entry.principal_kind, entry.action, entry.object) for entry in access.audits()]
    assert actions == [("operator", "key.revoke", f"key:{key_id}")] * 2 + [("operator", "key.create", f"key:{key_id}")]


def test_a_key_for_people_to_read_and_with_an_end(kunto, workspace, access):
    assert "There is no key yet" in kunto("key", "list", "-w", workspace).told
    made = kunto("key", "create", "--name", "[b]x[/b]", "--scope", "admin", "--days", 30, "-w", workspace)
    assert made.code == 0, made.told
    key, told = made.out.splitlines()
    [kept] = access.keys()
    assert access.principal_of_key(key, now())
    assert access.principal_of_key(key, now() + timedelta(days=30)) is None
    assert kept.expires_at - kept.created_at == pytest.approx(timedelta(days=30), abs=timedelta(minutes=1))
    assert told == f"Key {kept.key_id} for [b]x[/b]: admin, until {kept.expires_at:%Y-%m-%d}. It is not shown again."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a", "--scope", "scores:write"], "scopes scores:write must be one or more of scores:read,"),
        (["--name", " ", "--scope", "admin"], "name ' ' is empty"),
        (["--name", "a", "--scope", "admin", "--days", 0], "0 is not in the range"),
        (["--name", "a"], "Missing option '--scope'"),
        (["--scope", "admin"], "Missing option '--name'"),
    ],
)
def test_a_wrong_key_is_wrong_usage(kunto, workspace, access, arguments, message):
    refused = kunto("key", "create", *arguments, "-w", workspace)
    assert refused.code == 2
    assert message in refused.told
    assert access.keys() == []


def test_a_person_from_being_added_to_being_forgotten(kunto, workspace, access, typed):
    def run(*arguments: object) -> Any:
        ran = kunto("user", *arguments, "-w", workspace, "--json")
        assert ran.code == 0, ran.told
        return ran.json

    name = "Maija@acme.example"
    typed(f"{PASSWORD}\nsecond line\n")
    added = run(
        *("add", name, "--role", "csm", "--csm", "Maija Meikäläinen", "--own-accounts", "--language", "fi", "--password-stdin")
    )
    assert added["name"] == name
    assert (added["role"], added["csm"], added["own_accounts"], added["language"]) == ("csm", "Maija Meikäläinen", True, "fi")
    assert (added["has_password"], added["disabled_at"]) == (True, None)
    assert PASSWORD not in str(added)
    assert access.sign_in(name, PASSWORD, now(), 1)
    assert run("list") == [added]
    assert run("disable", name.upper())["disabled_at"] is not None
    with pytest.raises(SignInError):
        access.sign_in(name, PASSWORD, now(), 1)
    assert run("enable", name) == added
    typed("a new horse battery\r\n")
    run("password", name, "--password-stdin")
    assert access.sign_in(name, "a new horse battery", now(), 1)
    run("forget", name)
    assert access.users() == []
    actions = ["user.forget", "user.password", "user.enable", "user.disable", "user.add"]
    assert [(entry.action, entry.object) for entry in access.audits()] == [(each, f"user:{added['id']}") for each in actions]
    assert kunto("user", "disable", name, "-w", workspace).code == 1


def test_what_people_read_of_people(kunto, workspace, access):
    assert "There is no user yet" in kunto("user", "list", "-w", workspace).told
    added = kunto("user", "add", "Maija", "--role", "viewer", "--no-password", "-w", workspace)
    assert (added.code, added.told.strip()) == (0, "Maija may sign in as viewer.")
    assert "all accounts" in kunto("user", "list", "-w", workspace).told
    assert "Maija may sign in no more." in kunto("user", "disable", "maija", "-w", workspace).told
    assert not access.users()[0].has_password


def test_the_password_is_asked_for_on_a_terminal_twice_and_hidden(kunto, workspace, access, typed, monkeypatch):
    asked = []

    def hidden(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    typed("", terminal=True)
    monkeypatch.setattr("click.termui.hidden_prompt_func", hidden, raising=False)
    monkeypatch.setattr("typer._click.termui.hidden_prompt_func", hidden, raising=False)
    added = kunto("user", "add", "maija", "--role", "csm", "-w", workspace)
    assert added.code == 0, added.told
    assert len(asked) == 2
    assert access.sign_in("maija", PASSWORD, now(), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--role", "owner", "--no-password"], "role 'owner' is not known; allowed: viewer, csm, admin"),
        (["--role", "csm", "--no-password", "--own-accounts"], "own_accounts limits"),
        (["--role", "csm", "--no-password", "--language", "sv"], "language 'sv' is not known; allowed: en, fi"),
        (["--role", "csm", "--no-password", "--password-stdin"], "exclude each other"),
        (["--role", "csm"], "no terminal to ask for the password on; give --password-stdin or --no-password"),
        (["--role", "csm", "--password-stdin"], "the password has 5 characters; give 12 to 1024"),
        (["--no-password"], "Missing option '--role'"),
    ],
)
def test_a_wrong_person_is_wrong_usage(kunto, workspace, access, typed, arguments, message):
    typed("short\n")
    refused = kunto("user", "add", "maija", *arguments, "-w", workspace)
    assert refused.code == 2
    assert message in refused.told
    assert access.users() == []


def test_a_name_that_is_taken_and_a_folder_that_is_no_workspace(kunto, workspace, tmp_path):
    add = ("user", "add", "maija", "--role", "csm", "--no-password", "-w")
    assert kunto(*add, workspace).code == 0
    taken = kunto(*add, workspace)
    assert (taken.code, "there is a user 'maija' already" in taken.told) == (1, True)
    nowhere = kunto("key", "list", "-w", tmp_path / "nowhere")
    assert nowhere.code == 2
    assert not (tmp_path / "nowhere").exists()

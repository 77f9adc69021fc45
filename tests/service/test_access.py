"""Who may come in: keys, people, sessions, links and the audit log, on both databases."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
import sign_in_app
from pwdlib import PasswordHash
from sign_in_app import NOON, Clock, new_name
from sqlalchemy import select, text, update

from serving.credentials import LIFE, Keys, Sessions
from serving.principal import ROLE_SCOPES
from serving.store import Store, StoreError, passwords
from serving.store.access import Access
from serving.store.access_records import ApiKey, SignInError, User
from serving.store.access_sessions import FAILURES, WINDOW
from serving.store.errors import ConflictError, UnknownRecordError
from serving.store.instants import now
from serving.store.tables import Base
from serving.store.tables.access import SessionRow, UserRow

RIGHT, WRONG = "correct horse battery", "wrong horse battery"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


quick_hashes = sign_in_app.quick_hashes  # autouse
store = sign_in_app.shared_store


@pytest.fixture
def access(store: Store) -> Access:
    return store.access


@pytest.fixture
def maija(access: Access) -> User:
    return access.add_user(new_name(), "csm", password=RIGHT)


def refused(sign_in: Callable[[], Any]) -> SignInError:
    with pytest.raises(SignInError) as raised:
        sign_in()
    return raised.value


def everything(store: Store) -> str:
    """Every value of every table, as text."""
    with store._database.reading() as connection:
        return "\n".join(repr(row) for table in Base.metadata.sorted_tables for row in connection.execute(select(table)))


def at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act` returns or raises in so many threads that begin together."""
    barrier = threading.Barrier(number)

    def one(index: int) -> Any:
        barrier.wait()
        try:
            return act(index)
        except SignInError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


# Keys


def test_a_key_is_recognised_and_its_text_is_not_kept(store, access):
    made, key = access.create_key(" billing ", ["events:write", "scores:read", "scores:read"])
    assert key.startswith("kunto_")
    assert len(key) > 40
    assert (made.name, made.scopes) == ("billing", ("scores:read", "events:write"))
    principal = access.principal_of_key(key, NOON)
    assert (principal.kind, principal.id, principal.name) == ("key", made.key_id, "billing")
    assert principal.scopes == {"scores:read", "events:write"}
    assert (principal.role, principal.csm) == (None, None)
    kept = access.keys()
    assert made in kept
    assert key not in everything(store)
    assert key.removeprefix("kunto_") not in everything(store)
    assert made.key_id not in key


def test_no_other_text_is_a_key(access):
    _, key = access.create_key("billing", ["scores:read"])
    last = "A" if key[-1] != "A" else "B"
    for other in ("", "kunto_", key[:-1], key + "A", key[:-1] + last, key.upper(), f" {key}", key.replace("kunto_", "kuntö_")):
        assert access.principal_of_key(other, NOON) is None, other


def test_a_key_ends_by_expiry_and_by_being_revoked(access):
    until = now() + HOUR
    _, key = access.create_key("a", ["scores:read"], expires_at=until)
    assert access.principal_of_key(key, until - timedelta(microseconds=1))
    assert access.principal_of_key(key, until) is None
    other, lasting = access.create_key("a", ["scores:read"])
    revoked = access.revoke_key(other.key_id)
    assert revoked.revoked_at is not None
    assert access.revoke_key(other.key_id) == revoked, "again changes nothing"
    assert access.principal_of_key(lasting, NOON) is None
    assert access.principal_of_key(key, until - MINUTE), "the other key of the same name lives"
    with pytest.raises(UnknownRecordError, match=r"no key 'k1'.*kunto key list"):
        access.revoke_key("k1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ", ["scores:read"]), "name ' ' is empty"),
        (("a", []), r"scopes \(none\) must be one or more of scores:read"),
        (("a", ["scores:write"]), "scopes scores:write must be"),
        (("a", ["admin"], datetime(2020, 1, 1)), "expires_at 2020-01-01 00:00:00 has passed"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(access, arguments, message):
    name, scopes, *expires_at = arguments
    before = access.keys()
    with pytest.raises(ValueError, match=message):
        access.create_key(name, scopes, expires_at=expires_at[0] if expires_at else None)
    assert access.keys() == before


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(access: Access, clock: Clock) -> Iterator[Keys]:
    made = Keys(access, clock)
    yield made
    made.close()


def test_a_recognised_key_is_remembered_and_dies_within_its_life(access, keys, clock, monkeypatch):
    made, key = access.create_key("a", ["scores:read"])
    assert keys.cached(key) is None
    asked = []
    monkeypatch.setattr(access, "principal_of_key", lambda *given: asked.append(given) or Access.principal_of_key(access, *given))
    first = keys.principal(key)
    access.revoke_key(made.key_id)
    clock.at = NOON + LIFE - timedelta(microseconds=1)
    assert keys.principal(key) == keys.cached(key) == first
    assert len(asked) == 1
    clock.at = NOON + LIFE
    assert keys.cached(key) is None
    assert keys.principal(key) is None
    clock.at = NOON - MINUTE
    assert keys.principal(key) is None, "a clock set back revives nothing"
    assert timedelta(seconds=5) >= LIFE


def _last_used(access: Access, key: ApiKey) -> Any:
    kept = access.keys()
    return next(each.last_used_day for each in kept if each.key_id == key.key_id)


def test_use_is_noted_once_a_day_beside_the_request(store, access, clock):
    made, key = access.create_key("a", ["scores:read"])
    keys = Keys(access, clock)
    with store._database.writing():  # whoever writes, even for long, holds up no request
        assert keys.principal(key)
        clock.at += LIFE
        assert keys.principal(key)
    clock.at += timedelta(days=1)
    assert keys.principal(key)
    keys.close()
    assert _last_used(access, made) == clock.at.date()
    access.note_key_use(made.key_id, NOON.date())
    assert _last_used(access, made) == clock.at.date(), "a late note takes no day back"


def test_a_use_that_cannot_be_noted_fails_no_request(new_url, clock):
    url = new_url()
    with Store.open(url) as holder, Store.open(url, timeout_s=0.1) as store:
        made, key = holder.access.create_key("a", ["scores:read"])
        keys = Keys(store.access, clock)
        with holder._database.writing():
            assert keys.principal(key)
            keys.close()
        assert _last_used(store.access, made) is None


def test_the_secret_of_a_workspace_is_made_once(new_url):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two:
        made = at_once(6, lambda index: (one, two)[index % 2].access.secret("oidc_state"))
        assert len(set(made)) == 1
        assert len(made[0]) == 43
        assert one.access.secret("another") != made[0]


# People


def test_a_name_is_one_person_whatever_its_case(access, maija):
    with pytest.raises(ConflictError, match=rf"a user '{maija.name}' already \("):
        access.add_user(f" {maija.name.upper()} ", "viewer")
    assert access.user_named(maija.name.lower()) == maija
    access.disable_user(maija.user_id)
    with pytest.raises(ConflictError, match=r"disabled since \d{4}-.*kunto user enable"):
        access.add_user(maija.name, "viewer")
    assert [user.user_id for user in access.users() if user.name.lower() == maija.name.lower()] == [maija.user_id]
    for unknown in (lambda: access.user_named("nobody"), lambda: access.user("x"), lambda: access.disable_user("x")):
        with pytest.raises(UnknownRecordError, match=r"no user of .*kunto user list"):
            unknown()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "name '' must be 1 to 200 printable"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "a" * 201}, "1 to 200"),
        ({"role": "owner"}, "role 'owner' is not known; allowed: viewer, csm, admin"),
        ({"language": "sv"}, "language 'sv' is not known; allowed: en, fi"),
        ({"own_accounts": True}, "own_accounts limits .* csm None"),
        ({"own_accounts": True, "csm": "Maija", "role": "admin"}, "another role than admin"),
        ({"password": "short"}, "has 5 characters; give 12 to 1024"),
        ({"password": "x" * 1025}, "has 1025 characters"),
    ],
)
def test_a_person_who_makes_no_sense_is_refused(access, given, message):
    before = access.users()
    with pytest.raises(ValueError, match=message) as raised:
        access.add_user(**({"name": new_name(), "role": "csm"} | given))
    assert given.get("password", "\0") not in str(raised.value)
    assert access.users() == before


@pytest.mark.parametrize("role", ROLE_SCOPES)
def test_a_session_has_the_scopes_of_its_role(access, role):
    user = access.add_user(new_name(), role, password=RIGHT, csm="Maija", language="fi")
    principal = access.principal_of_session(access.sign_in(user.name, RIGHT, NOON, 1), NOON)
    assert principal.id == user.user_id
    assert (principal.kind, principal.role, principal.language) == ("user", role, "fi")
    assert principal.scopes == ROLE_SCOPES[role]
    assert principal.csm is None, "a name in accounts.csm limits nobody by itself"


def test_a_person_limited_to_own_accounts_is_never_unlimited(store, access):
    user = access.add_user(new_name(), "csm", csm="Maija", own_accounts=True)
    assert user.principal.csm == "Maija"
    with store._database.writing() as connection:
        connection.execute(update(UserRow).where(UserRow.user_id == user.user_id).values(csm=None))
    assert access.user(user.user_id).principal.csm == ""


def test_a_language_is_chosen_and_given_up(access, maija):
    access.set_language(maija.user_id, "fi")
    assert access.user(maija.user_id).language == "fi"
    access.set_language(maija.user_id, None)
    assert access.user(maija.user_id).language is None
    with pytest.raises(ValueError, match="language 'sv'"):
        access.set_language(maija.user_id, "sv")


def test_a_forgotten_person_leaves_an_id_alone(store, access, maija):
    access.create_link(maija.name, 5, at=NOON)
    refused(lambda: access.sign_in(maija.name, WRONG, NOON, 1))
    token = access.sign_in(maija.name, RIGHT, NOON, 1)
    access.audit(maija.principal, "sign_in.password", at=NOON)
    assert maija.name in everything(store)
    access.forget_user(maija.user_id)
    assert maija.name.lower() not in everything(store).lower()
    assert access.principal_of_session(token, NOON) is None
    assert access.audits()[0].principal_id == maija.user_id
    with pytest.raises(UnknownRecordError):
        access.forget_user(maija.user_id)


# Signing in


def test_a_session_lasts_its_hours_or_until_signed_out(store, access, maija):
    token = access.sign_in(f"{maija.name.upper()} ", RIGHT, NOON, 2)
    other = access.sign_in(maija.name, RIGHT, NOON, 2)
    assert access.principal_of_session(token, NOON + 2 * HOUR - MINUTE).id == maija.user_id
    assert access.principal_of_session(token, NOON + 2 * HOUR) is None
    access.sign_out(token, NOON)
    assert access.principal_of_session(token, NOON) is None
    assert access.principal_of_session(other, NOON) is not None
    assert access.principal_of_session("", NOON) is None
    kept = everything(store)
    assert all(secret not in kept for secret in (token, other, RIGHT))


def test_sign_out_holds_at_once_where_it_was_done(access, maija, clock):
    sessions = Sessions(access, clock)
    token = access.sign_in(maija.name, RIGHT, NOON, 1)
    assert sessions.cached(token) is None
    assert sessions.principal(token) == sessions.cached(token) == maija.principal
    sessions.sign_out(token)
    assert sessions.cached(token) is None
    assert sessions.principal(token) is None


def test_sessions_that_are_over_are_cleared_away(store, access, maija):
    for hours in range(3):
        access.sign_in(maija.name, RIGHT, NOON + hours * HOUR, 1)
    with store._database.reading() as connection:
        kept = connection.scalars(select(SessionRow.expires_at).where(SessionRow.user_id == maija.user_id)).all()
    assert kept == [NOON + 3 * HOUR]


def test_disabling_ends_sessions_and_links_for_good(access, maija):
    token, link = access.sign_in(maija.name, RIGHT, NOON, 1), access.create_link(maija.name, 5, at=NOON)
    disabled = access.disable_user(maija.user_id)
    assert disabled.disabled_at is not None
    assert access.disable_user(maija.user_id) == disabled
    assert access.principal_of_session(token, NOON) is None
    assert refused(lambda: access.sign_in(maija.name, RIGHT, NOON, 1)).refusal == "wrong"
    with pytest.raises(UnknownRecordError, match="may sign in"):
        access.create_link(maija.name, 5, at=NOON)
    assert access.enable_user(maija.user_id).disabled_at is None
    assert access.principal_of_session(token, NOON) is None, "the old session stays ended"
    assert refused(lambda: access.redeem_link(link, NOON, 1)).refusal == "link"
    assert access.sign_in(maija.name, RIGHT, NOON, 1)


def test_a_new_password_ends_the_sessions_of_the_old_one(access, maija):
    token = access.sign_in(maija.name, RIGHT, NOON, 1)
    access.set_password(maija.user_id, WRONG)
    assert access.principal_of_session(token, NOON) is None
    assert refused(lambda: access.sign_in(maija.name, RIGHT, NOON, 1)).refusal == "wrong"
    assert access.sign_in(maija.name, WRONG, NOON, 1)


def test_a_password_changed_while_the_old_one_is_looked_at_wins(access, maija, monkeypatch):
    verify = passwords.verify

    def slow(password, kept):
        found = verify(password, kept)
        access.set_password(maija.user_id, "another horse battery")
        return found

    monkeypatch.setattr(passwords, "verify", slow)
    assert refused(lambda: access.sign_in(maija.name, RIGHT, NOON, 1)).refusal == "wrong"


def test_a_password_is_the_same_however_its_letters_are_composed(access):
    user = access.add_user(new_name(), "viewer", password="hyvää päivää")
    assert access.sign_in(user.name, "hyvää päivää".replace("ä", "a\u0308"), NOON, 1)


def test_whatever_is_wrong_takes_the_same_work(access, maija, monkeypatch):
    gone, by_provider = access.add_user(new_name(), "viewer", password=RIGHT), access.add_user(new_name(), "viewer")
    access.disable_user(gone.user_id)
    passwords.verify("", None)
    looked_at = []
    verify = passwords._HASHER.verify_and_update
    monkeypatch.setattr(
        passwords._HASHER,
        "verify_and_update",
        lambda given, kept: looked_at.append(kept.rsplit("$", 2)[0]) or verify(given, kept),
    )
    long = "x" * (passwords.LONGEST + 1)
    names = (maija.name, new_name(), gone.name, by_provider.name, "a\0b", "\ud800", "n" * 10_000, "")
    errors = [refused(lambda name=name: access.sign_in(name, WRONG, NOON, 1)) for name in names]
    errors += [
        refused(lambda: access.sign_in(gone.name, RIGHT, NOON, 1)),
        refused(lambda: access.sign_in(maija.name, long, NOON, 1)),
    ]
    assert {error.refusal for error in errors} == {"wrong"}
    assert len(looked_at) == len(errors)
    assert len(set(looked_at)) == 1, "hashes of one cost"
    assert [error.user_id for error in errors][:4] == [maija.user_id, None, gone.user_id, by_provider.user_id]


def test_hashes_are_argon2_at_the_recommended_cost_and_old_ones_are_made_anew(store, access, maija, monkeypatch):
    def kept() -> str:
        with store._database.reading() as connection:
            return connection.scalar(select(UserRow.password_hash).where(UserRow.user_id == maija.user_id))

    assert kept().startswith("$argon2id$v=19$m=8,t=1,p=1$")
    monkeypatch.setattr(passwords, "_HASHER", PasswordHash.recommended())
    access.sign_in(maija.name, RIGHT, NOON, 1)
    assert kept().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert access.sign_in(maija.name, RIGHT, NOON, 1)


@pytest.mark.parametrize("known", [True, False])
def test_guessing_is_held_up_by_name(access, maija, known):
    name = maija.name if known else new_name()
    for second in range(FAILURES):
        error = refused(lambda second=second: access.sign_in(name.upper(), WRONG, NOON + timedelta(seconds=second), 1))
        assert error.refusal == "wrong"
    held = refused(lambda: access.sign_in(name, RIGHT, NOON + MINUTE, 1))
    assert (held.refusal, held.wait_s) == ("throttled", 14 * 60)
    held = refused(lambda: access.sign_in(name, RIGHT, NOON + WINDOW - timedelta(milliseconds=1), 1))
    assert (held.refusal, held.wait_s) == ("throttled", 1)
    other = access.add_user(new_name(), "viewer", password=RIGHT)
    assert access.sign_in(other.name, RIGHT, NOON + MINUTE, 1), "other people are not held up"
    if known:
        assert access.sign_in(name, RIGHT, NOON + WINDOW, 1)
    else:
        assert refused(lambda: access.sign_in(name, RIGHT, NOON + WINDOW, 1)).refusal == "wrong"


def test_a_right_password_takes_the_failures_back(access, maija):
    for _ in range(2):
        for _ in range(FAILURES - 1):
            assert refused(lambda: access.sign_in(maija.name, WRONG, NOON, 1)).refusal == "wrong"
        assert access.sign_in(maija.name, RIGHT, NOON, 1)


def test_guesses_made_at_once_count_too(new_url):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two:
        one.access.add_user("a", "viewer", password=RIGHT)
        errors = at_once(3 * FAILURES, lambda index: (one, two)[index % 2].access.sign_in("a", WRONG, NOON, 1))
    refusals = [error.refusal for error in errors]
    assert (refusals.count("wrong"), refusals.count("throttled")) == (FAILURES, 2 * FAILURES)


# Links


def test_a_link_signs_in_once(access):
    owner = access.add_user(new_name(), "admin")
    link = access.create_link(owner.name.upper(), 15, at=NOON)
    token = access.redeem_link(link, NOON + MINUTE, 1)
    assert access.principal_of_session(token, NOON + MINUTE) == owner.principal
    late = access.create_link(owner.name, 15, at=NOON)
    for given, at in ((link, NOON + MINUTE), (late, NOON + 15 * MINUTE), ("", NOON), (token, NOON)):
        assert refused(lambda given=given, at=at: access.redeem_link(given, at, 1)).refusal == "link"
    assert access.redeem_link(late, NOON, 1)


def test_of_several_who_redeem_a_link_at_once_one_comes_in(new_url):
    url = new_url()
    with Store.open(url) as one, Store.open(url) as two:
        one.access.add_user("owner", "admin")
        link = one.access.create_link("owner", 15, at=NOON)
        came = at_once(8, lambda index: (one, two)[index % 2].access.redeem_link(link, NOON, 1))
        tokens = [each for each in came if isinstance(each, str)]
        assert len(tokens) == 1
        assert one.access.principal_of_session(tokens[0], NOON)
        with one._database.reading() as connection:
            assert connection.scalar(text("SELECT count(*) FROM sessions")) == 1


# The audit log


def test_the_audit_log_is_read_newest_first_page_by_page(access, maija):
    made, _ = access.create_key("billing", ["scores:read"])
    access.audit("operator", "key.create", f"key:{made.key_id}", at=NOON)
    access.audit(maija.principal, "play.start", "play:7", request_id="0f-1", at=NOON)
    access.audit("anonymous", "sign_in.password", outcome="wrong", at=NOON - HOUR)
    newest, *rest = access.audits(limit=3)
    assert (newest.principal_kind, newest.principal_id, newest.outcome) == ("anonymous", None, "wrong")
    assert (rest[0].principal_kind, rest[0].principal_id) == ("user", maija.user_id)
    assert (rest[0].action, rest[0].object, rest[0].outcome, rest[0].request_id) == ("play.start", "play:7", "done", "0f-1")
    assert access.audits(limit=2) == [newest, rest[0]]
    assert access.audits(before=rest[0].audit_id, limit=1) == [rest[1]]
    assert rest[1].at == NOON


@pytest.mark.parametrize(
    "given",
    [
        {"action": "said something"},
        {"action": "a" * 65},
        {"object_": "user:maija@acme.example"},
        {"object_": "account:Ääkkönen"},
        {"outcome": ""},
        {"request_id": "a\nb"},
    ],
)
def test_free_text_stays_out_of_the_audit_log(access, given):
    before = access.audits()
    with pytest.raises(ValueError, match=r"is no word or id; allowed"):
        access.audit("operator", **({"action": "key.create"} | given))
    assert access.audits() == before


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET outcome = 'done'", "DELETE FROM audit_log"])
def test_the_audit_log_is_append_only(store, access, statement):
    access.audit("anonymous", "sign_in.password", outcome="wrong")
    before = access.audits()
    with pytest.raises(StoreError, match="audit_log is append-only"), store._database.writing() as connection:
        connection.execute(text(statement))
    assert access.audits() == before

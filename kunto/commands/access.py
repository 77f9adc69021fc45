"""`kunto key` and `kunto user`: who may come in."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from kunto.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption
from kunto.console import out, print_json
from kunto.workspace import Workspace
from models.sentences import Language
from serving.principal import ROLE_SCOPES, SCOPES, Role, Scope
from serving.store import Store
from serving.store.access import Access
from serving.store.access_records import ApiKey, User
from serving.store.instants import now

key = typer.Typer(help="API keys: how other systems come in.", no_args_is_help=True)
user = typer.Typer(help="People who may sign in to the web app.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The key's id, as `kunto key list` shows it.", metavar="ID")]
UserName = Annotated[str, typer.Argument(help="What the person signs in with, an e-mail address for instance.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")]


@key.command("create")
def create_key(
    name: Annotated[str, typer.Option("--name", help="The system that will hold the key.")],
    scope: Annotated[list[str], typer.Option("--scope", help=f"{', '.join(SCOPES)}; repeatable.")],
    days: Annotated[int | None, typer.Option("--days", min=1, max=36500, help="The key expires after so many days.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, this once."""
    expires_at = None if days is None else now() + timedelta(days=days)
    with _access(workspace) as access, _usage():
        made, text = access.create_key(name, cast(list[Scope], scope), expires_at=expires_at)
        access.audit("operator", "key.create", f"key:{made.key_id}")
    if json:
        print_json({"key": text} | {name: _key_json(made)[name] for name in ("id", "name", "scopes", "expires_at")})
        return
    out.print(text, soft_wrap=True)
    until = f"until {_day(made.expires_at)}" if made.expires_at else "until it is revoked"
    out.print(f"Key {made.key_id} for {made.name}: {', '.join(made.scopes)}, {until}. It is not shown again.", soft_wrap=True)


@key.command("list")
def list_keys(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """List every key, without its text."""
    with _access(workspace) as access:
        keys = access.keys()
    if json:
        print_json([_key_json(each) for each in keys])
        return
    headings = ("Id", "Name", "Scopes", "Created", "Expires", "Last used", "Revoked")
    rows = [
        (
            *(each.key_id, each.name, ", ".join(each.scopes), _day(each.created_at), _day(each.expires_at)),
            *(str(each.last_used_day or "–"), _day(each.revoked_at)),
        )
        for each in keys
    ]
    out.print(_table("API keys", headings, rows) if keys else "There is no key yet: `kunto key create`.")


@key.command("revoke")
def revoke_key(key_id: KeyId, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Revoke a key, for good; running services let it in for five more seconds at most."""
    with _access(workspace) as access:
        revoked = access.revoke_key(key_id)
        access.audit("operator", "key.revoke", f"key:{key_id}")
    if json:
        print_json(_key_json(revoked))
    else:
        out.print(f"Key {key_id} ({revoked.name}) is revoked.", soft_wrap=True)


@user.command("add")
def add_user(
    name: UserName,
    role: Annotated[str, typer.Option("--role", help=f"{', '.join(ROLE_SCOPES)}.")],
    csm: Annotated[str | None, typer.Option("--csm", help="Their name in accounts.csm.")] = None,
    own_accounts: Annotated[bool, typer.Option("--own-accounts", help="They see the accounts of --csm alone.")] = False,
    language: Annotated[str | None, typer.Option("--language", help="en or fi; default: the workspace's.")] = None,
    password_stdin: PasswordStdin = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="They come in by the identity provider (or a link) alone.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Add a person; the password is asked for, twice and hidden."""
    if no_password and password_stdin:
        raise typer.BadParameter("--no-password and --password-stdin exclude each other; give one of them")
    with _access(workspace) as access:
        password = None if no_password else _password(stdin=password_stdin, other=" or --no-password")
        with _usage():
            added = access.add_user(
                name,
                cast(Role, role),
                password=password,
                csm=csm,
                own_accounts=own_accounts,
                language=cast(Language | None, language),
            )
        access.audit("operator", "user.add", f"user:{added.user_id}")
    _tell(added, f"{added.name} may sign in as {added.role}.", json=json)


@user.command("list")
def list_users(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """List everybody who may sign in, and those who no longer may."""
    with _access(workspace) as access:
        users = access.users()
    if json:
        print_json([_user_json(each) for each in users])
        return
    headings = ("Name", "Role", "CSM", "Sees", "Language", "Signs in by", "Added", "Disabled")
    rows = [
        (
            *(each.name, each.role, each.csm or "–", "own accounts" if each.own_accounts else "all accounts"),
            *(each.language or "–", _ways(each), _day(each.created_at), _day(each.disabled_at)),
        )
        for each in users
    ]
    out.print(_table("Users", headings, rows) if users else "There is no user yet: `kunto user add`.")


@user.command("disable")
def disable_user(name: UserName, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Let a person in no more; their sessions end."""
    with _access(workspace) as access:
        disabled = access.disable_user(access.user_named(name).user_id)
        access.audit("operator", "user.disable", f"user:{disabled.user_id}")
    _tell(disabled, f"{disabled.name} may sign in no more.", json=json)


@user.command("enable")
def enable_user(name: UserName, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Let a disabled person in again."""
    with _access(workspace) as access:
        enabled = access.enable_user(access.user_named(name).user_id)
        access.audit("operator", "user.enable", f"user:{enabled.user_id}")
    _tell(enabled, f"{enabled.name} may sign in again.", json=json)


@user.command("password")
def set_password(
    name: UserName,
    password_stdin: PasswordStdin = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Give a person a new password; their sessions end."""
    with _access(workspace) as access:
        user_id = access.user_named(name).user_id
        with _usage():
            access.set_password(user_id, _password(stdin=password_stdin))
        access.audit("operator", "user.password", f"user:{user_id}")
        changed = access.user(user_id)
    _tell(changed, f"{changed.name} has a new password.", json=json)


@user.command("forget")
def forget_user(name: UserName, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Erase a person, for good; what they did stays, under an id that names nobody."""
    with _access(workspace) as access:
        forgotten = access.user_named(name)
        access.forget_user(forgotten.user_id)
        access.audit("operator", "user.forget", f"user:{forgotten.user_id}")
    _tell(forgotten, f"{forgotten.name} is forgotten.", json=json)


@contextmanager
def _access(workspace: Any) -> Iterator[Access]:
    place = Workspace(workspace)
    place.require_writable()
    with Store.open(place.store_url) as store:
        yield store.access


@contextmanager
def _usage() -> Iterator[None]:
    """An argument that the store refuses is wrong usage."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _password(*, stdin: bool, other: str = "") -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"no terminal to ask for the password on; give --password-stdin{other}")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _tell(person: User, sentence: str, *, json: bool) -> None:
    if json:
        print_json(_user_json(person))
    else:
        out.print(sentence, soft_wrap=True)


def _key_json(each: ApiKey) -> dict[str, Any]:
    return {
        "id": each.key_id,
        "name": each.name,
        "scopes": each.scopes,
        "created_at": _iso(each.created_at),
        "expires_at": _iso(each.expires_at),
        "revoked_at": _iso(each.revoked_at),
        "last_used_day": each.last_used_day,
    }


def _user_json(each: User) -> dict[str, Any]:
    return {
        "id": each.user_id,
        "name": each.name,
        "role": each.role,
        "csm": each.csm,
        "own_accounts": each.own_accounts,
        "language": each.language,
        "has_password": each.has_password,
        "issuer": each.issuer,
        "created_at": _iso(each.created_at),
        "disabled_at": _iso(each.disabled_at),
    }


def _ways(each: User) -> str:
    ways = [*(["password"] if each.has_password else []), *(["identity provider"] if each.issuer else [])]
    return ", ".join(ways) or "–"


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _day(instant: datetime | None) -> str:
    return "–" if instant is None else f"{instant:%Y-%m-%d}"


def _table(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    return table

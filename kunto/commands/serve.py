"""`kunto serve`: the API and the web app."""

import ipaddress
import os
import socket
import tempfile
from typing import Annotated

import typer
import uvicorn

from kunto import asgi
from kunto.commands.options import DEFAULT_WORKSPACE, WorkspaceOption
from kunto.console import err
from kunto.workspace import Workspace
from serving.observe.metrics import SHARED
from serving.store import Store
from serving.store.instants import now

_LINK_MINUTES, _OWNER = 60, "owner"


def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    host: Annotated[
        str, typer.Option(help="The address to listen on; put a proxy with TLS before any but this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes serve.")] = 1,
    no_sign_in: Annotated[
        bool, typer.Option("--no-sign-in", help="Show the pages to whoever is on this machine; the API still asks for a key.")
    ] = False,
) -> None:
    """Serve the API and the web app until Ctrl-C."""
    place = Workspace(workspace)
    _ = place.settings
    place.require_writable()
    if no_sign_in and not _is_loopback(host):
        raise typer.BadParameter(f"--no-sign-in with --host {host}: others could come in; leave one of the two out")
    _check_port(host, port)
    with Store.open(place.store_url) as store:
        scored = store.portfolio_run() is not None
        link = None if no_sign_in else _first_link(store, place.settings.service.base_url or _address(host, port))
    err.print(f"Kunto serves {place.path} at {_address(host, port)} until Ctrl-C; the API: /openapi.json", soft_wrap=True)
    if not scored:
        err.print(f"Nothing is scored yet: `kunto run --workspace {place.path}` fills the pages.", soft_wrap=True)
    if no_sign_in:
        err.print(f"Open {_address(host, port)} – no sign-in on this machine. A key for the API:", soft_wrap=True)
        err.print(f"  kunto key create --name try-out --scope scores:read --workspace {place.path}", soft_wrap=True)
    if link:
        err.print(
            f"No administrator can sign in yet. Come in as the owner, once, within {_LINK_MINUTES} minutes:\n  {link}",
            soft_wrap=True,
        )
        err.print("then `kunto user add NAME --role admin`, and `--role csm` for everybody else.", soft_wrap=True)
    os.environ[asgi.WORKSPACE] = str(place.path.resolve())
    if no_sign_in:
        os.environ[asgi.NO_SIGN_IN] = "1"
    with tempfile.TemporaryDirectory(prefix="kunto-metrics-") as shared:
        if workers > 1:
            os.environ.setdefault(SHARED, shared)
        _run(host, port, workers)


def _run(host: str, port: int, workers: int) -> None:
    uvicorn.run(
        "kunto.asgi:create",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=None,  # serving.observe.logs tells every request
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
        timeout_worker_healthcheck=120,  # a worker loads libraries and models before it answers
    )


def _first_link(store: Store, address: str) -> str | None:
    """A one-time link for the owner where no administrator could sign in otherwise."""
    users = store.access.users()
    active = (user for user in users if user.role == "admin" and user.disabled_at is None)
    owner = next((user for user in users if user.name == _OWNER), None)
    if any(user.has_password or user.issuer for user in active) or (owner and owner.disabled_at):
        return None
    owner = owner or store.access.add_user(_OWNER, "admin")
    return f"{address}/welcome?token={store.access.create_link(owner.name, minutes=_LINK_MINUTES, at=now())}"


def _address(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken before anything is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            told = f"cannot listen on {host}:{port}: {error.strerror}; name another --port, or end what listens there"
            raise typer.BadParameter(told) from None

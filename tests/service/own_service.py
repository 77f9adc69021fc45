"""A service of a test's own over a copy of the demo workspace, for tests that change what others look at."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from kunto.asgi import service_of
from kunto.workspace import Workspace
from serving.api.app import create_app
from serving.api.service import Service
from serving.principal import SCOPES
from serving.store import Store

#: What a service of tests is set to where a test sets nothing else.
SETTINGS: Mapping[str, Any] = {
    "rate": "1000000/minute",
    "anonymous_rate": "1000000/minute",
    "model_poll_seconds": 3600,
    "webhooks_to_private_addresses": True,
}


@dataclass(frozen=True)
class Own:
    """A running service, a client whose key has every scope, that key, and the ids of the accounts scored."""

    app: FastAPI
    service: Service
    client: TestClient
    key: str
    account_ids: tuple[str, ...]


def copied(demo: Path, folder: Path, **settings: Any) -> Path:
    """A copy of the demo workspace in a new folder, with a section [service]."""
    shutil.copytree(demo, folder)
    lines = [f"{name} = {json.dumps(value)}" for name, value in (SETTINGS | settings).items()]
    with (folder / "kunto.toml").open("a", encoding="utf-8") as config:
        config.write("\n".join(["", "[service]", *lines, ""]))
    return folder


@contextmanager
def own_service(demo: Path, folder: Path, **settings: Any) -> Iterator[Own]:
    """Run it in this process until the block ends."""
    service = service_of(Workspace(copied(demo, folder, **settings)))
    key = service.store.access.create_key("tests", list(SCOPES))[1]
    app = create_app(service)
    with TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {key}"}) as client:
        view = service.portfolio.at()
        yield Own(app, service, client, key, () if view is None else tuple(sorted(view.lines)))


@contextmanager
def beside(own: Own, url: str | None = None, **settings: Any) -> Iterator[Own]:
    """Another app on the models that a running service has loaded, over another store or with other settings."""
    with Store.open(url) if url else nullcontext(own.service.store) as store:
        service = replace(own.service, store=store, settings=own.service.settings.model_copy(update=settings))
        service.models = own.service.models
        key = store.access.create_key("beside", list(SCOPES))[1]
        app = create_app(service)
        client = TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {key}"})
        yield Own(app, service, client, key, own.account_ids)

"""The whole service over the demo company, in this process: its app, keys of every scope, people of every role."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from small_service import PASSWORD, sign_in

from kunto.asgi import service_of
from kunto.workspace import Workspace
from serving.api.app import create_app
from serving.api.service import Service
from serving.principal import ROLE_SCOPES, SCOPES


@dataclass(frozen=True)
class Served:
    """A running service, a client without credentials, keys by scope and clients of signed-in people by role."""

    app: FastAPI
    service: Service
    path: Path
    client: TestClient
    keys: Mapping[str, str]
    people: Mapping[str, TestClient]
    own_csm: str

    def as_key(self, *scopes: str) -> dict[str, str]:
        """Headers of a key with exactly one scope, or of a new one with several."""
        text = self.keys[scopes[0]] if len(scopes) == 1 else self.service.store.access.create_key("several", list(scopes))[1]
        return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="session")
def served(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over a copy of the demo workspace, for a whole session of tests: they add to it and take nothing away."""
    path = tmp_path_factory.mktemp("served") / "workspace"
    shutil.copytree(demo.path, path)
    with (path / "kunto.toml").open("a", encoding="utf-8") as config:
        config.write('\n[service]\nrate = "1000000/minute"\nanonymous_rate = "1000000/minute"\n')
        config.write("model_poll_seconds = 3600\nwebhooks_to_private_addresses = true\n")
    service = service_of(Workspace(path))
    access = service.store.access
    view = service.portfolio.at()
    assert view is not None
    own_csm = next(line.csm for line in view.worth_doing() if line.csm)
    keys = {scope: access.create_key(scope, [scope])[1] for scope in SCOPES}
    for role in ROLE_SCOPES:
        access.add_user(f"{role}@example.com", role, password=PASSWORD)
    access.add_user("own@example.com", "csm", password=PASSWORD, csm=own_csm, own_accounts=True)
    app = create_app(service)
    with TestClient(app, base_url="http://localhost") as client:
        people = {role: sign_in(app, f"{role}@example.com") for role in (*ROLE_SCOPES, "own")}
        yield Served(app, service, path, client, keys, people, own_csm)

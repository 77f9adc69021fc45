"""The service of a workspace as an ASGI app: what each worker process of `kunto serve` makes."""

import os
from pathlib import Path

from fastapi import FastAPI

import kunto
from kunto import jobs
from kunto.console import quiet
from kunto.workspace import Workspace
from serving.api.app import create_app
from serving.api.service import Service
from serving.assessment import ScoringSettings
from serving.observe import logs
from serving.store import Store

#: How the workspace, and whether visitors need not sign in, are told to worker processes.
WORKSPACE, NO_SIGN_IN = "KUNTO_WORKSPACE", "KUNTO_SERVE_NO_SIGN_IN"


def service_of(workspace: Workspace, *, sign_in: bool = True) -> Service:
    """The service that `kunto.toml` describes; the errors of the workspace and of the store."""
    workspace.require_writable()
    mapping, settings = workspace.mapping, workspace.settings
    scoring = ScoringSettings(
        language=settings.service.language,
        tiers=settings.tiers,
        plays=jobs.in_currency(settings.plays, mapping.data.reporting_currency),
        notice_is_leaving=settings.training.event == "notice",
        seed=settings.training.seed,
    )
    return Service(
        store=Store.open(workspace.store_url),
        tracking_uri=workspace.tracking_uri,
        mapping=mapping,
        base=workspace.path,
        settings=settings.service,
        scoring=scoring,
        config_version=workspace.config_version,
        version=kunto.__version__,
        currency=mapping.data.reporting_currency,
        sign_in=sign_in,
    )


def create() -> FastAPI:
    """The app of the workspace that the environment names."""
    quiet()
    workspace = Workspace(Path(os.environ.get(WORKSPACE, "workspace")))
    app = create_app(service_of(workspace, sign_in=NO_SIGN_IN not in os.environ))
    logs.configure(workspace.settings.service.log_format)  # last: it takes over loggers that libraries made meanwhile
    return app

"""The web app: server-rendered pages for the customer success manager, in English and Finnish."""

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from serving.web import actions, errors, pages


def install(app: FastAPI) -> None:
    """Add the pages, their static files, and errors that people can read; after the app's own handlers of errors."""
    app.include_router(pages.router)
    app.include_router(actions.router)
    app.mount("/static", StaticFiles(packages=[("serving.web", "static")]))
    errors.install(app)

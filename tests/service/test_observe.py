"""Logs, metrics and traces tell enough to run the service, and nothing of whom it serves."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from serving.observe import logs, tracing
from serving.observe.metrics import CONTENT_TYPE, Metrics, Standing
from serving.observe.requests import Observed
from serving.settings import ServiceSettings

SECRET = "A00257-Hooli"


class Sink(io.StringIO):
    """What was logged, a JSON object per line."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Puts back everything that `logs.configure` changes for the whole process."""
    names = ("", *logging.root.manager.loggerDict)
    loggers = [logging.getLogger(name) for name in names]
    kept = [(each, each.handlers, each.level, each.propagate, each.disabled, each.filters) for each in loggers]
    before = structlog.get_config()
    yield
    logging.captureWarnings(False)
    structlog.configure(**before)
    for each, handlers, level, propagate, disabled, filters in kept:
        each.handlers, each.propagate, each.disabled, each.filters = handlers, propagate, disabled, filters
        each.setLevel(level)


@pytest.fixture
def sink(quiet: None) -> Sink:
    found = Sink()
    logs.configure("json", stream=found)
    return found


def application(folder: Path, metrics: Metrics) -> FastAPI:
    """Every way in which a path can be matched, or not."""
    app, router, inner = FastAPI(), APIRouter(prefix="/accounts"), APIRouter(prefix="/plays")

    @router.get("/{account_id}")
    def account(account_id: str) -> Response:
        structlog.get_logger("kunto.test").info("looked_up")
        if account_id == "missing":
            return Response(status_code=404)
        return PlainTextResponse("ok", background=BackgroundTask(time.sleep, 0.05) if account_id == "slow" else None)

    @inner.get("/{play}")
    def play(account_id: str, play: str) -> str:
        name = f"{play} of {account_id}"
        raise ArithmeticError(f"no play {len(name)}")

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    router.include_router(inner, prefix="/{account_id}")
    app.include_router(router, prefix="/v1")
    app.add_exception_handler(Exception, lambda request, error: JSONResponse({"title": "Ours"}, 500))
    (folder / "app.css").write_text("a {}", encoding="utf-8")
    app.mount("/static", StaticFiles(directory=folder))
    app.add_middleware(Observed, metrics=metrics)
    return app


def ask(app: Any, *paths: str, method: str = "GET", headers: dict[str, str] | None = None) -> list[httpx.Response]:
    async def asking() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://kunto") as client:
            return [await client.request(method, path, headers=headers) for path in paths]

    return asyncio.run(asking())


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples}


def requests_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"] == "kunto.request"]


# --- requests --------------------------------------------------------------------------------------------------------


def test_one_line_per_request_without_whom_it_was_about(sink: Sink, tmp_path: Path) -> None:
    metrics = Metrics()
    app = application(tmp_path, metrics)
    routes = {
        f"/v1/accounts/{SECRET}": ("/v1/accounts/{account_id}", 200),
        f"/v1/accounts/missing?name={SECRET}": ("/v1/accounts/{account_id}", 404),
        f"/v1/accounts/{SECRET}/plays/rescue": ("/v1/accounts/{account_id}/plays/{play}", 500),
        "/static/app.css": ("/static/{path}", 200),
        f"/static/{SECRET}": ("/static/{path}", 404),
        f"/{SECRET}": ("unmatched", 404),
        "/openapi.json": ("/openapi.json", 200),
        "/healthz": ("/healthz", 200),
    }
    answers = ask(app, *routes)
    assert [answer.status_code for answer in answers] == [status for _, status in routes.values()]
    told = requests_of(sink.lines)
    # that the service is alive is not told again and again
    assert [(line["route"], line["status"]) for line in told] == list(routes.values())[:-1]
    assert all(
        set(line) - {"exception"}
        == {"event", "request_id", "method", "route", "status", "duration_ms", "level", "logger", "timestamp"}
        for line in told
    )
    assert SECRET not in sink.getvalue()
    assert [answer.headers["x-request-id"] for answer in answers[:-1]] == [line["request_id"] for line in told]
    inside = [line["request_id"] for line in sink.lines if line["event"] == "looked_up"]
    assert inside == [line["request_id"] for line in told[:2]]
    counted = samples(metrics.render(Standing()))
    for route, status in routes.values():
        labels = (("method", "GET"), ("route", route), ("status", f"{status // 100}xx"))
        assert counted["kunto_http_request_duration_seconds_count", labels] == 1
    assert SECRET not in metrics.render(Standing()).decode()


def test_an_exception_is_in_the_log_and_not_in_the_answer(sink: Sink, tmp_path: Path) -> None:
    (answer,) = ask(application(tmp_path, Metrics()), f"/v1/accounts/{SECRET}/plays/rescue")
    assert (answer.status_code, answer.json()) == (500, {"title": "Ours"})
    (line,) = requests_of(sink.lines)
    assert (line["level"], line["exception"][0]["exc_type"]) == ("error", "ArithmeticError")
    assert line["exception"][0]["frames"][-1]["name"] == "play"
    assert "locals" not in line["exception"][0]["frames"][-1]
    assert SECRET not in sink.getvalue()


def test_an_error_before_any_route_is_answered_by_the_handler_of_its_kind(sink: Sink) -> None:
    class Between:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise {"/store": ConnectionError, "/value": UnicodeError}[scope["path"]]

    app = FastAPI()
    app.add_exception_handler(OSError, lambda request, error: Response(status_code=503))
    app.add_exception_handler(ValueError, lambda request, error: Response(status_code=422))
    app.add_middleware(Between)
    app.add_middleware(Observed, metrics=Metrics())
    assert [answer.status_code for answer in ask(app, "/store", "/value")] == [503, 422]
    first, second = requests_of(sink.lines)
    assert (first["status"], first["level"], "exception" in first) == (503, "error", True)
    assert (second["status"], second["level"], "exception" in second) == (422, "info", False)


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_that_cannot_be_answered_goes_on_to_the_server(sink: Sink, begun: bool) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ArithmeticError("broken off")

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await StreamingResponse(parts())(scope, receive, send)
        raise ArithmeticError("nobody answers")

    app = FastAPI()
    if begun:
        app.add_exception_handler(Exception, lambda request, error: JSONResponse({}, 500))
    app.mount("/", failing)
    app.add_middleware(Observed, metrics=Metrics())

    async def asking() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kunto") as client:
            await client.get("/")

    with pytest.raises(ArithmeticError):
        asyncio.run(asking())
    (line,) = requests_of(sink.lines)
    assert (line["status"], line["level"]) == (500, "error")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("job-7.a:b_C", True), ("x" * 64, True), ("x" * 65, False), ("two words", False), ('"}{', False), ("", False), ("é", False)],
)
def test_a_sane_request_id_is_kept(sink: Sink, tmp_path: Path, given: str, kept: bool) -> None:
    app = application(tmp_path, Metrics())

    async def asking() -> list[tuple[bytes, bytes]]:
        started: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            started.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/healthz",
            "headers": [(b"x-request-id", given.encode())],
            "query_string": b"",
        }
        await app(scope, receive, send)
        return started[0]["headers"]

    found = dict(asyncio.run(asking()))[b"x-request-id"].decode()
    assert (found == given) is kept
    assert found.isascii()
    assert 1 <= len(found) <= 64


def test_who_asked_is_told_by_id(sink: Sink, tmp_path: Path) -> None:
    observed = Observed(PlainTextResponse("ok"), Metrics())

    async def known(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = SimpleNamespace(kind="key", id="k7", name="Hooli")
        await observed(scope, receive, send)

    ask(known, "/")
    (line,) = requests_of(sink.lines)
    assert line["principal"] == "key:k7"
    assert "Hooli" not in sink.getvalue()


def test_strange_methods_and_clients_that_leave_are_counted(sink: Sink) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        """Answers nothing: its client has gone."""

    metrics = Metrics()
    observed = Observed(silent, metrics)
    with pytest.raises(AssertionError):  # httpx's, about the answer that never came
        ask(observed, "/", method="BREW")
    counted = samples(metrics.render(Standing()))
    labels = (("method", "other"), ("route", "unmatched"), ("status", "4xx"))
    assert counted["kunto_http_request_duration_seconds_count", labels] == 1
    assert requests_of(sink.lines)[0]["status"] == 499


def test_what_is_done_after_the_answer_is_not_its_time(sink: Sink, tmp_path: Path) -> None:
    ask(application(tmp_path, Metrics()), "/v1/accounts/slow")
    (line,) = requests_of(sink.lines)
    assert line["duration_ms"] < 50


# --- logs ------------------------------------------------------------------------------------------------------------


def test_every_library_logs_into_the_same_lines(sink: Sink) -> None:
    logging.getLogger("a.library").warning("about %s", "this")
    logging.getLogger("httpx").info("GET http://kunto/?token=secret")
    logging.getLogger("uvicorn.access").info("GET /v1/accounts/A1")
    structlog.get_logger("kunto.jobs").info("scored", accounts=3, at=datetime(2026, 3, 1))
    structlog.get_logger("kunto.jobs").debug("step")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("a.library").exception("failed")
    first, second, third = sink.lines
    assert (first["event"], first["level"], first["logger"]) == ("about this", "warning", "a.library")
    assert (second["event"], second["accounts"], second["logger"]) == ("scored", 3, "kunto.jobs")
    assert third["exception"][0]["exc_value"] == "no"
    assert all(line["timestamp"].endswith("Z") for line in sink.lines)


def test_libraries_with_handlers_of_their_own_are_taken_over(quiet: None) -> None:
    own, sink = Sink(), Sink()
    library = logging.getLogger("a.library.with.a.handler")
    library.handlers, library.propagate = [logging.StreamHandler(own)], False
    logs.configure("json", stream=sink)
    library.warning("told")
    library.handlers = []
    assert own.getvalue() == ""
    assert [line["event"] for line in sink.lines] == ["told"]


def test_a_person_reads_plain_lines_without_values_of_variables(quiet: None) -> None:
    sink = Sink()
    logs.configure("console", stream=sink)
    held = SECRET
    try:
        raise ValueError(len(held))
    except ValueError:
        structlog.get_logger("kunto.jobs").exception("failed", step="score")
    assert "step=score" in sink.getvalue()
    assert "ValueError: 12" in sink.getvalue()
    assert SECRET not in sink.getvalue()
    assert "\x1b" not in sink.getvalue()


def test_under_the_real_server_each_error_is_told_once(sink: Sink, tmp_path: Path) -> None:
    server = uvicorn.Server(uvicorn.Config(application(tmp_path, Metrics()), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get(f"/v1/accounts/{SECRET}/plays/rescue").status_code == 500
            assert client.get(f"/v1/accounts/{SECRET}").status_code == 200
    finally:
        server.should_exit = True
        thread.join(20)
    assert [line["status"] for line in requests_of(sink.lines)] == [500, 200]
    assert [line["logger"] for line in sink.lines if "exception" in line] == ["kunto.request"]
    assert "uvicorn.error" in {line["logger"] for line in sink.lines}  # that it started
    assert SECRET not in sink.getvalue()


# --- metrics ---------------------------------------------------------------------------------------------------------


def scored(score: int | None, *predictions: tuple[str, int, float]) -> dict[str, Any]:
    named = [{"outcome": outcome, "horizon_days": days, "probability": p} for outcome, days, p in predictions]
    return {"health": {"score": score}, "predictions": named or None}


def test_a_scrape_tells_everything_of_one_application() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.scored([scored(44, ("churn", 90, 0.07), ("churn", 30, 0.02)), scored(None, ("churn", 90, 0.5)), scored(91)])
    metrics.events("usage", 500)
    metrics.events("usage", 2)
    metrics.request("POST", "/v1/score", 200, 0.004)
    standing = Standing(
        models={"kunto-churn-90d": 3},
        models_loaded_at=datetime(2026, 3, 1, 5, 12),
        data_age_seconds=3600.0,
        last_runs={"nightly": datetime(2026, 3, 1, 2, 0)},
        outbox_waiting=0,
    )
    found = samples(metrics.render(standing))
    churn = (("horizon", "90"), ("outcome", "churn"))
    assert found["kunto_score_probability_count", churn] == 2
    assert found["kunto_score_probability_sum", churn] == pytest.approx(0.57)
    assert found["kunto_score_probability_bucket", (*churn[:1], ("le", "0.1"), *churn[1:])] == 1
    assert found["kunto_health_score_count", ()] == 2
    assert found["kunto_health_score_bucket", (("le", "50.0"),)] == 1
    assert found["kunto_events_total", (("table", "usage"),)] == 502
    assert found["kunto_model_info", (("name", "kunto-churn-90d"), ("version", "3"))] == 1
    assert found["kunto_model_loaded_timestamp_seconds", ()] == 1_772_341_920
    assert found["kunto_last_run_timestamp_seconds", (("kind", "nightly"),)] == 1_772_330_400
    assert found["kunto_data_age_seconds", ()] == 3600
    assert found["kunto_outbox_waiting", ()] == 0
    bare = samples(other.render(Standing()))
    assert not {name for name, _ in bare} & {"kunto_model_info", "kunto_data_age_seconds", "kunto_events_total"}
    assert CONTENT_TYPE.startswith("text/plain")


_WORKER = """
import sys
from serving.observe.metrics import Metrics, Standing
metrics = Metrics()
metrics.request("GET", "/v1/accounts", 200, 0.01)
metrics.events("usage", int(sys.argv[1]))
print(metrics.render(Standing(models={"m": 1})).decode())
"""


def test_workers_add_up(tmp_path: Path) -> None:
    texts = [
        subprocess.run(
            [sys.executable, "-c", _WORKER, rows],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for rows in ("3", "4")
    ]
    found = samples(texts[1])
    assert found["kunto_events_total", (("table", "usage"),)] == 7
    labels = (("method", "GET"), ("route", "/v1/accounts"), ("status", "2xx"))
    assert found["kunto_http_request_duration_seconds_count", labels] == 2
    assert found["kunto_model_info", (("name", "m"), ("version", "1"))] == 1


# --- traces ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP receiver on this machine, and what it received."""
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("by", ["settings", "environment"])
def test_a_span_per_request_reaches_the_collector(
    by: str, sink: Sink, tmp_path: Path, collector: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, received = collector
    if by == "environment":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    app = application(tmp_path, Metrics())
    provider = tracing.install(app, ServiceSettings(otlp_endpoint=f"{address}/" if by == "settings" else ""))
    assert provider is not None
    try:
        ask(app, f"/v1/accounts/{SECRET}?name={SECRET}", "/healthz", headers={"x-request-id": "job-7"})
        provider.force_flush()
    finally:
        provider.shutdown()
        FastAPIInstrumentor.uninstrument_app(app)
    (request,) = received
    (resource,) = request.resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "kunto"
    (span,) = resource.scope_spans[0].spans
    attributes = {each.key: each.value.string_value for each in span.attributes}
    assert span.name == "GET /v1/accounts/{account_id}"
    assert attributes["kunto.request_id"] == "job-7"
    assert SECRET not in str(request)
    (line,) = requests_of(sink.lines)
    assert (line["request_id"], line["trace_id"]) == ("job-7", span.trace_id.hex())


_UNTRACED = """
import sys
from fastapi import FastAPI
from serving.observe import tracing
from serving.settings import ServiceSettings
assert tracing.install(FastAPI(), ServiceSettings()) is None
parts = tuple(f"opentelemetry.{part}" for part in ("sdk", "exporter", "instrumentation"))
loaded = [name for name in sys.modules if name.startswith(parts)]
assert not loaded, loaded
"""


def test_unconfigured_it_is_not_even_imported() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", _UNTRACED], env={}, cwd=root, check=True, capture_output=True)

"""OpenTelemetry, where it is configured; where it is not, none of its exporters is imported."""

import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from serving.observe.requests import request_id_of
from serving.settings import ServiceSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

#: OpenTelemetry's own variables that say where to send spans.
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: Asked every few seconds by machines.
_EXCLUDED = "/healthz$,/readyz$,/metrics$,/static/"
#: Where the instrumentation writes an address with its ids and query, by old and new convention.
_ADDRESSES = ("http.url", "http.target", "url.full", "url.path", "url.query")


def install(app: FastAPI, settings: ServiceSettings) -> "TracerProvider | None":
    """Send a span per request by OTLP over HTTP where `otlp_endpoint` or OpenTelemetry's own variables say where to.

    Call it before the first request. A span has the request's id (`kunto.request_id`), and the route instead of the address;
    the log line of the request has the trace's id. Returns the provider, which flushes at the end of the process, or None.
    """
    endpoint = settings.otlp_endpoint
    if not endpoint and not any(os.environ.get(variable) for variable in _VARIABLES):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "kunto"), "service.version": app.version}
    # Not the process's global provider: MLflow and FastAPI would begin to trace into it.
    provider = TracerProvider(resource=Resource.create(named))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces") if endpoint else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        server_request_hook=_annotate,
        excluded_urls=_EXCLUDED,
        exclude_spans=["receive", "send"],
    )
    return provider


def _annotate(span: Any, scope: dict[str, Any]) -> None:
    request_id = request_id_of(scope)
    if not span.is_recording():
        return
    scope["state"]["trace_id"] = format(span.get_span_context().trace_id, "032x")
    span.set_attribute("kunto.request_id", request_id)
    route = span.attributes.get("http.route", "")
    for name in _ADDRESSES:
        if name in span.attributes:
            span.set_attribute(name, route)

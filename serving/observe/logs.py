"""Logs: one JSON object per line on standard error, of the service and of every library in it."""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

#: Libraries that tell each of their steps as information; the addresses that httpx asks may hold secrets.
_TALKATIVE = ("alembic", "httpx", "httpcore", "mlflow")
#: uvicorn's own line per request has the path in it, and the path has ids.
_SUPERSEDED = "uvicorn.access"


def configure(log_format: str = "json", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send everything that is logged to `stream` (standard error): "json", a line each, or "console" for a person.

    Call it once, before the server starts and after everything is imported (and start uvicorn with log_config=None): loggers
    that libraries gave handlers of their own are taken over.
    """
    out = stream or sys.stderr
    rendering = _rendering(log_format, out)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, _named, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _Line(out, names[0] if names else "kunto"),
        # A logger bound once would go on writing to the stream of a configuration before.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    _take_over(handler, level)


class _Line:
    """Writes a rendered line; the end of structlog's chain, which calls it by the level's name."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name = stream, name

    def msg(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()

    debug = info = warning = error = critical = msg


def _named(logger: Any, _method: str, event: EventDict) -> EventDict:
    event["logger"] = logger.name
    return event


def _rendering(log_format: str, out: TextIO) -> list[Processor]:
    if log_format == "console":
        # Rich's tracebacks would show the values of variables.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return [tracebacks, structlog.processors.JSONRenderer()]


def _take_over(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in tuple(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers = []
            logger.propagate = True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(_SUPERSEDED).disabled = True
    logging.captureWarnings(True)

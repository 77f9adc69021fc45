"""What a person sees: tables, progress while someone watches, errors without a traceback."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from babel.numbers import format_decimal
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from models.sentences import Language

#: Where no terminal tells its width, tables are laid out for a wide one.
_WIDTH_WITHOUT_TERMINAL = 150


def _console(*, stderr: bool) -> Console:
    """A console that prints what it is given: names and values of a company are no markup."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


out = _console(stderr=False)
err = _console(stderr=True)


def quiet() -> None:
    """Keep what libraries tell their developers from a user."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")


def print_json(value: Any) -> None:
    """Write JSON for machines, one document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) + "\n")


class Watch:
    """Progress of a long job: a bar per stage on a terminal, elsewhere a line as each begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: Any = None

    def stage(self, name: str) -> None:
        """Begin a stage."""
        if self._task is not None:
            self._progress.update(self._task, total=1, completed=1)
        self._task = self._progress.add_task(name, total=None)
        if self._progress.disable:
            err.print(f"{name} …")

    def advance(self, done: int, total: int) -> None:
        """Tell how far the stage has come."""
        if self._task is not None:
            self._progress.update(self._task, total=total, completed=done)


@contextmanager
def watching() -> Iterator[Watch]:
    """Show progress on standard error while a person watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not sys.stderr.isatty(), transient=True) as progress:
        yield Watch(progress)


def money(value: float | None, currency: str | None, language: Language = "en") -> str:
    """An amount as a person reads it.

    >>> money(1234.5, "EUR"), money(None, "EUR"), money(1234.5, None, "fi").replace(chr(160), " ")
    ('1,234 EUR', '–', '1 234')
    """
    if value is None:
        return "–"
    number = format_decimal(value, "#,##0", locale=language)
    return f"{number} {currency}" if currency else str(number)

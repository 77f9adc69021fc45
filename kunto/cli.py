"""The command `kunto`: exit 0 done, 1 the data or the gate says no, 2 wrong usage; no traceback for a user's mistake."""

import sys
from typing import NoReturn

import typer

from features.mapping import MappingError
from features.sources import SourceError
from kunto.commands import access, backtest, data, nightly, scoring, serve, training, watch
from kunto.console import err, quiet
from kunto.jobs import DataError
from serving.champions import ModelError
from serving.store import StoreError
from training.tracking import GateError

app = typer.Typer(
    name="kunto",
    help="Which of your customers are about to leave or to grow, why, and what to do about it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    data.init,
    data.check,
    data.simulate,
    data.features,
    training.train,
    backtest.backtest,
    training.models,
    training.promote,
    training.rollback,
    watch.watch,
    scoring.score,
    scoring.run,
    nightly.nightly,
    serve.serve,
):
    app.command()(command)
app.add_typer(access.key, name="key")
app.add_typer(access.user, name="user")

#: Errors that a user can mend, and the exit code of each.
MENDABLE: dict[type[Exception], int] = {MappingError: 2, SourceError: 1, DataError: 1, GateError: 1, StoreError: 1, ModelError: 1}


def main() -> None:
    """Run the command line."""
    quiet()
    try:
        app()
    except tuple(MENDABLE) as error:
        _stop(str(error), next(code for kind, code in MENDABLE.items() if isinstance(error, kind)))
    except OSError as error:
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}; give a file or folder that you may read and write", 2)


def _stop(message: str, code: int) -> NoReturn:
    err.print(f"error: {message}", style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

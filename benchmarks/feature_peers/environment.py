"""Environments for the libraries that Kunto's own does not have, made from their locks when first asked for.

`python -m benchmarks.feature_peers.environment` makes them all.
"""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: Libraries that have an environment of their own.
LIBRARIES = ("polars", "featuretools")


def interpreter(library: str, *, make: bool) -> Path | None:
    """Return a Python that has `library`: this one, or that of build/peers/LIBRARY; None where there is none.

    `make`: create it if need be, from requirements-LIBRARY.lock, which fetches packages; subprocess.CalledProcessError where
    that fails.

    >>> interpreter("pandas", make=False) == Path(sys.executable)
    True
    """
    if importlib.util.find_spec(library):
        return Path(sys.executable)
    place = _ROOT / "build" / "peers" / library
    python, whole = place / "bin" / "python", place / "whole"
    if make and not whole.exists():
        venv.create(place, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(_ROOT / f"requirements-{library}.lock")], check=True)
        whole.touch()
    return python if whole.exists() else None


def run_program(python: Path, module: str, *arguments: Path) -> str:
    """Run `python -m module arguments` from the project's root and return what it printed; RuntimeError where it fails."""
    command = [str(python), "-W", "ignore", "-m", module, *(str(argument.resolve()) for argument in arguments)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    for each in LIBRARIES:
        interpreter(each, make=True)

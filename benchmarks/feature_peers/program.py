"""How a way to build features is run as a program of its own, so that its time and its memory are its own."""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.memory import peak_mib


def program(run: Callable[[Path, Path, Path], None], *libraries: str) -> None:
    """Run with the paths of the command line (files, spine, out); print {seconds, peak_mib}. Imports are not timed."""
    for library in libraries:
        importlib.import_module(library)
    files, spine, out = map(Path, sys.argv[1:])
    began = time.perf_counter()
    run(files, spine, out)
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_mib": peak_mib()}))

"""`make demo`: simulate a company, do the main job on it, print the worklist, serve it."""

import os
import shutil
from pathlib import Path

from kunto.commands import data, scoring
from kunto.commands.serve import serve
from kunto.console import quiet

WORKSPACE = Path("workspace")
ACCOUNTS, MONTHS, SEED = 800, 36, 1


def main() -> None:
    """Make ./workspace anew and fill it."""
    quiet()
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    data.simulate(WORKSPACE / "company", ACCOUNTS, MONTHS, SEED)
    data.init(WORKSPACE, str(WORKSPACE / "company" / "tables"))
    scoring.run(WORKSPACE)
    if os.environ.get("SERVE", "1") != "0":
        serve(WORKSPACE, no_sign_in=True)


if __name__ == "__main__":
    main()

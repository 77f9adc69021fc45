"""`make demo`: simulate a company, do the main job on it, print the worklist, serve it."""

import os
import shutil
import sys
from pathlib import Path

from kunto.commands import data, scoring
from kunto.commands.serve import serve
from kunto.console import err, quiet

WORKSPACE = Path("workspace")
#: The simulated company in it, by which the demo knows its own workspace.
_OWN = "company"
ACCOUNTS, MONTHS, SEED = 800, 36, 1


def main() -> None:
    """Make ./workspace anew and fill it; a workspace that is not the demo's own is left alone."""
    quiet()
    if WORKSPACE.exists() and not (WORKSPACE / _OWN).is_dir():
        err.print(f"error: {WORKSPACE} is there and is not the demo's: move it away, or start in another folder", style="red")
        sys.exit(2)
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    data.simulate(WORKSPACE / _OWN, ACCOUNTS, MONTHS, SEED)
    data.init(WORKSPACE, str(WORKSPACE / _OWN / "tables"))
    scoring.run(WORKSPACE)
    if os.environ.get("SERVE", "1") != "0":
        serve(WORKSPACE, no_sign_in=True)


if __name__ == "__main__":
    main()

"""What the command line did, for the fixtures that run it and the tests that ask."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def told(self) -> str:
        """Everything printed, without the frames and line breaks that a terminal's width brings in."""
        return re.sub(r"[│┃╭╮╰╯─┌┐└┘├┤┬┴┼━┏┓┗┛┳┻╇┡┩\s]+", " ", self.out + self.err)


@dataclass(frozen=True)
class Demo:
    """A workspace on which `kunto run` was done, the company's tables, and what the run printed as JSON."""

    path: Path
    tables: Path
    ran: dict[str, Any]
    tracking_uri: str


Kunto = Callable[..., Ran]

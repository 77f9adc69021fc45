"""The examples of docs/api.md, run as they stand there, in their order, against a server."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_service import own_service
from page_app import serving

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="curl or bash is not installed")


@pytest.fixture(scope="module")
def where(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that the page names."""
    with own_service(demo.path, tmp_path_factory.mktemp("own") / "workspace") as own, serving(own.app) as address:
        view = own.service.portfolio.at()
        assert view is not None
        account_id = view.worth_doing()[0].account_id
        # nothing is sent to the receiver: what it is told of happens before it is named
        yield {"KUNTO": address, "KEY": own.key, "ACCOUNT": account_id, "RECEIVER": f"{address}/receiver"}


def records(text: str) -> list[Any]:
    """The JSON documents that stand one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        record, end = decoder.raw_decode(text)
        found.append(record)
        text = text[end:]
    return found


@pytest.mark.parametrize(
    "block", BLOCKS, ids=[re.findall(r"/v1/([\w-]+)|/(\w+)\"", block)[0][0] or "metrics" for block in BLOCKS]
)
def test_the_examples_run(where: dict[str, str], block: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=os.environ | where,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    if '"$KUNTO/metrics"' in block:
        assert "kunto_http_request_duration_seconds" in done.stdout
        return
    told = records(done.stdout)
    assert told
    calls = len(re.findall(r"^ *curl ", block, re.MULTILINE)) - block.count("-X DELETE")
    assert len(told) == calls or "while" in block
    for record in told:
        assert record.get("errors", []) == [] or record["errors"][0]["unknown"] == {"days_to_renewall": "days_to_renewal"}
        assert record.get("items") != [] or {"ledger", "items", "next_cursor"} >= record.keys()


def test_the_page_shows_each_kind_of_call() -> None:
    shown = set(re.findall(r"/v1/([\w-]+)", "".join(BLOCKS)))
    assert shown == {
        "score",
        "accounts",
        "worklist",
        "plays",
        "playbooks",
        "signals",
        "metrics",
        "events",
        "webhooks",
        "models",
        "status",
    }

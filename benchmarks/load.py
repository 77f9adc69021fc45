"""`python -m benchmarks.load`: a closed loop of clients against one URL, as a process of its own; prints latencies as JSON."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np


async def _client(
    session: aiohttp.ClientSession, asked: dict[str, Any], until: float, found: list[float], failed: list[str]
) -> None:
    bodies, number = asked["bodies"], 0
    while time.perf_counter() < until:
        body = bodies[number % len(bodies)] if bodies else None
        url = asked["urls"][number % len(asked["urls"])]
        number += 1
        began = time.perf_counter()
        async with session.request(asked["method"], url, data=body, headers=asked["headers"]) as response:
            content = await response.read()
        if response.status >= 300:
            failed.append(f"{response.status}: {content[:200]!r}")
        found.append(time.perf_counter() - began)


async def _load(asked: dict[str, Any]) -> dict[str, Any]:
    failed: list[str] = []
    connector = aiohttp.TCPConnector(limit=asked["clients"])
    async with aiohttp.ClientSession(connector=connector) as session:
        for seconds in (asked["warm_up_s"], asked["seconds"]):
            found: list[float] = []
            began = time.perf_counter()
            clients = (_client(session, asked, began + seconds, found, failed) for _ in range(asked["clients"]))
            await asyncio.gather(*clients)
            took = time.perf_counter() - began
    ms = np.array(found) * 1000
    return {
        "requests": len(found),
        "per_second": len(found) / took,
        "median_ms": float(np.median(ms)),
        "p99_ms": float(np.quantile(ms, 0.99)),
        "failed": len(failed),
        "first_failure": failed[0] if failed else None,
    }


def main() -> None:
    """Read what to ask from a JSON file: method, urls, headers, bodies, clients, warm_up_s, seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("asked", type=Path)
    asked = json.loads(parser.parse_args().asked.read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps(asyncio.run(_load(asked))) + "\n")


if __name__ == "__main__":
    main()

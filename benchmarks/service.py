"""`python -m benchmarks.service [--json]`: the scoring endpoint beside bare model servers, stored scores, and events in.

The peers serve the same churn booster and answer one probability (benchmarks/peers). Ours answers health, every prediction with
its interval, the curve, reasons and the play. All on one worker and one thread, pinned to one core; the clients have the other.
Ratios: how many times better ours is (median latency; requests per second for stored scores).
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

import simulation
from benchmarks.peers import OTHERS, PEERS, Peer
from features.builder import build
from features.recognise import propose
from kunto import jobs
from kunto.console import Watch, out, print_json, watching
from kunto.workspace import Workspace
from models.booster import BoosterModel
from models.hazard import at_step
from serving.champions import load_champions
from serving.store import Store

ACCOUNTS, MONTHS, SEED = 400, 24, 1
CLIENTS = (1, 8)
SECONDS, WARM_UP_S = 10.0, 3.0
BODIES = 50
EVENTS = 100_000
_START_S = 180.0
_SERVER_CORE, _CLIENT_CORE = 0, 1


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, and the process whose memory counts."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    @property
    def peak_mib(self) -> float:
        """The most memory that the server's processes held so far, in MiB."""
        return sum(_peak_mib(pid) for pid in _family(self.process.pid))


def measure(seconds: float, watch: Watch) -> list[dict[str, Any]]:
    """Return rows {row, ours, peer, ratio, peak_mib, p99_over_median, failed}; ratio > 1 = ours is better."""
    with tempfile.TemporaryDirectory(prefix="kunto-bench-") as folder, ExitStack() as running:
        place = _workspace(Path(folder), watch)
        booster, columns, rows, bodies, account_ids = _questions(place)
        headers = {"authorization": f"Bearer {_key(place)}", "content-type": "application/json"}
        watch.stage("servers start")
        ours = running.enter_context(_ours(place))
        servers: list[tuple[Peer, Server]] = []
        for peer in _peers():
            command, cwd = peer.prepare(booster.booster, columns, Path(folder))
            servers.append((peer, running.enter_context(_serve(peer.name, command, cwd, peer.ready))))
        found = []
        for clients in CLIENTS:
            watch.stage(f"scoring, {clients} client(s)")
            times = {"clients": clients, "seconds": seconds, "warm_up_s": WARM_UP_S}
            scored = {"method": "POST", "urls": [f"{ours.address}/v1/score"], "headers": headers, "bodies": bodies}
            live = _load(scored | times)
            stored = {"method": "GET", "urls": _stored(ours.address, account_ids), "headers": headers, "bodies": []}
            read = _load(stored | times)
            for peer, server in servers:
                other = _load(peer.asked(server.address, columns, rows) | times)
                label = f"{clients} client{'s' if clients > 1 else ''}, {peer.name}"
                found.append(_row(f"score inline, median ms, {label}", "median_ms", live, other, ours, server))
                found.append(_row(f"stored score read, per second, {label}", "per_second", read, other, ours, server))
        watch.stage("events in")
        found.append(_events_in(ours, headers, account_ids))
        return found


def _row(name: str, figure: str, ours: dict[str, Any], peer: dict[str, Any], server: Server, other: Server) -> dict[str, Any]:
    better = peer[figure] / ours[figure] if figure == "median_ms" else ours[figure] / peer[figure]
    return {
        "row": name,
        "ours": ours[figure],
        "peer": peer[figure],
        "ratio": better,
        "peak_mib": server.peak_mib,
        "peer_peak_mib": other.peak_mib,
        "p99_over_median": ours["p99_ms"] / ours["median_ms"],
        "failed": ours["failed"] + peer["failed"],
        "first_failure": ours["first_failure"] or peer["first_failure"],
    }


def _events_in(server: Server, headers: dict[str, str], account_ids: Sequence[str]) -> dict[str, Any]:
    """Rows per second of one NDJSON upload, acknowledged; the peer is the floor that is asked for."""
    lines = (
        json.dumps(
            {
                "event_id": f"bench-{number}",
                "table": "usage",
                "account_id": account_ids[number % len(account_ids)],
                "feature": "reports",
                "occurred_at": "2026-06-30T12:00:00",
                "user_id": f"u{number % 997}",
            }
        )
        for number in range(EVENTS)
    )
    body = "\n".join(lines).encode()
    asked = urllib.request.Request(f"{server.address}/v1/events", body, headers | {"content-type": "application/x-ndjson"})
    began = time.perf_counter()
    with urllib.request.urlopen(asked) as response:
        answer = json.load(response)
    rate = answer["accepted"] / (time.perf_counter() - began)
    floor = 5_000.0
    return {
        "row": "events in (NDJSON, SQLite), rows per second, against the 5,000 asked",
        "ours": rate,
        "peer": floor,
        "ratio": rate / floor,
        "peak_mib": server.peak_mib,
        "peer_peak_mib": None,
        "p99_over_median": None,
        "failed": EVENTS - answer["accepted"],
        "first_failure": None,
    }


def _workspace(folder: Path, watch: Watch) -> Workspace:
    watch.stage("simulate")
    simulation.write(simulation.simulate(ACCOUNTS, MONTHS, SEED), folder / "company")
    place = Workspace(folder / "workspace")
    place.path.mkdir()
    mapping = propose(str(folder / "company" / "tables"), base=place.path)
    place.config_path.write_text(f'{mapping}\n[service]\nrate = "10000000/minute"\n', encoding="utf-8")
    company = jobs.open_company(place).usable()
    settings = place.settings.training
    records = jobs.train_models(place, company, settings, watch, horizon_given=False)
    tracker = jobs.open_tracker(place)
    for record in records:  # what is timed must not hang on what a gate thinks of a small company
        if record["version"]:
            tracker.client.set_registered_model_alias(record["name"], "champion", str(record["version"]))
    jobs.score_portfolio(place, company, company.data_until, settings, watch)
    return Workspace(place.path)


def _questions(place: Workspace) -> tuple[BoosterModel, list[str], list[list[float | None]], list[str], list[str]]:
    """The booster and its rows for the peers, and the same accounts' features as our endpoint takes them."""
    champions = load_champions(place.tracking_uri)
    if champions.churn is None or not isinstance(champions.churn.model.scorer, BoosterModel):
        raise SystemExit("no booster serves churn in the benchmark's company; nothing to compare")
    booster = champions.churn.model.scorer
    with Store.open(place.store_url) as store:
        run = store.portfolio_run()
        account_ids = sorted(line.account_id for line in store.lines(run.run_id)) if run else []
    company = jobs.open_company(place)
    spine = {"account_id": account_ids[:BODIES], "as_of": [company.data_until] * len(account_ids[:BODIES])}
    features = build(company.tables, spine, champions.churn.model.product_features)
    stepped = at_step(features, 0, champions.churn.model.step_days)
    columns = list(booster.columns)
    values = stepped[columns].to_numpy(dtype=np.float64)
    rows = [[None if np.isnan(v) else float(v) for v in row] for row in values]
    named = features.drop(columns=["account_id", "as_of"])
    bodies = [
        json.dumps({"accounts": [{"features": {k: None if v != v else v for k, v in row.items()}}]})
        for row in named.to_dict("records")
    ]
    return booster, columns, rows, bodies, account_ids


def _stored(address: str, account_ids: Sequence[str]) -> list[str]:
    return [f"{address}/v1/accounts/{account_id}/scores?as_of=2100-01-01" for account_id in account_ids]


def _key(place: Workspace) -> str:
    with Store.open(place.store_url) as store:
        return store.access.create_key("benchmark", ["scores:read", "events:write"])[1]


def _peers() -> list[Peer]:
    return [*PEERS, *(peer for variable, peer in OTHERS.items() if variable in os.environ)]


@contextmanager
def _ours(place: Workspace) -> Iterator[Server]:
    command = [sys.executable, "-m", "kunto", "serve", "-w", str(place.path), "--port", "{port}"]
    with _serve("kunto", command, place.path, "/readyz") as server:
        yield server


@contextmanager
def _serve(name: str, command: Sequence[str], cwd: Path, ready: str) -> Iterator[Server]:
    """A server on one core and one thread, waited for until it is ready, and ended afterwards."""
    port = _free_port()
    for path in cwd.glob("settings.json"):  # a server that takes its port from a file
        path.write_text(path.read_text(encoding="utf-8").replace('"{port}"', str(port)), encoding="utf-8")
    words = [word.replace("{port}", str(port)) for word in command]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    log = (cwd / f"{port}.log").open("wb")
    named = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # servers that start servers by name
    process = subprocess.Popen(words, cwd=cwd, env=os.environ | threads | named, stdout=log, stderr=log, start_new_session=True)
    os.sched_setaffinity(process.pid, {_SERVER_CORE})
    server = Server(name, f"http://127.0.0.1:{port}", process)
    try:
        _await(f"{server.address}{ready}", server, Path(log.name))
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _await(url: str, server: Server, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"{server.name} did not become ready: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def _load(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(asked, file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.load", file.name]
        done = subprocess.run(
            command, check=True, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, {_CLIENT_CORE})
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _family(pid: int) -> list[int]:
    """The process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = children.read_text().split() if children.exists() else []
    return [pid, *(each for child in below for each in _family(int(child)))]


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def main() -> None:
    """Print the table, or the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each load lasts")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with watching() as watch:
        rows = measure(asked.seconds, watch)
    if asked.json:
        print_json(rows)
        return
    table = Table(title="The service beside model servers; ratio > 1: ours is better")
    for heading in ("what", "ratio", "ours", "peer", "p99 / median", "MiB", "peer's MiB", "failed"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in rows:
        figures = (row["ratio"], row["ours"], row["peer"], row["p99_over_median"])
        shown = ["–" if value is None else f"{value:,.2f}" for value in figures]
        memory = ["–" if row[name] is None else f"{row[name]:,.0f}" for name in ("peak_mib", "peer_peak_mib")]
        table.add_row(row["row"], *shown, *memory, str(row["failed"]))
    out.print(table)


if __name__ == "__main__":
    main()

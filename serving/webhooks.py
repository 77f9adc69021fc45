"""Deliveries leave here: signed as Standard Webhooks, posted to a checked address, settled in the outbox."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http import HTTPStatus

import httpx
import structlog
from standardwebhooks import Webhook as Signer

from serving import addresses
from serving.settings import ServiceSettings
from serving.store import Store
from serving.store.instants import now
from serving.store.outbox_records import Claimed

#: From the name's look-up to the answer's status; no body is read.
DEADLINE_S = 10.0
#: How often the outbox is asked for what is due.
POLL_S = 1.0
#: How many deliveries are under way at once.
AT_ONCE = 32
#: How long deliveries are kept after they are settled.
KEPT = timedelta(days=30)
_PRUNE_EVERY = timedelta(days=1)
_log = structlog.get_logger("kunto.webhooks")


class Deliverer:
    """Sends what the outbox has, in a thread of its own; several may run, in one process or many.

    A delivery leaves at least once and carries the same `webhook-id` each time, by which a receiver knows it again; the
    order is not kept. Certificates are checked; environment variables name further authorities (SSL_CERT_FILE), no proxy.
    """

    def __init__(self, store: Store, settings: ServiceSettings, clock: Callable[[], datetime] = now) -> None:
        self._outbox, self._clock = store.outbox, clock
        self._allow_private = settings.webhooks_to_private_addresses
        self._tls = httpx.create_ssl_context()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pruned_at: datetime | None = None

    def start(self) -> None:
        """Begin to deliver in the background."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way, then end; what waits is delivered after the next start.

        That takes DEADLINE_S, or longer while the system's resolver hangs on a name.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def deliver_due(self) -> int:
        """Send what is due, at most AT_ONCE deliveries, and return how many were tried. Raises StoreError."""
        claimed = self._outbox.claim(self._clock(), AT_ONCE)
        if not claimed:
            return 0
        for delivery, answer in zip(claimed, asyncio.run(self._post_all(claimed)), strict=True):
            if isinstance(answer, int) and 200 <= answer < 300:
                self._outbox.delivered(delivery, self._clock())
            else:
                gone = answer == HTTPStatus.GONE
                self._outbox.failed(delivery, self._clock(), _told(answer), gone=gone)
                _log.info("webhook_failed", delivery=delivery.delivery_id, attempt=delivery.attempt, error=_told(answer))
        return len(claimed)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                tried = self.deliver_due()
                self._prune()
            except Exception:  # the thread outlives whatever one round meets, a database that is away above all
                _log.exception("webhooks_round_failed")
                tried = 0
            if not tried:
                self._stopping.wait(POLL_S)

    def _prune(self) -> None:
        at = self._clock()
        if self._pruned_at is None or at - self._pruned_at >= _PRUNE_EVERY:
            self._outbox.prune(at - KEPT)
            self._pruned_at = at

    async def _post_all(self, claimed: list[Claimed]) -> list[int | BaseException]:
        """The status, or the error, of each; one never takes the others down."""
        # a name that resolves slowly must not hold up the others' look-ups
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE))
        # a connection is never kept: another name at the same address must not ride on its certificate
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=DEADLINE_S, limits=limits) as client:
            return await asyncio.gather(*(self._post(client, delivery) for delivery in claimed), return_exceptions=True)

    async def _post(self, client: httpx.AsyncClient, delivery: Claimed) -> int:
        async with asyncio.timeout(DEADLINE_S):  # httpx bounds each read, which a receiver can draw out one byte at a time
            target = await asyncio.to_thread(addresses.target, delivery.url, allow_private=self._allow_private)
            unreached: httpx.ConnectError | None = None
            for address in target.addresses:
                try:
                    return await self._post_to(client, target.url, address, delivery)
                except httpx.ConnectError as error:
                    unreached = unreached or error
        raise unreached or addresses.AddressRefusedError("the host has no address")

    async def _post_to(self, client: httpx.AsyncClient, url: httpx.URL, address: str, delivery: Claimed) -> int:
        """Connect to the address while Host, SNI and the certificate's name stay those of the URL."""
        at = self._clock()
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "user-agent": "kunto-webhooks",
            **_signed(delivery, at),
        }
        named = {"sni_hostname": url.raw_host.decode()}
        request = client.stream(
            "POST", url.copy_with(host=address), content=delivery.body.encode(), headers=headers, extensions=named
        )
        async with request as response:
            return response.status_code


def _signed(delivery: Claimed, at: datetime) -> dict[str, str]:
    signature = Signer(delivery.secret).sign(delivery.delivery_id, at, delivery.body)
    seconds = int((at - datetime(1970, 1, 1)).total_seconds())
    return {"webhook-id": delivery.delivery_id, "webhook-timestamp": str(seconds), "webhook-signature": signature}


def _told(answer: int | BaseException) -> str:
    """Why a delivery failed, without a word of the receiver's."""
    match answer:
        case int() if 300 <= answer < 400:
            return f"answered {answer}; redirects are not followed"
        case int():
            return f"answered {answer}"
        case addresses.AddressRefusedError():
            return str(answer)
        case TimeoutError() | httpx.TimeoutException():
            return f"no answer within {DEADLINE_S:g} s"
        case httpx.ConnectError():
            return f"no connection: {answer}"
        case _:
            return f"the exchange broke: {type(answer).__name__}"

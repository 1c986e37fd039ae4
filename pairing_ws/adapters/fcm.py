"""Push messages through Firebase Cloud Messaging, HTTP v1. Needs the `push` extra; google-auth makes the bearer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import google.auth.exceptions
import httpx2
import structlog
from google.auth.transport import Request, Response
from google.oauth2 import service_account
from prometheus_client import Counter

from pairing_ws.adapters.outages import Outages, cause_of

log = structlog.get_logger()

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
TIMEOUT_SECONDS = 10.0
SENT = Counter("pairing_push_messages", "Push messages, by what came of them", ["outcome"])


class FcmPush:
    """Sends in the background. `unregistered` is told the addresses that the service says are gone."""

    def __init__(
        self,
        credentials_file: Path,
        base_url: str,
        unregistered: Callable[[str], Awaitable[None]],
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        from_file: Any = service_account.Credentials.from_service_account_file
        self._credentials = from_file(str(credentials_file), scopes=[SCOPE])
        self._url = f"{base_url.rstrip('/')}/v1/projects/{self._credentials.project_id}/messages:send"
        self._server = httpx2.URL(self._url).netloc.decode()
        self._outages = Outages(
            lost=lambda server, cause: log.warning("push.failed", server=server, cause=cause),
            back=lambda server, seconds: log.warning("push.back", server=server, seconds=seconds),
        )
        self._unregistered = unregistered
        self._timeout = timeout
        self._client = httpx2.AsyncClient(timeout=timeout)
        self._renewing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FcmPush":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout / 2)
        for task in self._tasks:
            task.cancel()
        await self._client.aclose()

    def send(self, address: str, data: dict[str, str]) -> None:
        """See `ports.Push.send`."""
        self._start(self._send(address, data))

    def send_to_each(self, addresses: Callable[[], Awaitable[Sequence[str]]], data: dict[str, str]) -> None:
        """See `ports.Push.send_to_each`."""
        self._start(self._send_to_each(addresses, data))

    def _start(self, sending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_to_each(self, addresses: Callable[[], Awaitable[Sequence[str]]], data: dict[str, str]) -> None:
        try:
            found = await addresses()
        except Exception as error:
            # Best effort, as below.
            log.warning("push.failed", error=type(error).__name__)
            SENT.labels("failed").inc()
            return
        await asyncio.gather(*(self._send(address, data) for address in found))

    async def _send(self, address: str, data: dict[str, str]) -> None:
        outcome = "failed"
        try:
            answer = await self._client.post(
                self._url,
                json={"message": {"token": address, "data": data, "android": {"priority": "high"}}},
                headers={"Authorization": f"Bearer {await self._bearer()}"},
            )
            self._outages.works(self._server)
            if answer.status_code == 200:
                outcome = "sent"
            elif _is_unregistered(answer):
                outcome = "unregistered"
                await self._unregistered(address)
            else:
                log.warning("push.refused", status=answer.status_code)
        except httpx2.TimeoutException:
            outcome = "timeout"
            log.warning("push.timeout")
        except (httpx2.TransportError, google.auth.exceptions.TransportError) as error:
            # The service can't be reached: said once, and once when it can be again.
            self._outages.failed(self._server, cause_of(error))
        except Exception as error:
            # Best effort: whatever goes wrong here must not touch the pairing. The text may quote the address.
            log.warning("push.failed", error=type(error).__name__)
        SENT.labels(outcome).inc()

    async def _bearer(self) -> str:
        async with self._renewing:
            if not self._credentials.valid:
                await asyncio.to_thread(self._credentials.refresh, _Transport(self._timeout))
        return str(self._credentials.token)


class _Transport(Request):
    """google-auth's idea of an HTTP client, on httpx2: without it google-auth would bring in `requests`."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Response:
        try:
            answer = httpx2.request(method, url, content=body, headers=headers, timeout=timeout or self._timeout)
        except httpx2.HTTPError as error:
            # Another server than that of the messages.
            text = f"{httpx2.URL(url).host}: {cause_of(error)}"
            raise google.auth.exceptions.TransportError(text) from error  # type: ignore[no-untyped-call]
        return _Answer(answer)


class _Answer(Response):
    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status_code

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._answer.headers)

    @property
    def data(self) -> bytes:
        return self._answer.content


def _is_unregistered(answer: httpx2.Response) -> bool:
    if answer.status_code != 404:
        return False
    try:
        details = answer.json()["error"].get("details", [])
        return any(detail.get("errorCode") == "UNREGISTERED" for detail in details)
    except (ValueError, KeyError, AttributeError, TypeError):
        return False

"""Push messages through Firebase Cloud Messaging, HTTP v1. Needs the `push` extra; google-auth makes the bearer."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import google.auth.exceptions
import httpx2
from google.auth.transport import Request, Response
from google.oauth2 import service_account

from pairing_ws.adapters.outages import cause_of
from pairing_ws.adapters.push_delivery import Answer, Unreachable, Verdict
from pairing_ws.adapters.retry_after import retry_after
from pairing_ws.core.clock import Clock
from pairing_ws.core.json_reader import read_json
from pairing_ws.core.push_addresses import FID_PREFIX, Kind, kind_of

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
TIMEOUT_SECONDS = 10.0
# What Google asks for where a 429 says nothing.
QUOTA_PAUSE_SECONDS = 60.0


class FcmPush:
    """See `push_delivery.PushService`."""

    def __init__(self, credentials_file: Path, base_url: str, clock: Clock, timeout: float = TIMEOUT_SECONDS) -> None:
        from_file: Any = service_account.Credentials.from_service_account_file
        self._credentials = from_file(str(credentials_file), scopes=[SCOPE])
        self._url = f"{base_url.rstrip('/')}/v1/projects/{self._credentials.project_id}/messages:send"
        self._server = httpx2.URL(self._url).netloc.decode()
        self._clock = clock
        self._timeout = timeout
        self._client = httpx2.AsyncClient(timeout=timeout)
        self._renewing = asyncio.Lock()

    async def aclose(self) -> None:
        await self._client.aclose()

    def server(self, _: str) -> str:
        return self._server

    async def post(self, address: str, data: Mapping[str, str], seconds: int) -> Answer:
        bearer = ""
        try:
            bearer = await self._bearer()
            answer = await self._client.post(
                self._url,
                json={"message": _message(address, data, seconds)},
                headers={"Authorization": f"Bearer {bearer}"},
            )
        except httpx2.TimeoutException as error:
            raise TimeoutError from error
        except (httpx2.TransportError, google.auth.exceptions.TransportError) as error:
            raise Unreachable(cause_of(error)) from error
        status = answer.status_code
        pause = retry_after(answer.headers.get("Retry-After", ""), self._clock)
        if status == HTTPStatus.OK:
            return Answer(Verdict.SENT, status)
        if _is_unregistered(answer):
            return Answer(Verdict.UNREGISTERED, status)
        if status == HTTPStatus.UNAUTHORIZED:
            # Withdrawn before its time: the next try gets another one.
            if self._credentials.token == bearer:
                self._credentials.token = None
            return Answer(Verdict.LATER, status, pause)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Answer(Verdict.LATER, status, QUOTA_PAUSE_SECONDS if pause is None else pause)
        return Answer(Verdict.LATER if status >= 500 else Verdict.REFUSED, status, pause)

    async def _bearer(self) -> str:
        async with self._renewing:
            if not self._credentials.valid:
                await asyncio.to_thread(self._credentials.refresh, _Transport(self._timeout))
        return str(self._credentials.token)


def _message(address: str, data: Mapping[str, str], seconds: int) -> dict[str, Any]:
    is_fid = kind_of(address) is Kind.FCM_FID
    target = {"fid": address.removeprefix(FID_PREFIX)} if is_fid else {"token": address}
    return {**target, "data": dict(data), "android": {"priority": "high", "ttl": f"{seconds}s"}}


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
        details = read_json(answer.content)["error"].get("details", [])
        return any(detail.get("errorCode") == "UNREGISTERED" for detail in details)
    except (ValueError, KeyError, AttributeError, TypeError):
        return False

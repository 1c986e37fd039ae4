"""httpx's way to addresses that somebody else has named, where `targets` allows it: each request's name is resolved and
checked again, and the connection goes to what was checked."""

from collections.abc import AsyncIterator

import httpx2

from pairing_ws.adapters.targets import Target, Targets

# Discovery documents and key sets have some 10 KB.
MAX_ANSWER = 262_144


class AnswerTooLarge(httpx2.TransportError):
    """An answer has more bytes than anybody needs."""


class CheckedTransport(httpx2.AsyncBaseTransport):
    """For a client with `follow_redirects=False`. Raises ForbiddenTarget, and OSError if a name can't be resolved; an
    answer's body raises AnswerTooLarge where it has more than `most` bytes."""

    def __init__(self, targets: Targets, limits: httpx2.Limits, most: int = MAX_ANSWER) -> None:
        self._targets = targets
        self._most = most
        # The environment's proxies would resolve the name again, and its netrc has passwords for it.
        self._transport = httpx2.AsyncHTTPTransport(trust_env=False, limits=limits)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        targets = await self._targets.checked(str(request.url))
        for target in targets[:-1]:
            try:
                return await self._answer(request, target)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                # It has other addresses, of which one may be of a family that leads somewhere.
                continue
        return await self._answer(request, targets[-1])

    async def _answer(self, request: httpx2.Request, target: Target) -> httpx2.Response:
        # `Host` stands in the headers already, and names the host.
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(host=target.address),
            headers=request.headers,
            stream=request.stream,
            # The certificate has to be the name's.
            extensions={**request.extensions, "sni_hostname": target.host},
        )
        response = await self._transport.handle_async_request(sent)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            # Taken as it comes: what is compressed may be a thousand times as large once it is not.
            headers=[each for each in response.headers.raw if each[0].lower() != b"content-encoding"],
            stream=_Bounded(response.stream, self._most),
            extensions=response.extensions,
        )


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._left = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise AnswerTooLarge("the answer is too large")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

"""JSON over HTTP for the remote samplers: tries again where that can help, and counts it.

Tried again: 429, 5xx, and connections that were refused or lost before an answer. Not tried again:
every other status (the request itself is wrong), and a stream of which something was passed on.
A server that asks for time (429 with Retry-After) gets it from all requests, not only that one.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from air_reasoning.errors import ConfigError, SamplerError
from air_reasoning.samplers.settings import EndpointConfig

RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
LONGEST_WAIT_S = 60.0
LONGEST_ASKED_S = 900.0
"""Of what a server asks for; one that asks for more is asked again then."""


class Refused(SamplerError):
    """The server understood the connection and refused the request; trying again cannot help."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class JsonClient:
    """One server. ``counts``: ``requests``, ``retries``, ``rate_limited``, ``lost``."""

    def __init__(self, url: str, config: EndpointConfig) -> None:
        """Connects with the first request. Raises ConfigError for an address that is none."""
        self.url = checked_url(url)
        self.counts: Counter[str] = Counter()
        self._config = config
        self._rest_until = 0.0
        key = os.environ.get(config.key_env, "") if config.key_env else ""
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(config.timeout_s, connect=min(10.0, config.timeout_s)),
            limits=httpx2.Limits(
                max_connections=config.max_connections,
                max_keepalive_connections=config.max_connections,
            ),
        )

    async def get(self, path: str) -> Any:
        """The JSON at ``path``. Raises SamplerError, at once if the server is not there."""
        try:
            response = await self._client.get(self.url + path)
        except httpx2.TransportError as error:
            raise SamplerError(self._unreachable(error)) from None
        if response.status_code != 200:
            raise Refused(self._told(path, response), response.status_code)
        return _json(response.content, self.url + path)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer to ``body``; an empty answer is None. Raises SamplerError."""
        async with self._answered(path, body) as response:
            content = await response.aread()
            return _json(content, self.url + path) if content.strip() else None

    async def post_text(self, path: str, body: dict[str, Any]) -> str:
        """The answer to ``body`` as it is. Raises SamplerError."""
        async with self._answered(path, body) as response:
            return (await response.aread()).decode()

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The server-sent events of the answer, parsed, until ``[DONE]``. Raises SamplerError."""
        async with self._answered(path, body) as response:
            try:
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line.removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    yield _event(data, self.url + path)
            except httpx2.TransportError as error:
                self.counts["lost"] += 1
                raise SamplerError(f"{self._unreachable(error)}; the stream broke off") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answered(self, path: str, body: dict[str, Any]) -> AsyncIterator[httpx2.Response]:
        response = await self._sent(path, orjson.dumps(body))
        try:
            if response.status_code >= 400:
                await response.aread()
                raise Refused(self._told(path, response), response.status_code)
            yield response
        except httpx2.TransportError as error:
            self.counts["lost"] += 1
            raise SamplerError(f"{self._unreachable(error)}; the answer broke off") from None
        finally:
            await response.aclose()

    async def _sent(self, path: str, content: bytes) -> httpx2.Response:
        """The head of an answer that is worth reading, or the last one when tries are used up."""
        tried = 0
        while True:
            last = tried == self._config.retries
            while (rest := self._rest_until - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            self.counts["requests"] += 1
            request = self._client.build_request(
                "POST", self.url + path, content=content,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
            try:
                response = await self._client.send(request, stream=True)
                if response.status_code not in RETRIED or last:
                    return response
                await response.aclose()
                wait = self._wait(tried, response)
            except httpx2.TransportError as error:
                self.counts["lost"] += 1
                if last:
                    raise SamplerError(self._unreachable(error)) from None
                wait = self._wait(tried, None)
            self.counts["retries"] += 1
            tried += 1
            await asyncio.sleep(wait)

    def _wait(self, tried: int, response: httpx2.Response | None) -> float:
        """Seconds: what the server asks for, else twice as long each time, spread by a half."""
        limited = response is not None and response.status_code == 429
        self.counts["rate_limited"] += limited
        asked = retry_after(response.headers.get("retry-after", "")) if response else None
        if asked is not None:
            asked = min(asked, LONGEST_ASKED_S)
            if limited:
                self._rest_until = max(self._rest_until, time.monotonic() + asked)
            return asked
        wait = min(self._config.retry_wait_s * 2**tried, LONGEST_WAIT_S)
        return wait * random.uniform(0.5, 1.5)

    def _told(self, path: str, response: httpx2.Response) -> str:
        """The server's own words; never what was sent."""
        try:
            answer = orjson.loads(response.content)
            error = answer.get("error", answer)
            said = str(error.get("message", error) if isinstance(error, dict) else error)
        except (orjson.JSONDecodeError, AttributeError):
            said = response.text
        mend = _MENDS.get(response.status_code, "")
        mend = mend.format(key=self._config.key_env or "(endpoint.key_env is empty)")
        return f"{self.url}{path}: HTTP {response.status_code}: {said.strip()[:500]}{mend}"

    def _unreachable(self, error: Exception) -> str:
        reason = str(error) or type(error).__name__
        return f"{self.url}: {reason}; is the server running? `air doctor` tries it"


_MENDS = {
    401: "; put the key into the environment variable {key}",
    403: "; the key in {key} may not do this",
    404: "; check endpoint.url (it ends in /v1) and endpoint.model",
}


def checked_url(url: str) -> str:
    """The address without its last slash.

    Raises:
        ConfigError: no http address, or one that carries a password: it would be written into logs.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint.url: {url!r} is no address such as http://localhost:8000/v1")
    if parts.username or parts.password or "key=" in parts.query:
        raise ConfigError(
            "endpoint.url: carries a key; put it into the environment variable that "
            "endpoint.key_env names"
        )
    return url.rstrip("/")


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None: neither.

    >>> retry_after("1.5"), retry_after("soon"), retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    (1.5, None, 0.0)
    """
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _json(content: bytes, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise SamplerError(f"{where}: answered with no JSON ({error}): {content[:200]!r}") from None


def _event(data: str, where: str) -> dict[str, Any]:
    event = _json(data.encode(), where)
    if isinstance(event, dict) and event.get("error"):
        raise SamplerError(f"{where}: {str(event['error'])[:500]}")
    return event

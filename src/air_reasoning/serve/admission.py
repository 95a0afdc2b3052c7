"""Who may ask, and how much at the same time."""

import hmac
import ipaddress
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.requests import Request

from air_reasoning.errors import ConfigError
from air_reasoning.serve.refusal import Refusal
from air_reasoning.serve.settings import ServeConfig


class Admission:
    """Keys, limits for each key and in all, body sizes."""

    def __init__(self, config: ServeConfig) -> None:
        """Raises ConfigError: no keys although others than this machine can connect."""
        self.keys = [k for k in os.environ.get(config.keys_env, "").split(",") if k.strip()]
        self.running: Counter[str] = Counter()
        self._config = config
        if not self.keys and not _is_loopback(config.host):
            raise ConfigError(
                f"host {config.host}: other machines could connect; put keys into the environment "
                f"variable {config.keys_env}, or listen on 127.0.0.1"
            )

    def key(self, request: Request) -> str:
        """The client's key, "" where none is needed. Raises Refusal 401."""
        if not self.keys:
            return ""
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        for key in self.keys:
            if hmac.compare_digest(given, key.strip().encode()):
                return key
        raise Refusal(401, "no such key; send it as `Authorization: Bearer KEY`")

    @contextmanager
    def slot(self, key: str) -> Iterator[None]:
        """One of the requests under way. Raises Refusal 429."""
        most = self._config.max_requests
        if self.running[key] >= self._config.per_key or self.running.total() >= most:
            raise Refusal(429, "too many requests under way; try again", retry_after=1)
        self.running[key] += 1
        try:
            yield
        finally:
            self.running[key] -= 1

    async def body(self, request: Request) -> Any:
        """The parsed body.

        Raises:
            Refusal: too large (413), no JSON type (415: a web page of another site cannot send it
                without being asked first), or no JSON (400).
        """
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refusal(415, "send application/json")
        most = int(self._config.max_body_mb * 2**20)
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > most:
                raise Refusal(413, f"the body is larger than {self._config.max_body_mb:g} MiB")
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise Refusal(400, f"the body is no JSON: {error}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

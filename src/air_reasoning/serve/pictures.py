"""Pictures of a request: data URLs, and addresses only of hosts that the settings name.

No address is fetched otherwise: a server that fetches what it is told reaches into its own network
(server-side request forgery). Fetching follows no redirect and reads no more than the body limit.
"""

import asyncio
import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

import httpx2
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.images import decode_image
from air_reasoning.serve.refusal import Refusal
from air_reasoning.serve.settings import ServeConfig


class Pictures:
    """Loads pictures under the limits of the settings."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._most_bytes = int(config.max_body_mb * 2**20)
        self._client = httpx2.AsyncClient(follow_redirects=False, timeout=10.0, trust_env=False)

    async def load(self, url: Any, field: str, loaded: int) -> Image.Image:
        """The picture at ``url``, upright and RGB; ``loaded`` came before it. Raises Refusal."""
        if loaded >= self._config.max_images:
            raise Refusal(400, f"more than {self._config.max_images} pictures", field)
        if not isinstance(url, str) or not url:
            raise Refusal(400, f"{field} has to be a data URL", field)
        data = _data(url, field) if url.startswith("data:") else await self._fetched(url, field)
        try:  # a large picture takes a second: the other requests go on meanwhile
            return await asyncio.to_thread(
                decode_image, data, "the picture", self._config.max_image_pixels
            )
        except DataError as error:
            raise Refusal(400, str(error), field) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _fetched(self, url: str, field: str) -> bytes:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname not in self._config.image_hosts:
            raise Refusal(
                400,
                "pictures are not fetched from other machines here; send a data URL "
                "(data:image/png;base64,...)",
                field,
            )
        data = bytearray()
        try:
            async with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise Refusal(400, f"the picture's host said {response.status_code}", field)
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > self._most_bytes:
                        raise Refusal(400, "the picture is too large", field)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise Refusal(400, "the picture's host did not answer", field) from None
        return bytes(data)


def _data(url: str, field: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise Refusal(400, f"{field}: a data URL has to be base64", field)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"{field}: the base64 is broken", field) from None

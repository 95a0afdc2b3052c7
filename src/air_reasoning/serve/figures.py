"""Figures that cells gave back, as PNG in memory, until they are sent."""

import base64
import io
from collections import OrderedDict

from PIL import Image

from air_reasoning.images import image_hash
from air_reasoning.types import ImageRef

MOST_BYTES = 64 * 2**20


class Figures:
    """``save_image`` of a server: nothing touches the disk, and the oldest are forgotten."""

    def __init__(self) -> None:
        self._png: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def __call__(self, image: Image.Image) -> ImageRef:
        """Keep it; the reference has no path."""
        name = image_hash(image)
        if name not in self._png:
            buffer = io.BytesIO()
            image.save(buffer, format="PNG", compress_level=1)
            self._png[name] = buffer.getvalue()
            self._bytes += len(self._png[name])
        self._png.move_to_end(name)
        while self._bytes > MOST_BYTES and len(self._png) > 1:
            self._bytes -= len(self._png.popitem(last=False)[1])
        return ImageRef(sha256=name, width=image.width, height=image.height, path="")

    def url(self, ref: ImageRef) -> str:
        """``data:image/png;base64,...`` of a figure that was kept just before."""
        return f"data:image/png;base64,{base64.b64encode(self._png[ref.sha256]).decode()}"

"""Fixtures that more than one test file uses."""

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Image.Image:
    """A small picture whose four corners differ."""
    image = Image.new("RGB", (6, 4), "white")
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((5, 0), (0, 255, 0))
    image.putpixel((0, 3), (0, 0, 255))
    return image

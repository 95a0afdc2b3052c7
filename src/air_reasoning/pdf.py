"""A page of a PDF as a picture."""

from pathlib import Path
from typing import Any

from PIL import Image

from air_reasoning.errors import DataError

DPI = 150
LONGEST_SIDE = 4096


def pdf_page(path: Path, page: str, max_pixels: int) -> Image.Image:
    """Page ``page`` (from 1) in RGB: 150 dots an inch, or what fits ``max_pixels``, 4096 a side.

    Raises:
        DataError: no such page, a broken file, or one with a password.
    """
    import pypdfium2

    library: Any = pypdfium2
    try:
        with library.PdfDocument(path) as document:
            number = int(page) if page.isdigit() else 0
            if not 1 <= number <= len(document):
                raise DataError(f"{path}: has pages 1 to {len(document)}, not {page}")
            sheet = document[number - 1]
            width, height = sheet.get_size()  # points, 72 an inch
            fits = min((max_pixels / (width * height)) ** 0.5, LONGEST_SIDE / max(width, height))
            return sheet.render(scale=min(DPI / 72, fits)).to_pil().convert("RGB")
    except DataError:
        raise
    except Exception as error:  # the library's own class, and what odd pages make of its callers
        raise DataError(f"{path}: broken PDF, or one with a password ({error})") from None

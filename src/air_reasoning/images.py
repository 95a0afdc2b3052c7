"""Pictures by content: opened safely, named by a hash of their pixels, stored once."""

import hashlib
import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from air_reasoning.errors import DataError
from air_reasoning.files import atomic_file
from air_reasoning.pdf import pdf_page
from air_reasoning.types import ImageRef

DEFAULT_MAX_PIXELS = 64_000_000
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def image_hash(image: Image.Image) -> str:
    """SHA-256 (hex) over ``"{mode} {width}x{height}"``, a line feed and the raw pixels.

    The same pixels give the same name whatever file format they came from; a palette is not part
    of it, so hash RGB, RGBA or L pictures.
    """
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def open_image(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The picture as a person sees it: upright, RGB, transparency on white, pixels loaded.

    16-bit grey is scaled to 8 bits. Of an animation the first frame is taken, of a PDF the first
    page, or page N of ``file.pdf#N``.

    Raises:
        DataError: no such file, no picture, broken or cut off, or more than ``max_pixels`` pixels
            (width x height); checked before the pixels are decoded.
    """
    file, _, page = str(path).rpartition("#") if ".pdf#" in str(path).lower() else (path, "", "1")
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{path}: no such picture; check the path")
    with path.open("rb") as opened:
        if opened.read(5) == b"%PDF-":
            return pdf_page(path, page, max_pixels)
    return _decoded(path, str(path), max_pixels)


def decode_image(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The same from bytes; ``name`` is what errors call it. Raises DataError as ``open_image``."""
    return _decoded(io.BytesIO(data), name, max_pixels)


def _decoded(source: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
            with Image.open(source) as image:
                _check_size(name, image.width, image.height, max_pixels)
                image.load()
                return as_rgb(image)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: not a picture that can be read; use PNG, JPEG, WebP, GIF or PDF"
        ) from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {error}; shrink it") from None
    except Exception as error:  # PIL's readers raise nearly anything on broken data
        raise DataError(f"{name}: broken or cut off ({error}); export the picture again") from None


def _check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DataError(
            f"{name}: {width}x{height} is more than {max_pixels} pixels; "
            "shrink it, or raise the limit on pixels"
        )


def save_blob(image: Image.Image, folder: Path) -> ImageRef:
    """Store as ``folder/<sha256>.png`` unless it is there already; the reference is absolute.

    RGB, RGBA and L pictures keep their pixels and so their hash; others become RGB first. Written
    aside and renamed, so that a half-written picture never carries its final name.

    Raises:
        DataError: the folder cannot be written.
    """
    if image.mode not in ("RGB", "RGBA", "L"):
        image = as_rgb(image)
    name = image_hash(image)
    path = folder.absolute() / f"{name}.png"
    if not path.exists():
        with atomic_file(path) as file:
            image.save(file, format="PNG", compress_level=1)
    return ImageRef(sha256=name, width=image.width, height=image.height, path=str(path))


def load_ref(ref: ImageRef) -> Image.Image:
    """The picture that ``ref`` names, as ``open_image`` gives it (RGB, whatever was stored).

    Raises:
        DataError: the file is gone, broken, or is not the picture of that size.
    """
    image = open_image(ref.path)
    if image.size != (ref.width, ref.height):
        raise DataError(
            f"{ref.path}: is {image.width}x{image.height}, expected {ref.width}x{ref.height}; "
            "another picture has taken its place"
        )
    return image


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture upright, in 8-bit RGB, transparency on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT:
        # PIL's own conversion clips at 255 instead of scaling.
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer)
    return image.convert("RGB")

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.images import image_hash, load_ref, open_image, save_blob


def test_hash_is_of_mode_size_and_pixels():
    one = Image.new("RGB", (2, 1), (1, 2, 3))
    # printf 'RGB 2x1\n\001\002\003\001\002\003' | sha256sum
    assert image_hash(one) == "5d369825244224d1768055e6f550a409c2b04e6dacb3d8132f4c8ee8856c73e8"
    assert image_hash(Image.new("RGB", (1, 2), (1, 2, 3))) != image_hash(one)


def test_the_same_pixels_are_one_picture_whatever_the_format(tmp_path: Path, picture: Image.Image):
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    opened = [open_image(tmp_path / name) for name in ("a.png", "b.bmp")]
    assert {image_hash(image) for image in opened} == {image_hash(picture)}


def test_a_picture_taken_sideways_is_turned(tmp_path: Path, picture: Image.Image):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned by 90 degrees
    picture.save(tmp_path / "a.png", exif=exif)
    opened = open_image(tmp_path / "a.png")
    assert opened.size == (4, 6)
    assert opened.getpixel((3, 0)) == (255, 0, 0)


def test_transparent_is_white(tmp_path: Path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.save(tmp_path / "b.png", transparency=0)
    assert open_image(tmp_path / "b.png").getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path):
    Image.new("I;16", (1, 1), 128 * 257).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)


def test_cmyk_and_grey_become_rgb(tmp_path: Path):
    Image.new("CMYK", (2, 2)).save(tmp_path / "a.jpg")
    Image.new("L", (2, 2), 7).save(tmp_path / "b.png")
    assert open_image(tmp_path / "a.jpg").getpixel((0, 0)) == (255, 255, 255)
    assert open_image(tmp_path / "b.png").getpixel((0, 0)) == (7, 7, 7)


def test_what_is_no_picture_is_named(tmp_path: Path, picture: Image.Image):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    big = Image.effect_noise((64, 64), 50)
    big.save(tmp_path / "big.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "big.png").read_bytes()[:1500])
    with pytest.raises(DataError, match=r"none\.png: no such picture"):
        open_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="no such picture"):
        open_image(tmp_path)
    with pytest.raises(DataError, match=r"text\.png: not a picture"):
        open_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"empty\.png: not a picture"):
        open_image(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"cut\.png: broken or cut off"):
        open_image(tmp_path / "cut.png")
    with pytest.raises(DataError, match=r"64x64 is more than 4095 pixels"):
        open_image(tmp_path / "big.png", max_pixels=4095)


def test_a_decompression_bomb_is_refused_before_its_pixels_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Image.new("1", (2000, 2000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_blobs_are_named_by_content_and_written_once(tmp_path: Path, mode: str):
    image = Image.new(mode, (3, 2), 9 if mode == "L" else None)
    ref = save_blob(image, tmp_path / "blobs")
    assert ref.sha256 == image_hash(image)
    assert (ref.width, ref.height) == (3, 2)
    stamp = Path(ref.path).stat().st_mtime_ns
    assert save_blob(image, tmp_path / "blobs") == ref
    assert Path(ref.path).stat().st_mtime_ns == stamp
    assert [file.name for file in (tmp_path / "blobs").iterdir()] == [f"{ref.sha256}.png"]
    assert load_ref(ref).mode == "RGB"


def test_another_picture_in_its_place_is_noticed(tmp_path: Path, picture: Image.Image):
    ref = save_blob(picture, tmp_path)
    with pytest.raises(DataError, match="is 6x4, expected 5x4"):
        load_ref(dataclasses.replace(ref, width=5))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, picture: Image.Image):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        save_blob(picture, tmp_path / "file" / "blobs")


def test_a_gif_and_a_webp_are_read_by_their_first_frame(tmp_path: Path):
    frames = [Image.new("RGB", (4, 3), c) for c in ("red", "blue")]
    for name in ("a.gif", "a.webp"):
        kwargs = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **kwargs)
        assert open_image(tmp_path / name).getpixel((1, 1)) == (255, 0, 0)


def test_pages_of_a_pdf(tmp_path: Path):
    sheets = [Image.new("RGB", (144, 72), c) for c in ("red", "blue")]
    file = tmp_path / "a.pdf"
    sheets[0].save(file, save_all=True, append_images=sheets[1:], resolution=72)
    first = open_image(file)
    assert first.size == (300, 150)  # 2 x 1 inches at 150 dots
    assert first.getpixel((5, 5))[0] > 200
    assert open_image(f"{file}#2").getpixel((5, 5))[2] > 200
    assert open_image(file, max_pixels=20_000).size == (200, 100)
    with pytest.raises(DataError, match="has pages 1 to 2, not 3"):
        open_image(f"{file}#3")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 nonsense")
    with pytest.raises(DataError, match=r"b\.pdf: broken PDF"):
        open_image(tmp_path / "b.pdf")


def test_fifty_thousand_pixels_a_side_are_refused_before_decoding(tmp_path: Path):
    """2.5 billion pixels in a file of 300 kB: the size in its head is enough to refuse it."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(300_000))) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    with pytest.raises(DataError, match=r"huge\.png.*shrink it"):
        open_image(tmp_path / "huge.png")

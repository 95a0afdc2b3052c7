"""The frame format against literal bytes, pieces of any size and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_reasoning.sandbox.child.frames import Frame, FrameError, FrameReader, pack

HEADERS = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "blobs"), st.text() | st.integers(), max_size=4
)


def test_the_bytes_of_a_frame():
    text = b'{"a": 1, "blobs": [2, 0]}'
    assert pack({"a": 1}, [b"xy", b""]) == b"\0\0\0\x19" + text + b"xy"


@given(HEADERS, st.lists(st.binary(max_size=20), max_size=4), st.integers(1, 30))
def test_frames_survive_any_cutting(header: dict[str, object], blobs: list[bytes], step: int):
    reader = FrameReader(max_header=10_000, max_blob_bytes=1000)
    for _ in range(2):  # the reader is as new after a frame
        data = pack(header, blobs)
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        answers = [reader.feed(piece) for piece in pieces]
        assert answers[-1] == Frame(header, blobs)
        assert answers[:-1] == [None] * (len(answers) - 1)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for(data: bytes):
    reader = FrameReader(max_header=100, max_blob_bytes=10)
    try:
        frame = reader.feed(data)
    except FrameError:
        return
    assert frame is None or pack(frame.header, frame.blobs)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"\0\0\0\x65", "header of 101 bytes, at most 100"),  # before any of it has arrived
        (pack({}, [b"x" * 11]), "11 bytes, at most 10"),
        (pack({}, [b"x" * 6, b"x" * 5]), "11 bytes, at most 10"),
        (pack({}) + b"!", "1 bytes behind the frame"),
        (b"\0\0\0\x02[]", "not a JSON object"),
        (b"\0\0\0\x02{}", "no list of blob lengths"),
        (b'\0\0\0\x11{"blobs": [true]}', "blob length True"),
        (b"\0\0\0\x01\xff", "not JSON"),
    ],
)
def test_the_cause_of_a_refusal_is_named(data: bytes, cause: str):
    with pytest.raises(FrameError, match=cause):
        FrameReader(max_header=100, max_blob_bytes=10).feed(data)

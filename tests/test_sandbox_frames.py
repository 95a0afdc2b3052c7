"""The frame format against literal bytes, pieces of any size and garbage."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from air_reasoning.sandbox.child.frames import Frame, FrameError, FrameReader, pack
from air_reasoning.sandbox.link import Ended, SessionProcess
from air_reasoning.sandbox.reply import read_reply, reply_limits
from air_reasoning.sandbox.settings import SandboxConfig

HEADERS = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key != "blobs"), st.text() | st.integers(), max_size=4
)


def test_the_bytes_of_a_frame():
    text = b'{"a": 1, "blobs": [2, 0]}'
    assert pack({"a": 1}, [b"xy", b""]) == b"\0\0\0\x19" + text + b"xy"


@settings(deadline=None)
@given(HEADERS, st.lists(st.binary(max_size=20), max_size=4), st.integers(1, 30))
def test_frames_survive_any_cutting(header: dict[str, object], blobs: list[bytes], step: int):
    reader = FrameReader(max_header=10_000, max_blob_bytes=1000)
    for _ in range(2):  # the reader is as new after a frame
        data = pack(header, blobs)
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        answers = [reader.feed(piece) for piece in pieces]
        assert answers[-1] == Frame(header, blobs)
        assert answers[:-1] == [None] * (len(answers) - 1)


@settings(deadline=None)
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


CONFIG = SandboxConfig(output_chars=256, max_images=2, max_image_pixels=100)
REPLY: dict[str, Any] = {
    "cell": 3, "stdout": "", "stderr": "", "value": None, "error": None, "images": [["L", 2, 1]],
    "cpu_ms": 1.5,
}  # fmt: skip
WHOLE = pack(REPLY, [b"ab"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(REPLY)), JSON, st.lists(st.binary(max_size=9), max_size=3))
def test_no_field_of_a_reply_can_do_worse_than_be_refused(key: str, value: Any, blobs: list[bytes]):
    for header in (REPLY | {key: value}, {k: v for k, v in REPLY.items() if k != key}):
        for frame in (Frame(header, [b"ab"]), Frame(header, blobs)):
            try:
                execution, images = read_reply(frame, 3, CONFIG)
            except FrameError:
                continue
            assert execution.status in ("ok", "error")
            assert len(images) == len(execution.images) <= 2


@settings(deadline=None)
@given(
    st.integers(0, len(WHOLE)),
    st.binary(max_size=30),
    st.integers(0, 30),
    st.integers(1, len(WHOLE) + 60),
    st.sampled_from(["", "again", "late"]),
)
def test_the_supervisor_stays_in_step_with_whatever_is_sent(
    at: int, put: bytes, taken: int, step: int, more: str
):
    """A reply damaged at one place, in pieces, perhaps a second one, perhaps after the first."""
    data = WHOLE[:at] + put + WHOLE[at + taken :]
    data += WHOLE if more == "again" else b""

    async def run() -> tuple[Frame | Ended | None, bool]:
        process = SessionProcess(*reply_limits(CONFIG), on_close=lambda: None)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        talk, life = process.peer_ends
        reply = process.send(b"cell")
        for start in range(0, len(data), step):
            talk.send(data[start : start + step])
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        if more == "late":
            talk.send(b"x")
            for _ in range(5):
                await asyncio.sleep(0)
        told = reply.result() if reply.done() else None, process.alive
        process.close()
        talk.close()
        life.close()
        return told

    failures: list[dict[str, Any]] = []
    answer, alive = asyncio.run(run())
    assert failures == []
    if data == WHOLE and more != "late":
        assert answer == Frame(REPLY, [b"ab"])
        assert alive
    if isinstance(answer, Frame) and more:  # bytes behind an answer always end the session
        assert not alive

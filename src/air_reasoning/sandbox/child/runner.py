"""Runs the cells of one session. Everything here shares its process with the model's code.

So nothing it reports can be trusted: a cell may write to the socket itself or replace these
functions. The supervisor checks sizes and turns, and holds the deadlines.
"""

import ast
import gc
import linecache
import os
import random
import signal
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .frames import Frame, FrameReader, pack
from .outputs import CapturedStream, cut_middle
from .pictures import Gallery, RawPicture, pillow_image, png_file, replace_image_viewer

MAX_FRAMES_SHOWN = 12
READ_BYTES = 1 << 16
UNLIMITED = 1 << 40  # the other end of the socket is the supervisor, which is trusted
WARM_UP = ["x = 1\n", "import math\ndef f(x):\n    return x + 1\nprint(f(1))\nf(2)", "1 / 0"]

# Showing a figure is what we do with it anyway.
warnings.filterwarnings("ignore", message=".*non-interactive, and thus cannot be shown")


class Caps(NamedTuple):
    """How much one cell may give back: bytes of text a stream, images, pixels an image."""

    output_chars: int
    max_images: int
    max_image_pixels: int


def serve(fd: int, session: "Session") -> NoReturn:
    """Answer each frame on ``fd`` with one frame until the other side closes it."""
    gc.enable()  # it was off in the parent so that a fork shares its memory
    pid = os.getpid()
    sys.path.append(os.getcwd())  # noqa: PTH109
    reader = FrameReader(UNLIMITED, UNLIMITED)
    while data := os.read(fd, READ_BYTES):
        frame = reader.feed(data)
        if frame is None:
            continue
        header, pictures = session.answer(frame)
        if os.getpid() != pid:  # a child that the cell forked and let run on: not ours to answer
            os._exit(0)
        shapes = [list(picture[:3]) for picture in pictures]
        reply = pack({**header, "images": shapes}, [picture.pixels for picture in pictures])
        _write(fd, reply)
    os._exit(0)


def warm_up(caps: Caps) -> None:
    """What the first cell of a process sets up inside Python, done before the fork.

    Every memory page that a session writes to becomes its own: caches of classes, interned names
    and specialised instructions are filled here, by cells of a session that nobody asked for.
    """
    session, handler = Session(caps), signal.getsignal(signal.SIGINT)
    streams = sys.stdout, sys.stderr
    session.capture()
    for number, code in enumerate(WARM_UP * 10, start=1):
        asked: dict[str, Any] = {"seed": number, "images": [], "cell": number, "code": code}
        frame = FrameReader(UNLIMITED, UNLIMITED).feed(pack(asked))
        header, _ = session.answer(frame or Frame({}, []))
        pack(header)
    session.close()
    sys.stdout, sys.stderr = streams
    signal.signal(signal.SIGINT, handler)
    linecache.cache.clear()


class Session:
    """Variables and streams that live from cell to cell."""

    def __init__(self, caps: Caps) -> None:
        """Made once in the parent, where it costs nobody anything; ``begin`` is for the child."""
        self._limit = caps.output_chars
        self._stdout = CapturedStream(1, caps.output_chars)
        self._stderr = CapturedStream(2, caps.output_chars)
        self._gallery = Gallery(caps.max_images, caps.max_image_pixels, self._warn)
        self._pending: dict[str, RawPicture] = {}
        self._interruptible = False
        self._main = types.ModuleType("__main__")
        self._names = self._main.__dict__
        self._names["display"] = self._display

    def become_main(self) -> None:
        """In the parent: what cells find as ``__main__``, and where ``image.show()`` goes."""
        sys.modules["__main__"] = self._main
        replace_image_viewer(self._display)

    def capture(self) -> list[int]:
        """Make what stdout and stderr are written to; its descriptors."""
        return [self._stdout.capture(), self._stderr.capture()]

    def begin(self) -> list[int]:
        """In the child: take its stdout and stderr over; the descriptors in use."""
        descriptors = self.capture()
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        return descriptors

    def close(self) -> None:
        """Give up what ``capture`` made."""
        os.close(self._stdout.file)
        os.close(self._stderr.file)

    def answer(self, frame: Frame) -> tuple[dict[str, Any], list[RawPicture]]:
        """Run the cell of one frame: the header of the reply, and the pictures."""
        if "seed" in frame.header:
            self._receive(frame)
        number, code = frame.header["cell"], frame.header["code"]
        # A cell may have replaced any of these.
        signal.signal(signal.SIGINT, self._on_interrupt)
        sys.stdout, sys.stderr = self._stdout.open(), self._stderr.open()
        start = time.process_time()
        value, error = self._guarded(lambda: self._show(self._evaluate(number, code)))
        _, late_error = self._guarded(self._gallery.add_open_figures)
        header = {
            "cell": number,
            "stdout": self._stdout.take(),
            "stderr": self._stderr.take(),
            "value": value,
            "error": error or late_error,
            "cpu_ms": (time.process_time() - start) * 1000,
        }
        return header, self._gallery.take()

    def _receive(self, frame: Frame) -> None:
        """Seeds and input pictures; they come with the first cell."""
        _seed(frame.header["seed"])
        for number, (shape, pixels) in enumerate(
            zip(frame.header["images"], frame.blobs, strict=True), start=1
        ):
            picture = RawPicture(shape[0], shape[1], shape[2], pixels)
            Path(f"image_{number}.png").write_bytes(png_file(picture))
            self._pending[f"image_{number}"] = picture

    def _evaluate(self, number: int, code: str) -> object:
        """Run the code; the value of its last expression, None if it ends with a statement."""
        name = f"<cell {number}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        body, last = _compile(code, name)
        if self._pending and "image_" in code:  # importing Pillow is worth waiting for a use
            self._names.update({key: pillow_image(p) for key, p in self._pending.items()})
            self._pending.clear()
        exec(body, self._names)
        return eval(last, self._names) if last is not None else None

    def _guarded(self, work: Callable[[], str | None]) -> tuple[str | None, dict[str, str] | None]:
        """``work()`` with interrupts let through: its result, or the error it ended with."""
        try:
            try:
                self._interruptible = True
                return work(), None
            finally:
                self._interruptible = False
        except BaseException as error:
            self._interruptible = False
            if isinstance(error, SystemExit) and not error.code:  # exit() ends the cell
                return None, None
            return None, self._describe(error)

    def _show(self, value: object) -> str | None:
        if value is None or self._gallery.add(value):
            return None
        return cut_middle(repr(value), self._limit)

    def _display(self, *values: object) -> None:
        """What cells call to give back several pictures; other things are printed."""
        for value in values:
            if not self._gallery.add(value):
                print(repr(value))

    def _warn(self, text: str) -> None:
        self._stderr.open().write(text)

    def _describe(self, error: BaseException) -> dict[str, str]:
        try:
            lines = [*_cell_frames(error), *traceback.format_exception_only(error)]
            message, trace = str(error), "".join(lines)
        except BaseException:
            message, trace = "<the error cannot be printed>", ""
        return {
            "type": type(error).__name__,
            "message": cut_middle(message, self._limit),
            "traceback": cut_middle(trace, self._limit),
        }

    def _on_interrupt(self, signum: int, frame: types.FrameType | None) -> None:
        """The deadline; one that comes when the cell is already done is without effect."""
        if self._interruptible:
            raise KeyboardInterrupt


def _compile(code: str, name: str) -> tuple[types.CodeType, types.CodeType | None]:
    """The statements, and the last one apart if it is an expression."""
    try:
        tree = ast.parse(code, name)
    except (ValueError, UnicodeError) as error:  # NUL bytes, lone surrogates
        raise SyntaxError(str(error)) from None
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = compile(ast.Expression(tree.body.pop().value), name, "eval")  # type: ignore
    return compile(tree, name, "exec"), last


def _cell_frames(error: BaseException) -> list[str]:
    """The traceback without the frames of this file and of libraries."""
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith("<cell ")
    ]
    if not frames:
        return []
    lines = ["Traceback (most recent call last):\n"]
    for index, (frame, line) in enumerate(frames):
        if MAX_FRAMES_SHOWN // 2 <= index < len(frames) - MAX_FRAMES_SHOWN // 2:
            if index == MAX_FRAMES_SHOWN // 2:
                lines.append(f"  [... {len(frames) - MAX_FRAMES_SHOWN} frames ...]\n")
            continue
        name = frame.f_code.co_filename
        lines.append(f"  {name.strip('<>')}, line {line}, in {frame.f_code.co_name}\n")
        if source := linecache.getline(name, line).strip():
            lines.append(f"    {source}\n")
    return lines


def _seed(seed: int) -> None:
    """All forks of one parent share their random state: make it this session's own.

    ``hash()`` cannot be changed after the start; it is the same in every session. NumPy is seeded
    only if it was preloaded.
    """
    random.seed(seed)
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed(seed % 2**32)
        # default_rng() without a seed asks this function for its entropy.
        sys.modules["numpy.random.bit_generator"].randbits = random.Random(seed).getrandbits  # type: ignore


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

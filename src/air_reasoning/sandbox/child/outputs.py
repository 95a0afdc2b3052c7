"""What a cell prints: kept up to a limit, the middle cut out and said so."""

import fcntl
import io
import os
from typing import Any, BinaryIO, TextIO, cast

READ_BYTES = 1 << 20


class CappedBytes(io.RawIOBase):
    """Keeps the first and the last ``limit / 2`` bytes that are written and counts the rest."""

    def __init__(self, limit: int, fd: int = -1) -> None:
        """``fd`` is what ``fileno`` answers, for code that hands the stream to a subprocess."""
        self._half = limit // 2
        self._fd = fd
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor that is captured beside this stream."""
        if self._fd < 0:
            raise io.UnsupportedOperation("fileno")
        return self._fd

    def write(self, data: Any, /) -> int:
        """Take bytes; never fails and never grows beyond about twice the limit."""
        data = bytes(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 3 * self._half:  # trimming each time would copy the tail per line
            self._trim()
        return len(data)

    def text(self) -> str:
        """What was kept, as UTF-8 with a notice in place of the cut bytes."""
        self._trim()
        notice = f"\n[... {self._cut} bytes cut ...]\n" if self._cut else ""
        return (self._head + notice.encode() + self._tail).decode("utf-8", "replace")

    def forget(self) -> None:
        """Start again from nothing."""
        self._head, self._tail, self._cut = bytearray(), bytearray(), 0

    def _trim(self) -> None:
        excess = len(self._tail) - self._half
        if excess > 0:
            self._cut += excess
            del self._tail[:excess]


class CapturedStream:
    """One of stdout and stderr: what Python prints, and what goes to the descriptor below it.

    Both are needed: ``print`` must be cheap, and ``os.system`` or a C library writes to the
    descriptor. The descriptor's text comes behind Python's, whatever their order in time.
    """

    def __init__(self, fd: int, limit: int) -> None:
        """For descriptor ``fd``; ``limit`` is in bytes."""
        self._fd = fd
        self._limit = limit
        self.file = -1
        self.stream: TextIO = self._fresh()

    def capture(self) -> int:
        """Make the file that is to take the descriptor's place; its own descriptor."""
        self.file = os.memfd_create("captured", os.MFD_CLOEXEC)
        # Append mode: the position must survive our truncation, whoever holds the descriptor.
        fcntl.fcntl(self.file, fcntl.F_SETFL, os.O_APPEND)
        return self.file

    def _fresh(self) -> TextIO:
        self._kept = CappedBytes(self._limit, self._fd)
        return io.TextIOWrapper(
            cast(BinaryIO, self._kept), encoding="utf-8", errors="backslashreplace"
        )

    def open(self) -> TextIO:
        """The stream for the next cell: the same object as before, unless a cell closed it."""
        if self.stream.closed:
            self.stream = self._fresh()
        return self.stream

    def take(self) -> str:
        """The text since the last call."""
        if not self.stream.closed:
            self.stream.flush()
        position = 0
        while data := os.pread(self.file, READ_BYTES, position):
            self._kept.write(data)
            position += len(data)
        if position:
            os.ftruncate(self.file, 0)
        text = self._kept.text()
        self._kept.forget()
        return text


def cut_middle(text: str, limit: int) -> str:
    """At most ``limit`` bytes of ``text`` with the middle cut out, plus the notice."""
    if len(text) * 4 <= limit:
        return text
    kept = CappedBytes(limit)
    kept.write(text.encode("utf-8", "backslashreplace"))
    return kept.text()

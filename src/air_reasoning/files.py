"""Writing to disk: whole files at once or not at all, and lines that survive a crash.

The policy, in one place: a file that is replaced is written aside, synced and renamed; a line that
is appended is handed to the operating system in one call, so that it survives the end of our
process, and is synced to the disk only by ``LineFile.sync`` (at checkpoints), so that it need not
survive a loss of power. A disk that fills up leaves what was there before. Several processes may
append to one file: each line is written under a lock of that file.
"""

import errno
import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from air_reasoning.errors import DataError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Generator[IO[bytes]]:
    """A binary file that takes ``path``'s place when the block ends well; its folder is made.

    Args:
        path: the file to replace or make.
        durable: sync to the disk before renaming; False for what is written every few seconds.

    Raises:
        DataError: the folder cannot be written or the disk is full; ``path`` is as it was.
    """
    kept = "what was there before is kept"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp"
        )
    except OSError as error:
        raise _cannot_write(path, error, kept) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _DISK_ERRORS and error.filename != name:
            raise  # something else that the block did
        raise _cannot_write(path, error, kept) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Replace ``path`` by ``data`` (text as UTF-8). Raises DataError as ``atomic_file``."""
    with atomic_file(path, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


class LineFile:
    """Append-only lines. Opening cuts off a torn last line; ``torn_bytes`` says how long it was.

    ``size`` is the file's size in bytes after the last line that this object wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        try:
            self._open()
            with _locked(self._handle):
                self.torn_bytes = self._cut_torn_line()
        except OSError as error:
            raise _cannot_write(path, error, "nothing was changed") from error

    def append(self, line: bytes) -> None:
        """Add one line (without its line feed), whole or not at all.

        Raises:
            DataError: the disk is full or the file cannot be written; all earlier lines are kept.
        """
        data = memoryview(line + b"\n")
        try:
            if os.fstat(self._handle).st_nlink == 0:  # replaced by a shorter one: write there
                self.close()
                self._open()
            with _locked(self._handle):
                self.torn_bytes += self._cut_torn_line()
                try:
                    while data:
                        data = data[os.write(self._handle, data) :]
                except OSError:
                    os.ftruncate(self._handle, self.size)
                    raise
        except OSError as error:
            raise _cannot_write(self.path, error, "all earlier lines are kept") from error
        self.size += len(line) + 1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def _cut_torn_line(self) -> int:
        """Remove what a process that died left without a line feed; how many bytes that was."""
        end = os.fstat(self._handle).st_size
        if end == 0 or os.pread(self._handle, 1, end - 1) == b"\n":
            self.size = end
            return 0
        self.size = _whole_lines(self.path)
        os.ftruncate(self._handle, self.size)
        return end - self.size

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def _locked(handle: int) -> Generator[None]:
    """Nobody else appends to the file meanwhile; the system lets go when a process ends."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _whole_lines(path: Path) -> int:
    """Bytes up to and with the last line feed."""
    position = path.stat().st_size
    with path.open("rb") as file:
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            position = start
    return 0


def _cannot_write(path: Path, error: OSError, kept: str) -> DataError:
    """One message for every way in which writing fails."""
    return DataError(
        f"{path}: cannot be written ({error.strerror or error}); {kept}. "
        "Free space or choose another folder, then run the same command again"
    )

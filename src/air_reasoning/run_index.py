"""Where each trajectory of a run is, and what one filters and sorts by: ``index.sqlite``.

    with RunIndex(Path("runs/rl")) as index:
        index.catch_up()
        page(index.connection, Filter(correct="wrong"), limit=100)      # run_query

The index is a cache. Whoever reads a run brings it up to date from the last byte it knows, so that
writers never wait for it, a crash cannot spoil it, and deleting it costs only the time to read the
run once. In a folder that cannot be written it lives in the temporary folder of the user.
"""

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from air_reasoning.errors import DataError
from air_reasoning.json_io import parse_json
from air_reasoning.run_reader import json_object, located, trajectory_parts
from air_reasoning.run_rows import COLUMNS, index_row

VERSION = 3
UNREADABLE = "unreadable line"
HUGE_LINE = 8 * 2**20
"""Longer records are read by a process of their own, which gives its memory back."""
_BATCH = 1_000

FACETS = ("stop", "kind", "difficulty", "name", "correct", "banned")
"""Columns whose values are counted while rows are added, so that a page need not count them."""
_TRIGRAMS = """CREATE VIRTUAL TABLE trigrams
    USING fts5(text, content='', detail=none, tokenize='trigram')"""
"""Which texts hold which three characters in a row, so that a search reads few texts."""
_TABLES = ("rows", "texts", "parts", "facets")
_SORTED = ("step", "reward", "advantage", "tokens", "turns", "calls", "grp", "task")


class RunIndex:
    """The index of one run; usable from several threads, one at a time."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.lock = threading.RLock()
        self.connection = _connect(run)
        self._has_trigrams = has_trigrams(self.connection)

    def catch_up(self, seconds: float = float("inf")) -> tuple[int, int]:
        """Read what was written since; stops after about ``seconds``.

        Returns (bytes indexed, bytes there): equal when it is complete, but for a torn last line.
        A line that is no record gets a row all the same, with the stop ``UNREADABLE`` and the
        reason.
        """
        until = time.monotonic() + seconds
        with self.lock:
            while self._add_batch() and time.monotonic() < until:
                pass
            done = self.connection.execute("SELECT coalesce(sum(done), 0) FROM parts").fetchone()[0]
        return done, sum(part.stat().st_size for part in trajectory_parts(self.run))

    def close(self) -> None:
        """Close the database; harmless when repeated."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add_batch(self) -> bool:
        """One transaction; whether there was anything to add. Other viewers wait for their turn."""
        parts = trajectory_parts(self.run)
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            known = self._known()
            if any(_was_rewritten(part, known) for part in parts) or len(known) > len(parts):
                for table in _TABLES:
                    self.connection.execute(f"DELETE FROM {table}")
                if self._has_trigrams:
                    self.connection.execute("INSERT INTO trigrams(trigrams) VALUES ('delete-all')")
                known = {}
            added = False
            for part in parts:
                done = known.get(part.name, (0, 0))[0]
                if part.stat().st_size > done and self._add_lines(part, done):
                    added = True
                    break
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return added

    def _known(self) -> dict[str, tuple[int, int]]:
        rows = self.connection.execute("SELECT name, done, inode FROM parts")
        return {name: (done, inode) for name, done, inode in rows}

    def _add_lines(self, part: Path, done: int) -> bool:
        """Index up to ``_BATCH`` whole lines of ``part`` from byte ``done`` on."""
        number = int(part.stem.removeprefix("part-"))
        start = done
        counts = Counter[tuple[str, Any]]()
        with part.open("rb") as file:
            file.seek(done)
            for _ in range(_BATCH):
                line = file.readline(HUGE_LINE)
                length = len(line) if line.endswith(b"\n") else _huge_line_length(file, line)
                if not length:
                    break
                row, text = _summary(line, length, part, done)
                self._insert(row | {"part": number, "offset": done, "length": length}, text)
                counts.update((name, row[name]) for name in FACETS)
                done += length
        self._count(counts)
        self.connection.execute(
            "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", (part.name, done, part.stat().st_ino)
        )
        return done > start

    def _count(self, counts: Counter[tuple[str, Any]]) -> None:
        for (name, value), more in counts.items():
            changed = self.connection.execute(
                "UPDATE facets SET count = count + ? WHERE name = ? AND value IS ?",
                (more, name, value),
            )
            if changed.rowcount == 0:
                self.connection.execute("INSERT INTO facets VALUES (?, ?, ?)", (name, value, more))

    def _insert(self, row: dict[str, Any], text: str) -> None:
        names = ", ".join(COLUMNS)
        marks = ", ".join("?" * len(COLUMNS))
        key, tries = row["key"] or f"{row['part']}-{row['offset']}", 1
        while True:
            row["key"] = key if tries == 1 else f"{key}~{tries}"
            try:
                cursor = self.connection.execute(
                    f"INSERT INTO rows ({names}) VALUES ({marks})",
                    [row.get(name) for name in COLUMNS],
                )
                break
            except sqlite3.IntegrityError:  # the same id again: made anew after a failure of ours
                tries += 1
        self.connection.execute("INSERT INTO texts VALUES (?, ?)", (cursor.lastrowid, text))
        if self._has_trigrams:
            self.connection.execute(
                "INSERT INTO trigrams(rowid, text) VALUES (?, ?)", (cursor.lastrowid, text)
            )


def has_trigrams(connection: sqlite3.Connection) -> bool:
    """Whether the index can be searched by ``trigrams``."""
    question = "SELECT 1 FROM sqlite_master WHERE name = 'trigrams'"
    return connection.execute(question).fetchone() is not None


def _huge_line_length(file: BinaryIO, start: bytes) -> int:
    """Bytes of the line that begins with ``start``, read in pieces; 0 if it has no end yet."""
    length = len(start)
    while length >= HUGE_LINE and (piece := file.readline(2**20)):
        length += len(piece)
        if piece.endswith(b"\n"):
            return length
    return 0


def _summary(line: bytes, length: int, part: Path, offset: int) -> tuple[dict[str, Any], str]:
    """``index_row`` of a line, of which ``line`` may be the start; of no record: why not."""
    where = f"{part}: byte {offset}"
    try:
        if len(line) < length:
            return _huge_summary(part, offset, length, where)
        return index_row(json_object(parse_json(line, where), where))
    except DataError as error:
        reason = str(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{where}: not a record in the documented format ({error!r})"
    return {**dict.fromkeys(COLUMNS), "stop": UNREADABLE, "reason": reason}, ""


def _huge_summary(part: Path, offset: int, length: int, where: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", __name__, str(part), str(offset), str(length)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise DataError(f"{where}: {length} bytes are no record; remove the line")
    row, text = parse_json(done.stdout, where)
    return row, text


def read_bytes(part: Path, offset: int, length: int) -> Iterator[bytes]:
    """The bytes of one record in pieces, so that a large one is never in memory whole."""
    with part.open("rb") as file:
        file.seek(offset)
        while length > 0 and (piece := file.read(min(length, 2**22))):
            length -= len(piece)
            yield piece


def read_record(run: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The whole record of a row of the index, picture paths absolute. Raises DataError: no JSON."""
    part = run / "trajectories" / f"part-{row['part']:04d}.jsonl"
    line = b"".join(read_bytes(part, row["offset"], row["length"]))
    return located(parse_json(line, f"{part}: byte {row['offset']}"), run.absolute())


def _was_rewritten(part: Path, known: Mapping[str, tuple[int, int]]) -> bool:
    if part.name not in known:
        return False
    done, inode = known[part.name]
    now = part.stat()
    return now.st_size < done or now.st_ino != inode


def _connect(run: Path) -> sqlite3.Connection:
    """The database with its tables; made anew if it is of another version or broken."""
    for file in (run / "index.sqlite", _fallback(run)):
        try:
            return _prepared(file)
        except sqlite3.DatabaseError:
            if not os.access(run, os.W_OK) and file.parent == run:
                continue
            file.unlink(missing_ok=True)
            return _prepared(file)
    raise DataError(f"{run}: no index can be made here or in the temporary folder; free space")


def _prepared(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA synchronous = OFF")  # a cache: a lost one is made again
    connection.execute("PRAGMA cache_size = -16000")
    connection.row_factory = cast(Any, sqlite3.Row)
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return connection
    connection.execute("BEGIN IMMEDIATE")
    for table in (*_TABLES, "trigrams"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE rows (n INTEGER PRIMARY KEY, {columns})")
    connection.execute("CREATE TABLE texts (n INTEGER PRIMARY KEY, text TEXT)")
    with suppress(sqlite3.OperationalError):  # an SQLite without FTS5: searching reads all texts
        connection.execute(_TRIGRAMS)
    connection.execute("CREATE TABLE parts (name TEXT PRIMARY KEY, done INTEGER, inode INTEGER)")
    connection.execute("CREATE TABLE facets (name TEXT, value, count INTEGER)")
    for name in _SORTED:
        connection.execute(f"CREATE INDEX by_{name} ON rows ({name})")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
    return connection


def _fallback(run: Path) -> Path:
    folder = Path(tempfile.gettempdir()) / f"air-index-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:32]}.sqlite"


if __name__ == "__main__":
    from air_reasoning.json_io import dump_line

    name, start, size = sys.argv[1:]
    data = b"".join(read_bytes(Path(name), int(start), int(size)))
    sys.stdout.buffer.write(dump_line(index_row(parse_json(data, name))))

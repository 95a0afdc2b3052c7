"""The ledger of a run: one line for every response that was paid, written before it is used.

    {"asked": "thought/t7/0", "request": "5be1...", "bound": 0.021}
    {"paid": "thought/t7/0", "request": "5be1...", "text": "...", "cost": 0.0041, ...}
    {"lost": "thought/t7/1", "request": "77ac...", "error": "the answer broke off"}

``request`` is a hash of all that was sent: a response in the ledger is never asked for again,
whatever ended the process and whatever else has changed since. What was asked and
neither paid nor lost was under way when the process died: it is asked again, and may be the only
thing that is paid twice; ``in_flight`` says how much of it there was.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from air_reasoning.errors import DataError
from air_reasoning.files import LineFile
from air_reasoning.json_io import dump_line, parse_json

SYNC_S = 1.0
"""A process that dies loses nothing; of a loss of power, responses of the last second."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Reply:
    """One response. ``cost`` is in US dollars; ``free``: it came from ``endpoint.cache``."""

    text: str
    finish: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written: int = 0
    cost: float = 0.0
    free: bool = False


class Ledger:
    """All responses of a run by key (``role/task/number``) and request; texts stay on the disk.

    ``spent`` is in US dollars. ``counts``: ``replies``, ``free``, ``lost``, ``in_flight``,
    ``prompt_tokens``, ``cached_tokens`` and ``written``, and the first and the last three of each
    role as ``ROLE/replies``, ``ROLE/prompt_tokens``, ...
    """

    def __init__(self, path: Path) -> None:
        """Made if absent. Raises DataError: it cannot be read or written."""
        self.path = path
        self.spent = 0.0
        self.counts: Counter[str] = Counter()
        self.cost_of: Counter[str] = Counter()
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        self._file = LineFile(path)
        self._synced = time.monotonic()
        self._load()

    def find(self, key: str, request: str) -> Reply | None:
        """The response to this request, if it was paid already."""
        place = self._places.get((key, request))
        if place is None:
            return None
        with self.path.open("rb") as file:
            file.seek(place[0])
            return _reply(parse_json(file.read(place[1]), f"{self.path}: {key}"))

    def asked(self, key: str, request: str, bound: float) -> None:
        """Say that a request goes out now and what it may cost at most."""
        self._file.append(dump_line({"asked": key, "request": request, "bound": bound}))

    def lost(self, key: str, request: str, error: str) -> None:
        """Say that it ended without a response; whether it was billed only the provider knows."""
        self.counts["lost"] += 1
        self._file.append(dump_line({"lost": key, "request": request, "error": error[:500]}))

    def paid(self, key: str, request: str, reply: Reply) -> None:
        """Keep a response; only when this has returned may it be used."""
        fields = {name: getattr(reply, name) for name in _FIELDS}
        line = dump_line({"paid": key, "request": request, **fields})
        self._file.append(line)
        if time.monotonic() - self._synced >= SYNC_S:
            self._file.sync()
            self._synced = time.monotonic()
        self._enter((key, request), reply, self._file.size - len(line) - 1, len(line))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self) -> None:
        offset, open_keys = 0, set[tuple[str, str]]()
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                data: dict[str, Any] = parse_json(line, f"{self.path}:{number}")
                kind = next((kind for kind in ("asked", "lost", "paid") if kind in data), "paid")
                key = (str(data.get(kind)), str(data.get("request")))
                if kind == "asked":
                    open_keys.add(key)
                else:
                    open_keys.discard(key)
                if kind == "lost":
                    self.counts["lost"] += 1
                elif kind == "paid":
                    self._enter(key, _reply(data), offset, len(line))
                offset += len(line)
        self.counts["in_flight"] = len(open_keys - self._places.keys())

    def _enter(self, key: tuple[str, str], reply: Reply, offset: int, length: int) -> None:
        self._places[key] = (offset, length)
        role = key[0].partition("/")[0]
        self.counts["replies"] += 1
        self.counts["free"] += reply.free
        if reply.free:
            return
        self.spent += reply.cost
        self.cost_of[role] += reply.cost  # pyright: ignore[reportArgumentType] - sums of dollars
        self.counts[f"{role}/replies"] += 1
        for name in ("prompt_tokens", "cached_tokens", "written"):
            self.counts[name] += getattr(reply, name)
            self.counts[f"{role}/{name}"] += getattr(reply, name)


_FIELDS = ("text", "finish", "prompt_tokens", "cached_tokens", "written", "cost", "free")


def _reply(data: dict[str, Any]) -> Reply:
    try:
        return Reply(**{name: data[name] for name in _FIELDS})
    except KeyError as error:
        raise DataError(f"a line of the ledger has no {error.args[0]}; remove that line") from None

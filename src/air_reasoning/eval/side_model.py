"""A language model that helps to score: it is asked once for each question, and remembered.

    with SideModel(SideModelConfig(endpoint="http://127.0.0.1:8000/v1", model="qwen3-8b"),
                   cache, "air-judge-1") as model:
        model.ask("Is 0.5 m the same as 50 cm?", read_verdict)

Any chat-completions endpoint, at temperature 0. Every reply is kept in a JSON lines file under the
model, the prompt's name and the whole question, so that a second run costs nothing and says the
same. A model that cannot be reached, or that gives no usable reply after ``TRIES``, is an error of
ours: nothing is scored 0 for it. May be asked from several threads.
"""

import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.errors import SamplerError
from air_reasoning.files import LineFile
from air_reasoning.json_io import dump_line, read_jsonl

TRIES = 3
T = TypeVar("T")
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_WAITS_S = (0.5, 2.0, 8.0)


class SideModelConfig(Config):
    """Which model; none where ``endpoint`` is empty."""

    endpoint: str = ""
    """Base URL of a chat-completions service, as in http://127.0.0.1:8000/v1; empty: none."""
    model: str = ""
    """Name of the model there."""
    key_variable: str = "JUDGE_API_KEY"
    """Environment variable that holds the service's key, if it wants one."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds that one question may take."""
    max_connections: int = Field(default=8, ge=1)
    """Questions under way at the same time, in `air eval score`."""


UNMOVING = ("endpoint", "key_variable", "timeout_s", "max_connections")
"""Settings that change no reply."""


class SideModel:
    """Replies of one model to one kind of question; ``asked`` counts those not remembered."""

    def __init__(self, config: SideModelConfig, cache: Path, prompt_id: str) -> None:
        """``cache`` is made if it is absent. Raises DataError: it is broken."""
        self.identity = f"{config.model} ({prompt_id})"
        self.max_connections = config.max_connections
        self.asked = 0
        self._config = config
        self._lock = threading.Lock()
        rows = read_jsonl(cache, torn_end=True) if cache.exists() else ()
        self._known = {row["key"]: str(row["reply"]) for _, row in rows}
        self._file = LineFile(cache)

    def ask(self, prompt: str, read: Callable[[str], T | None], *, max_tokens: int = 8) -> T:
        """What ``read`` makes of the reply; None means that it is no reply, and asks again.

        Raises:
            SamplerError: the model cannot be reached, or gave no reply that ``read`` takes.
        """
        key = hashlib.sha256(f"{self.identity}\n{prompt}".encode()).hexdigest()
        with self._lock:
            known = self._known.get(key)
        if known is not None and (value := read(known)) is not None:
            return value
        reply = ""
        for _ in range(TRIES):
            reply = _chat(self._config, prompt, max_tokens)
            if (value := read(reply)) is not None:
                with self._lock:
                    self.asked += 1
                    self._known[key] = reply
                    self._file.append(
                        dump_line({"key": key, "model": self.identity, "reply": reply})
                    )
                return value
        raise SamplerError(
            f"{self.identity}: replied {reply[:80]!r} {TRIES} times, which is no answer to what it "
            "was asked; use a model that follows instructions"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _chat(config: SideModelConfig, prompt: str, max_tokens: int) -> str:
    body = {
        "model": config.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(config.key_variable, ""):
        headers["Authorization"] = f"Bearer {key}"
    url = f"{config.endpoint.rstrip('/')}/chat/completions"
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        data: Any = json.loads(_answered(request, config.timeout_s))
        return str(data["choices"][0]["message"]["content"]).strip()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise SamplerError(f"{config.model} at {url}: {error}; is it running?") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SamplerError(f"{config.model} at {url}: no chat completion ({error!r})") from None


def _answered(request: urllib.request.Request, timeout_s: float) -> bytes:
    """The answer's bytes; a busy or failing service is asked again after a while."""
    for wait in (*_WAITS_S, None):
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if wait is None or error.code not in _AGAIN:
                raise
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")

"""A teacher behind real HTTP that does everything a teacher must not do.

Replies and faults are looked up by the item (``item NAME`` in the question) and the stage; each
connection is a thread, so one may hang while others go on. ``whole`` counts the requests that were
answered to the end, which are those that somebody pays for.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Fault = str
"""``429``, ``500``, ``400``, ``half`` (closed in the body), ``shut`` (no answer), ``hold``."""


MARKS = {
    "<solution>": "rewrite", "on record": "judge", "You have no tools": "text",
    "write Python between": "code",
}  # fmt: skip
"""Words of a request that tell its stage."""


@dataclass
class Teacher:
    replies: dict[str, list[str]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    whole: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[float, str]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    retry_after: str = "0.3"
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def key(self, body: dict[str, Any]) -> str:
        """``NAME/stage/seed``: the seed differs from sample to sample."""
        contents = [message["content"] for message in body["messages"]]
        text = "".join(c if isinstance(c, str) else c[-1]["text"] for c in contents)
        item = re.search(r"\(item (\S+)\)", text)
        assert item is not None, text
        stage = next((stage for mark, stage in MARKS.items() if mark in text), "thought")
        return f"{item[1]}/{stage}/{body['seed']}"

    def reply(self, place: str) -> str:
        """The next reply of an item at a stage; the last one is said again and again."""
        item, stage, _ = place.split("/")
        name = f"{item}/{stage}"
        texts = self.replies.get(name) or self.replies.get(stage) or ["?"]
        said = sum(n for key, n in self.whole.items() if key.startswith(name + "/"))
        return texts[min(said, len(texts) - 1)]

    def fault(self, place: str) -> Fault | None:
        item, stage, _ = place.split("/")
        waiting = self.faults.get(f"{item}/{stage}") or []
        if waiting and waiting[0].endswith("*"):
            return waiting[0][:-1]
        return waiting.pop(0) if waiting else None


class Handler(BaseHTTPRequestHandler):
    teacher: Teacher
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "faulty-1", "owned_by": "nobody"}]})

    def do_POST(self) -> None:
        teacher = self.teacher
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        place = teacher.key(body)
        with teacher.lock:
            teacher.requests.append((time.monotonic(), place))
            teacher.under_way += 1
            teacher.most_under_way = max(teacher.most_under_way, teacher.under_way)
            fault = teacher.fault(place)
        try:
            self._answer(teacher, place, fault)
        finally:
            with teacher.lock:
                teacher.under_way -= 1

    def _answer(self, teacher: Teacher, place: str, fault: Fault | None) -> None:
        if fault == "hold":
            teacher.release.wait(30)
            self.close_connection = True
            return
        if fault == "shut":
            self.close_connection = True
            return
        if fault is not None and fault.isdigit():
            headers = {"Retry-After": teacher.retry_after} if fault == "429" else {}
            self._send(int(fault), {"error": {"message": f"no, {fault}"}}, headers)
            return
        with teacher.lock:
            text = teacher.reply(place)
            if fault != "half":
                teacher.whole[place] += 1
        finish = "length" if text.endswith("[cut]") else "stop"
        message = {"role": "assistant", "content": text.removesuffix("[cut]")}
        usage = {"prompt_tokens": 1000, "completion_tokens": 500}
        data = {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}
        self._send(200, data, half=fault == "half")

    def _send(
        self, status: int, data: Any, headers: dict[str, str] | None = None, *, half: bool = False
    ) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.close_connection = True


@contextmanager
def serve(teacher: Teacher) -> Iterator[Teacher]:
    """The teacher at ``teacher.url`` while the block runs."""
    handler = type("OwnHandler", (Handler,), {"teacher": teacher})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield teacher
    finally:
        teacher.release.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with serve(Teacher()) as running:
        yield running

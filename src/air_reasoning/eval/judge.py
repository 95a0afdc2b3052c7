"""A language model that says whether an answer means the gold one, for benchmarks that ask for it.

    with Judge(JudgeConfig(endpoint="http://127.0.0.1:8000/v1", model="qwen3-8b"), cache) as judge:
        judge.same("What is the length?", "0.5 m", "50 cm")      # True

Any chat-completions endpoint, at temperature 0, one question at a time. Every verdict is kept in a
JSON lines file under the model and the whole question, so that a second run costs nothing and says
the same. A judge that cannot be reached, or answers neither 1 nor 0 after ``TRIES``, is an error of
ours: nothing is scored 0 for it.
"""

import hashlib
import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import Field

from air_reasoning.answers import Verdict
from air_reasoning.config import Config
from air_reasoning.errors import ConfigError, SamplerError
from air_reasoning.eval.benchmarks.adapter import Adapter, Scorer
from air_reasoning.files import LineFile
from air_reasoning.json_io import dump_line, read_jsonl
from air_reasoning.types import Task

TRIES = 3
PROMPT_ID = "air-judge-1"
PROMPT = """Two answers to one maths question follow. Do they say the same?
The second must be complete and mean exactly the first: the same value (0.5 m is 50 cm), the same \
expression, interval or set; for a choice, the letter or the text of that option.
Reply with 1 if they do and with 0 if they do not, and nothing else.

Question: {question}
First answer: {gold}
Second answer: {given}
Reply:"""


class JudgeConfig(Config):
    """Which model judges, where the benchmark lets a model judge."""

    endpoint: str = ""
    """Base URL of a chat-completions service, as in http://127.0.0.1:8000/v1; empty: no judge."""
    model: str = ""
    """Name of the model there."""
    key_variable: str = "JUDGE_API_KEY"
    """Environment variable that holds the service's key, if it wants one."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds that one question may take."""

    @property
    def identity(self) -> str:
        """What a report says of the judge; empty without one."""
        return f"{self.model} ({PROMPT_ID})" if self.endpoint else ""


class Judge:
    """Verdicts by a model, remembered in ``cache``."""

    def __init__(self, config: JudgeConfig, cache: Path) -> None:
        """``cache`` is made if it is absent. Raises DataError: it is broken."""
        self._config = config
        self._lock = threading.Lock()
        self._known = {row["key"]: bool(row["same"]) for row in _rows(cache)}
        self._file = LineFile(cache)
        self.asked = 0

    def same(self, question: str, gold: str, given: str) -> bool:
        """Whether ``given`` means ``gold``; an empty answer never does.

        Raises:
            SamplerError: the judge cannot be reached or does not answer 1 or 0.
        """
        if not given.strip():
            return False
        prompt = PROMPT.format(question=question, gold=gold, given=given)
        key = hashlib.sha256(f"{self._config.identity}\n{prompt}".encode()).hexdigest()
        with self._lock:
            if key in self._known:
                return self._known[key]
        same = self._ask(prompt)
        with self._lock:
            self.asked += 1
            self._known[key] = same
            self._file.append(dump_line({"key": key, "judge": self._config.identity, "same": same}))
        return same

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _ask(self, prompt: str) -> bool:
        reply = ""
        for _ in range(TRIES):
            reply = _chat(self._config, prompt).replace("Judgement:", "").strip()
            if reply[:1] in ("0", "1"):
                return reply[0] == "1"
        raise SamplerError(
            f"judge {self._config.model}: replied {reply[:80]!r} {TRIES} times, expected 1 or 0; "
            "use a model that follows instructions"
        )


def with_judge(adapter: Adapter, judge: Judge, scorer: Scorer, *, extracted: bool) -> Scorer:
    """``scorer``, but free-form answers of a benchmark that ``extract``s are judged by the model.

    ``extracted``: the texts are stored extractions already.
    """
    extract = adapter.extract
    if extract is None:
        raise ConfigError(f"{adapter.title} is scored by rules; leave the judge out")

    def score(task: Task, text: str) -> Verdict:
        if task.answer.type == "choice":
            return scorer(task, text)
        short = text.strip() if extracted else extract(task, text)
        question = str(task.meta.get("question", ""))
        return Verdict(
            correct=judge.same(question, task.answer.value, short),
            method="judge" if short else "none",
            extracted=short or None,
            route="fallback" if short else "none",
        )

    return score


def _chat(config: JudgeConfig, prompt: str) -> str:
    body = {
        "model": config.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 8,
    }
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(config.key_variable, ""):
        headers["Authorization"] = f"Bearer {key}"
    url = f"{config.endpoint.rstrip('/')}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=config.timeout_s) as answer:
            data: Any = json.loads(answer.read())
        return str(data["choices"][0]["message"]["content"])
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise SamplerError(f"judge at {url}: {error}; is it running?") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SamplerError(f"judge at {url}: not a chat completion ({error!r})") from None


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(path, torn_end=True)] if path.exists() else []

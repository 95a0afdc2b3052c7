"""Language models that score, for benchmarks that officially ask one: a judge and an extractor.

    config = JudgeConfig(endpoint="http://127.0.0.1:8000/v1", model="qwen3-8b")
    with side_models(config, ExtractorConfig(), Path("replies.jsonl")) as models:
        says_the_same(models.judge, "What is the length?", "0.5 m", "50 cm")      # True

An *extractor* names the short answer of a response, where rules would stand in for the official
model; a *judge* says whether a free-form answer means the gold one. Prompts are ours, and their
names are in the report with the model's: such a score is comparable with itself only.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from air_reasoning.answers import Verdict
from air_reasoning.errors import ConfigError
from air_reasoning.eval.benchmarks.adapter import Adapter, Scorer
from air_reasoning.eval.side_model import SideModel, SideModelConfig
from air_reasoning.types import Task

JUDGE_PROMPT_ID = "air-judge-1"
JUDGE_PROMPT = """Two answers to one maths question follow. Do they say the same?
The second must be complete and mean exactly the first: the same value (0.5 m is 50 cm), the same \
expression, interval or set; for a choice, the letter or the text of that option.
Reply with 1 if they do and with 0 if they do not, and nothing else.

Question: {question}
First answer: {gold}
Second answer: {given}
Reply:"""
EXTRACTOR_PROMPT_ID = "air-extractor-1"
EXTRACTOR_PROMPT = """A question and somebody's response to it follow. Which answer does the \
response give?
Do not solve the question and do not correct the response: copy its final answer, as {form}. \
If it gives none, write NONE. Write nothing else.

Question: {question}

Response: {response}

Its answer:"""
MAX_RESPONSE = 20_000
"""Characters of a response that the extractor is shown; of a longer one the last ones."""
MAX_REPLY = 200


class JudgeConfig(SideModelConfig):
    """Which model judges free-form answers, where the benchmark lets a model judge."""


class ExtractorConfig(SideModelConfig):
    """Which model reads the short answer off a response, where the benchmark lets a model do so."""


@dataclass(kw_only=True, slots=True, frozen=True)
class SideModels:
    """The models that are there."""

    judge: SideModel | None = None
    extractor: SideModel | None = None

    @property
    def all(self) -> list[SideModel]:
        """Those that are there."""
        return [model for model in (self.judge, self.extractor) if model is not None]


@contextmanager
def side_models(
    judge: JudgeConfig, extractor: ExtractorConfig, cache: Path
) -> Generator[SideModels]:
    """Open those that have an endpoint; both keep their replies in ``cache``.

    Raises:
        DataError: the cache is broken.
    """
    with ExitStack() as stack:
        opened = [
            stack.enter_context(SideModel(config, cache, prompt)) if config.endpoint else None
            for config, prompt in ((judge, JUDGE_PROMPT_ID), (extractor, EXTRACTOR_PROMPT_ID))
        ]
        yield SideModels(judge=opened[0], extractor=opened[1])


def side_model_names(judge: JudgeConfig, extractor: ExtractorConfig) -> dict[str, str]:
    """What a report says of them: the model and the name of the prompt, or none."""
    asked = (("judge", judge, JUDGE_PROMPT_ID), ("extractor", extractor, EXTRACTOR_PROMPT_ID))
    return {
        name: f"{config.model} ({prompt})" if config.endpoint else "none"
        for name, config, prompt in asked
    }


def check_roles(adapter: Adapter | None, *, judge: bool, extractor: bool, strict: bool) -> None:
    """Raises ConfigError: a model was given where the benchmark's authors have rules."""
    title = adapter.title if adapter else "a task folder"
    if (judge or extractor) and strict:
        raise ConfigError("strict scoring asks no model; leave judge and extractor out")
    if judge and (adapter is None or adapter.extract is None):
        raise ConfigError(f"{title} is scored by rules; leave the judge out")
    if extractor and (adapter is None or not adapter.extracted_by_model):
        raise ConfigError(f"{title} extracts by rules; leave the extractor out")


def says_the_same(judge: SideModel, question: str, gold: str, given: str) -> bool:
    """Whether ``given`` means ``gold``; an empty answer never does. Raises SamplerError."""
    if not given.strip():
        return False
    prompt = JUDGE_PROMPT.format(question=question, gold=gold, given=given)
    return judge.ask(prompt, _read_verdict)


def short_answer(extractor: SideModel, task: Task, response: str) -> str:
    """What the response answers in the model's words; "" for none. Raises SamplerError."""
    if not response.strip():
        return ""
    prompt = EXTRACTOR_PROMPT.format(
        form=_form(task), question=_question(task), response=response[-MAX_RESPONSE:]
    )
    reply = extractor.ask(prompt, _read_reply, max_tokens=MAX_REPLY)
    return "" if reply.strip(" .").upper() == "NONE" else reply


def with_models(
    adapter: Adapter, scorer: Scorer, models: SideModels, *, extracted: bool = False
) -> Scorer:
    """``scorer`` with a model's extraction, a model's judgement, or both.

    ``extracted``: the texts are stored extractions already, so that only a judge has work.
    """
    judge, extractor = models.judge, None if extracted else models.extractor
    if extractor is not None:
        scorer = _extracting(adapter, extractor)
    if judge is None or adapter.extract is None:
        return scorer
    extract, score_choice = adapter.extract, scorer

    def score(task: Task, text: str) -> Verdict:
        if task.answer.type == "choice":
            return score_choice(task, text)
        short = text.strip()
        if not extracted:
            short = short_answer(extractor, task, text) if extractor else extract(task, text)
        question = str(task.meta.get("question", ""))
        return Verdict(
            correct=says_the_same(judge, question, task.answer.value, short),
            method="judge" if short else "none",
            extracted=short or None,
            route="fallback" if short else "none",
        )

    return score


def _extracting(adapter: Adapter, extractor: SideModel) -> Scorer:
    def score(task: Task, text: str) -> Verdict:
        ready = adapter.needs_no_model(task, text) if adapter.needs_no_model else ""
        return adapter.official_extraction(task, ready or short_answer(extractor, task, text))

    return score


def _question(task: Task) -> str:
    return "".join(part.text for part in task.prompt if part.kind == "text")


def _form(task: Task) -> str:
    match task.answer.type:
        case "choice":
            return "the letter of the option (all letters, if it chooses several)"
        case "int":
            return "an integer"
        case "float":
            return f"a number with {task.answer.precision or 1} decimals"
        case "list":
            return "a Python list"
        case _:
            return "the value, expression or words that it gives"


def _read_verdict(reply: str) -> bool | None:
    digit = reply.replace("Judgement:", "").strip()[:1]
    return digit == "1" if digit in ("0", "1") else None


def _read_reply(reply: str) -> str | None:
    return reply.strip().removeprefix("Its answer:").strip() or None

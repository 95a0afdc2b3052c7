"""Rows of other programs to records. Each format is one function; ``detect`` tells them apart.

Layouts as their projects document them in November 2026: verl (RL parquet, multi-turn SFT parquet),
TRL (conversational, with ``images``), ms-swift, LLaMA-Factory (sharegpt, alpaca), EasyR1,
ReTool-SFT, Thyme-SFT, DeepEyesV2 cold start, Geo170K (LLaVA style), a table of questions (CSV).
"""

import re
from collections.abc import Callable
from typing import Any, cast

from air_reasoning.answers import extract_answer
from air_reasoning.data.formats.dialogue import (
    split_messages,
    with_executions,
)
from air_reasoning.data.formats.record import (
    CARRIED,
    PLACEHOLDER,
    Record,
    Row,
    RowError,
    as_text,
    carried,
    guessed_answer,
    pictures_of,
    prompt_parts,
)
from air_reasoning.json_io import from_json
from air_reasoning.turn_format import AIR, THYME, TurnFormat
from air_reasoning.types import Answer, Part, Segment

Reader = Callable[[Row], Record]


def detect(row: Row) -> str | None:
    """The name of the format whose keys a row has, or None."""
    keys = row.keys()
    if "reward_model" in keys or {"data_source", "prompt"} <= keys:
        return "verl"
    if "conversations" in keys:
        return "geo170k" if isinstance(row.get("image"), str) else "llamafactory"
    if "messages" in keys:
        text = str(row["messages"])
        if "Code execution result:" in text:
            return "deepeyesv2"
        if "<interpreter>" in text and not _has_tool_role(row["messages"]):
            return "retool"
        return "swift"
    if {"question", "response"} <= keys and "image" in keys:
        return "thyme"
    if "instruction" in keys and "output" in keys:
        return "llamafactory"
    if "problem" in keys and "answer" in keys:
        return "easyr1"
    if "prompt" in keys:
        return "trl"
    if keys & set(QUESTION_COLUMNS):
        return "csv"
    return None


def _has_tool_role(messages: Any) -> bool:
    names = {str(m.get("role", m.get("from"))) for m in messages if isinstance(m, dict)}
    return bool(names & {"tool", "tool_response", "observation"})


def read_verl(row: Row) -> Record:
    """RL rows (``reward_model.ground_truth``), and multi-turn SFT rows (``messages``)."""
    messages = row["prompt"] if "prompt" in row else row.get("messages")
    reward = row.get("reward_model")
    gold = cast(Row, reward).get("ground_truth") if isinstance(reward, dict) else None
    extra = row.get("extra_info")
    extra = cast(Row, extra) if isinstance(extra, dict) else {}
    known = {"prompt", "messages", "images", "reward_model", "data_source", "ability", "extra_info"}
    record = _dialogue(row, messages, gold, known | {"tools"})
    record.source = record.source or str(row.get("data_source") or "")
    if row.get("ability"):
        record.meta.setdefault("ability", row["ability"])
    for name, value in extra.items():
        if value is not None and name != CARRIED:
            record.meta.setdefault(name, value)
    return _finished(record, carried(extra) or carried(row))


def read_messages(row: Row) -> Record:
    """ms-swift, LLaMA-Factory's sharegpt, DeepEyesV2, Geo170K, TRL's SFT: a list of messages.

    Without a gold answer it is read off the solution; Geo170K ends with ``Answer: X``.
    """
    messages = row.get("messages", row.get("conversations"))
    gold = next((row[n] for n in ANSWER_COLUMNS if row.get(n) is not None), None)
    known = {
        "messages",
        "conversations",
        "images",
        "image",
        "id",
        "system",
        "tools",
        *ANSWER_COLUMNS,
    }
    record = _dialogue(row, messages, gold, known)
    if row.get("system"):
        record.meta.setdefault("system", row["system"])
    return _finished(record, carried(row))


def read_alpaca(row: Row) -> Record:
    """LLaMA-Factory: sharegpt messages, or instruction, input and output."""
    if "instruction" not in row:
        return read_messages(row)
    text = "\n".join(t for t in (row["instruction"], row.get("input")) if t)
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": row["output"]}]
    known = {"instruction", "input", "output", "images", "system", "history"}
    return _finished(_dialogue(row, messages, None, known), carried(row))


def read_retool(row: Row) -> Record:
    """ReTool-SFT: cells and interpreter outputs inside one assistant turn.

    Its prompt wraps the question ("*user question:*"); only the question is kept.
    """
    record = read_messages(row)
    record.prompt = [_bare_question(part) for part in record.prompt]
    return record


def _bare_question(part: Part) -> Part:
    found = _USER_QUESTION.search(part.text) if part.kind == "text" else None
    return Part(kind="text", text=found[1].strip()) if found else part


_USER_QUESTION = re.compile(r"\*user question:\*\s*(.+?)\s*(?:\n\s*\*|\Z)", re.DOTALL)


def read_trl(row: Row) -> Record:
    """``prompt`` as text or messages, ``images`` or ``image``, ``solution`` or ``answer``."""
    prompt = row["prompt"]
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if (completion := row.get("completion")) is not None:
        said = [{"role": "assistant", "content": completion}]
        messages += said if isinstance(completion, str) else list(completion)
    gold = next((row[n] for n in ANSWER_COLUMNS if row.get(n) is not None), None)
    known = {"prompt", "completion", "images", "image", *ANSWER_COLUMNS}
    return _finished(_dialogue(row, messages, gold, known), carried(row))


def read_easyr1(row: Row) -> Record:
    """``problem`` with placeholders, ``answer``, ``images``."""
    messages = [{"role": "user", "content": as_text(row["problem"], "problem")}]
    known = {"problem", "answer", "images"}
    return _finished(_dialogue(row, messages, row["answer"], known), carried(row))


def read_thyme(row: Row) -> Record:
    """``image`` (list), ``question``, ``response`` with ``<sandbox_output>``."""
    messages = [
        {"role": "user", "content": as_text(row["question"], "question")},
        {"role": "assistant", "content": as_text(row["response"], "response")},
    ]
    gold = next((row[n] for n in ANSWER_COLUMNS if row.get(n) is not None), None)
    known = {"image", "question", "response", "id", *ANSWER_COLUMNS}
    return _finished(_dialogue(row, messages, gold, known, THYME), carried(row))


QUESTION_COLUMNS = ("question", "problem", "query", "prompt", "text", "instruction")
ANSWER_COLUMNS = ("solution", "answer", "ground_truth", "gold", "label", "target")
IMAGE_COLUMNS = ("image", "images", "image_path", "file_name", "picture", "img", "path")
CHOICE_COLUMNS = ("choices", "options")


def read_table(row: Row) -> Record:
    """A table of questions: columns for question, answer and picture by their usual names.

    Several pictures are separated by ``;`` or ``|``, choices by ``|``; ``split``, ``type``,
    ``tolerance`` and ``unit`` are used where they are there, other columns go to ``meta``.
    """
    lower = {name.strip().lower(): name for name in row}

    def take(names: tuple[str, ...]) -> Any:
        return next(
            (row[lower[n]] for n in names if n in lower and row[lower[n]] not in (None, "")), None
        )

    question, images, gold = take(QUESTION_COLUMNS), take(IMAGE_COLUMNS), take(ANSWER_COLUMNS)
    if question is None:
        raise RowError("no_question", f"columns are {', '.join(row)}")
    if isinstance(images, str):
        images = [name.strip() for name in re.split(r"[;|]", images) if name.strip()]
    pictures = pictures_of(images)
    answer = guessed_answer(gold)
    choices = take(CHOICE_COLUMNS)
    if isinstance(choices, str):
        choices = [choice.strip() for choice in choices.split("|")]
    record = Record(
        prompt=prompt_parts(str(question), len(pictures)), pictures=pictures,
        answer=_typed(answer, take), choices=[str(c) for c in choices or []],
        id=str(take(("id", "uid")) or ""),
    )  # fmt: skip
    used = {
        *QUESTION_COLUMNS,
        *IMAGE_COLUMNS,
        *ANSWER_COLUMNS,
        *CHOICE_COLUMNS,
        *_TYPES,
        "id",
        "uid",
    }
    record.meta = {
        n: row[raw] for n, raw in lower.items() if n not in used and row[raw] not in ("", None)
    }
    return record


_TYPES = ("type", "tolerance", "unit", "precision")


def _typed(answer: Answer, take: Callable[[tuple[str, ...]], Any]) -> Answer:
    """What columns say of the answer instead of what it looks like."""
    given: dict[str, Any] = {"value": answer.value, "type": take(("type",)) or answer.type}
    given["unit"] = str(take(("unit",)) or "")
    if (tolerance := take(("tolerance",))) is not None:
        given["tolerance"] = float(tolerance)
    if (precision := take(("precision",))) is not None:
        given["precision"] = int(precision)
    return from_json(Answer, given, "columns of the answer")


READERS: dict[str, Reader] = {
    "verl": read_verl, "trl": read_trl, "swift": read_messages, "llamafactory": read_alpaca,
    "easyr1": read_easyr1, "retool": read_retool, "thyme": read_thyme,
    "deepeyesv2": read_messages, "geo170k": read_messages, "csv": read_table,
}  # fmt: skip


def _dialogue(
    row: Row, messages: Any, gold: Any, known: set[str], form: TurnFormat = AIR
) -> Record:
    """A record from messages and a gold answer; without one it is read off the solution."""
    system, question, solution = split_messages(messages, form)
    pictures = pictures_of(row.get("images", row.get("image")))
    in_prompt = min(len(pictures), question.count(PLACEHOLDER) or len(pictures))
    later = sum(s.text.count(PLACEHOLDER) for s in solution or () if s.kind == "output")
    if question.count(PLACEHOLDER) == 0 and later:
        in_prompt = len(pictures) - later
    if in_prompt + later != len(pictures) or question.count(PLACEHOLDER) not in (0, in_prompt):
        shown = question.count(PLACEHOLDER) + later
        raise RowError("placeholders", f"{shown} placeholders, {len(pictures)} pictures")
    if "answer" in carried(row):
        answer = Answer(value="")  # comes from there
    else:
        answer = guessed_answer(gold) if gold is not None else _answered(solution)
    record = Record(
        prompt=prompt_parts(question, in_prompt), pictures=pictures[:in_prompt], answer=answer,
        solution=solution, output_pictures=pictures[in_prompt:], id=str(row.get("id") or ""),
        unread=[n for n in row if n not in known and n != CARRIED and row[n] is not None],
    )  # fmt: skip
    if system:
        record.meta["system"] = system
    return record


_GEO_ANSWER = re.compile(r"\bAnswer:\s*([A-H])\b")


def _answered(solution: list[Segment] | None) -> Answer:
    """The answer that a solution ends with, where the row has no gold one."""
    if not solution:
        raise RowError("no_answer", "neither a gold answer nor a solution")
    outputs = [i for i, s in enumerate(solution) if s.kind == "output"]
    last = solution[outputs[-1] + 1 :] if outputs else solution
    text = "".join(s.text for s in last if s.kind in ("text", "answer"))
    letter = _GEO_ANSWER.findall(text)
    found = extract_answer(text)
    if letter and found.route in ("fallback", "phrase", "none"):
        return Answer(value=letter[-1], type="choice")
    if found.route == "none":
        raise RowError("no_answer", "the solution ends without one")
    return guessed_answer(found.text)


def _finished(record: Record, kept: Row) -> Record:
    """What our own column kept goes back to where it was."""
    if not kept:
        return record
    record.id = str(kept.get("id", record.id))
    if "prompt" in kept:
        record.prompt = [from_json(Part, part, f"column {CARRIED}") for part in kept["prompt"]]
    if kept.get("question_only"):
        record.solution = None
    if "answer" in kept:
        record.answer = from_json(Answer, kept["answer"], f"column {CARRIED}")
    record.choices = list(kept.get("choices", ()))
    record.source, record.license = str(kept.get("source", "")), str(kept.get("license", ""))
    record.meta = dict(kept.get("meta", {}))
    if record.solution is not None and "executions" in kept:
        record.solution = with_executions(record.solution, kept["executions"])
    record.carried = kept
    return record

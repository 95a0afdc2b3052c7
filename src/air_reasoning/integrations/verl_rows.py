"""Tasks as rows of verl's parquet files, and back.

A row is what verl's own readers expect: the prompt with ``<image>``, pictures as PNG bytes in the
order of their placeholders. The whole task is beside it, in ``extra_info.air_task``, with the
pictures that its prompt does not show; roll-outs are made from that.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.files import atomic_file
from air_reasoning.images import as_rgb, decode_image, load_ref
from air_reasoning.json_io import dump_line, from_json
from air_reasoning.types import Task

AGENT = "air"
_MARKS = re.compile("<(image|video|audio)>")
_ROWS_AT_ONCE = 256


def write_rows(path: Path, tasks: Sequence[Task], split: str, system: str = "") -> int:
    """Write ``path`` (parquet), ``_ROWS_AT_ONCE`` rows in memory at a time; returns the rows.

    Raises:
        DataError: a picture is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as file, pq.ParquetWriter(file, _schema(pa)) as writer:
        for start in range(0, len(tasks), _ROWS_AT_ONCE):
            part = tasks[start : start + _ROWS_AT_ONCE]
            rows = [task_row(task, start + n, split, system) for n, task in enumerate(part)]
            writer.write_table(pa.Table.from_pylist(rows, schema=_schema(pa)))
    return len(tasks)


def task_row(task: Task, index: int, split: str, system: str = "") -> dict[str, Any]:
    """One task as verl reads it. A question's own ``<image>`` becomes ``< image>`` there."""
    pictures = [_png(load_ref(ref)) for ref in task.images]
    shown = [part.image for part in task.prompt if part.kind == "image"]
    unseen = [n for n in range(len(pictures)) if n not in shown]
    texts = [
        "<image>" if part.kind == "image" else _MARKS.sub(r"< \1>", part.text)
        for part in task.prompt
    ]
    bare = replace(task, images=[replace(ref, path="") for ref in task.images])
    messages = [{"role": "system", "content": system}] if system else []
    return {
        "data_source": task.source or AGENT,
        "agent_name": AGENT,
        "prompt": [*messages, {"role": "user", "content": "".join(texts)}],
        "images": [{"bytes": pictures[n], "path": None} for n in shown],
        "ability": str(task.meta.get("kind", "")),
        "reward_model": {"style": "rule", "ground_truth": task.answer.value},
        "extra_info": {
            "index": index,
            "split": split,
            "need_tools_kwargs": False,
            "air_task": dump_line(bare).decode(),
            "unseen": {"place": unseen, "png": [pictures[n] for n in unseen]},
        },
    }


def row_task(row: Mapping[str, Any]) -> tuple[Task, list[Image.Image]]:
    """The task of a row and its pictures, in the task's order.

    Args:
        row: as verl hands it on, with ``raw_prompt`` (pictures opened) instead of ``images``.

    Raises:
        DataError: not a row of ours, or its pictures and its task differ.
    """
    try:
        info = row["extra_info"]
        task = from_json(Task, orjson.loads(info["air_task"]), "extra_info.air_task")
        unseen = zip(info["unseen"]["place"], info["unseen"]["png"], strict=True)
        images = {n: decode_image(data, f"task {task.id}, picture {n}") for n, data in unseen}
        places = [part.image for part in task.prompt if part.kind == "image"]
        images |= dict(zip(places, _pictures(row["raw_prompt"]), strict=True))
        return task, [images[n] for n in range(len(task.images))]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"this row is not one of `air export verl-job` ({type(error).__name__}: {error}); "
            "export the tasks again"
        ) from None


def _pictures(messages: Iterable[Mapping[str, Any]]) -> list[Image.Image]:
    contents = [m["content"] for m in messages if not isinstance(m["content"], str)]
    return [as_rgb(part["image"]) for c in contents for part in c if part["type"] == "image"]


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG", compress_level=1)
    return data.getvalue()


def _schema(pa: Any) -> Any:
    text, picture = pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    message = pa.struct([("role", text), ("content", text)])
    unseen = pa.struct([("place", pa.list_(pa.int64())), ("png", pa.list_(pa.binary()))])
    info = [
        *(("index", pa.int64()), ("split", text), ("need_tools_kwargs", pa.bool_())),
        *(("air_task", text), ("unseen", unseen)),
    ]
    return pa.schema(
        [
            *(("data_source", text), ("agent_name", text), ("prompt", pa.list_(message))),
            *(("images", pa.list_(picture)), ("ability", text)),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            ("extra_info", pa.struct(info)),
        ]
    )

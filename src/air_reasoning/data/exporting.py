"""``air data export``: a task folder (and its samples) in another program's format.

Says what the format's own fields do not hold: what our column keeps, and what is lost.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from air_reasoning.config import Display
from air_reasoning.data.formats import containers
from air_reasoning.data.formats.containers import RowWriter, arrow
from air_reasoning.data.formats.write import (
    LAYOUTS,
    Example,
    FormatName,
    Layout,
    carried_fields,
    copied,
    lost_fields,
    to_row,
)
from air_reasoning.data.importing import SAMPLES_NAME
from air_reasoning.data.sample_files import stream_samples
from air_reasoning.display import progress
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.files import atomic_write
from air_reasoning.json_io import dump_line, dump_pretty
from air_reasoning.task_files import stream_tasks
from air_reasoning.types import ImageRef

Only = Literal["auto", "tasks", "samples"]


@dataclass(kw_only=True, slots=True)
class Exported:
    """``carried`` and ``lost`` count rows: a field is kept in our column, or not at all."""

    format: str
    what: str
    rows: int = 0
    carried: Counter[str] = field(default_factory=Counter[str])
    lost: Counter[str] = field(default_factory=Counter[str])


def export_data(
    folder: Path,
    out: Path,
    format_name: FormatName,
    *,
    only: Only = "auto",
    carry: bool = True,
    limit: int | None = None,
    display: Display = "none",
) -> Exported:
    """Write ``folder`` into ``out`` and return what was held and what was not.

    Args:
        folder: a task folder, or a data run; with samples.jsonl its solutions are exported.
        out: a new folder.
        format_name: one of ``LAYOUTS``.
        only: tasks: questions even where there are samples; samples: insist on them.
        carry: keep in a column ``air`` what the format has no field for.
        limit: only that many rows.
        display: progress on stderr.

    Raises:
        ConfigError: ``out`` holds something, or the format has no rows of that kind.
        DataError: broken tasks or samples, or missing pictures.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty; name a new folder")
    layout = LAYOUTS[format_name]
    has_samples = folder.is_dir() and (folder / SAMPLES_NAME).is_file()
    if only == "samples" and not has_samples:
        raise ConfigError(f"{folder}: holds no {SAMPLES_NAME}")
    with_samples = only == "samples" or (only == "auto" and has_samples and layout.solutions)
    counts = Exported(format=format_name, what="samples" if with_samples else "tasks")
    examples = itertools.islice(_examples(folder, with_samples), limit)
    with progress(display, None, "rows") as bar, _writer(out, layout, with_samples, carry) as add:
        for example in examples:
            row = to_row(example, layout, _show(out, layout), carry=carry)
            add(row)
            counts.rows += 1
            counts.lost.update(lost_fields(example, layout, carry=carry))
            if carry:
                counts.carried.update(carried_fields(example, layout).keys())
            if counts.rows % 256 == 0:
                bar.advance(256)
    if not counts.rows:
        raise DataError(f"{folder}: nothing to export")
    _beside(out, layout, with_samples, carry)
    atomic_write(out / "export.json", dump_pretty(counts))
    return counts


def _examples(folder: Path, with_samples: bool) -> Iterator[Example]:
    if with_samples:
        for number, (task, sample) in enumerate(stream_samples(folder)):
            yield Example(task=task, trajectory=sample.trajectory, mode=sample.mode, number=number)
        return
    for number, task in enumerate(stream_tasks(folder)):
        yield Example(task=task, trajectory=None, mode="", number=number)


def _show(out: Path, layout: Layout) -> Any:
    """How the format holds a picture."""
    if layout.embedded:
        return lambda ref: {"bytes": _bytes(ref), "path": f"{ref.sha256}.png"}
    if layout.name == "swift":  # paths must be absolute
        return lambda ref: str(copied(ref, out.absolute() / "images"))
    return lambda ref: str(copied(ref, out / "images").relative_to(out))


def _bytes(ref: ImageRef) -> bytes:
    try:
        return Path(ref.path).read_bytes()
    except OSError as error:
        raise DataError(f"{ref.path}: cannot be read ({error.strerror})") from None


def _writer(
    out: Path, layout: Layout, with_samples: bool, carry: bool
) -> AbstractContextManager[RowWriter]:
    match layout.name:
        case "swift":
            return containers.json_lines(out / "data.jsonl")
        case "llamafactory":
            return containers.json_array(out / "data.json")
        case "trl":
            name = out / "data-00000-of-00001.arrow"
            return containers.arrow_stream(name, schema(layout, with_samples, carry))
        case _:
            return containers.parquet(out / "train.parquet", schema(layout, with_samples, carry))


def schema(layout: Layout, with_samples: bool, carry: bool) -> Any:
    """The arrow schema of a format's rows, with the features that HF ``datasets`` reads."""
    pa = arrow()
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    pictures = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    if layout.name == "retool":
        fields = [("messages", message)]
    elif with_samples:
        fields = [("messages", message), ("images", pictures)]
    elif layout.name == "verl":
        extra = [("index", pa.int64()), ("split", pa.string())]
        extra += [("air", pa.string())] if carry else []
        reward = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])
        fields = [
            ("data_source", pa.string()), ("prompt", message), ("images", pictures),
            ("ability", pa.string()), ("reward_model", reward), ("extra_info", pa.struct(extra)),
        ]  # fmt: skip
    elif layout.name == "trl":
        part = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
        turns = pa.list_(pa.struct([("role", pa.string()), ("content", part)]))
        fields = [("prompt", turns), ("images", pictures), ("solution", pa.string())]
    else:
        fields = [("problem", pa.string()), ("answer", pa.string()), ("images", pictures)]
    if carry and not (layout.name == "verl" and not with_samples):
        fields.append(("air", pa.string()))
    plain = pa.schema(fields)
    info = {"info": {"features": features(plain)}}
    return plain.with_metadata({"huggingface": dump_line(info).decode()})


def features(plain: Any) -> dict[str, Any]:
    """The features of HF ``datasets`` for a schema; a list named images is one of pictures."""
    return {
        column.name: {"_type": "Sequence", "feature": {"_type": "Image"}}
        if column.name == "images" else _feature(column.type) for column in plain
    }  # fmt: skip


def _feature(kind: Any) -> Any:
    pa = arrow()
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"_type": "Value", "dtype": str(kind)}


def _beside(out: Path, layout: Layout, with_samples: bool, carry: bool) -> None:
    """The small files that other programs want beside the data."""
    if layout.name == "trl":
        described = features(schema(layout, with_samples, carry))
        info = {
            "citation": "",
            "description": "",
            "features": described,
            "homepage": "",
            "license": "",
        }
        atomic_write(out / "dataset_info.json", dump_pretty(info))
        state = {
            "_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_format_columns": None,
            "_fingerprint": _fingerprint(out), "_format_kwargs": {}, "_format_type": None,
            "_output_all_columns": False, "_split": "train",
        }  # fmt: skip
        atomic_write(out / "state.json", dump_pretty(state))
    if layout.name == "llamafactory":
        tags = {
            "role_tag": "role", "content_tag": "content", "user_tag": "user",
            "assistant_tag": "assistant", "observation_tag": "observation",
            "function_tag": "function_call", "system_tag": "system",
        }  # fmt: skip
        columns = {"messages": "messages", "images": "images"}
        entry = {
            "file_name": "data.json",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": tags,
        }
        atomic_write(out / "dataset_info.json", dump_pretty({"air": entry}))


def _fingerprint(out: Path) -> str:
    """Names the content, as ``datasets`` names its caches."""
    digest = hashlib.sha256()
    with (out / "data-00000-of-00001.arrow").open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def known_format(name: str) -> FormatName:
    """Raises ConfigError: no format of that name."""
    if name not in LAYOUTS:
        raise ConfigError(f"--format {name}: expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name].name


def known_part(name: str) -> Only:
    """Raises ConfigError: neither auto, tasks nor samples."""
    if name not in get_args(Only):
        raise ConfigError(f"--only {name}: expected one of {', '.join(get_args(Only))}")
    return cast(Only, name)

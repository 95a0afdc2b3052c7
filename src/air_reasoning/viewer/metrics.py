"""Metrics of a run as columns, the form that a chart wants; also what was added since."""

from pathlib import Path
from typing import Any

from air_reasoning.json_io import parse_json
from air_reasoning.run_reader import json_object


def metric_columns(run: Path, since: int = 0) -> dict[str, Any]:
    """``{"step": [1, 2], "columns": {"accuracy": [0.5, None]}, "size": bytes, "reset": False}``.

    ``since`` is the ``size`` of an earlier answer: only lines after it come. ``reset`` is True if
    the file has become shorter (a resumed training forgot steps): then all lines come.

    Raises:
        DataError: a line that is not a JSON object.
    """
    file = run / "metrics.jsonl"
    size = file.stat().st_size if file.exists() else 0
    reset = size < since
    start = 0 if reset else since
    data = b""
    if size > start:
        with file.open("rb") as opened:
            opened.seek(start)
            data = opened.read()
    whole = data[: data.rfind(b"\n") + 1]
    texts = [line for line in whole.splitlines() if line.strip()]
    lines = [json_object(parse_json(text, str(file)), str(file)) for text in texts]
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    return {
        "step": [line.get("step") for line in lines],
        "columns": {name: [number(line.get(name)) for line in lines] for name in names},
        "size": start + len(whole),
        "reset": reset,
    }


def number(value: Any) -> float | None:
    """A number as it is; what else somebody wrote for a figure is no point of a curve."""
    return value if isinstance(value, int | float) else None

"""Running a cell of a recorded trajectory again, in the sandbox, because somebody pressed a button.

The code comes from the run folder, never from the request: a page can only ask for what is there.
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.errors import DataError
from air_reasoning.images import open_image
from air_reasoning.json_io import to_json
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.turn_format import render_execution

OUTPUT_CHARS = 20_000


async def run_again(run: Path, record: Mapping[str, Any], segment: int) -> dict[str, Any]:
    """Execute the cell at ``segments[segment]`` after all executed cells before it.

    The session is a fresh one with the question's pictures, so random numbers and times differ
    from the recorded ones, and variables are what the cells before leave now.

    Returns:
        ``execution``; ``text``, which the model would read; ``figures``, PNG in base64.

    Raises:
        DataError: there is no cell at ``segment``, or a picture is gone. SandboxError: no sandbox.
    """
    segments = (record.get("trajectory") or record).get("segments", [])
    cells = [s["code"] for s in segments[: segment + 1] if s["kind"] == "code" and s.get("code")]
    if not 0 <= segment < len(segments) or not segments[segment].get("code"):
        raise DataError(f"segment {segment} of this trajectory is no cell that was executed")
    refs = (record.get("task") or {}).get("images", [])
    images = [open_image(run / ref["path"]) for ref in refs]
    pool = ProcessPool(SandboxConfig(max_sessions=1))
    try:
        async with pool.session(images) as session:
            for code in cells[:-1]:
                await session.run(code)
            execution = await session.run(cells[-1])
            pixels = [session.pixels[ref.sha256] for ref in execution.images]
    finally:
        await pool.close()
    return {
        "execution": to_json(execution),
        "text": render_execution(execution, OUTPUT_CHARS),
        "figures": [_png(image) for image in pixels],
    }


def _png(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()

"""One task of a named family: the picture, the question, the answer that its program prints."""

from PIL import Image

from air_reasoning.images import image_hash
from air_reasoning.tasks.families.item import Wanted, answer_of
from air_reasoning.tasks.families.known import LOOK_AGAIN, MADE, FamilyName
from air_reasoning.tasks.families.real_data import BOKEH_LICENSES
from air_reasoning.types import ImageRef, Part, Task


def draw_task(family: FamilyName, wanted: Wanted) -> tuple[Task, Image.Image]:
    """The task and its picture; the same state of ``wanted.rng``, the same task.

    ``meta`` holds split, difficulty, kind, family; ``program``, whose output is the answer;
    ``needs_code`` (hard questions, and those whose print has to be cropped, turned or stretched
    first) and ``operations``, what answering takes; ``columns``, the "table/column" shown;
    ``view``, code that shows what cannot be seen otherwise; and ``truth``, more
    of the ground truth.
    """
    item = MADE[family](wanted)
    asked = item.asked
    meta = {
        "split": wanted.split, "difficulty": wanted.difficulty, "kind": asked.kind,
        "family": family, "needs_code": wanted.difficulty == "hard" or family in LOOK_AGAIN,
        "operations": list(asked.operations), "columns": item.columns, "program": asked.program,
    }  # fmt: skip
    if item.view:
        meta["view"] = item.view
    if item.truth:
        meta["truth"] = item.truth
    image = item.image
    ref = ImageRef(sha256=image_hash(image), width=image.width, height=image.height, path="")
    task = Task(
        id="", prompt=[Part(kind="image"), Part(kind="text", text=asked.text)], images=[ref],
        answer=answer_of(asked), source=f"air-reasoning/{family}", meta=meta,
        license=_license(item.columns),
    )  # fmt: skip
    return task, image


def _license(columns: list[str]) -> str:
    """Ours, and that of tables whose package asks for their own to be named."""
    tables = sorted({column.partition("/")[0] for column in columns})
    data = [f"{BOKEH_LICENSES[table]} ({table})" for table in tables if table in BOKEH_LICENSES]
    return "; data: ".join(["Apache-2.0", *data])

"""``air tasks gallery``: one page with everything in it, to look at tasks before training."""

import base64
import hashlib
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image, ImageOps

from air_reasoning.files import atomic_write
from air_reasoning.images import load_ref
from air_reasoning.task_files import stream_tasks
from air_reasoning.types import Task

_LARGEST = 1600
_SCRIPT = """
const $ = id => document.getElementById(id);
function filter() {
  const words = $("search").value.toLowerCase().split(/\\s+/), level = $("difficulty").value;
  for (const section of document.querySelectorAll("section")) {
    let left = 0;
    for (const card of section.querySelectorAll("article")) {
      const text = (section.dataset.group + " " + card.textContent).toLowerCase();
      const other = level && card.dataset.difficulty !== level;
      card.hidden = other || !words.every(w => text.includes(w));
      left += !card.hidden;
    }
    section.hidden = !left || ($("group").value && section.dataset.group !== $("group").value);
  }
}
for (const id of ["search", "difficulty", "group"]) $(id).addEventListener("input", filter);
"""


@dataclass(kw_only=True, slots=True)
class _Group:
    name: str
    total: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    cards: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def write_gallery(tasks: Path, page: Path, *, per_group: int = 4) -> int:
    """Write the page and return how many tasks it shows.

    Args:
        tasks: a task folder or file; read as a stream, so that it may be large.
        page: the HTML file; pictures, style and script are inside, nothing is fetched.
        per_group: how many of each difficulty of each family (or kind, or source) are shown: the
            first ones.

    Raises:
        DataError: no tasks, a broken line or a missing picture.
    """
    groups: dict[str, _Group] = defaultdict(lambda: _Group(name=""))
    for task in stream_tasks(tasks):
        name = str(task.meta.get("family") or task.meta.get("kind") or task.source or "tasks")
        difficulty = str(task.meta.get("difficulty", ""))
        group = groups[name]
        group.name, group.total = name, group.total + 1
        group.counts[difficulty] += 1
        if group.counts[difficulty] <= per_group:
            group.cards.append(_card(task, difficulty))
    order = ("easy", "medium", "hard")
    names = {name for group in groups.values() for name in group.counts}
    known = [*(n for n in order if n in names), *sorted(names.difference(order))]
    for group in groups.values():
        group.cards.sort(key=lambda card: known.index(card["difficulty"]))
    shown = sum(len(group.cards) for group in groups.values())
    atomic_write(
        page, _page(list(groups.values()), known, f"Tasks of {tasks.name}", per_group, shown)
    )
    return shown


def _page(groups: list[_Group], known: list[str], title: str, per_group: int, shown: int) -> str:
    template = resources.files("air_reasoning.tasks") / "templates" / "gallery.html"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return environment.from_string(template.read_text("utf-8")).render(
        groups=sorted(groups, key=lambda group: group.name), difficulties=known, title=title,
        total=sum(group.total for group in groups), shown=shown, per_group=per_group,
        script=Markup(_SCRIPT), script_hash=digest,  # ours, and no part of any task
    )  # fmt: skip


def _card(task: Task, difficulty: str) -> dict[str, Any]:
    meta, answer = task.meta, task.answer
    tags = [difficulty, meta.get("kind"), meta.get("split"), *meta.get("operations", ())]
    tags += ["needs code"] if meta.get("needs_code") else []
    tolerance = f" ± {answer.tolerance:g}" if answer.tolerance else ""
    return {
        "difficulty": difficulty, "choices": task.choices,
        "question": "".join(part.text for part in task.prompt if part.kind == "text"),
        "answer": f"{answer.value}{' ' * bool(answer.unit)}{answer.unit}{tolerance}",
        "tags": [str(tag) for tag in tags if tag], "program": meta.get("program", ""),
        "view": meta.get("view", ""), "pictures": _pictures(task),
    }  # fmt: skip


def _pictures(task: Task) -> list[dict[str, Any]]:
    """Every picture; what cannot be read as it is also cropped, turned or stretched."""
    shown: list[dict[str, Any]] = []
    truth = task.meta.get("truth", {})
    for ref in task.images:
        image = load_ref(ref)
        size = f"{image.width} x {image.height} pixels"
        if not (isinstance(truth, dict) and "place" in truth):
            shown.append({"data": _data(image), "note": size, "width": min(image.width, 480)})
            if isinstance(truth, dict) and (mended := _mended(image, truth)):
                shown.append({"data": _data(mended), "note": "made legible"})
            continue
        seen, part = image.copy(), image.crop(tuple(truth["place"]))
        seen.thumbnail((truth["model_side"],) * 2)
        shown.append({"data": _data(seen), "note": f"as the model sees it, of {size}"})
        shown.append(
            {"data": _data(part), "note": "the part that is asked about", "width": part.width}
        )
    return shown


def _mended(image: Image.Image, truth: dict[str, Any]) -> Image.Image | None:
    if "steps" in truth:
        return ImageOps.autocontrast(image)
    if "turned" in truth:
        name = {"ROTATE_90": "ROTATE_270", "ROTATE_270": "ROTATE_90"}.get(truth["turned"])
        return image.transpose(Image.Transpose[name or truth["turned"]])
    return None


def _data(image: Image.Image) -> str:
    """A data address; small pictures keep their pixels."""
    image = image.copy()
    image.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    if image.width * image.height > 600_000:
        image.save(file, format="WEBP", quality=88)
        return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    image.save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()

"""Where looking again is what helps: small, turned and faint print, and things to be measured.

What is needed cannot be read at the resolution that the model sees (``model_side``). ``image_1`` in
the sandbox is whole: code crops, turns, stretches contrast or counts pixels, and the model reads
the picture that comes back. ``Item.view`` is code that does it.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from air_reasoning.tasks.canvas import Color
from air_reasoning.tasks.families import charts, papers
from air_reasoning.tasks.families.asks import COMPUTED, exact
from air_reasoning.tasks.families.item import Asked, Item, Operation, Wanted
from air_reasoning.tasks.families.series import Block, draw_block
from air_reasoning.tasks.families.sheet import Sheet, draw_theme

LEGIBLE = 5.0
"""Print of fewer pixels cannot be read: digits of 4 pixels are not told apart."""
_TILES: tuple[Callable[[Wanted], Item], ...] = (
    charts.bar, charts.grouped_bar, charts.line, charts.pie, papers.table, papers.receipt,
)  # fmt: skip
_UPRIGHT = (*_TILES, charts.histogram)


def small_print(wanted: Wanted) -> Item:
    """A wall of charts, a page of figures, or a tag in a scene; ``truth`` says where and how small.

    ``print_at_model`` is the height of the print, in pixels, in the picture that the model sees.
    """
    return wanted.rng.choice((_wall, _page, _tag))(wanted)


def _looked_at(asked: Asked, operation: Operation, text: str = "") -> Asked:
    return replace(asked, text=text or asked.text, operations=(operation, *asked.operations))


def _crop(box: tuple[int, int, int, int], larger: int = 1) -> str:
    """Code that shows a part, enlarged."""
    code = f"image_1.crop({box})"
    if larger > 1:
        size = (larger * (box[2] - box[0]), larger * (box[3] - box[1]))
        code = f"image_1.crop({box}).resize({size})"
    return code


def _wall(wanted: Wanted) -> Item:
    """Different charts in rows and columns; the question is about one of them."""
    rng, side = wanted.rng, wanted.side
    print_height = max(9, round(side / 29))
    across = max(3, math.ceil(wanted.model_side * print_height / 4 / side))
    down = max(2, round(across * rng.uniform(0.6, 0.9)))
    tiles = [rng.choice(_TILES)(wanted) for _ in range(across * down)]
    whole = Image.new("RGB", (across * side, down * side), (255, 255, 255))
    places: list[tuple[int, int, int, int]] = []
    for i, tile in enumerate(tiles):
        left = (i % across) * side + (side - tile.image.width) // 2
        top = (i // across) * side + (side - tile.image.height) // 2
        whole.paste(tile.image, (left, top))
        places.append((left, top, left + tile.image.width, top + tile.image.height))
    i = rng.randrange(len(tiles))
    where = f"Row {i // across + 1}, column {i % across + 1}"
    asked = _looked_at(tiles[i].asked, "crop", f"{where} of the wall: {tiles[i].asked.text}")
    shown = sorted({column for tile in tiles for column in tile.columns})
    return _small(wanted, whole, asked, places[i], print_height, shown)


def _small(
    wanted: Wanted, image: Image.Image, asked: Asked, box: tuple[int, int, int, int], height: float,
    columns: list[str],
) -> Item:  # fmt: skip
    at_model = height * wanted.model_side / max(image.size)
    return Item(
        image=image,
        asked=asked,
        columns=columns,
        view=_crop(box, 2 if height < 12 else 1),
        truth={
            "place": list(box),
            "model_side": wanted.model_side,
            "print_at_model": round(at_model, 2),
        },
    )


def _page(wanted: Wanted) -> Item:
    """A long page of figures in tiny print; the question is about one line or two."""
    rng = wanted.rng
    block = draw_block(wanted, (3, 6), (2, 3))
    filler = [draw_block(wanted, (3, 8), (2, 3)) for _ in range(26)]
    place = rng.randrange(12)
    blocks = [*filler[:place], block, *filler[place:]]
    height, wide = 11, max(900, round(3.2 * wanted.model_side))
    sheet = Sheet(wide, wide, replace(draw_theme(rng), gridded=False), height)
    column_width, y, x = wide / 3, 30.0, 16.0
    box, asked_about = (0, 0, 0, 0), ""
    for number, one in enumerate(blocks, start=1):
        tall = (len(one.labels) + 4) * 15
        if y + tall > wide - 10:
            x, y = x + column_width, 30.0
        if x > wide - column_width / 2:
            break
        if one is block:
            box = (int(x) - 8, int(y) - 10, int(x + column_width) - 16, int(y + tall) - 8)
            asked_about = f"table {number}"
        _printed_table(sheet, one, f"{number}. {one.title} ({one.unit})", x, y, column_width - 60)
        y += tall + 14
    asked = papers.ask_block(wanted, block)
    asked = _looked_at(asked, "crop", f"See {asked_about} on the page. {asked.text}")
    shown = sorted({column for one in blocks for column in one.columns})
    return _small(wanted, sheet.image(), asked, box, height, shown)


def _printed_table(
    sheet: Sheet, block: Block, title: str, x: float, y: float, width: float
) -> None:
    sheet.text(x, y, title.replace(" ()", ""), bold=True)
    step = width / (len(block.series) + 1)
    for j, series in enumerate(block.series):
        sheet.text(x + step * (j + 2), y + 17, series.name, "rm")
    sheet.line([(x, y + 25), (x + width, y + 25)], sheet.theme.ink, 0.7)
    for i, label in enumerate(block.labels):
        line = y + 34 + 15 * i
        sheet.text(x, line, label)
        for j, series in enumerate(block.series):
            sheet.text(x + step * (j + 2), line, series.values[i], "rm")


def _tag(wanted: Wanted) -> Item:
    """A scene of loose shapes with a few small price tags, each in a colour of its own."""
    rng = wanted.rng
    side = max(900, round(3 * wanted.model_side))
    sheet = Sheet(side, round(side * 0.75), draw_theme(rng), 12)
    for _ in range(60):
        x, y, r = rng.uniform(0, side), rng.uniform(0, side * 0.75), rng.uniform(10, side / 9)
        color = tuple(rng.randint(60, 230) for _ in range(3))
        if rng.random() < 0.5:
            sheet.circle(x, y, r, color)  # type: ignore[arg-type]
        else:
            sheet.rectangle(x, y, x + r, y + r * rng.uniform(0.3, 1.5), color)  # type: ignore[arg-type]
    colors: dict[str, Color] = {
        "yellow": (255, 221, 0),
        "red": (255, 70, 70),
        "green": (80, 220, 90),
    }
    values: dict[str, str] = {}
    boxes: dict[str, tuple[int, int, int, int]] = {}
    cells = [(i, j) for i in range(3) for j in range(2)]
    for (name, color), (i, j) in zip(colors.items(), rng.sample(cells, 3), strict=True):
        x, y = (
            int((i + rng.uniform(0.15, 0.6)) * side / 3),
            int((j + rng.uniform(0.2, 0.6)) * side * 0.375),
        )
        values[name] = f"{rng.randint(100, 9999) / 100:.2f}"
        width = int(sheet.width_of(values[name])) + 14
        sheet.rectangle(x, y, x + width, y + 22, color, (0, 0, 0))
        sheet.text(x + 7, y + 11, values[name], "lm", color=(0, 0, 0))
        boxes[name] = (max(0, x - 20), max(0, y - 20), x + width + 20, y + 42)
    return _asked_tag(wanted, sheet, values, boxes)


def _asked_tag(
    wanted: Wanted,
    sheet: Sheet,
    values: dict[str, str],
    boxes: dict[str, tuple[int, int, int, int]],
) -> Item:
    a, b = wanted.rng.sample(list(values), 2)
    if wanted.difficulty == "easy":
        asked = exact("tag", f"Which price stands on the {a} tag?", values[a])
    elif wanted.difficulty == "medium":
        program = f"print(round(abs({values[a]} - {values[b]}), 2))"
        text = f"By how much do the prices on the {a} and the {b} tag differ?"
        asked = Asked(
            kind="tag_difference",
            text=text,
            program=program,
            type="float",
            digits=2,
            operations=COMPUTED,
        )
    else:
        counts = [wanted.rng.randint(3, 29) for _ in range(2)]
        program = f"print(round({counts[0]} * {values[a]} + {counts[1]} * {values[b]}, 2))"
        text = f"What do {counts[0]} at the {a} price and {counts[1]} at the {b} one come to?"
        asked = Asked(
            kind="tag_bill", text=text, program=program, type="float", digits=2, operations=COMPUTED
        )
    item = _small(wanted, sheet.image(), _looked_at(asked, "crop"), boxes[a], 12, [])
    if wanted.difficulty != "easy":
        item.view = "\n".join(f"display({_crop(boxes[name], 2)})" for name in (a, b))
    return item


def turned(wanted: Wanted) -> Item:
    """A chart or paper upside down, on its side, or mirrored."""
    item = wanted.rng.choice(_UPRIGHT)(wanted)
    name, back = wanted.rng.choice(
        (("ROTATE_180", "ROTATE_180"), ("ROTATE_90", "ROTATE_270"), ("ROTATE_270", "ROTATE_90"),
         ("FLIP_LEFT_RIGHT", "FLIP_LEFT_RIGHT"), ("TRANSVERSE", "TRANSVERSE"))
    )  # fmt: skip
    image = item.image.transpose(Image.Transpose[name])
    view = f"from PIL import Image\nimage_1.transpose(Image.Transpose.{back})"
    asked = _looked_at(
        item.asked, "rotate", f"The picture was not put in straight. {item.asked.text}"
    )
    return Item(image=image, asked=asked, columns=item.columns, view=view, truth={"turned": name})


def faint(wanted: Wanted) -> Item:
    """A chart or paper with a contrast of a few of 255 steps: in the pixels, not for the eye."""
    item = wanted.rng.choice(_UPRIGHT)(wanted)
    steps, base = wanted.rng.randint(4, 6), wanted.rng.choice((40, 120, 200, 240))
    table = [base + value * steps // 255 for value in range(256)] * 3
    view = "from PIL import ImageOps\nImageOps.autocontrast(image_1)"
    return Item(
        image=item.image.point(table),
        asked=_looked_at(item.asked, "contrast"),
        columns=item.columns,
        view=view,
        truth={"steps": steps},
    )


def area(wanted: Wanted) -> Item:
    """Blots of three colours on paper: which covers most, and how much of the picture exactly."""
    rng = wanted.rng
    sheet = Sheet(round(wanted.side * 0.8), round(wanted.side * 0.8), draw_theme(rng))
    named: dict[str, Color] = {
        "blue": (40, 90, 200),
        "orange": (240, 140, 20),
        "green": (40, 160, 80),
    }
    counts = dict.fromkeys(named, 0)
    places: list[tuple[float, float, float]] = []
    for _ in range(rng.randint(7, 14)):
        r = rng.uniform(0.03, 0.13) * sheet.width
        x, y = (rng.uniform(r + 2, sheet.width - r - 2) for _ in range(2))
        if any(math.hypot(x - a, y - b) < r + c + 3 for a, b, c in places):
            continue
        places.append((x, y, r))
        name = rng.choice(list(named))
        counts[name] += 1
        corners = rng.choice((0, 3, 4, 5, 6))
        if not corners:
            sheet.circle(x, y, r, named[name])
            continue
        start = rng.uniform(0, math.tau)
        angles = [start + math.tau * k / corners for k in range(corners)]
        sheet.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for t in angles], named[name])
    image = sheet.image()
    pixels = {color: count for count, color in image.getcolors(image.width * image.height) or ()}
    covered = {name: pixels.get(color, 0) for name, color in named.items()}
    first, second, _ = sorted(covered.values(), reverse=True)
    if first < 1.15 * second:
        return area(wanted)
    return _asked_area(wanted, image, named, counts, covered)


def _asked_area(
    wanted: Wanted, image: Image.Image, named: dict[str, Color], counts: dict[str, int],
    covered: dict[str, int],
) -> Item:  # fmt: skip
    total = image.width * image.height
    name = wanted.rng.choice([n for n in named if covered[n]])
    count = f"(np.asarray(image_1) == {named[name]}).all(-1).mean() * 100"
    view = f"import numpy as np\n{count}"
    if wanted.difficulty == "easy":
        program = f"covered = {covered}\nprint(max(covered, key=covered.get))"
        asked = Asked(
            kind="most_covered",
            text="Which colour covers most, blue, orange or green?",
            program=program,
            type="text",
        )
        return Item(image=image, asked=asked, truth={"covered": covered})
    if wanted.difficulty == "medium":
        asked = Asked(
            kind="blots",
            text=f"How many {name} shapes are there?",
            program=f"print({counts[name]})",
            type="int",
        )
        return Item(image=image, asked=asked, truth={"counts": counts})
    program = f"print(round(100 * {covered[name]} / {total}, 1))"
    missed = round(max(0.1, 3 * covered[name] / total), 2)  # the rims are mixed with paper
    asked = Asked(
        kind="covered_share",
        text=f"What percentage of the picture is {name}? Round to 1 decimal.",
        program=program,
        type="float",
        digits=1,
        tolerance=missed,
        operations=("measure", "compute"),
    )
    return Item(image=image, asked=asked, view=view, truth={"covered": covered})

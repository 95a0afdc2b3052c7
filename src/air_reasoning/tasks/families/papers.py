"""Things written on paper: tables, receipts, handwritten numbers."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from air_reasoning.tasks.families.asks import COMPUTED, ask_block, exact, number
from air_reasoning.tasks.families.item import Asked, Item, Wanted
from air_reasoning.tasks.families.series import Block, draw_block
from air_reasoning.tasks.families.sheet import Sheet, draw_theme
from air_reasoning.tasks.tables import columns, handwriting

GOODS: tuple[str, ...] = (
    "Bread", "Milk", "Butter", "Eggs", "Cheese", "Apples", "Rice", "Coffee", "Tea", "Soap", "Salt",
    "Juice", "Flour", "Sugar", "Honey", "Pasta", "Onions", "Tomatoes", "Oats", "Lemons", "Yoghurt",
    "Batteries",
)  # fmt: skip
SHOPS: tuple[str, ...] = (
    "CORNER SHOP",
    "GREEN MARKET",
    "OLD MILL STORE",
    "HARBOUR FOODS",
    "STATION KIOSK",
    "VILLAGE CO-OP",
)


def table(wanted: Wanted) -> Item:
    """Rows of a grid with two to four columns, ruled or striped."""
    rng, block = wanted.rng, draw_block(wanted, (3, 7), (2, 4))
    while True:
        cells = [["", *(series.name for series in block.series)]]
        cells += [[x, *(s.values[i] for s in block.series)] for i, x in enumerate(block.labels)]
        sheet, widths = _table_sheet(wanted, block, cells)
        if sheet.width <= wanted.side or len(block.series) == 2:
            break
        block = replace(block, series=block.series[:-1])
    row, left, top = sheet.print * 1.9, sheet.print * 0.8, sheet.print * 2.6
    unit = f" ({block.unit})" if block.unit else ""
    sheet.text(sheet.width / 2, sheet.print * 0.6, block.title + unit, "mt", bold=True)
    striped, ruled = rng.random() < 0.5, rng.random() < 0.4
    for i, line in enumerate(cells):
        y = top + row * i
        if i == 0 or (striped and i % 2 == 0):
            fill = sheet.theme.palette[0] if i == 0 and striped else sheet.theme.grid
            sheet.rectangle(left, y, sheet.width - left, y + row, fill)
        elif not striped:
            sheet.line([(left, y), (sheet.width - left, y)], sheet.theme.grid)
        x = left
        for j, text in enumerate(line):
            place, anchor = (x + 5, "lm") if j == 0 else (x + widths[j] - 6, "rm")
            light = (255, 255, 255) if i == 0 and striped else None
            sheet.text(place, y + row / 2, text, anchor, bold=i == 0, color=light)
            x += widths[j]
            if ruled and j < len(line) - 1:
                sheet.line([(x, top), (x, top + row * len(cells))], sheet.theme.ink, 0.7)
    return Item(image=sheet.image(), asked=ask_block(wanted, block), columns=block.columns)


def _table_sheet(wanted: Wanted, block: Block, cells: list[list[str]]) -> tuple[Sheet, list[float]]:
    """A sheet that the table fits on, and the widths of its columns."""
    theme, size = draw_theme(wanted.rng), max(9, round(wanted.side / 29))
    while True:
        probe = Sheet(8, 8, theme, size)
        font = probe.theme.font
        widths = [
            max(probe.width_of(line[j], size * 1.12, font) for line in cells) + 14
            for j in range(len(cells[0]))
        ]
        if sum(widths) + size * 1.6 <= wanted.side or size <= 8:
            break
        size -= 1
    title = probe.width_of(block.title, size * 1.2) + 70
    width = round(max(sum(widths) + size * 1.6, min(title, wanted.side)))
    widths[0] += width - size * 1.6 - sum(widths)
    height = round(size * 2.6 + size * 1.9 * len(cells) + size * 0.8)
    return Sheet(width, height, theme, size), widths


def receipt(wanted: Wanted) -> Item:
    """A till receipt: amounts, unit prices, VAT; prices have the digits of a real column."""
    rng = wanted.rng
    column = rng.choice(columns(wanted.split))
    count = rng.randint(3, 6)
    goods = rng.sample(GOODS, count)
    amounts = [rng.choice((1, 1, 2, 3, 4)) for _ in goods]
    prices = [_cents(rng.choice(column.values), rng.randrange(100)) for _ in goods]
    paid = sum(a * p for a, p in zip(amounts, prices, strict=True))
    rate = rng.choice((5, 7, 10, 19, 20))
    ink, paper = (30, 30, 36), rng.choice(((252, 252, 250), (248, 246, 240), (255, 255, 255)))
    theme = draw_theme(rng)
    size = max(9, round(wanted.side / 26))
    theme = replace(theme, paper=paper, plot=paper, ink=ink, font="DejaVuSansMono.ttf")
    sheet = Sheet(round(wanted.side * 0.8), round(size * (9.5 + 1.45 * count)), theme, size)
    cash = math.ceil(paid / 500) * 500 + 500 * (paid % 500 == 0)
    lines = [f"{a} x {p / 100:.2f}" for a, p in zip(amounts, prices, strict=True)]
    sheet.text(sheet.width / 2, size * 0.8, rng.choice(SHOPS), "mt", bold=True, size=size * 1.2)
    y = size * 3.2
    for name, detail, amount, price in zip(goods, lines, amounts, prices, strict=True):
        sheet.text(size, y, name, "lm")
        sheet.text(sheet.width * 0.66, y, detail, "rm", size=size * 0.9)
        sheet.text(sheet.width - size, y, f"{amount * price / 100:.2f}", "rm")
        y += size * 1.45
    sheet.line([(size, y), (sheet.width - size, y)], ink, 1, dash=4)
    hidden = wanted.difficulty == "hard"
    for label, value in (
        ("TOTAL", "" if hidden else f"{paid / 100:.2f}"), ("CASH", f"{cash / 100:.2f}"),
        (f"incl. VAT {rate}%", ""),
    ):  # fmt: skip
        y += size * 1.45
        sheet.text(size, y, label, "lm", bold=label == "TOTAL")
        sheet.text(
            sheet.width - size,
            y,
            "*****" if label == "TOTAL" and hidden else value,
            "rm",
            bold=label == "TOTAL",
        )
    asked = _ask_receipt(wanted, goods, amounts, prices, paid, cash, rate)
    return Item(image=sheet.image(), asked=asked, columns=[f"{column.table}/{column.name}"])


def _cents(text: str, rest: int) -> int:
    """A price in cents from 0.30 to 29.99 with the digits of a real value."""
    number = float(text)
    while number >= 30:
        number /= 10
    return max(30, int(number * 100) + (rest if "." not in text else 0))


def _ask_receipt(
    wanted: Wanted, goods: list[str], amounts: list[int], prices: list[int], paid: int, cash: int,
    rate: int,
) -> Asked:  # fmt: skip
    i = wanted.rng.randrange(len(goods))
    if wanted.difficulty == "easy":
        text = f"What does one unit of {goods[i]} cost?"
        return exact("unit_price", text, f"{prices[i] / 100:.2f}")
    setup = f"amounts = {amounts}\nprices = {[p / 100 for p in prices]}"
    if wanted.difficulty == "medium":
        text = "How much change is given back?"
        return Asked(
            kind="change",
            text=text,
            program=f"print(round({cash / 100:.2f} - {paid / 100:.2f}, 2))",
            type="float",
            digits=2,
            operations=COMPUTED,
        )
    total = "sum(a * p for a, p in zip(amounts, prices))"
    item = f"amounts[{i}] * prices[{i}]"
    off = wanted.rng.choice((5, 12, 15, 25))
    kind, text, expression = wanted.rng.choice(
        (
            ("total", "What should the hidden total be?", total),
            (
                "vat",
                "Prices include VAT at the rate shown. How much of the total is VAT?",
                f"{total} * {rate} / (100 + {rate})",
            ),
            (
                "discount",
                f"With {off} percent off everything but {goods[i]}, what would be paid?",
                f"({total} - {item}) * (1 - {off} / 100) + {item}",
            ),
        )
    )
    return number(kind, text, expression, 2, setup)


def digits(wanted: Wanted) -> Item:
    """Handwritten numbers in rows, real pen strokes; a test digit is never in training."""
    rng, pens = wanted.rng, handwriting(wanted.split)
    count = rng.randint(2, 4)
    longest = {"easy": 3, "medium": 2, "hard": 4}[wanted.difficulty]
    numbers = [rng.randint(10 ** (longest - 1) // 2 + 1, 10**longest - 1) for _ in range(count)]
    cell = round(wanted.side / 8)
    width, height = cell * (longest + 2), round(cell * 1.35 * count + cell * 0.4)
    ink = np.zeros((height, width), np.float32)
    for row, value in enumerate(numbers):
        x, y = (
            rng.uniform(0.4, 1.2) * cell,
            cell * (0.3 + 1.35 * row) + rng.uniform(-0.08, 0.08) * cell,
        )
        for sign in str(value):
            pen = pens[int(sign)][rng.randrange(len(pens[int(sign)]))]
            glyph = Image.fromarray((pen * 255).astype(np.uint8)).resize(
                (cell, cell), Image.Resampling.BICUBIC
            )
            left, top = int(x), int(y)
            part = ink[top : top + cell, left : left + cell]
            np.maximum(
                part,
                np.asarray(glyph, np.float32)[: part.shape[0], : part.shape[1]] / 255,
                out=part,
            )
            x += cell * rng.uniform(0.82, 0.95)
    strength = np.clip((ink - 0.25) * 2.2, 0, 1)[..., None]
    pen_color = np.array(rng.choice(((20, 30, 90), (20, 20, 20), (110, 20, 30))))
    paper = np.full((height, width, 3), rng.uniform(236, 255), np.float32)
    if rng.random() < 0.4:
        paper[:: max(6, cell // 2), :, :2] -= 28
    image = Image.fromarray(
        (paper * (1 - strength) + pen_color * strength).clip(0, 255).astype(np.uint8)
    )
    return Item(image=image, asked=_ask_digits(wanted, numbers), columns=["digits/handwritten"])


def _ask_digits(wanted: Wanted, numbers: list[int]) -> Asked:
    order = ("first", "second", "third", "fourth")
    i, j = sorted(wanted.rng.sample(range(len(numbers)), 2))
    both = f"{order[i]} and the {order[j]} number"
    if wanted.difficulty == "easy":
        return exact("read", f"Which number is written in the {order[i]} row?", str(numbers[i]))
    if wanted.difficulty == "medium":
        text = f"What is the sum of the {both}?"
        return Asked(
            kind="sum",
            text=text,
            program=f"print({numbers[i]} + {numbers[j]})",
            type="int",
            operations=COMPUTED,
        )
    kind, text, expression = wanted.rng.choice(
        (
            (
                "product",
                f"What is the {order[i]} number times the {order[j]} one?",
                f"{numbers[i]} * {numbers[j]}",
            ),
            (
                "divisor",
                f"What is the greatest common divisor of the {both}?",
                f"math.gcd({numbers[i]}, {numbers[j]})",
            ),
            (
                "remainder",
                f"What remains of the square of the {order[i]} number, divided by the {order[j]}?",
                f"{numbers[i]} ** 2 % {numbers[j]}",
            ),
            (
                "squares",
                "What is the sum of the squares of all numbers?",
                f"sum(n * n for n in {numbers})",
            ),
        )
    )
    first = "import math\n" if "math." in expression else ""
    return Asked(
        kind=kind, text=text, program=f"{first}print({expression})", type="int", operations=COMPUTED
    )

"""What a picture shows: names, real values, shapes - chosen before anything is drawn or asked."""

import random
from typing import Literal

from air_reasoning.models.tiny import location_token
from air_reasoning.tasks.canvas import new_canvas, pale_color
from air_reasoning.tasks.charts import (
    SIZE,
    Content,
    Family,
    Picture,
    RendererName,
    draw,
)
from air_reasoning.tasks.questions import ORDINALS, Kind, Question, ask, distinct_enough
from air_reasoning.tasks.tables import (
    LETTERS,
    WORDS,
    Split,
    ValueStyle,
    columns,
    draw_names,
    draw_values,
)

SPELLINGS = Literal["real", "mixed"]


def sample_content(
    family: Family,
    rng: random.Random,
    split: Split,
    *,
    style: ValueStyle = "any",
    count: tuple[int, int] = (2, 5),
    made_up: float = 0.0,
) -> Content:
    """Names and values for one picture.

    ``count`` bounds the entries (geometry and digits have bounds of their own). ``made_up`` is the
    share of pictures whose numbers are random digits instead of real values: reading practice only.
    """
    if family == "geometry":
        shape = rng.choice(("rect", "tri", "circle", "rect", "tri"))
        names = ["r"] if shape == "circle" else ["a", "b"]
        values, source = _values(rng, split, len(names), style, made_up)
        notes = [rng.choice(("", "", "cm", "m"))]
        return Content(names=names, values=values, shape=shape, source=source, notes=notes)
    if family == "digits":
        number = rng.randint(max(2, count[0]), min(4, count[1]))
        low = 10 if style == "two_digit" else 1
        values = [str(rng.randint(low, 99)) for _ in range(number)]
        return Content(names=list(ORDINALS[:number]), values=values, source="digits/handwritten")
    low = max(3, count[0]) if family == "line" else count[0]
    number = rng.randint(low, count[1])
    longest = 5 if family in ("hbar", "table") or number <= 3 else 4 if number == 4 else 3
    values, source = _values(rng, split, number, style, made_up)
    return Content(
        names=draw_names(rng, number, longest), values=values, source=source,
        notes=draw_names(rng, 2, 5),
    )  # fmt: skip


def _values(
    rng: random.Random, split: Split, count: int, style: ValueStyle, made_up: float
) -> tuple[list[str], str]:
    if rng.random() >= made_up:
        return draw_values(rng, split, count, style)
    digits = rng.choice((1, 2, 2, 2, 3, 3, 4))
    point = digits > 1 and digits < 4 and rng.random() < 0.3
    numbers = [str(rng.randint(10 ** (digits - 1), 10**digits - 1)) for _ in range(count)]
    return [n[:-1] + "." + n[-1] if point else n for n in numbers], "random"


def sample_item(
    kind: Kind, family: Family, renderer: RendererName, rng: random.Random, split: Split
) -> tuple[Picture, Question]:
    """A picture and a question of that kind about it; the same ``rng`` state, the same item."""
    while True:
        content = sample_content(family, rng, split, style=kind.style, count=kind.entries)
        if kind.operands <= len(content.names) and distinct_enough(kind, content.values):
            break
    question = ask(kind, content.names, content.values, content.shape, rng)
    return draw(family, renderer, content, rng, split), question


def sample_soup(renderer: RendererName, rng: random.Random, split: Split) -> Picture:
    """Scattered names and numbers."""
    texts: list[str] = []
    for _ in range(40):
        kind = rng.random()
        if kind < 0.4:
            word = rng.choice(WORDS)
            texts.append(rng.choice((word, word.capitalize())))
        elif kind < 0.5:
            texts.append(rng.choice(LETTERS))
        elif kind < 0.8:
            texts.append(rng.choice(rng.choice(columns(split)).values))
        else:
            texts.append(str(rng.randint(0, 9999)))
    return draw_soup(texts, renderer, rng)


def draw_soup(words: list[str], renderer: RendererName, rng: random.Random) -> Picture:
    """Scattered text over loose shapes: teaches letters before layouts."""
    canvas = new_canvas(renderer, rng, SIZE)
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 4)):
            x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
            canvas.rectangle(
                x, y, x + rng.uniform(5, 50), y + rng.uniform(5, 50), pale_color(rng), None
            )
    y, queue = rng.uniform(6, 12), list(words)
    while y < SIZE - 8 and queue:
        x = rng.uniform(1, 16)
        while queue and x + canvas.width_of(queue[-1]) < SIZE - 2:
            text = queue.pop()
            if rng.random() < 0.85:
                canvas.text(x, y + rng.uniform(-1.5, 1.5), text, "lm")
            x += canvas.width_of(text) + rng.uniform(4, 14)
        y += canvas.font_size + rng.uniform(2, 6)
    return Picture(
        image=canvas.image(), family="soup", renderer=renderer, entries=[], marks=canvas.marks
    )


def transcript(picture: Picture) -> str:
    """All entries in reading order, each piece after the location token of its first character.

    ``<loc_017>A=<loc_033>24,<loc_021>B=<loc_053>68``; a figure starts with its shape.
    """
    parts: list[str] = []
    for entry in picture.entries:
        where = location_token(entry.value_mark.xs[0], entry.value_mark.y, SIZE)
        named = entry.name_mark
        before = location_token(named.xs[0], named.y, SIZE) if named else ""
        parts.append(f"{before}{entry.name}={where}{entry.value}")
    return (picture.shape + " " if picture.shape else "") + ",".join(parts)


def soup_transcript(picture: Picture, rng: random.Random, most: int = 12) -> list[tuple[str, str]]:
    """(location token, text) of some scattered words; their order is random, so it is given."""
    marks = rng.sample(picture.marks, min(len(picture.marks), most))
    return [(location_token(m.xs[0], m.y, SIZE), known_name(m.text)) for m in marks]


def known_name(text: str) -> str:
    """A printed word as the transcription spells it: words in lower case, letters as they are."""
    return text if len(text) == 1 else text.lower()


def reasoning(picture: Picture, question: Question) -> str:
    """The thought before code or answer: transcribe everything, then restate what is asked for."""
    thought = transcript(picture)
    if not question.kind.operands:
        return thought
    value_of = {entry.name: entry.value for entry in picture.entries}
    return thought + ";" + ",".join(f"{name}={value_of[name]}" for name in question.asked)


def judged(picture: Picture, question: Question) -> str:
    """``reasoning``, and behind it what the head makes of two restated values: ``:>`` or ``:<``.

    Only for questions whose answer is one of two names. The sign is one bit that says itself; the
    name to answer with follows from it and the question, which a small model learns far sooner than
    both at once.
    """
    thought = reasoning(picture, question)
    if question.kind.answer != "name":
        return thought
    value_of = {entry.name: float(entry.value) for entry in picture.entries}
    first, second = (value_of[name] for name in question.asked)
    return thought + sign(first, second)


def sign(first: float, second: float) -> str:
    """How a thought says which of two different values is larger.

    >>> sign(24, 68), sign(1.8, 0.95)
    (':<', ':>')
    """
    return ":>" if first > second else ":<"

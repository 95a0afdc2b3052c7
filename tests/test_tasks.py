"""Procedural tasks: repeatable, honest splits, answers as programs print them, marks in place."""

import asyncio
import doctest
import random

import numpy as np
import pytest

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.errors import ConfigError
from air_reasoning.images import image_hash
from air_reasoning.json_io import dump_line
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.task_files import read_tasks
from air_reasoning.tasks import tables
from air_reasoning.tasks.canvas import Mark
from air_reasoning.tasks.charts import FAMILIES, Content, Entry, Picture, draw
from air_reasoning.tasks.content import judged, reasoning, sample_item, transcript
from air_reasoning.tasks.make import TasksConfig, make_tasks, run_make
from air_reasoning.tasks.questions import BY_NAME, KINDS, Question, ask, distinct_enough
from air_reasoning.tasks.tables import columns, handwriting, short, split_of

SPLITS = ("train", "dev", "test")


def content_of(made):
    return [(dump_line(task), image_hash(image)) for task, image in made]


def test_the_same_seed_gives_the_same_tasks():
    config = TasksConfig(split="train", count=12, seed=4)
    first = content_of(make_tasks(config))
    assert content_of(make_tasks(config)) == first
    others = content_of(make_tasks(config.model_copy(update={"seed": 5})))
    assert not {line for line, _ in first} & {line for line, _ in others}


def test_a_longer_list_begins_like_a_shorter_one():
    few = content_of(make_tasks(TasksConfig(count=5, seed=1, matplotlib=0.0)))
    many = content_of(make_tasks(TasksConfig(count=9, seed=1, matplotlib=0.0)))
    assert many[:5] == few


def test_no_table_is_in_two_splits():
    shown = {split: {column.table for column in columns(split)} for split in SPLITS}
    assert shown["test"] == set(tables.TEST_TABLES)
    assert shown["dev"] == set(tables.DEV_TABLES)
    assert not shown["train"] & (shown["test"] | shown["dev"])
    assert split_of("wheat") == "test"
    for split in SPLITS:
        for task, _ in make_tasks(TasksConfig(split=split, count=15, matplotlib=0.0)):
            table = task.meta["table"].partition("/")[0]
            assert table == "digits" or split_of(table) == split


def test_no_handwritten_digit_is_in_two_splits():
    pens = {split: handwriting(split) for split in SPLITS}
    assert [sum(map(len, pens[split])) for split in SPLITS] == [1300, 150, 347]
    for digit in range(10):
        seen = {split: {glyph.tobytes() for glyph in pens[split][digit]} for split in SPLITS}
        assert not seen["train"] & seen["test"]
        assert not seen["train"] & seen["dev"]
        assert not seen["dev"] & seen["test"]


def test_the_sandbox_prints_the_stored_answer():
    tasks = [task for task, _ in make_tasks(TasksConfig(count=20, seed=2, matplotlib=0.0))]

    async def run():
        pool = ProcessPool()
        try:
            async with pool.session() as session:
                return [await session.run(task.meta["program"]) for task in tasks]
        finally:
            await pool.close()

    printed = [execution.stdout.strip() for execution in asyncio.run(run())]
    assert printed == [task.answer.value for task in tasks]


@pytest.mark.parametrize("renderer", ["pil", "mpl"])
def test_every_kind_of_question_draws_on_every_family_with_its_marks_on_the_picture(renderer):
    rng = random.Random(renderer)
    for kind in KINDS:
        for family in kind.families:
            picture, question = sample_item(kind, family, renderer, rng, "train")
            assert picture.image.size == (128, 128)
            assert question.answer
            assert question.text
            for entry in picture.entries:
                assert entry.value_mark.text == entry.value
            for mark in picture.marks:
                assert len(mark.xs) == len(mark.text)
                assert all(0 <= x <= 128 for x in mark.xs), (kind.name, family, mark)
                assert 0 <= mark.y <= 128


@pytest.mark.parametrize("family", FAMILIES)
def test_where_a_mark_stands_there_is_ink(family):
    content = Content(names=["a", "b"], values=["84", "17"], shape="rect")
    if family == "line":
        content = Content(names=["A", "B", "C"], values=["84", "17", "51"])
    picture = draw(family, "pil", content, random.Random(3), "train")
    gray = np.asarray(picture.image.convert("L")).astype(int)
    for entry in picture.entries:
        mark = entry.value_mark
        left, right = int(min(mark.xs)) - 3, int(max(mark.xs)) + 4
        around = gray[int(mark.y) - 4 : int(mark.y) + 5, max(left, 0) : right]
        assert around.max() - around.min() > 60, (family, mark)


def literal_picture() -> Picture:
    image = draw("table", "pil", Content(names=["A"], values=["2"]), random.Random(0), "train")
    first = Entry(
        name="A", value="24", name_mark=Mark(text="A", xs=(10.0,), y=20.0),
        value_mark=Mark(text="24", xs=(9.0, 17.0), y=40.0),
    )  # fmt: skip
    second = Entry(
        name="oslo", value="6.5", name_mark=Mark(text="Oslo", xs=(44.0, 50.0, 54.0, 58.0), y=20.0),
        value_mark=Mark(text="6.5", xs=(45.0, 51.0, 57.0), y=60.0),
    )  # fmt: skip
    return Picture(
        image=image.image, family="bar", renderer="pil", entries=[first, second], marks=[]
    )


def test_a_transcript_names_place_and_text_of_every_entry():
    # Rows of 16 pixels, columns of 8: (10, 20) is row 1 of 16 cells, cell 1, so 17.
    assert transcript(literal_picture()) == "<loc_017>A=<loc_033>24,<loc_021>oslo=<loc_053>6.5"


def test_a_figure_starts_with_its_shape_and_its_sides_have_no_printed_name():
    side = Entry(name="r", value="7", name_mark=None, value_mark=Mark(text="7", xs=(64.0,), y=64.0))
    picture = literal_picture()
    picture.entries, picture.shape = [side], "circle"
    assert transcript(picture) == "circle r=<loc_072>7"


def test_the_thought_restates_what_is_asked_for():
    question = Question(
        kind=BY_NAME["product"], text="Multiply oslo by A.", asked=("oslo", "A"), answer="156.0",
        program="print(round(6.5*24,2))",
    )  # fmt: skip
    thought = reasoning(literal_picture(), question)
    assert thought == transcript(literal_picture()) + ";oslo=6.5,A=24"
    everything = Question(
        kind=BY_NAME["sum"], text="Add all values.", asked=("A", "oslo"), answer="30.5",
        program="print(round(24+6.5,2))",
    )  # fmt: skip
    assert reasoning(literal_picture(), everything) == transcript(literal_picture())
    assert judged(literal_picture(), everything) == transcript(literal_picture())


@pytest.mark.parametrize(("asked", "end"), [(("oslo", "A"), ":<"), (("A", "oslo"), ":>")])
def test_a_comparison_says_which_of_the_restated_values_is_larger(asked, end):
    question = Question(
        kind=BY_NAME["smaller"], text="", asked=asked, answer="oslo", program="print('oslo')"
    )
    thought = judged(literal_picture(), question)
    assert thought == reasoning(literal_picture(), question) + end


@pytest.mark.parametrize(
    ("kind", "names", "values", "shape", "program", "answer"),
    [
        ("read", ["A"], ["12.5"], "", "print(12.5)", "12.5"),
        ("add", ["A", "A2"], ["7", "7"], "", "print(7+7)", "14"),
        ("sum", ["A", "B", "C"], ["1.5", "2", "3"], "", "print(round(1.5+2+3,2))", "6.5"),
        ("mean", ["A", "B", "C"], ["1", "2", "4"], "", "print(round((1+2+4)/3,2))", "2.33"),
        ("area", ["a", "b"], ["3", "5"], "tri", "print(round(3*5/2,1))", "7.5"),
        ("area", ["r"], ["2"], "circle", "import math\nprint(round(math.pi*2**2,1))", "12.6"),
        (
            "deviation", ["A", "B", "C"], ["2", "4", "6"], "",
            "import statistics\nprint(round(statistics.pstdev([2,4,6]),2))", "1.63",
        ),
    ],
)  # fmt: skip
def test_questions_with_their_programs_and_answers(kind, names, values, shape, program, answer):
    question = ask(BY_NAME[kind], names, values, shape, random.Random(0))
    assert (question.program, question.answer) == (program, answer)


def test_growth_computes_with_the_percent_and_years_that_it_names():
    question = ask(BY_NAME["growth"], ["A"], ["200"], "", random.Random(1))
    percent, years = (
        int(word) for word in question.text.replace("?", "").split() if word.isdigit()
    )
    assert question.answer == str(round(200 * (1 + percent / 100) ** years, 1))


def test_comparing_needs_different_values():
    assert not distinct_enough(BY_NAME["larger"], ["5", "5.0", "7"])
    assert distinct_enough(BY_NAME["larger"], ["5", "5.1"])
    assert distinct_enough(BY_NAME["add"], ["5", "5"])
    easy = TasksConfig(count=30, seed=8, easy=1, medium=0, hard=0, matplotlib=0.0)
    for task, _ in make_tasks(easy):
        if task.meta["kind"] in ("larger", "smaller"):
            left, right = task.meta["reasoning"].split(";")[1].split(":")[0].split(",")
            assert float(left.split("=")[1]) != float(right.split("=")[1])


def test_short_values():
    assert doctest.testmod(tables).failed == 0
    assert [short(n) for n in (0, float("nan"), 0.5, 3.14159, 99.96, 1234.5, -7, 9999.6)] == [
        None, None, "0.50", "3.1", "100", "1234", "7", None,
    ]  # fmt: skip


def test_no_value_is_longer_than_a_small_picture_shows():
    for split in SPLITS:
        for column in columns(split):
            assert all(len(value) <= 4 and float(value) > 0 for value in column.values)


def test_make_writes_a_folder_once(tmp_path, capsys):
    resolved = Resolved(value=TasksConfig(count=6, matplotlib=0.0), provenance={})
    options = RunOptions(run_dir=tmp_path / "train", display="none", limit=4)
    run_make(resolved, options)
    assert [task.id for task in read_tasks(tmp_path / "train")] == [
        f"train-0-{i:05d}" for i in range(4)
    ]
    assert "geometry" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds tasks already: --overwrite"):
        run_make(resolved, options)


def test_make_refuses_shares_that_are_all_zero(tmp_path):
    config = TasksConfig(easy=0, medium=0, hard=0)
    with pytest.raises(ConfigError, match="easy, medium and hard are all 0"):
        run_make(Resolved(value=config, provenance={}), RunOptions(run_dir=tmp_path / "none"))

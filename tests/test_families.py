"""Task families: answers are what programs print, splits share no column, pictures say enough."""

import asyncio
import base64
import doctest
import hashlib
import importlib.util
import random
import re

import pytest
from PIL import Image

from air_reasoning.answers import check_answer
from air_reasoning.errors import ConfigError
from air_reasoning.json_io import dump_line
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.task_files import task_writer
from air_reasoning.tasks.families import axes, item, series
from air_reasoning.tasks.families.asks import ask_series
from air_reasoning.tasks.families.draw import draw_task
from air_reasoning.tasks.families.item import Wanted, held_apart, printed
from air_reasoning.tasks.families.known import FAMILY_NAMES, LOOK_AGAIN
from air_reasoning.tasks.families.real_data import BOKEH_SPLITS, grids, records
from air_reasoning.tasks.families.series import Series, draw_series
from air_reasoning.tasks.families.small_print import LEGIBLE
from air_reasoning.tasks.gallery import write_gallery
from air_reasoning.tasks.make import TasksConfig, make_tasks

HAS_BOKEH = importlib.util.find_spec("bokeh_sampledata") is not None

SPLITS = ("train", "dev", "test")
LEVELS = ("easy", "medium", "hard")
SHIPPED_20 = "213282b45d81ca091cb2383dd9f4457aa0a02367d1802a9bad03ed4049f0b6f3"


def wanted(seed, split="train", difficulty="easy", **more):
    return Wanted(rng=random.Random(str(seed)), split=split, difficulty=difficulty, **more)


@pytest.fixture(scope="module")
def drawn():
    """One task of every family, difficulty and split; small print once a split."""
    made = []
    for family in FAMILY_NAMES:
        for split in SPLITS:
            for level in LEVELS if family != "small_print" else ("hard",):
                made.append(draw_task(family, wanted(f"{family} {split} {level}", split, level)))
    return made


def test_the_tasks_of_the_shipped_model_are_what_its_results_were_measured_on():
    digest = hashlib.sha256()
    for task, image in make_tasks(TasksConfig(count=20)):
        digest.update(dump_line(task))
        digest.update(image.tobytes())
    assert digest.hexdigest() == SHIPPED_20


def test_the_same_seed_gives_the_same_tasks_and_a_longer_list_begins_like_a_shorter_one():
    config = TasksConfig(count=9, seed=3, families=("bar", "clock", "table", "faint"))
    many = [(dump_line(task), image.tobytes()) for task, image in make_tasks(config)]
    few = make_tasks(config.model_copy(update={"count": 5}))
    assert [(dump_line(task), image.tobytes()) for task, image in few] == many[:5]
    other = next(make_tasks(config.model_copy(update={"seed": 4})))
    assert dump_line(other[0]) != many[0][0]


def test_the_sandbox_prints_every_answer_and_shows_what_cannot_be_read(drawn):
    async def run():
        pool = ProcessPool()
        out = []
        try:
            for task, image in drawn:
                async with pool.session([image]) as session:
                    program = await session.run(task.meta["program"])
                    view = task.meta.get("view")
                    out.append((program, await session.run(view) if view else None))
        finally:
            await pool.close()
        return out

    for (task, _), (program, view) in zip(drawn, asyncio.run(run()), strict=True):
        assert program.stdout.strip() == task.answer.value, task.meta
        if task.meta["family"] in LOOK_AGAIN:
            assert view is not None
            assert view.images
            assert view.status == "ok"


def test_every_answer_is_scored_right_when_given_and_wrong_when_not(drawn):
    for task, _ in drawn:
        right = check_answer(task.answer, f"<answer>\\boxed{{{task.answer.value}}}</answer>", [])
        wrong = check_answer(task.answer, "<answer>\\boxed{-77.7}</answer>", [])
        assert right.correct, task
        assert not wrong.correct, task


def test_no_column_is_shown_in_two_splits(drawn):
    shown = {split: set() for split in SPLITS}
    for task, _ in drawn:
        if task.meta["columns"] != ["digits/handwritten"]:  # split by digit: see test_tasks
            shown[task.meta["split"]] |= set(task.meta["columns"])
    assert min(map(len, shown.values())) > 5
    for bokeh in (False, True) if HAS_BOKEH else (False,):
        for split in SPLITS:
            shown[split] |= {f"{g.table}/{c}" for g in grids(split, bokeh) for c in g.columns}
            shown[split] |= {f"{r.table}/{c}" for r in records(split, bokeh) for c in r.columns}
    assert not shown["train"] & shown["test"]
    assert not shown["train"] & shown["dev"]
    assert not shown["dev"] & shown["test"]


def test_every_split_has_grids_and_records():
    for split in SPLITS:
        assert len(grids(split)) >= 3
        assert records(split)


@pytest.mark.skipif(not HAS_BOKEH, reason="the extra `bokeh` is not installed")
def test_every_split_has_more_grids_from_bokeh():
    for split in SPLITS:
        more = {grid.table for grid in grids(split, bokeh=True)} - {g.table for g in grids(split)}
        assert more
        assert {BOKEH_SPLITS[table] for table in more} == {split}


def test_what_comes_from_no_table_is_held_apart_by_a_checksum():
    times = [(hour, minute) for hour in range(12) for minute in range(60)]
    of = {s: {t for t in times if held_apart(wanted(0, s), "clock", *t)} for s in SPLITS}
    assert sum(map(len, of.values())) == len(times) == len(set().union(*of.values()))
    assert min(map(len, of.values())) > 40


@pytest.mark.parametrize("seed", range(4))
def test_small_print_is_too_small_for_the_model_and_large_enough_in_the_crop(seed):
    task, image = draw_task("small_print", wanted(seed, model_side=336))
    truth = task.meta["truth"]
    left, top, right, bottom = truth["place"]
    assert truth["print_at_model"] < LEGIBLE
    assert truth["print_at_model"] * max(image.size) / 336 >= 9
    assert 0 <= left < right <= image.width
    assert 0 <= top < bottom <= image.height
    assert task.meta["needs_code"]
    assert task.meta["operations"][0] == "crop"


def test_a_faint_picture_has_few_shades_and_all_of_its_text():
    task, image = draw_task("faint", wanted(5))
    low, high = zip(*image.getextrema(), strict=True)
    assert 2 <= max(high) - min(low) <= task.meta["truth"]["steps"] <= 6


def literal(**more) -> Series:
    given = {"labels": ("1990", "1995", "2000"), "values": ("10.0", "20.0", "40.0")}
    return Series(
        name="n", title="t", unit="$", columns=("t/n",), ordered=True, parts=True, **(given | more)
    )


ANSWERS = {
    "mean": {"23.33"}, "median": {"20.0"}, "deviation": {"12.47"}, "geometric_mean": {"20.0"},
    "percent_change": {"100.0", "300.0"}, "annual_growth": {"14.87"},
    "share": {"14.3", "28.6", "57.1"}, "conversion": {"9.2", "18.4", "36.8"},
}  # fmt: skip


def test_hard_questions_about_a_literal_series_have_these_answers():
    found = {}
    for seed in range(150):
        asked = ask_series(wanted(seed, difficulty="hard"), literal())
        found.setdefault(asked.kind, set()).add(printed(asked.program))
        if asked.kind == "interpolation":
            year = int(re.search(r"value in (\d+)", asked.text)[1])
            whole = {1991: 12, 1992: 14, 1993: 16, 1994: 18, 1996: 24, 1997: 28, 1998: 32, 1999: 36}
            assert float(printed(asked.program)) == whole[year]
        if asked.kind == "compound_growth":
            rate, years = re.search(r"by ([\d.]+) percent.* after (\d+) years", asked.text).groups()
            first = {"1990": 10, "1995": 20, "2000": 40}[
                re.search(r"value of (\d+)", asked.text)[1]
            ]
            grown = first * (1 + float(rate) / 100) ** int(years)
            assert printed(asked.program) == str(round(grown, 2))
    for kind, answers in ANSWERS.items():
        assert found[kind] <= answers, kind
    assert {"interpolation", "compound_growth"} <= set(found)


def test_an_extreme_is_asked_for_only_where_an_eye_can_tell_it():
    close = literal(values=("10.0", "39.9", "40.0"))
    for seed in range(60):
        asked = ask_series(wanted(seed), close)
        assert asked.kind != "extreme"
        if asked.kind == "compare":
            assert "1990" in asked.text


def test_values_are_the_real_ones_rounded():
    one = draw_series(wanted(1), (3, 5))
    table, name = one.columns[0].split("/")
    pool = [v for g in grids("train") if g.table == table for row in g.values for v in row]
    for value in one.numbers:
        assert min(abs(value - real) for real in pool) < 0.51 if "." not in one.values[0] else 0.06
    assert name


def test_examples_in_docstrings():
    for module in (axes, item, series):
        assert doctest.testmod(module).failed == 0


def test_a_family_that_has_run_dry_says_so(monkeypatch):
    monkeypatch.setattr("air_reasoning.tasks.make.MAX_ATTEMPTS", 1)
    config = TasksConfig(count=3000, families=("dial",), easy=1, medium=0, hard=0, side=160)
    with pytest.raises(ConfigError, match="families dial: no new task after 1 attempts"):
        for _ in make_tasks(config):
            pass


def test_the_gallery_is_one_page_with_pictures_and_escaped_text(tmp_path):
    config = TasksConfig(count=6, families=("clock", "small_print", "turned"), seed=2)
    with task_writer(tmp_path / "some") as add:
        for task, image in make_tasks(config):
            task.prompt[1] = type(task.prompt[1])(kind="text", text="<b>hostile</b> & question")
            add(task, [image])
    shown = write_gallery(tmp_path / "some", tmp_path / "page.html", per_group=9)
    page = (tmp_path / "page.html").read_text()
    assert shown == 6
    assert page.count("<article") == 6
    assert "&lt;b&gt;hostile&lt;/b&gt;" in page
    assert "<b>hostile" not in page
    assert "as the model sees it" in page
    assert 'src="http' not in page
    digest = re.search(r"script-src 'sha256-([^']+)'", page)[1]
    script = re.search(r"<script>(.*)</script>", page, re.S)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_pictures_have_the_wanted_size():
    for family in ("bar", "receipt", "geometry"):
        _, image = draw_task(family, wanted(1, side=500))
        assert isinstance(image, Image.Image)
        assert 300 <= max(image.size) <= 500

"""What a cell gives back: values, text, errors, pictures. Real processes throughout."""

import asyncio
from collections.abc import Iterator

import pytest
from PIL import Image

from air_reasoning.images import image_hash
from air_reasoning.sandbox.base import is_void
from air_reasoning.sandbox.process import ProcessPool, SandboxConfig
from air_reasoning.types import Execution


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    # One pool for all tests, each with an event loop of its own: that has to work too.
    pool = ProcessPool(SandboxConfig(output_chars=1000, max_images=2, max_image_pixels=100_000))
    yield pool
    asyncio.run(pool.close())


def run(pool: ProcessPool, *cells: str, images: list[Image.Image] | None = None) -> list[Execution]:
    async def all_cells() -> list[Execution]:
        async with pool.session(images, seed=7) as session:
            return [await session.run(cell, timeout_s=30) for cell in cells]

    return asyncio.run(all_cells())


def error_of(execution: Execution) -> dict[str, str]:
    assert execution.status == "error"
    assert execution.error is not None
    return execution.error


def test_state_is_kept_and_the_last_expression_is_the_value(pool: ProcessPool) -> None:
    first, second, third = run(pool, "x = 20\ndef f(a): return a + x", "x += 1\nf(1)", "'a\\nb'")
    assert (first.status, first.value, first.tier in "ABC") == ("ok", None, True)
    assert (second.value, second.stdout, second.error) == ("22", "", None)
    assert third.value == r"'a\nb'"
    assert not any(execution.state_lost for execution in (first, second, third))


def test_none_shows_nothing_and_print_is_no_value(pool: ProcessPool) -> None:
    (execution,) = run(pool, "print('seen')\nNone")
    assert (execution.value, execution.stdout) == (None, "seen\n")


def test_the_traceback_has_the_lines_of_the_cells_only(pool: ProcessPool) -> None:
    _, failed = run(
        pool,
        "import json\ndef load(text):\n    return json.loads(text)",
        "print('before')\nload('{')",
    )
    error = error_of(failed)
    assert failed.stdout == "before\n"
    assert error["type"] == "JSONDecodeError"
    assert error["traceback"] == (
        "Traceback (most recent call last):\n"
        "  cell 2, line 2, in <module>\n    load('{')\n"
        "  cell 1, line 3, in load\n    return json.loads(text)\n"
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)\n"
    )


def test_a_deep_recursion_is_told_in_few_lines(pool: ProcessPool) -> None:
    (execution,) = run(pool, "def f(): return f()\nf()")
    error = error_of(execution)
    assert error["type"] == "RecursionError"
    assert " frames ...]" in error["traceback"]
    assert error["traceback"].count("\n") < 40


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("x = (", "SyntaxError"),
        ("x = 'a\0b'", "SyntaxError"),
        ("x = '\ud800'", "SyntaxError"),
        ("  x = 1\n y = 2", "IndentationError"),
        ("(" * 5000, "SyntaxError"),
        ("raise SystemExit('no')", "SystemExit"),
        ("input()", "EOFError"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "E"),
        ("class R:\n    def __repr__(self): return 1 / 0\nR()", "ZeroDivisionError"),
        ("10 ** 10_000", "ValueError"),  # too long to print in decimal
    ],
)
def test_errors_leave_the_session_usable(pool: ProcessPool, code: str, kind: str) -> None:
    _, failed, after = run(pool, "kept = 5", code, "kept")
    assert error_of(failed)["type"] == kind
    assert (after.value, after.state_lost) == ("5", False)


def test_exit_ends_the_cell_only(pool: ProcessPool) -> None:
    first, second = run(pool, "x = 1\nexit()\nx = 2", "x")
    assert (first.status, first.error, second.value) == ("ok", None, "1")


def test_long_text_is_cut_in_the_middle_with_a_notice(pool: ProcessPool) -> None:
    flood, value, after = run(
        pool,
        "for i in range(200_000): print('line', i)",
        "'a' * 5000",
        "print('small')",
    )
    head, _, tail = flood.stdout.partition("\n[... ")
    count, _, tail = tail.partition(" bytes cut ...]\n")
    assert head.startswith("line 0\nline 1\n")
    assert tail.endswith("line 199999\n")
    assert len(head) == len(tail) == 500
    assert int(count) == sum(len(f"line {i}\n") for i in range(200_000)) - 1000
    assert value.value is not None
    assert len(value.value) < 1100
    assert " bytes cut ...]" in value.value
    assert after.stdout == "small\n"


def test_text_below_python_is_caught_too(pool: ProcessPool) -> None:
    first, second = run(
        pool,
        "import os, sys\nos.system('echo below; echo wrong >&2')\nprint('a'); sys.stdout.close()",
        "print('again'); os.system('echo below')\nNone",
    )
    assert sorted(first.stdout.split()) == ["a", "below"]
    assert first.stderr == "wrong\n"
    assert second.stdout.split() == ["again", "below"]


def test_strange_characters_arrive_writable(pool: ProcessPool) -> None:
    printed, value = run(pool, "print('\\ud800', 'é', '\\0')", "'\\udc80€'")
    assert printed.stdout == "\\ud800 é \0\n"
    assert value.value == "'\\udc80€'"
    (value.value or "").encode()


def test_input_pictures_are_objects_and_files(pool: ProcessPool) -> None:
    pictures = [
        Image.frombytes("RGB", (3, 2), bytes(range(18))),
        Image.frombytes("L", (2, 2), b"\0\x50\xa0\xff"),
        Image.new("P", (4, 5), 3),
    ]
    listing, same, shape = run(
        pool,
        "import os\nsorted(os.listdir())",
        "from PIL import Image\n"
        "[Image.open(f'image_{k}.png').tobytes() == globals()[f'image_{k}'].tobytes() "
        "for k in (1, 2, 3)]",
        "list(image_1.getdata())[1], image_2.mode, image_3.mode, image_3.size",
        images=pictures,
    )
    assert listing.value == "['image_1.png', 'image_2.png', 'image_3.png']"
    assert same.value == "[True, True, True]"
    assert shape.value == "((3, 4, 5), 'L', 'RGB', (4, 5))"


def test_pillow_is_imported_only_for_a_cell_that_names_a_picture(pool: ProcessPool) -> None:
    before, after = run(
        pool,
        "import sys\n'P' 'IL' in sys.modules",
        "image_1.size, 'PIL' in sys.modules",
        images=[Image.new("RGB", (2, 3))],
    )
    assert before.value == "False"
    assert after.value == "((2, 3), True)"


def test_pictures_come_back_with_their_pixels(pool: ProcessPool) -> None:
    async def cells() -> None:
        async with pool.session([Image.frombytes("RGB", (2, 1), b"abcdef")]) as session:
            last = await session.run("image_1.rotate(180)", 30)
            assert (last.status, last.value) == ("ok", None)
            (ref,) = last.images
            assert (ref.width, ref.height, ref.path) == (2, 1, "")
            assert session.pixels[ref.sha256].tobytes() == b"defabc"
            assert ref.sha256 == image_hash(session.pixels[ref.sha256])
            shown = await session.run("display(image_1.convert('1'))\nimage_1.show()\n3", 30)
            assert shown.value == "3"
            assert [session.pixels[r.sha256].mode for r in shown.images] == ["L", "RGB"]

    asyncio.run(cells())


def test_pictures_are_capped_in_number_and_size(pool: ProcessPool) -> None:
    many, large = run(
        pool,
        "from PIL import Image\nfor k in range(4): display(Image.new('L', (2, 2), k))",
        "Image.new('L', (1000, 1000))",
    )
    assert len(many.images) == 2
    assert many.stderr.count("image not returned: at most 2 a cell") == 2
    assert large.images == []
    assert "[image of 1000x1000 not returned: 1 to 100000 pixels allowed]" in large.stderr


def test_figures_come_back_once_and_are_closed(pool: ProcessPool) -> None:
    pytest.importorskip("matplotlib")
    plot = (
        "import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(2, 1), dpi=100)\n"
        "plt.plot([1, 2])\nplt.show()\nfig"
    )
    first, second, third, huge = run(
        pool,
        plot,
        "fig",
        "plt.get_fignums()",
        "plt.figure(figsize=(50_000, 50_000), dpi=1)",
    )
    assert [(image.width, image.height) for image in first.images] == [(200, 100)]
    assert (first.value, first.stderr) == (None, "")
    assert [image.sha256 for image in second.images] == [image.sha256 for image in first.images]
    assert third.value == "[]"
    assert (huge.status, huge.images) == ("ok", [])
    assert "not returned" in huge.stderr


def test_random_numbers_follow_the_seed(pool: ProcessPool) -> None:
    async def draw(seed: int | None) -> str | None:
        async with pool.session(seed=seed) as session:
            return (await session.run("import random; random.random()")).value

    async def draws() -> list[str | None]:
        return [await draw(seed) for seed in (1, 1, 2, None, None)]

    same, again, other, free, free_again = asyncio.run(draws())
    assert same == again
    assert len({same, other, free, free_again}) == 4


def test_numpy_is_seeded_where_it_is_preloaded() -> None:
    code = "import numpy as np\nnp.random.rand(), np.random.default_rng().random()"

    async def draws() -> list[str | None]:
        async with ProcessPool(SandboxConfig(preload=[["numpy", "numpy.random"]])) as pool:
            values: list[str | None] = []
            for seed in (1, 1, 2):
                async with pool.session(seed=seed) as session:
                    values.append((await session.run(code)).value)
            return values

    same, again, other = asyncio.run(draws())
    assert same == again != other


@pytest.mark.parametrize(
    ("code", "void"),
    [
        ("", True),
        (" \n\t\n", True),
        ("# only\n   # notes", True),
        ("# a\rx = 1", False),
        ("# a\x0cprint(1)", True),  # a form feed does not end a comment
        ("pass", False),
        ("'''\n# text\n'''", False),
    ],
)
def test_void_cells(code: str, void: bool) -> None:
    assert is_void(code) is void


def test_a_void_cell_starts_no_process() -> None:
    async def cells() -> None:
        pool = ProcessPool(SandboxConfig(packages="/no/such/python"))  # would fail if it did
        async with pool, pool.session() as session:
            assert (await session.run("# thinking")).status == "ok"

    asyncio.run(cells())

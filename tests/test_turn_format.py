import doctest

import pytest

from air_reasoning import turn_format
from air_reasoning.turn_format import (
    AIR,
    THYME,
    TURN_FORMATS,
    parse_turn,
    render_code,
    render_execution,
)
from air_reasoning.types import Execution, ImageRef


def kinds(text, form=AIR):
    return [(piece.kind, piece.body) for piece in parse_turn(text, form)]


def test_examples_in_the_docstrings():
    assert doctest.testmod(turn_format).failed == 0


def test_a_direct_answer():
    text = "<think>A=1,B=2</think><answer>\\boxed{3}</answer>"
    assert kinds(text) == [("think", "A=1,B=2"), ("answer", "\\boxed{3}")]


def test_a_thought_that_goes_on_around_a_cell():
    assert kinds("<think>a<code>1</code>") == [("think", "a"), ("code", "1")]
    assert kinds("b</think>so <answer>4</answer>") == [
        ("think", "b"),
        ("text", "so "),
        ("answer", "4"),
    ]


def test_a_lone_closing_tag_closes_nothing():
    assert kinds("print(1)</code>") == [("text", "print(1)</code>")]
    assert [p.kind for p in parse_turn("a</code>b<code>c", AIR)] == ["text", "code"]
    assert not parse_turn("a</code>b<code>c", AIR)[1].closed


CODES = [
    "print(1)",
    "",
    "x\n\n",
    "s = '</code>'\nprint(s)",
    's = "a\\"</code>"',
    's = """\n```\n</code>\n"""\nprint(s)',
    "text = '''\n```python\n1\n```\n'''",
    "# it's a comment\nprint('</code>')",
    "  indented = 1",
    "print('é 数 🙂')",
    "x = ''\ny = ''''''\nprint(x, '</code>')",
    "'never closed on its line\nprint(1)",
]


@pytest.mark.parametrize("form", TURN_FORMATS.values(), ids=TURN_FORMATS)
@pytest.mark.parametrize("code", CODES)
def test_code_comes_back_as_it_was(code, form):
    text = "so " + render_code(code, form) + "tail"
    pieces = parse_turn(text, form)
    assert [(p.kind, p.closed) for p in pieces] == [("text", True), ("code", True), ("text", True)]
    assert pieces[1].body == code
    assert "".join(p.text for p in pieces) == text


@pytest.mark.parametrize(
    "fence", ["```python\n{}\n```", "\n```py\n{}\n```\n", "```\n{}\n```", "{}"]
)
def test_a_fence_is_optional_and_may_be_spelled_differently(fence):
    assert kinds(f"<code>{fence.format('print(1)')}</code>") == [("code", "print(1)")]


def test_a_tag_after_a_comment_or_an_open_line_string_still_closes():
    assert kinds("<code>x = 1  # done</code>") == [("code", "x = 1  # done")]
    assert kinds("<code>print('a</code>") == [("code", "print('a")]


def test_a_triple_quoted_string_that_never_ends_is_no_cell():
    (piece,) = parse_turn("<code>s = '''a</code> and on", AIR)
    assert (piece.kind, piece.closed) == ("code", False)


@pytest.mark.parametrize(
    "text", ["", "<think>", "</think>", "<answer>", "<code></code>", "a<code>"]
)
def test_pieces_together_are_the_text(text):
    pieces = parse_turn(text, THYME)
    assert "".join(p.text for p in pieces) == text
    assert [text[p.start : p.end] for p in pieces] == [p.text for p in pieces]


def test_what_the_model_reads_of_an_execution():
    image = ImageRef(sha256="0", width=1, height=1, path="")
    failed = Execution(
        status="error",
        stdout="before\n",
        error={"type": "NameError", "message": "name 'x' is not defined", "traceback": "..."},
    )
    assert render_execution(failed, 99) == "before\nNameError: name 'x' is not defined"
    both = Execution(status="ok", stdout="a\n", value="3", images=[image, image])
    assert render_execution(both, 99) == "a\n3\n[2 images]"
    slow = Execution(status="timeout", state_lost=True)
    assert render_execution(slow, 99).splitlines() == [
        "TimeoutError: the cell ran out of time",
        "(variables of earlier cells are gone)",
    ]
    assert render_execution(Execution(status="ok", stderr="a warning\n"), 99) == "a warning"
    assert render_execution(Execution(status="ok", stderr="w", value="1"), 99) == "1"
    assert render_execution(Execution(status="ok"), 99) == "(no output)"


def test_a_flood_is_cut_in_the_middle_and_says_so():
    flood = Execution(status="ok", stdout="a" * 50 + "b" * 50)
    assert render_execution(flood, 10) == "aaaaa\n... 90 characters cut ...\nbbbbb"
    assert render_execution(flood, 100) == "a" * 50 + "b" * 50

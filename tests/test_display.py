import io
import json

import pytest

from air_reasoning.config import Display
from air_reasoning.display import duration, headline_text, progress, table


def test_plain_progress_is_lines_and_the_last_step_is_always_one():
    out = io.StringIO()
    with progress("plain", total=2, description="training", stream=out) as bar:
        bar.advance(headline={"accuracy": 0.5})
        bar.advance(headline={"accuracy": None})
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("training 1/2  ")
    assert lines[0].endswith("left  accuracy 0.5")
    assert lines[-1].startswith("training 2/2")
    assert lines[-1].endswith("accuracy -")
    assert "\x1b" not in out.getvalue()


def test_rich_off_a_terminal_is_plain():
    out = io.StringIO()
    with progress("rich", total=1, description="work", stream=out) as bar:
        bar.advance()
    assert out.getvalue().startswith("work 1/1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rich_on_a_terminal_shows_the_numbers():
    out = Terminal()
    with progress("rich", total=4, description="work", stream=out, done=2) as bar:
        bar.advance(2, {"loss [x]": 0.25})
    assert "4/4" in out.getvalue()
    assert "loss [x] 0.25" in out.getvalue()


def test_json_progress_is_one_object_a_step():
    out = io.StringIO()
    with progress("json", total=None, description="work", stream=out, done=5) as bar:
        bar.advance(2, {"a": 1.5})
    shown = json.loads(out.getvalue())
    assert (shown["done"], shown["total"], shown["a"]) == (7, None, 1.5)


@pytest.mark.parametrize("display", ["none"])
def test_none_is_silent(display: Display):
    out = io.StringIO()
    with progress(display, total=1, description="work", stream=out) as bar:
        bar.advance()
    assert out.getvalue() == ""


def test_tables_line_up():
    rows = [{"run": "a", "steps": 5, "x": None}, {"run": "bb", "steps": 10, "x": 0.12345}]
    assert table(rows) == "run  steps  x\na        5  -\nbb      10  0.123"
    assert table([]) == ""


def test_words_for_numbers():
    assert headline_text({"a": 0.123456, "b": None}) == "a 0.123  b -"
    assert [duration(s) for s in (0.4, 59.4, 185, 3900)] == [
        "0 s",
        "59 s",
        "3 min 05 s",
        "1 h 05 min",
    ]

"""The chart in text, literally."""

from air_reasoning.terminal_chart import chart


def test_a_small_chart():
    drawn = chart({"easy": [0.0, 0.0, 0.0, 0.0], "hard": [0.2, None, 1.0, 1.0]}, width=8, height=4)
    assert drawn.splitlines() == [
        "100 % │    △△△△",
        "      │        ",
        " 50 % │        ",
        "  0 % │△△○○○○○○",
        "      └────────",
        "       step 1 4",
        "       ○ easy   △ hard",
    ]


def test_a_column_shows_the_mean_of_its_steps_and_later_series_win():
    drawn = chart({"a": [0.0, 1.0, 0.9, 0.9], "b": [None, None, 0.9, 0.9]}, width=2, height=4)
    assert [line[7:] for line in drawn.splitlines()[:4]] == [" △", "○ ", "  ", "  "]


def test_no_steps_yet():
    assert "step 1" in chart({"a": []}, width=10, height=2)

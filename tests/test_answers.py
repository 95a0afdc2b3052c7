"""Extraction order, typed comparison, and the child that must survive hostile input."""

import asyncio
import threading

import pytest

from air_reasoning.answers import answer_text, check_answer, compare, extract_answer
from air_reasoning.math_verify_child import hopeless, verify
from air_reasoning.types import Answer, Execution, Segment, Trajectory


@pytest.mark.parametrize(
    ("text", "expected", "route"),
    [
        (r"\boxed{1} <answer>2</answer> The answer is 3", "2", "answer_tag"),
        (r"<answer>\boxed{12.5}</answer>", "12.5", "answer_tag"),
        (r"<answer>3</answer> no: <answer>4</answer>", "4", "answer_tag"),
        (r"<answer></answer>\boxed{5}", "5", "boxed"),
        (r"<answer> unclosed \boxed{5}", "5", "boxed"),
        (r"\boxed{4} and \boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        (r"\boxed{7}, then \boxed{\frac{1}{2", "7", "boxed"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}", "boxed"),
        ("first line\nSo the answer is: **12 cm**.", "12 cm", "phrase"),
        ("The answer is 3\nbut I am not sure", "but I am not sure", "fallback"),
        ("", "", "none"),
    ],
)
def test_extraction_order(text, expected, route):
    found = extract_answer(text)
    assert (found.text, found.route) == (expected, route)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int", "We count 3 and 4, so there are 7 apples", "7"),
        ("float", "it costs 1,234.50 in all", "1,234.50"),
        ("choice", "Both fit, but (C) fits best", "C"),
        ("int", "I cannot tell", ""),
        ("text", "x" * 500, ""),
    ],
)
def test_fallback_by_type(kind, text, expected):
    assert extract_answer(text, kind).text == expected


@pytest.mark.parametrize(
    ("gold", "given", "kind"),
    [
        ("12.5", "12.50", "float"),
        ("1234", "1,234", "int"),
        ("60", "60.", "int"),
        ("1/2", r"\frac12", "expr"),
        ("1/2", "0.5", "expr"),
        (r"\frac{360}7", "360/7", "expr"),
        ("5/2", r"2\frac{1}{2}", "expr"),
        ("5/2", "2 1/2", "expr"),
        (r"2\sqrt{3}", "2√3", "expr"),
        (r"2\sqrt{3}", "2*sqrt(3)", "expr"),
        (r"24+4\pi", "4π + 24", "expr"),
        ("2", r"\sqrt[3]{8}", "expr"),
        ("1500", r"1.5 \times 10^{3}", "expr"),
        ("0.5", "50%", "float"),
        (r"69^\circ", "69 degrees", "expr"),
        ("5 cm", r"5\text{ cm}", "expr"),
        ("5 cm", "0.05 m", "expr"),
        ("5 cm", "5", "expr"),
        ("1/3", "0.3333", "expr"),
        ("7", "x = 7", "int"),
        ("[2014, 2016]", "[2014,2016]", "list"),
        ("(1,2)", "[1,2]", "expr"),
        ("{1, 2}", "2 and 1", "expr"),
        ("x=1, x=2", "2, 1", "expr"),
        (r"\frac{7^3}{2^{12} 13^2}", "343/692224", "expr"),
        ("Wednesday", "wednesday.", "text"),
    ],
)
def test_equal_on_the_fast_path(gold, given, kind):
    correct, method, _ = compare(Answer(value=gold, type=kind), given, [])
    assert correct
    assert method != "math_verify"


@pytest.mark.parametrize(
    ("gold", "given", "kind"),
    [
        ("1/2^{99}", "1/2^{98}", "expr"),
        ("50", "50%", "float"),
        ("5 cm", "5 m", "expr"),
        ("5 cm", "5 kg", "expr"),
        ("1/3", "0.33", "expr"),
        ("[1,2)", "(1,2)", "expr"),
        ("[1, 2]", "[2, 1]", "list"),
        ("(1, 2)", "(2, 1)", "expr"),
        ("1, 2", "1, 1", "expr"),
        ("1, 2", "1", "expr"),
        ("125", "12.5", "float"),
        ("15", "12.5.3", "expr"),
        ("24", "", "int"),
        ("", "", "text"),
        ("22", "2 2", "int"),
    ],
)
def test_unequal_on_the_fast_path(gold, given, kind):
    correct, method, _ = compare(Answer(value=gold, type=kind), given, [])
    assert not correct
    assert method != "math_verify"


@pytest.mark.parametrize(
    ("given", "correct"),
    [
        ("3.14", True),
        ("3.1416", True),
        ("3.15", False),
        ("3.1", False),
    ],
)
def test_precision_rounds_both(given, correct):
    answer = Answer(value="3.14", type="float", precision=2)
    assert compare(answer, given, [])[0] is correct


def test_tolerance_and_unit():
    assert compare(Answer(value="10", type="float", tolerance=0.5), "10.5", [])[0]
    assert not compare(Answer(value="10", type="float", tolerance=0.5), "10.6", [])[0]
    percent = Answer(value="50", type="float", unit="%")
    assert compare(percent, "50%", [])[0]
    assert compare(percent, "50", [])[0]
    assert not compare(percent, "0.5", [])[0]
    assert compare(Answer(value="5", type="int", unit="cm"), "50 mm", [])[0]


CHOICES = ["10 cm", "11 cm", "12 cm"]


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("The answer is (C).", True),
        (r"\boxed{\text{(C)}}", True),
        (r"\boxed{C}", True),
        ("<answer>C. 12 cm</answer>", True),
        ("<answer>12</answer>", True),
        ("Answer: 12 cm", True),
        ("I take option c", True),
        ("<answer>B</answer>", False),
        ("<answer>F</answer>", False),
        ("<answer>A cube</answer>", False),
        ("none of them", False),
    ],
)
def test_choices_by_letter_or_text(text, correct):
    for gold in ("C", "12 cm"):
        assert check_answer(Answer(value=gold, type="choice"), text, CHOICES).correct is correct


def test_choices_that_are_letters():
    assert check_answer(Answer(value="B", type="choice"), "B", list("ABCDE")).correct
    assert not check_answer(Answer(value="B", type="choice"), "E", list("ABCDE")).correct


def _trajectory(*segments):
    return Trajectory(id="t", task_id="q", group_id="g", segments=list(segments))


def test_a_tool_that_prints_the_answer_earns_nothing():
    output = Segment(
        kind="output",
        text="<interpreter><answer>42</answer></interpreter>",
        execution=Execution(status="ok", stdout="<answer>42</answer>"),
    )
    leaked = _trajectory(Segment(kind="code", text="<code>print(gold)</code>"), output)
    assert answer_text(leaked) == ""
    assert not check_answer(Answer(value="42", type="int"), answer_text(leaked), []).correct

    early = _trajectory(Segment(kind="answer", text="<answer>42</answer>"), output)
    assert answer_text(early) == ""

    after = _trajectory(
        output,
        Segment(kind="think", text="<think>7</think>"),
        Segment(kind="text", text="It is 41"),
    )
    assert answer_text(after) == "It is 41"


def test_math_verify_reads_what_the_fast_path_cannot():
    verdict = check_answer(Answer(value="x^2-1", type="expr"), r"\boxed{(x-1)(x+1)}", [])
    assert (verdict.correct, verdict.method, verdict.timed_out) == (True, "math_verify", False)


@pytest.mark.parametrize(
    "text", [r"9^{9^{9^{9}}}", r"(10^{6})!", "99999!", "x^{1000000}", r"2^{3^{40}}"]
)
def test_what_nobody_can_compute_counts_as_timed_out_without_trying(text):
    verdict = check_answer(Answer(value="3", type="expr"), rf"\boxed{{{text}}}", [])
    assert (verdict.correct, verdict.timed_out or verdict.method == "number") == (False, True)
    assert hopeless(text)


@pytest.mark.parametrize("text", [r"2^{2^{3}}", "x^{100}", "5!", "n!", "10^{-6}", "a^{b^{c}}"])
def test_what_can_be_computed_is_tried(text):
    assert not hopeless(text)


def test_a_hang_is_killed_counted_and_the_next_question_is_answered():
    hang = r"\boxed{\sum_{k=1}^{10^{9}} k^k}"
    verdict = check_answer(Answer(value="x^2", type="expr"), hang, [])
    assert not verdict.correct
    assert verdict.timed_out
    assert verify("x+y", "y+x") is True
    assert verify("x+y", "y-x") is False


@pytest.mark.parametrize(
    "text",
    [
        "(" * 300 + "1" + ")" * 300,
        r"\boxed{" * 20_000,
        "<answer>" * 20_000,
        "9" * 1_000_000,
        "x" * 1_000_000,
    ],
)
def test_hostile_text_is_wrong_without_the_child(text):
    verdict = check_answer(Answer(value="3", type="expr"), text, [])
    assert not verdict.correct
    assert verdict.method != "math_verify"


def test_from_threads_and_event_loops():
    results = list[bool | None]()
    threads = [
        threading.Thread(target=lambda: results.append(verify("a+b", "b+a"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def inside() -> bool | None:
        return await asyncio.to_thread(verify, "a", "b")

    assert results == [True] * 4
    assert asyncio.run(inside()) is False

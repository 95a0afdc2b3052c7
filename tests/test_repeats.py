"""mean@k, pass@k and maj@k on literal roll-outs."""

import pytest

from air_reasoning.eval.repeats import majority_is_right, pass_at, repeat_figures
from air_reasoning.metrics import Record


def rollouts(task, *answers, right="3"):
    return [
        Record(task_id=task, repeat=n, answer=answer, correct=answer == right)
        for n, answer in enumerate(answers)
    ]


def test_pass_at_k_is_unbiased():
    assert pass_at(1, 4, 1) == 0.25
    assert pass_at(2, 4, 1) == 0.5
    assert pass_at(4, 4, 1) == 1
    assert pass_at(3, 4, 0) == 0


def test_figures():
    records = rollouts("a", "3", "3", "4", "5") + rollouts("b", "4", "4", "3", "4")
    figures = repeat_figures(records)
    assert list(figures) == ["mean@4", "pass@1", "pass@2", "pass@4", "maj@4"]
    assert figures["mean@4"].value == pytest.approx(3 / 8)
    assert figures["pass@1"].value == pytest.approx(3 / 8)
    assert figures["pass@2"].value == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert figures["pass@4"].value == 1
    assert figures["maj@4"].value == 0.5


@pytest.mark.parametrize(
    ("answers", "right"),
    [
        (("3", "$3$", "4"), True),  # one spelling
        (("4", "3"), False),  # the first of equals
        (("3", "4"), True),
        (("", "", "3"), True),  # no answer, no vote
        (("", ""), False),
    ],
)
def test_majority(answers, right):
    assert majority_is_right(rollouts("a", *answers)) is right


def test_a_task_with_a_lost_rollout_is_left_out_and_one_rollout_says_nothing():
    lost = [Record(task_id="b", repeat=0, unscored=True), Record(task_id="b", repeat=1)]
    assert repeat_figures(rollouts("a", "3", "3") + lost)["mean@2"].n == 1
    assert repeat_figures(rollouts("a", "3")) == {}
    assert repeat_figures([]) == {}

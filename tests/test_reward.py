"""The expected rewards are worked by hand from the formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_reasoning.reward import Outcome, RewardConfig, RewardMode, score_group

RIGHT_CODE = Outcome(True, 1)
RIGHT_FREE = Outcome(True, 0)
WRONG_CODE = Outcome(False, 1)
WRONG_FREE = Outcome(False, 0)
RIGHT_BANNED = Outcome(True, 0, code_banned=True)
WRONG_BANNED = Outcome(False, 0, code_banned=True)


def totals(outcomes: list[Outcome], **settings: object) -> list[float]:
    config = RewardConfig.model_validate(settings)
    return [round(reward.total, 4) for reward in score_group(outcomes, config)]


@st.composite
def groups(draw: st.DrawFn) -> list[Outcome]:
    def member(correct: bool, calls: int, failed: int, format_ok: bool, banned: bool) -> Outcome:
        calls = 0 if banned else calls
        return Outcome(correct, calls, min(failed, calls), format_ok, banned)

    flags = st.booleans()
    members = st.builds(member, flags, st.integers(0, 4), st.integers(0, 4), flags, flags)
    return draw(st.lists(members, min_size=1, max_size=10))


def test_worked_example():
    assert totals([RIGHT_CODE, RIGHT_CODE, RIGHT_FREE, WRONG_CODE]) == [0.7481, 0.7481, 1.0, 0.0]


def test_all_call_and_all_right_costs_nothing_without_a_code_free_sibling():
    assert totals([RIGHT_CODE] * 4) == [1.0] * 4


def test_a_right_banned_sibling_makes_over_calling_cost():
    # rho_r is over the three that were free to choose: 1, so the whole lambda_over.
    assert totals([RIGHT_CODE] * 3 + [RIGHT_BANNED]) == [0.6, 0.6, 0.6, 1.0]


def test_a_wrong_banned_sibling_shows_that_code_is_needed():
    # a_free = 0: over is off, under is on; rho_w = 1/2 over the two unbanned wrong ones.
    # 0.3 * (0.9 - 0.5) / 0.9 = 0.1333
    outcomes = [RIGHT_CODE, WRONG_CODE, WRONG_FREE, WRONG_BANNED]
    assert totals(outcomes) == [1.0, 0.1333, -0.1333, 0.0]


def test_nothing_acts_between_the_two_needs():
    # a_free = 1/2 is neither >= 1 nor <= 0.35.
    assert totals([RIGHT_CODE, WRONG_CODE, RIGHT_FREE, WRONG_FREE]) == [1.0, 0.0, 1.0, 0.0]


def test_plain_need_applies_both_bounds_always():
    # rho_r = rho_w = 1/2: over 0.4 * 0.4 / 0.9 = 0.1778, under 0.3 * 0.4 / 0.9 = 0.1333.
    outcomes = [RIGHT_CODE, WRONG_CODE, RIGHT_FREE, WRONG_FREE]
    assert totals(outcomes, need="plain") == [0.8222, 0.1333, 1.0, -0.1333]


def test_daring_pays_only_if_a_call_worked():
    # rho_w = 1/2: under = 0.1333; the failing caller gets no bonus and loses lambda_error.
    failing = Outcome(False, 2, failed_calls=2)
    assert totals([failing, WRONG_FREE]) == [-0.1, -0.1333]


def test_failed_calls_cost_in_proportion():
    assert totals([Outcome(True, 4, failed_calls=1), WRONG_BANNED]) == [0.975, 0.0]


def test_malformed_costs_lambda_format():
    assert totals([Outcome(True, 0, format_ok=False), RIGHT_FREE]) == [0.9, 1.0]


def test_terms_are_unclipped_and_the_total_is_guarded():
    costly = Outcome(True, 1, failed_calls=1, format_ok=False)
    reward = score_group([costly, RIGHT_BANNED], RewardConfig())[0]
    assert reward.terms == {
        "correct": 1.0,
        "over_call": pytest.approx(-0.4),
        "under_call": 0.0,
        "error": pytest.approx(-0.1),
        "format": pytest.approx(-0.1),
    }
    assert reward.total == pytest.approx(0.55)
    assert totals([costly, RIGHT_BANNED], guard=False)[0] == 0.4


@given(groups(), st.sampled_from(["aware", "plain"]))
def test_with_the_guard_right_always_beats_wrong(outcomes: list[Outcome], need: str):
    config = RewardConfig.model_validate(
        {"need": need, "lambda_over": 5, "lambda_under": 5, "lambda_format": 5}
    )
    rewards = score_group(outcomes, config)
    right = [r.total for r, o in zip(rewards, outcomes, strict=True) if o.correct]
    wrong = [r.total for r, o in zip(rewards, outcomes, strict=True) if not o.correct]
    assert not right or not wrong or min(right) > max(wrong)


@given(groups(), st.randoms(use_true_random=False))
def test_rewards_follow_the_trajectory_not_its_place(outcomes: list[Outcome], random):
    order = list(range(len(outcomes)))
    random.shuffle(order)
    rewards = score_group(outcomes, RewardConfig())
    shuffled = score_group([outcomes[i] for i in order], RewardConfig())
    assert shuffled == [rewards[i] for i in order]


def test_bounds_that_would_divide_by_zero_are_refused():
    with pytest.raises(ValueError, match="p_right"):
        RewardConfig(p_right=1.0)
    with pytest.raises(ValueError, match="p_wrong"):
        RewardConfig(p_wrong=0.0)


MIXED = [Outcome(True, 2), Outcome(True, 1), Outcome(True, 0), Outcome(False, 1)]


@pytest.mark.parametrize(
    ("mode", "outcomes", "expected"),
    [
        ("outcome", MIXED, [1.0, 1.0, 1.0, 0.0]),
        ("tool_bonus", MIXED, [1.2, 1.1, 1.0, 0.0]),
        # rho = 3/4 > 0.3: no curiosity left, only the second call costs.
        ("pixel_reasoner", MIXED, [0.95, 1.0, 1.0, 0.0]),
        # rho = 1/5: curiosity 0.1, right or wrong.
        ("pixel_reasoner", [WRONG_CODE, *[RIGHT_FREE] * 4], [0.1, 1.0, 1.0, 1.0, 1.0]),
        # n = 0: cos(2 pi / 5), cos(pi / 3), 1.
        ("otc", MIXED, [0.309, 0.5, 1.0, 0.0]),
        # n = 1, m = 3: f = 3/2, sin(3 pi / 4); m = n: sin(pi / 2).
        ("otc", [Outcome(True, 3), RIGHT_CODE, WRONG_FREE], [0.7071, 1.0, 0.0]),
        # group accuracy 3/4: easy; sin(pi/2) and sin(pi/4) of 0.4.
        ("adatir", MIXED, [0.6, 0.7172, 1.0, 0.0]),
        ("adatir", [RIGHT_CODE, WRONG_CODE], [1.0, 0.0]),  # accuracy 1/2 is not easy
        # three of four use code: factor 4/3; one does not: 4.
        ("ada_grpo", MIXED, [1.3333, 1.3333, 4.0, 0.0]),
        ("fixed_cost", MIXED, [0.8, 0.9, 1.0, 0.0]),
    ],
)
def test_neighbours(mode: RewardMode, outcomes: list[Outcome], expected: list[float]):
    assert totals(outcomes, mode=mode) == expected


def test_ada_grpo_decays_to_the_bare_outcome():
    config = RewardConfig(mode="ada_grpo")
    half = [r.total for r in score_group(MIXED, config, progress=0.5)]
    assert half == pytest.approx([1 + 1 / 6, 1 + 1 / 6, 2.5, 0.0])
    end = [r.total for r in score_group(MIXED, config, progress=1.0)]
    assert end == pytest.approx([1.0, 1.0, 1.0, 0.0])


def test_neighbour_terms_sum_to_the_total():
    for mode in ("tool_bonus", "pixel_reasoner", "otc", "adatir", "ada_grpo", "fixed_cost"):
        for reward in score_group(MIXED, RewardConfig.model_validate({"mode": mode})):
            assert sum(reward.terms.values()) == pytest.approx(reward.total)


def test_an_empty_group_has_no_rewards():
    for mode in ("group_constrained", "pixel_reasoner", "otc", "adatir", "ada_grpo"):
        assert score_group([], RewardConfig.model_validate({"mode": mode})) == []

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_reasoning.advantage import AdvantageConfig, group_advantages
from air_reasoning.reward import Outcome, RewardConfig, score_group
from air_reasoning.types import Reward

RIGHT, WRONG = Outcome(True, 0), Outcome(False, 0)
ESTIMATORS = ("grpo", "dr_grpo", "rloo")


def advantages(totals: list[float], outcomes: list[Outcome], **settings: object) -> list[float]:
    rewards = [Reward(total=total) for total in totals]
    config = AdvantageConfig.model_validate(settings)
    return [round(value, 4) for value in group_advantages(rewards, outcomes, config)]


members = st.builds(
    Outcome, st.booleans(), st.integers(0, 3), st.just(0), st.booleans(), st.booleans()
)
scored_groups = st.lists(
    st.tuples(members, st.floats(-2, 2, allow_nan=False)), min_size=1, max_size=9
)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # mean 1/4, unbiased std 1/2, + 0.1
        ("grpo", [1.25, -0.4167, -0.4167, -0.4167]),
        ("dr_grpo", [0.75, -0.25, -0.25, -0.25]),
        ("rloo", [1.0, -0.3333, -0.3333, -0.3333]),
    ],
)
def test_estimators_on_one_right_of_four(estimator: str, expected: list[float]):
    outcomes = [RIGHT, WRONG, WRONG, WRONG]
    assert advantages([1.0, 0, 0, 0], outcomes, estimator=estimator) == expected


def test_guard_keeps_a_penalised_right_answer_at_zero():
    totals, outcomes = [1.0, 1.0, 0.6, 0.0], [RIGHT, RIGHT, Outcome(True, 1), WRONG]
    assert advantages(totals, outcomes, estimator="dr_grpo") == [0.35, 0.35, 0.0, -0.65]
    unguarded = advantages(totals, outcomes, estimator="dr_grpo", guard=False)
    assert unguarded == [0.35, 0.35, -0.05, -0.65]


def test_without_wrong_members_a_penalty_may_be_negative():
    assert advantages([1.0, 0.6], [RIGHT, RIGHT], estimator="dr_grpo") == [0.2, -0.2]


def test_banned_members_never_count_against_themselves():
    banned_wrong = Outcome(False, 0, code_banned=True)
    banned_right = Outcome(True, 0, code_banned=True)
    got = advantages([1.0, 0.0], [RIGHT, banned_wrong], estimator="dr_grpo", guard=False)
    assert got == [0.5, 0.0]
    got = advantages([0.0, 1.0], [WRONG, banned_right], estimator="dr_grpo", guard=False)
    assert got == [-0.5, 0.5]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_constant_groups_give_exact_zeros(estimator: str, size: int):
    assert advantages([0.1] * size, [RIGHT] * size, estimator=estimator) == [0.0] * size


def test_zero_epsilon_does_not_divide_by_zero():
    assert advantages([0.3, 0.3 + 1e-12], [RIGHT, WRONG], std_epsilon=0.0) == [0.0, 0.0]


@given(scored_groups, st.sampled_from(ESTIMATORS), st.randoms(use_true_random=False))
def test_permutation_equivariance_is_exact(group, estimator, random):
    config = AdvantageConfig(estimator=estimator)
    shuffled = random.sample(group, len(group))
    before = dict(zip(map(id, group), _of(group, config), strict=True))
    assert _of(shuffled, config) == [before[id(member)] for member in shuffled]


@given(scored_groups, st.sampled_from(ESTIMATORS))
def test_with_the_guard_right_never_gets_less_than_wrong(group, estimator):
    values = _of(group, AdvantageConfig(estimator=estimator))
    right = [v for v, (outcome, _) in zip(values, group, strict=True) if outcome.correct]
    wrong = [v for v, (outcome, _) in zip(values, group, strict=True) if not outcome.correct]
    if right and wrong:
        assert min(right) >= max(0.0, *wrong)


def test_locked_in_group_still_has_signal_with_a_banned_sibling():
    """Six callers, all right: constant without the ban, an advantage for 'no code' with it."""
    callers = [Outcome(True, 1)] * 6
    banned = [Outcome(True, 0, code_banned=True)] * 2
    config = RewardConfig()
    assert group_advantages(score_group(callers, config), callers) == [0.0] * 6
    group = callers + banned
    values = group_advantages(score_group(group, config), group)
    assert all(v < 0 for v in values[:6])
    assert all(v > 0 for v in values[6:])


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 rewards for 1 outcomes"):
        group_advantages([Reward(total=0), Reward(total=1)], [RIGHT])


def _of(group: list[tuple[Outcome, float]], config: AdvantageConfig) -> list[float]:
    outcomes = [outcome for outcome, _ in group]
    return group_advantages([Reward(total=total) for _, total in group], outcomes, config)


def test_every_order_of_a_small_group_agrees():
    totals, outcomes = [1.0, 0.7481, 0.0], [RIGHT, Outcome(True, 1), WRONG]
    base = advantages(totals, outcomes)
    for order in itertools.permutations(range(3)):
        got = advantages([totals[i] for i in order], [outcomes[i] for i in order])
        assert got == [base[i] for i in order]

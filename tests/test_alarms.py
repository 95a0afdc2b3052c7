import math

from air_reasoning.alarms import AlarmConfig, Band, raise_alarms, watched

QUIET = AlarmConfig()


def test_what_is_watched_and_how_shares_are_made():
    metrics = {
        "code_share_right": 0.5, "policy/entropy": 0.2, "groups/constant": 3.0,
        "groups/informative": 1.0, "groups/lost_trajectories": 1.0, "groups/trajectories": 31.0,
        "sampler/logprob_gap": 0.01, "batch/image_mismatch": 0.0, "optim/grad_norm": 0.4,
    }  # fmt: skip
    assert watched(metrics) == {
        "code_share_right": 0.5, "entropy": 0.2, "constant_groups": 0.75, "lost": 1 / 32,
        "sampler_gap": 0.01, "image_mismatch": 0.0, "grad_norm": 0.4,
    }  # fmt: skip
    assert watched({"groups/constant": 0.0, "groups/informative": 0.0}) == {}


def test_an_alarm_is_told_once_until_the_figure_is_back():
    config = AlarmConfig(entropy=Band(low=0.1, after=2))
    outside: dict[str, int] = {}
    told = [
        [alarm.text for alarm in raise_alarms({"policy/entropy": value}, config, outside)]
        for value in (0.05, 0.04, 0.03, 0.2, 0.05, 0.05)
    ]
    text = "entropy is {}, below 0.1 for 2 steps"
    assert told == [[], [text.format(0.04)], [], [], [], [text.format(0.05)]]


def test_a_step_without_the_figure_counts_neither_way():
    config, outside = AlarmConfig(code_share_wrong=Band(low=0.02, after=2)), {}
    assert raise_alarms({"code_share_wrong": 0.0}, config, outside) == []
    assert raise_alarms({}, config, outside) == []  # nobody was wrong
    assert len(raise_alarms({"code_share_wrong": 0.0}, config, outside)) == 1


def test_stopping_waits_for_its_own_number_of_steps():
    config, outside = AlarmConfig(sampler_gap=Band(high=0.1, stop_after=3)), {}
    stops = [
        [alarm.stop for alarm in raise_alarms({"sampler/logprob_gap": 0.5}, config, outside)]
        for _ in range(4)
    ]
    assert stops == [[False], [], [True], [True]]


def test_one_lost_picture_and_a_number_that_is_none_are_alarms():
    mismatch, nan = (
        raise_alarms(metrics, QUIET, {})
        for metrics in ({"batch/image_mismatch": 1.0}, {"optim/grad_norm": math.nan})
    )
    assert mismatch[0].text == "image_mismatch is 1, above 0 for 1 step"
    assert nan[0].text == "grad_norm is nan, no number for 1 step"


def test_both_ends_null_switch_an_alarm_off():
    assert raise_alarms({"policy/entropy": 9.0}, AlarmConfig(entropy=Band()), {}) == []

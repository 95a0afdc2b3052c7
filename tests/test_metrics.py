"""Figures against numbers worked out by hand or by scipy."""

import pytest

from air_reasoning.intervals import bootstrap, mcnemar, mean, ratio_share, share, t95, wilson
from air_reasoning.metrics import (
    HEADLINE,
    Record,
    by_kind,
    flat,
    paired,
    route_shares,
    summarize,
    summary_json,
)


def test_wilson_and_t_match_scipy():
    stats = pytest.importorskip("scipy.stats")
    for hits, n in ((8, 10), (0, 5), (5, 5), (190, 400)):
        exact = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert wilson(hits / n, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    for degrees in (1, 2, 3, 5, 10, 30, 400):
        assert t95(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)
    assert mcnemar(2, 9) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_repeats_of_a_task_widen_the_interval():
    alone = share([True, True, False, False] * 10, range(40))
    copied = share([True] * 20 + [False] * 20, [i // 4 for i in range(40)])
    assert alone.value == copied.value == 0.5
    assert (copied.low, copied.high) == pytest.approx(wilson(0.5, 10))
    assert (alone.low, alone.high) == pytest.approx(wilson(0.5, 40))
    perfect = share([True] * 40, [i // 4 for i in range(40)])
    assert perfect.low == pytest.approx(wilson(1.0, 10)[0])


def test_mean_with_t_interval():
    metric = mean([1.0, 2.0, 3.0, 4.0], range(4))
    assert metric.value == 2.5
    assert metric.high - metric.value == pytest.approx(3.182 * (5 / 3 / 4) ** 0.5, rel=0.01)
    assert mean([5.0, 5.0], ["a", "a"]).low is None
    assert mean([], []).value is None


def test_cells_are_pooled():
    metric = ratio_share([(1, 2), (0, 0), (3, 3)], ["a", "b", "c"])
    assert (metric.value, metric.n) == (0.8, 5)
    assert ratio_share([(0, 0)], ["a"]).value is None


RECORDS = [
    Record(task_id="1", difficulty="easy", kind="bar", correct=True, tokens=30),
    Record(task_id="2", difficulty="easy", kind="bar", correct=True, calls=1, tokens=50, turns=2),
    Record(task_id="3", difficulty="hard", kind="line", correct=True, calls=2, failed_calls=1),
    Record(task_id="4", difficulty="hard", kind="line", calls=1, failed_calls=1, route="boxed"),
    Record(task_id="5", difficulty="hard", kind="line", code_banned=True),
    Record(task_id="6", difficulty="hard", kind="line", unscored=True, stop="sandbox_lost"),
]


def test_bootstrap_draws_whole_units():
    """150 seeds of 10 variants, all right or all wrong: items alone would give +-2.4 points."""
    units = [{"n": 10, "right": 10 * (i % 3 == 0)} for i in range(150)]
    figure = bootstrap(units, lambda s: {"share": s["right"] / s["n"], "fixed": 1.0})
    share = figure["share"]
    assert share.value == pytest.approx(1 / 3)
    assert (share.high - share.low) / 2 == pytest.approx(1.96 * (2 / 9 / 150) ** 0.5, rel=0.1)
    assert figure["fixed"].low is None
    assert bootstrap([], dict) == {}


def test_summary_values():
    values = {name: metric.value for name, metric in summarize(RECORDS).items()}
    assert values["n"] == 5
    assert values["accuracy"] == 0.6
    assert values["accuracy_easy"] == 1.0
    assert values["accuracy_medium"] is None
    assert values["accuracy_hard"] == pytest.approx(1 / 3)
    assert values["accuracy_interleaved"] == pytest.approx(2 / 3)
    assert values["code_share"] == 0.75
    assert values["code_share_easy"] == 0.5
    assert values["code_share_hard"] == 1.0
    assert values["code_share_right"] == pytest.approx(2 / 3)
    assert values["code_share_wrong"] == 1.0
    assert values["tool_success"] == 0.5
    assert values["tokens_mean"] == 16
    assert values["tokens_easy"] == 40
    assert values["unscored"] == pytest.approx(1 / 6)


def test_summary_json_has_the_promised_keys():
    plain = summary_json(summarize(RECORDS))
    assert set(HEADLINE) <= plain.keys()
    assert plain["n"] == {"value": 5, "low": 5, "high": 5}
    assert plain["accuracy_medium"] == {"value": None, "low": None, "high": None}
    assert all(metric.keys() == {"value", "low", "high"} for metric in plain.values())
    assert all(m["value"] is None for k, m in summary_json(summarize([])).items() if k != "n")
    assert "eval/accuracy_medium" not in flat(summarize(RECORDS), "eval")
    assert flat(summarize(RECORDS), "eval")["eval/accuracy"] == 0.6


def test_breakdowns():
    assert list(by_kind(RECORDS)) == ["bar", "line"]
    assert by_kind(RECORDS)["bar"]["accuracy"].value == 1.0
    assert route_shares(RECORDS)["boxed"].value == 0.2


def test_paired_difference():
    def run(*correct):
        return [Record(task_id=str(i), correct=c) for i, c in enumerate(correct)]

    result = paired(run(True, True, True, False), [*run(True, False, False, False)[1:]])
    assert (result.n, result.only_a, result.only_b) == (3, 2, 0)
    assert result.difference.value == pytest.approx(2 / 3)
    assert result.p_value == 0.5
    same = paired(run(True, False), run(True, False))
    assert (same.difference.value, same.difference.low, same.p_value) == (0, 0, 1.0)
    assert paired([], []).difference.value is None

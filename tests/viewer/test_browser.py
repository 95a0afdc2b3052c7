"""The pages of ``air view`` in a real browser. Nothing here waits for a fixed time."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Served = Callable[..., str]


def rows(page: Any) -> list[str]:
    """Keys of the rows on the screen, in order of their position."""
    cells = page.locator(".row[data-key]")
    cells.first.wait_for()
    return cells.evaluate_all("rows => rows.map((row) => row.dataset.key)")


def settle(page: Any, total: str) -> None:
    page.locator(".status-line b", has_text=re.compile(f"^{total}$")).wait_for()


def test_samples_are_filtered_sorted_and_linked(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/samples")
    settle(page, "44")
    assert rows(page)[:3] == ["a/0", "a/1", "b/0"]
    page.get_by_label("code", exact=True).select_option("used")
    settle(page, "2")
    page.get_by_label("errors").select_option("failed")
    settle(page, "1")
    assert rows(page) == ["b/1"]
    assert page.url.endswith("#/run/rl/samples?code=used&error=failed")
    page.reload()
    settle(page, "1")
    assert rows(page) == ["b/1"]
    page.get_by_role("button", name="clear 2").click()
    settle(page, "44")
    page.get_by_label("reward, max").fill("0.5")
    page.get_by_label("reward, max").blur()
    settle(page, "2")
    assert rows(page) == ["a/1", "b/1"]
    page.get_by_role("button", name="sort by reward").click()
    page.wait_for_url("**sort=-reward**")
    page.locator("#row-0[data-key='b/1']").wait_for()


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("correct=wrong", "22"),
        ("stop=max_tokens", "1"),
        ("step_min=2&step_max=2", "2"),
        ("text=NUMBER 17", "1"),
        ("text=100%25", "0"),
        ("task=a", "2"),
        ("kind=sum&difficulty=easy&code=none", "42"),
    ],
)
def test_a_filter_in_the_address_is_enough(
    page: Any, made_run: Path, served: Served, query: str, total: str
):
    page.goto(f"{served(made_run)}#/run/rl/samples?{query}")
    if total == "0":
        page.get_by_text("No trajectory passes this filter.").wait_for()
    else:
        settle(page, total)


def test_the_list_and_the_trajectories_work_by_keys(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/samples?step_min=3")
    settle(page, "40")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.locator("#row-2.chosen").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("number 2", exact=True).wait_for()
    assert "/trajectory/c%2F2?" in page.url
    page.keyboard.press("j")
    page.get_by_text("number 3", exact=True).wait_for()
    page.keyboard.press("k")
    page.get_by_text("number 2", exact=True).wait_for()
    page.keyboard.press("r")
    page.get_by_text("part-0000.jsonl, byte").wait_for()
    page.keyboard.press("t")
    page.get_by_text("2 prompt, 4 written, 0 from the sandbox").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="keys").get_by_text("next trajectory of the list").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("#row-2.chosen").wait_for()
    page.keyboard.press("End")
    page.locator("#row-39.chosen").wait_for()


def test_a_trajectory_shows_all_that_happened(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/trajectory/b%2F1")
    page.get_by_role("heading", name="wrong b/1").wait_for()
    assert [s.get_attribute("data-kind") for s in page.locator(".segment").all()] == [
        *("think", "code", "output", "answer")
    ]
    page.locator(".segment.output").get_by_text("error", exact=True).wait_for()
    assert page.locator(".segment.code .hljs-keyword").inner_text() == "raise"
    page.locator(".answer .katex").wait_for()
    assert "max tokens" in page.locator(".facts").inner_text()
    terms = page.locator(".terms").inner_text()
    assert all(word in terms for word in ("correct", "over call", "reward", "advantage"))
    page.get_by_role("button", name="Turn 1").click()
    page.locator(".segment.code").wait_for(state="detached")
    assert "closed=1" in page.url
    page.reload()
    page.locator(".segment.answer").wait_for()
    assert page.locator(".segment.code").count() == 0


def test_pictures_open_large_and_zoom(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/trajectory/a%2F0")
    page.get_by_alt_text("image_1").click()
    large = page.get_by_role("dialog", name="image_1")
    before = large.get_by_alt_text("image_1").evaluate(
        "image => image.getBoundingClientRect().width"
    )
    page.keyboard.press("+")
    after = large.get_by_alt_text("image_1").evaluate(
        "image => image.getBoundingClientRect().width"
    )
    assert after == pytest.approx(1.25 * before)
    assert large.get_by_alt_text("image_1").evaluate("image => image.naturalWidth") == 120
    page.keyboard.press("Escape")
    large.wait_for(state="detached")


def test_hostile_model_text_is_text(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/trajectory/b%2F0")
    think = page.locator(".segment.think .markdown")
    think.get_by_text("truly").wait_for()
    assert '<img src=x onerror="window.hacked=1"> </script><script>' in think.inner_text()
    assert think.locator("img, script, a[href^=javascript]").count() == 0
    assert "$5 and $6" in think.inner_text()
    assert think.locator(".untypeset").count() == 1  # the bomb stays source
    assert think.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    page.get_by_role("tab", name="Raw").click()
    page.locator(".raw pre").wait_for()
    page.get_by_role("tab", name="Tokens").click()
    page.locator(".token-run").first.wait_for()
    assert page.evaluate("window.hacked") is None


def test_a_cell_runs_again_only_by_its_button(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/trajectory/a%2F0")
    page.get_by_role("button", name="run this cell again").click()
    again = page.locator(".again[role=status]")
    again.wait_for()
    assert again.locator("pre").inner_text() == "5"


def test_a_trajectory_that_is_gone_says_so(chromium: Any, made_run: Path, served: Served):
    page = chromium.new_page()  # a 404 is in the console, so not the silent page
    page.goto(f"{served(made_run)}#/run/rl/trajectory/zz")
    page.get_by_role("alert").get_by_text("no trajectory 'zz' in this run").wait_for()
    page.close()

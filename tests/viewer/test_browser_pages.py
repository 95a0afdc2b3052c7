"""Compare, bundles, themes, widths and contrast in a real browser."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from air_reasoning.viewer.bundle import write_bundle

Served = Callable[..., str]


@pytest.fixture
def two_runs(made_run: Path, maker: ModuleType) -> Path:
    """``rl`` and ``other``, which has a/0 wrong, a/1 right and c/0 to c/9 as they were."""
    with maker.open_run(made_run / "other") as run:
        run.write_metrics(1, {"accuracy": 0.5})
        run.write_trajectory(maker.row(run, "a/0", correct=False))
        run.write_trajectory(maker.row(run, "a/1", think="Now it is right."))
        for i in range(10):
            run.write_trajectory(maker.row(run, f"c/{i}", correct=i % 2 == 0))
    return made_run


@pytest.fixture
def file_server() -> Iterator[Callable[[Path], str]]:
    """A plain file server, which knows nothing of us."""
    servers = list[http.server.ThreadingHTTPServer]()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    def start(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://localhost:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_two_ticked_runs_are_compared_item_by_item(page: Any, two_runs: Path, served: Served):
    page.goto(served(two_runs))
    page.get_by_label("compare rl", exact=True).click()
    page.get_by_label("compare other").click()
    page.get_by_role("link", name="compare rl and other").click()
    page.get_by_text("0.0 points", exact=True).wait_for()
    table = page.locator(".result tbody").inner_text().split()
    assert table == ["a", "right", "5", "1", "a", "wrong", "1", "5"]
    assert "32 only in a, 0 only in b" in page.locator(".result").inner_text()
    assert page.locator(".item").count() == 2
    page.locator(".item > button").nth(1).click()
    page.locator(".both").get_by_text("Now it is right.").wait_for()
    assert page.locator(".both article").count() == 2
    page.reload()
    page.locator(".both").get_by_text("Now it is right.").wait_for()
    page.get_by_role("tab", name="both wrong 5").click()
    page.wait_for_url("**kind=both_wrong**")
    page.get_by_role("button", name="exchange").click()
    page.wait_for_url("**a=other&b=rl**")


def test_a_bundle_is_the_same_app_from_files(
    page: Any, two_runs: Path, tmp_path: Path, file_server: Callable[[Path], str]
):
    counts = write_bundle(two_runs, tmp_path / "site", limit=44)
    assert counts == {"runs": 2, "trajectories": 56, "left_out": 0}
    page.goto(file_server(tmp_path / "site"))
    page.locator("tr[data-run=rl]").get_by_text("75.0 %").wait_for()
    page.get_by_role("link", name="rl", exact=True).click()
    page.locator("figure[data-chart=Accuracy]").wait_for()
    page.get_by_role("link", name="Samples").first.click()
    page.locator(".status-line b", has_text="44").wait_for()
    page.get_by_label("code", exact=True).select_option("used")
    page.locator(".status-line b", has_text="2").wait_for()
    page.get_by_label("search in").fill("ValueError")
    page.locator("#row-0[data-key='b/1']").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.locator(".segment.output").get_by_text("error", exact=True).wait_for()
    assert page.get_by_role("button", name="run this cell again").count() == 0
    assert page.get_by_alt_text("image_1").evaluate("image => image.naturalWidth") == 120
    page.keyboard.press("t")
    page.locator(".token-run").first.wait_for()
    page.keyboard.press("g")
    page.locator(".member").nth(1).wait_for()
    page.goto(page.url.split("#")[0] + "#/compare?a=rl&b=other")
    page.get_by_text("0.0 points", exact=True).wait_for()


def test_a_bundle_says_what_it_left_out_and_overwrites_nothing(two_runs: Path, tmp_path: Path):
    from air_reasoning.errors import ConfigError

    counts = write_bundle(two_runs, tmp_path / "site", limit=10)
    assert counts == {"runs": 2, "trajectories": 20, "left_out": 36}
    with pytest.raises(ConfigError, match="is not empty"):
        write_bundle(two_runs, tmp_path / "site")


PAGES = {
    "runs": "#/",
    "run": "#/run/rl",
    "samples": "#/run/rl/samples",
    "trajectory": "#/run/rl/trajectory/b%2F1",
    "tokens": "#/run/rl/trajectory/b%2F1?tab=tokens",
    "raw": "#/run/rl/trajectory/b%2F1?tab=raw",
    "group": "#/run/rl/group/a",
    "compare": "#/compare?a=rl&b=other",
}
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_has_contrast_and_fits_390_pixels(
    page: Any, two_runs: Path, served: Served, theme: str
):
    page.emulate_media(color_scheme=theme)
    address = served(two_runs)
    for width, height in ((1280, 860), (390, 800)):
        page.set_viewport_size({"width": width, "height": height})
        for name, where in PAGES.items():
            page.goto("about:blank")
            page.goto(address + where)
            page.locator("main :is(table, .row[data-key], .segment, figure, pre)").first.wait_for()
            assert page.evaluate(CONTRAST) == [], (name, theme, width)
            overflow = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, (name, width)


def test_the_theme_is_chosen_and_kept(page: Any, made_run: Path, served: Served):
    page.emulate_media(color_scheme="light")
    page.goto(served(made_run))
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="theme: system").click()
    page.get_by_role("button", name="theme: light").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.get_by_role("button", name="theme: dark").wait_for()
    assert page.evaluate(ground) == dark


def test_every_control_has_a_name_and_is_reached_by_tab(page: Any, made_run: Path, served: Served):
    address = served(made_run)
    for where in list(PAGES.values())[:-1]:
        page.goto(address + where)
        page.locator("main :is(table, .row[data-key], .segment, figure, pre)").first.wait_for()
        nameless = page.locator("button, a, input, select").evaluate_all(
            """all => all.filter((one) => one.checkVisibility()
              && !(one.innerText || one.getAttribute("aria-label") || one.title || one.placeholder
                   || one.querySelector("img[alt]:not([alt=''])") || one.labels?.length))
              .map((one) => one.outerHTML.slice(0, 90))"""
        )
        assert nameless == [], where
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('a, button, input, select')")

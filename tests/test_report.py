"""The report: nothing that a model wrote can run, every number is where it belongs."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from rich.console import Console

from air_reasoning.eval.report import Example, ReportData, render_report, write_report
from air_reasoning.eval.svg import Interval, Series, interval_chart, line_chart, moving_average
from air_reasoning.eval.tables import markdown_table, terminal_table
from air_reasoning.images import save_blob
from air_reasoning.json_io import to_json
from air_reasoning.types import Answer, Execution, Part, Segment, Task, Trajectory

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"'<style>*{}</style>"


def metric(value, low, high):
    return {"value": value, "low": low, "high": high}


UNDEFINED = metric(None, None, None)
SUMMARY = {
    "n": metric(400, 400, 400),
    "accuracy": metric(0.635, 0.587, 0.681),
    "accuracy_interleaved": UNDEFINED,
    "tokens_mean": metric(38.42, 37.2, 39.6),
}
CHECKPOINTS = {"cold_start": {"greedy": SUMMARY, "sampled": SUMMARY}}


class Tags(HTMLParser):
    """Collects the tags of a page and their attributes."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def example(text, images=(), **fields):
    task = Task(
        id=text,
        prompt=[Part(kind="text", text=text)],
        images=list(images),
        answer=Answer(value=text),
        meta={"kind": text, "difficulty": "hard"},
    )
    segments = [
        Segment(kind="think", text=f"<think>{text}</think>"),
        Segment(kind="code", text=f"<code>{text}</code>", code=f"print({text!r})"),
        Segment(
            kind="output",
            text=f"<interpreter>{text}</interpreter>",
            execution=Execution(status="error", stdout=text),
        ),
        Segment(kind="answer", text=f"<answer>{text}</answer>"),
    ]
    trajectory = Trajectory(id="1", task_id=text, group_id="g", segments=segments)
    return Example(task=to_json(task), trajectory=to_json(trajectory), label=text, **fields)


def test_hostile_text_stays_text():
    shown = example(HOSTILE, correct=False, extracted=HOSTILE, terms={HOSTILE: 1.0}, reward=0.0)
    page = render_report(
        ReportData(
            title=HOSTILE,
            lead=HOSTILE,
            checkpoints={HOSTILE: {HOSTILE: SUMMARY}},
            curves={HOSTILE: [{"step": 0, "rollout/accuracy": 0.5}]},
            examples=[shown],
            groups=[[shown, shown]],
            facts={HOSTILE: HOSTILE},
            notes=[HOSTILE],
        )
    )
    found = Tags(page)
    assert not found.tags & {"script", "img", "iframe", "object", "link", "form"}
    assert not [name for name in found.attributes if name.startswith("on")]
    assert page.count("<style>") == 1
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_pictures_are_inside_and_missing_ones_named(tmp_path, picture):
    kept = save_blob(picture, tmp_path)
    page = render_report(ReportData(title="t", examples=[example("q", [kept])]))
    assert len(re.findall(r'src="data:image/webp;base64,[A-Za-z0-9+/=]+"', page)) == 1
    (tmp_path / f"{kept.sha256}.png").unlink()
    page = render_report(ReportData(title="t", examples=[example("q", [kept])]))
    assert f"picture {kept.sha256[:12]} is not there any more" in page


def test_group_shows_reward_terms_and_advantage(tmp_path):
    member = example(
        "q",
        correct=True,
        reward=0.748,
        terms={"correct": 1.0, "over_call": -0.2519},
        advantage=-0.5,
    )
    write_report(tmp_path / "report.html", ReportData(title="t", groups=[[member]]))
    page = (tmp_path / "report.html").read_text()
    for text in ("<b>0.75</b>", "<b>-0.50</b>", "over_call -0.252", 'class="member right"'):
        assert text in page


def test_empty_parts_are_left_out_and_long_text_is_cut():
    page = render_report(ReportData(title="only a title"))
    assert "<h2>" not in page
    page = render_report(ReportData(title="t", examples=[example("x" * 9_000)] * 14))
    assert "characters left out" in page
    assert "2 more are in the run folder" in page


def test_table_cells():
    page = render_report(ReportData(title="t", checkpoints=CHECKPOINTS))
    assert "<td>63.5<small>58.7–68.1</small></td>" in page
    assert "<td>400</td>" in page
    assert 'rowspan="2">Cold start' in page
    assert markdown_table(CHECKPOINTS).splitlines() == [
        "| checkpoint | decoding | n | accuracy all | tokens mean |",
        "|---|---|---:|---:|---:|",
        "| Cold start | greedy | 400 | 63.5 [58.7–68.1] | 38.4 [37.2–39.6] |",
        "| Cold start | T = 1 | 400 | 63.5 [58.7–68.1] | 38.4 [37.2–39.6] |",
    ]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(terminal_table(CHECKPOINTS, title="Held-out"))
    assert "63.5 ±4.8" in console.export_text()


def test_line_chart_points():
    svg = line_chart(
        "Accuracy <b>",
        [
            Series(label="a & b", points=[(0, 0.0), (5, 0.5), (10, 1.0)]),
            Series(label="none", points=[]),
        ],
        y_range=(0.0, 1.0),
        percent=True,
        smoothing=1,
    )
    root = ET.fromstring(svg)
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 1
    xs, ys = zip(*[map(float, p.split(",")) for p in lines[0].get("points").split()], strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] > ys[1] > ys[2]
    texts = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert {"Accuracy <b>", "a & b", "0 %", "100 %"} <= set(texts)
    assert "none" not in texts


@pytest.mark.parametrize("points", [[(0, 3.0)], [(0, 0.0), (1, 0.0)], [(0, -2.0), (1, 1e6)], []])
def test_line_chart_of_degenerate_data(points):
    svg = line_chart("t", [Series(label="s", points=points)])
    assert "nan" not in svg
    ET.fromstring(svg)


def test_interval_chart_says_undefined():
    rows = [
        (
            "hard",
            [Interval(label="a", value=0.5, low=0.4, high=0.6), Interval(label="b", value=None)],
        )
    ]
    svg = interval_chart("t", rows)
    ET.fromstring(svg)
    assert "b: undefined" in svg
    assert "a: 50 %" in svg


def test_moving_average():
    assert moving_average([0, 3, 6, 9], 3) == [0, 3, 6, 9]
    assert moving_average([0, 9, 0], 3) == [0, 3, 0]
    assert moving_average([1, 2], 1) == [1, 2]

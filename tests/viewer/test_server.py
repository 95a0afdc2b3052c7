"""What the server answers, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from air_reasoning.viewer.app import viewer_app


@pytest.fixture
def client(made_run: Path) -> TestClient:
    return TestClient(viewer_app(made_run), base_url="http://localhost")


def test_runs_are_listed_with_their_figures(client: TestClient):
    (run,) = client.get("/api/runs").json()
    assert (run["name"], run["state"], run["live"], run["step"]) == ("rl", "done", False, 3)
    assert run["headline"] == {"accuracy": 0.75, "reward/total": 0.6}
    assert run["spark"] == {"metric": "reward/total", "values": [0.2, 0.4, 0.6]}


def test_metrics_come_as_columns_and_later_only_what_is_new(client: TestClient, made_run: Path):
    first = client.get("/api/metrics?run=rl").json()
    assert first["step"] == [1, 2, 3]
    assert first["columns"]["accuracy"] == [0.25, 0.5, 0.75]
    file = made_run / "rl" / "metrics.jsonl"
    with file.open("a") as out:
        out.write('{"step": 4, "new": 1}\n{"step": 5')
    later = client.get(f"/api/metrics?run=rl&since={first['size']}").json()
    assert (later["step"], later["columns"], later["reset"]) == ([4], {"new": [1]}, False)
    file.write_text('{"step": 1, "accuracy": 0.5}\n')
    again = client.get(f"/api/metrics?run=rl&since={later['size']}").json()
    assert (again["step"], again["reset"]) == ([1], True)


def test_a_trajectory_is_passed_on_as_it_is(client: TestClient, made_run: Path):
    answer = client.get("/api/trajectory?run=rl&key=a/0")
    part = made_run / "rl" / "trajectories" / "part-0000.jsonl"
    assert part.read_text().splitlines()[0] in answer.text
    assert answer.json()["record"]["extracted"] == "5"
    assert answer.json()["row"]["key"] == "a/0"


def test_every_answer_has_the_policy(client: TestClient):
    for path in ("/", "/app.js", "/api/runs", "/api/run?run=none", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_script_or_style_and_names_no_other_host():
    static = Path(viewer_app.__globals__["STATIC"])
    page = (static / "index.html").read_text()
    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=") + page.count(
        '<script type="module" src='
    )
    for module in static.glob("*.js"):  # fetched at once, not one after the other
        assert f'href="{module.name}"' in page or f'src="{module.name}"' in page, module
    ours = [file for file in static.rglob("*.*") if "vendor" not in file.parts]
    for file in ours:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, file
        assert "https://" not in text, file
        assert len(text.splitlines()) <= 350, file


def test_vendored_files_are_small_and_licensed():
    vendor = Path(viewer_app.__globals__["STATIC"]) / "vendor"
    assert sum(file.stat().st_size for file in vendor.rglob("*") if file.is_file()) <= 1_000_000
    licences = (vendor / "LICENSES.txt").read_text()
    for name in ("preact", "htm", "marked", "dompurify", "highlight.js", "katex", "uplot"):
        assert f"{name} " in licences


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/blob/..%2f..%2fstatus.json?run=rl",
        "/api/blob/" + "0" * 64 + "?run=rl",
        "/api/run?run=../outside",
        "/api/run?run=/etc",
        "/api/run?run=rl/../rl",
        "/api/samples?run=rl/trajectories",
    ],
)
def test_no_other_place_can_be_named(client: TestClient, made_run: Path, path: str):
    outside = made_run.parent / "outside"
    outside.mkdir()
    (outside / "status.json").write_text('{"state": "secret"}')
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert "root:" not in answer.text


def test_a_foreign_name_for_this_machine_is_refused(made_run: Path):
    app = viewer_app(made_run)
    for host, status in (("localhost:7576", 200), ("127.0.0.1", 200), ("[::1]:7576", 200),
                         ("evil.example", 421), ("localhost.evil.example", 421)):  # fmt: skip
        client = TestClient(app, base_url="http://localhost")
        assert client.get("/api/runs", headers={"host": host}).status_code == status


def test_a_token_is_asked_for_and_kept_in_a_cookie(made_run: Path):
    app = viewer_app(made_run, token="secret")
    client = TestClient(app, base_url="http://machine.example")
    assert client.get("/api/runs").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.get("/app.js").status_code == 401
    entered = client.get("/?token=secret&x=1", follow_redirects=False)
    assert entered.headers["location"] == "/?x=1"
    assert "httponly" in entered.headers["set-cookie"].lower()
    assert client.get("/api/runs").status_code == 200
    other = TestClient(app, base_url="http://machine.example")
    assert other.get("/api/runs", headers={"authorization": "Bearer secret"}).status_code == 200


def test_cells_run_only_from_our_own_page(client: TestClient):
    asked: dict[str, Any] = {"run": "rl", "key": "a/0", "segment": 1}
    ours = {"x-air-view": "1", "origin": "http://localhost"}
    assert client.post("/api/cell", json=asked).status_code == 403
    for origin in ("http://evil.example", "http://evil.example//localhost", ""):
        headers = {"x-air-view": "1", "origin": origin}
        assert client.post("/api/cell", json=asked, headers=headers).status_code == 403
    assert client.get("/api/cell").status_code == 404
    answer = client.post("/api/cell", json=asked, headers=ours).json()
    assert answer["text"] == "5"
    assert answer["execution"]["status"] == "ok"
    code = {**asked, "segment": 0, "code": "print('mine')"}
    assert client.post("/api/cell", json=code, headers=ours).status_code == 400


def test_one_run_of_another_make_does_not_hide_the_others(client: TestClient, made_run: Path):
    for name, status in (("list", "[1]"), ("torn", '{"schema": 1,'), ("late", '{"schema": "x"}')):
        (made_run / name).mkdir()
        (made_run / name / "status.json").write_text(status)
    (made_run / "rl" / "metrics.jsonl").write_text('{"step": 1, "accuracy": "high", "a": 0.5}\n')
    (made_run / "rl" / "summary.json").write_text('{"checkpoints": []}')
    runs = {run["name"]: run["state"] for run in client.get("/api/runs").json()}
    unreadable = dict.fromkeys(("list", "torn", "late"), "unreadable")
    assert runs == unreadable | {"rl": "done"}
    columns = client.get("/api/metrics?run=rl").json()["columns"]
    assert columns == {"accuracy": [None], "a": [0.5]}


@pytest.mark.parametrize("text", ["%00abc", '"x OR y"', "a*b", "%25%25%25"])
def test_any_text_may_be_searched(client: TestClient, text: str):
    assert client.get(f"/api/samples?run=rl&text={text}").json()["rows"] == []


@pytest.mark.parametrize("body", ["[]", "null", "{", '{"run": "rl", "segment": "x"}'])
def test_a_wrong_cell_is_a_400(client: TestClient, body: str):
    ours = {"x-air-view": "1", "origin": "http://localhost"}
    assert client.post("/api/cell", content=body, headers=ours).status_code == 400


@pytest.mark.parametrize("query", ["correct=maybe", "sort=;drop", "step_min=x", "offset=x"])
def test_a_wrong_question_is_a_400(client: TestClient, query: str):
    assert client.get(f"/api/samples?run=rl&{query}").status_code == 400

"""``air solve`` and ``air eval`` against a server, as a user types them."""

import base64
import io
import json
import runpy
import struct
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning import cli
from air_reasoning.run_reader import read_trajectories
from air_reasoning.task_files import write_tasks
from air_reasoning.types import Answer, Part, Task

EXAMPLES = Path(__file__).parents[2] / "examples"
CELL = "<think>so</think><code>```python\nprint(6*7)\n```</code>"
ANSWER = "<answer>\\boxed{42}</answer>"


@pytest.fixture
def picture_file(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def air(*words):
    return cli.main([str(word) for word in words])


def test_solve_plain_and_saved(chat_server, picture_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    chat_server.turns = [CELL, ANSWER]
    words = ["solve", picture_file, "-q", "6*7?", "--endpoint", chat_server.url, "--plain"]
    assert air(*words, "--save", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"model: m1 at {chat_server.url} (chat completions; tool results as")
    assert CELL + "\n<interpreter>42</interpreter>\n" + ANSWER in out
    assert out.rstrip().endswith(f"answer: 42   stop: answered   kept: {tmp_path / 'run'}")
    (row,) = read_trajectories(tmp_path / "run")
    assert row["trajectory"]["segments"][2]["text"] == "<interpreter>42</interpreter>"
    assert Image.open(row["task"]["images"][0]["path"]).size == (40, 30)
    assert chat_server.keys[-1] == "Bearer sk-secret"
    kept = b"".join(f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file())
    assert b"sk-secret" not in kept
    chat_server.turns = [ANSWER]
    assert air(*words, "--save", tmp_path / "run") == 0
    assert len(list(read_trajectories(tmp_path / "run"))) == 2


def test_solve_json_is_one_event_a_line(chat_server, picture_file, capsys):
    chat_server.turns = [CELL, ANSWER]
    assert air("solve", picture_file, "-q", "?", "--endpoint", chat_server.url, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "".join(r["text"] for r in rows if r["kind"] == "delta") == CELL + ANSWER
    kinds = [r["segment"]["kind"] for r in rows if r["kind"] == "segment"]
    assert kinds == ["think", "code", "output", "answer"]
    assert (rows[-2]["stop"], rows[-1]["answer"]) == ("answered", "42")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.png", None, "no such picture"),
        ("cut.png", b"\x89PNG\r\n\x1a\nxx", "cut.png"),
        ("a.pdf", b"%PDF-1.4 nonsense", "broken PDF"),
    ],
)
def test_solve_tells_what_is_wrong_with_a_picture(
    chat_server, tmp_path, capsys, name, content, message
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert air("solve", tmp_path / name, "-q", "?", "--endpoint", chat_server.url) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_question_must_say_something_and_a_lost_engine_is_an_error(
    chat_server, picture_file, capsys
):
    assert air("solve", picture_file, "-q", " ", "--endpoint", chat_server.url) == 2
    chat_server.failures = [400]
    assert air("solve", picture_file, "-q", "?", "--endpoint", chat_server.url) == 1
    assert "HTTP 400" in capsys.readouterr().err


def test_eval_against_an_endpoint(chat_server, tmp_path, capsys):
    prompt = [Part(kind="text", text="6*7?")]
    tasks = [
        Task(id=str(n), prompt=prompt, images=[], answer=Answer(value="42", type="int"))
        for n in range(3)
    ]
    write_tasks(tmp_path / "tasks", tasks)
    chat_server.turns = [ANSWER, ANSWER, "<answer>\\boxed{41}</answer>"]
    words = ["eval", tmp_path / "tasks", "--endpoint", chat_server.url, "-o", "decoding=greedy"]
    words += ["--run-dir", tmp_path / "run", "--display", "none"]
    assert air(*words) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["checkpoints"]["endpoint"]["greedy"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert air(*words) == 0  # nothing is asked again
    assert air(*words, "-o", "endpoint.model=other") == 2
    assert "never mixed" in capsys.readouterr().err


def test_the_remote_path_loads_no_torch(chat_server, picture_file):
    import subprocess

    chat_server.turns = [CELL, ANSWER]
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from air_reasoning import cli\n"
        f"code = cli.main(['solve', {str(picture_file)!r}, '-q', '?', '--json', "
        f"'--endpoint', {chat_server.url!r}])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["answer"] == "42"


@pytest.fixture
def example(monkeypatch, capsys):
    """``example(name, *words)``: what a file of ``examples/`` prints."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_example_with_an_endpoint(chat_server, picture_file, example):
    chat_server.turns = [CELL, ANSWER]
    out = example("solve_with_an_endpoint.py", chat_server.url, picture_file, "6*7?")
    assert "output  <interpreter>42</interpreter>\n" in out
    assert out.splitlines()[-1].startswith("stop: answered")


def test_the_example_with_the_official_client(chat_server, serving, picture_file, example):
    from air_reasoning.serve.app import build_app
    from air_reasoning.serve.settings import ServeConfig

    chat_server.turns = [CELL, ANSWER]
    app = build_app(ServeConfig(endpoint=chat_server.config()), told=lambda text: None)
    out = example("openai_client.py", serving(app) + "/v1", picture_file, "6*7?")
    assert "print(6*7)" in out
    assert out.splitlines()[-1] == "answer: \\boxed{42}"


def written_as(folder, kind):
    """A picture of 40 x 30, or the page of a PDF, as a file of some kind."""
    image, file = Image.new("RGB", (40, 30), (255, 0, 0)), folder / f"a.{kind}"
    match kind:
        case "rotated.jpg":
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by 90 degrees
            Image.new("RGB", (30, 40), (255, 0, 0)).save(file, exif=exif, quality=95)
        case "alpha.png":
            Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(file)
        case "deep.png":
            Image.new("I;16", (40, 30), 65535).save(file)
        case _:
            image.save(file)
    return file


@pytest.mark.parametrize(
    ("kind", "size", "pixel"),
    [
        ("webp", (40, 30), (255, 0, 0)), ("gif", (40, 30), (255, 0, 0)),
        ("rotated.jpg", (40, 30), (254, 0, 0)), ("alpha.png", (40, 30), (255, 255, 255)),
        ("deep.png", (40, 30), (255, 255, 255)), ("pdf", (84, 63), (254, 0, 0)),
    ],
)  # fmt: skip
def test_solve_takes_pictures_of_all_kinds(chat_server, tmp_path, capsys, kind, size, pixel):
    chat_server.turns = [ANSWER]
    file = written_as(tmp_path, kind)
    assert air("solve", file, "-q", "?", "--endpoint", chat_server.url, "--json") == 0
    url = chat_server.bodies[0]["messages"][-1]["content"][0]["image_url"]["url"]
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (sent.mode, sent.size) == ("RGB", size)
    middle = sent.getpixel((size[0] // 2, size[1] // 2))
    assert max(abs(a - b) for a, b in zip(middle, pixel, strict=True)) <= 2


def test_solve_refuses_a_picture_of_fifty_thousand_a_side(chat_server, tmp_path, capsys):
    """Made by hand: a head that promises 2.5 gigapixels, so that nothing may be decoded."""
    data = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + head, b"IDAT" + zlib.compress(b"")):
        data += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "huge.png").write_bytes(data)
    words = ["solve", tmp_path / "huge.png", "-q", "?", "--endpoint", chat_server.url]
    assert air(*words) == 2
    err = capsys.readouterr().err
    assert "huge.png: Image size (2500000000 pixels)" in err
    assert err.rstrip().endswith("shrink it")

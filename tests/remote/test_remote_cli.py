"""``air solve`` and ``air eval`` against a server, as a user types them."""

import json
import sys

import pytest
from PIL import Image

from air_reasoning import cli
from air_reasoning.run_reader import read_trajectories
from air_reasoning.task_files import write_tasks
from air_reasoning.types import Answer, Part, Task

CELL = "<think>so</think><code>```python\nprint(6*7)\n```</code>"
ANSWER = "<answer>\\boxed{42}</answer>"


@pytest.fixture
def picture_file(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def air(*words):
    return cli.main([str(word) for word in words])


def test_solve_plain_and_saved(chat_server, picture_file, tmp_path, capsys):
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

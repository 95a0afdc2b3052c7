"""``air run report``, ``air view bundle`` and what ``air view`` says when it cannot."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from air_reasoning import cli


def test_a_report_of_any_run_is_one_page_without_script(
    made_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["run", "report", str(made_run / "rl")]) == 0
    page = (made_run / "rl" / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out
    assert "air rl" in page
    assert "data:image/webp;base64," in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror" in page
    assert not re.search(r'(?:src|href)="https?:', page)
    assert cli.main(["run", "report", str(made_run / "nothing")]) == 2


def test_a_bundle_is_written_by_its_command(
    made_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["view", "bundle", str(made_run), "-o", str(tmp_path / "site"), "--limit", "4"]
    assert cli.main(words) == 0
    assert "1 runs, 4 trajectories; 40 left out (--limit)" in capsys.readouterr().out
    assert cli.main(words) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_taken_port_is_named(made_run: Path, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["view", str(made_run), "--port", port]) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_the_address_is_printed_and_ctrl_c_ends_it(made_run: Path):
    command = [sys.executable, "-u", "-m", "air_reasoning.cli", "view", str(made_run)]
    with subprocess.Popen(
        [*command, "--port", "0", "--host", "0.0.0.0"], stdout=subprocess.PIPE, text=True
    ) as viewer:
        assert viewer.stdout
        line = viewer.stdout.readline()
        viewer.send_signal(2)
        viewer.wait()
    assert re.search(r"http://0\.0\.0\.0:\d+/\?token=[\w-]{32}", line)

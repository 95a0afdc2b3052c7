import resource
import subprocess
import sys
from pathlib import Path

import pytest

from air_reasoning.errors import DataError
from air_reasoning.files import LineFile, atomic_file, atomic_write


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "new" / "a.txt"
    atomic_write(path, "one")
    with pytest.raises(TypeError), atomic_file(path) as file:
        file.writelines([b"two", "no bytes"])  # type: ignore[list-item]
    assert path.read_text() == "one"
    atomic_write(path, b"three", durable=False)
    assert path.read_text() == "three"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_an_error_of_the_block_is_not_called_a_full_disk(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()


def test_a_torn_last_line_is_cut_off_on_opening(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":')
    with LineFile(path) as file:
        assert file.torn_bytes == 5
        file.append(b"{}")
    assert path.read_bytes() == b'{"a":1}\n{}\n'


def test_a_long_torn_line_is_cut_off_too(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"ok\n" + b"x" * 200_000)
    LineFile(path).close()
    assert path.read_bytes() == b"ok\n"
    path.write_bytes(b"x" * 200_000)
    LineFile(path).close()
    assert path.read_bytes() == b""


FILL = """
import signal, sys
from pathlib import Path
from air_reasoning.errors import DataError
from air_reasoning.files import LineFile, atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
file = LineFile(folder / "lines")
try:
    for _ in range(100):
        file.append(b"x" * 99)
except DataError as error:
    print(error)
try:
    atomic_write(folder / "whole", b"x" * 5000)
except DataError as error:
    print(error)
"""


def test_a_full_disk_keeps_all_earlier_lines_and_files(tmp_path: Path):
    """A limit on the size of files stands for the disk: the fourth part of a line still fits."""
    (tmp_path / "whole").write_text("before")
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "lines").read_bytes() == (b"x" * 99 + b"\n") * 10
    assert (tmp_path / "whole").read_text() == "before"
    first, second = done.stdout.strip().splitlines()
    assert "all earlier lines are kept" in first
    assert "Free space" in first
    assert "what was there before is kept" in second
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lines", "whole"]


def test_a_path_that_cannot_be_is_a_data_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="nothing was changed"):
        LineFile(tmp_path / "file" / "a.jsonl")

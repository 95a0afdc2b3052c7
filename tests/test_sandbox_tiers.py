# ruff: noqa: PTH102, PTH109
"""The hostile cells again, as other users; what is refused; and `air sandbox`."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from air_reasoning.cli import main
from air_reasoning.errors import SandboxRefused
from air_reasoning.sandbox.child import folder, seccomp
from air_reasoning.sandbox.process import ProcessPool, SandboxConfig

HERE = Path(__file__).parent
NOBODY = 65534


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("user", "tiers"),
    [
        (NOBODY, "C"),
        pytest.param(NOBODY, "A", marks=pytest.mark.slow),
        pytest.param(0, "B", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(900)
def test_the_same_is_contained_for_other_users(user: int, tiers: str):
    pytest_words = [
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        f"{HERE}/test_sandbox_hostile.py",
    ]
    words = [sys.executable, f"{HERE}/run_as.py", str(user), sys.executable, *pytest_words]
    environment = os.environ | {
        "AIR_TEST_TIERS": tiers,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp",
    }
    done = subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True)
    if "Operation not permitted: mount" in done.stderr:
        pytest.skip("no mount namespace for the test itself")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_a_tier_that_cannot_be_had_is_refused_and_not_exchanged(capfd: pytest.CaptureFixture[str]):
    absent = "C" if os.getuid() == 0 else "B"

    async def cell() -> None:
        async with ProcessPool(SandboxConfig(tier=absent)) as pool, pool.session() as session:
            with pytest.raises(SandboxRefused, match=f"no isolation here .*tier {absent}"):
                await session.run("1")

    asyncio.run(cell())
    assert main(["sandbox", "check", "-o", f"sandbox.tier={absent}"]) == 4
    assert "tier: none" in capfd.readouterr().out
    assert main(["sandbox", "run", __file__, "-o", f"sandbox.tier={absent}"]) == 4


WITHOUT_LAYERS = """
import asyncio, sys
from air_reasoning.errors import SandboxRefused
from air_reasoning.sandbox.child import kernel, seccomp
from air_reasoning.sandbox.process import ProcessPool, SandboxConfig

refused = [272, 444]  # unshare, landlock_create_ruleset
steps = [seccomp._step(0x20, 0)]
for number in refused:
    steps += [seccomp._step(0x15, number, 0, 1), seccomp._step(0x06, 0x00050001)]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
kernel.Filter(b"".join([*steps, seccomp._step(0x06, 0x7FFF0000)])).install()

async def cell(unsafe):
    async with ProcessPool(SandboxConfig(unsafe=unsafe)) as pool, pool.session() as session:
        return await session.run("6 * 7")

try:
    print(asyncio.run(cell(False)))
except SandboxRefused as error:
    print("refused:", error)
execution = asyncio.run(cell(True))
print(execution.tier, execution.value)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_without_namespaces_and_landlock_it_refuses_unless_told_to_be_unsafe():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-c", WITHOUT_LAYERS]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    told, last = done.stdout.splitlines()
    assert told.startswith("refused: no isolation here (tier A: ")
    assert "unshare(0x" in told
    assert "; tier " in told
    assert told.endswith("only sandbox.unsafe=true runs model-written code without any")
    assert last == "unsafe 42"


def test_check_names_every_layer_and_the_tier(capfd: pytest.CaptureFixture[str]):
    assert main(["sandbox", "check"]) == 0
    told = capfd.readouterr().out
    for name in ("user namespace", "Landlock", "seccomp filter", "tier A", "tier C", "\ntier: "):
        assert name in told


def air(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = [sys.executable, "-m", "air_reasoning.cli", "sandbox", "run", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(program, input=stdin, capture_output=True, env=environment)


def test_run_gives_one_json_result_for_each_cell(picture, tmp_path: Path):
    picture.save(tmp_path / "p.png")
    cells = [
        "x = 2\nprint('a')",
        "x + 1, image_1.size",
        "image_1",
        "while True: pass",
        "x",
        "1 / 0",
        "import os\nos._exit(3)",
        "# nothing",
        "x",
        "'\ud800'",
    ]
    done = air(
        *("--json", "--timeout", "1", "--image", str(tmp_path / "p.png")),
        stdin=json.dumps({"cells": cells}).encode(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
    told = json.loads(done.stdout)
    assert told.keys() == {"tier", "executions"}
    results = told["executions"]
    keys = {"status", "stdout", "stderr", "value", "error", "images", "wall_ms", "state_lost"}
    assert all(result.keys() == keys for result in results)
    told_apart = [(r["status"], r["value"], r["state_lost"]) for r in results]
    assert told_apart == [
        ("ok", None, False),
        ("ok", "(3, (6, 4))", False),
        ("ok", None, False),
        ("timeout", None, False),
        ("ok", "2", False),
        ("error", None, False),
        ("killed", None, False),
        ("ok", None, True),
        ("error", None, True),
        ("error", None, True),
    ]
    assert results[0]["stdout"] == "a\n"
    assert results[2]["images"] == [{"width": 6, "height": 4}]
    assert results[5]["error"]["type"] == "ZeroDivisionError"
    assert results[8]["error"]["traceback"].startswith(
        "Traceback (most recent call last):\n  cell 9,"
    )
    assert {r["error"] is None for r in results if r["status"] == "ok"} == {True}


def test_run_takes_a_file_for_each_cell(tmp_path: Path):
    (tmp_path / "a.py").write_text("y = 20\n")
    (tmp_path / "b.py").write_text("y + 1")
    (tmp_path / "c.py").write_bytes(b"x = '\xff'")
    done = air(*(str(tmp_path / name) for name in ("a.py", "b.py", "c.py")))
    assert done.returncode == 0
    assert b"--- cell 2: ok" in done.stdout
    assert b"\n21\n--- cell 3: error" in done.stdout


@pytest.mark.parametrize("text", [b"", b"[]", b'{"cells": 1}', b'{"cells": [1]}', b"\xff"])
def test_run_refuses_what_is_no_list_of_cells(text: bytes):
    done = air("--json", stdin=text)
    assert done.returncode == 2
    assert b'expected one JSON object {"cells"' in done.stderr


def test_the_filter_allows_what_it_names_and_nothing_else():
    """Runs the filter's own instructions: the kernel's loader checks that they are well-formed."""
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86_64")

    def verdict(number: int, *values: int, arch: int = 0xC000003E, processes: bool = True) -> int:
        data = [
            number,
            arch,
            0,
            0,
            *(w for v in (*values, *[0] * 6)[:6] for w in (v & 2**32 - 1, v >> 32)),
        ]
        code = seccomp.program(processes=processes)
        steps = [
            (int.from_bytes(code[i : i + 2], "little"), code[i + 2], code[i + 3],
             int.from_bytes(code[i + 4 : i + 8], "little"))
            for i in range(0, len(code), 8)
        ]  # fmt: skip
        at = register = 0
        while True:
            operation, if_true, if_false, value = steps[at]
            at += 1
            match operation:
                case 0x20:
                    register = data[value // 4]
                case 0x06:
                    return value
                case _:
                    tests = {
                        0x15: register == value,
                        0x25: register > value,
                        0x35: register >= value,
                    }
                    at += if_true if tests.get(operation, bool(register & value)) else if_false

    allow, refuse, absent, kill = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
    for name, (number, _) in seccomp.CALLS.items():
        if name not in ("ioctl", "prctl", "socketpair", "prlimit64") and number >= 0:
            assert verdict(number) == allow, name
    allowed = {number for number, _ in seccomp.CALLS.values()}
    assert {verdict(n) for n in set(range(600)) - allowed - {435}} == {refuse}
    assert verdict(435) == absent
    assert verdict(0, arch=0x40000003) == kill
    assert verdict(0x40000000) == refuse
    assert verdict(53, 1) == allow
    assert verdict(53, 1 | 1 << 40) == refuse  # the upper half counts
    assert verdict(56, 0x10000011) == refuse  # a user namespace by clone
    assert verdict(56, 17) == allow
    assert verdict(56, 17, processes=False) == refuse
    assert verdict(56, 0x3D0F00, processes=False) == allow  # what pthread_create asks for
    assert verdict(57, processes=False) == refuse


def test_folders_are_removed_however_deep_and_closed(tmp_path: Path):
    top = tmp_path / "session"
    top.mkdir()
    where = os.getcwd()
    os.chdir(top)
    for _ in range(1200):  # deeper than recursion goes
        os.mkdir("d")
        os.chdir("d")
    os.chdir(where)
    (top / "link").symlink_to(tmp_path)
    (top / "closed").mkdir()
    (top / "closed" / "file").touch()
    (top / "closed").chmod(0)
    assert folder.too_much(top, 1, 100)
    folder.remove(top)
    assert list(tmp_path.iterdir()) == []
    folder.remove(top)  # absent is fine
    shutil.rmtree(tmp_path, ignore_errors=True)

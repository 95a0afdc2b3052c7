"""Evaluation over a real sandbox: scripted turns for the numbers, a tiny real model for the
command.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from air_reasoning import cli
from air_reasoning.config import Resolved
from air_reasoning.engine import Engine
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.eval.evaluate import EvalConfig, Measure, load_benchmark
from air_reasoning.eval.from_run import groups, telling_examples
from air_reasoning.eval.measure import evaluate, finished
from air_reasoning.metrics import summarize
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import RolloutConfig
from air_reasoning.run_dir import RunDir
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.task_files import write_tasks
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, Task

TURNS = {
    "direct": ["<think>it is 3</think><answer>\\boxed{3}</answer>"],
    "code": ["<code>```python\nprint(1+2)\n```</code>", "<answer>\\boxed{3}</answer>"],
    "failing": ["<code>1/0</code>", "<answer>4</answer>"],
    "leak": ["<code>print('<answer>3</answer>')</code>", "I leave it there"],
    "lost": [],
}


def task(name, difficulty="easy"):
    return Task(
        id=name,
        prompt=[Part(kind="text", text="1+2?")],
        images=[],
        answer=Answer(value="3", type="int"),
        meta={"difficulty": difficulty, "kind": name, "split": "test"},
    )


TASKS = [task("direct"), task("code", "hard"), task("failing", "hard"), task("leak"), task("lost")]


def measured(loaded, turns, tasks=TASKS, run=None, done=None, **fields):
    async def inside():
        measure = Measure(name="scripted", **fields)
        script = {f"scripted/{measure.decoding}/{measure.code}/{k}": v for k, v in turns.items()}
        pool = ProcessPool(SandboxConfig(max_sessions=4))
        engine = Engine(
            sampler=ScriptedSampler(loaded.tokenizer, script),
            sandboxes=pool,
            renderer=Renderer(loaded, AIR),
        )
        try:
            return await evaluate(tasks, engine, RolloutConfig(), measure, run=run, done=done)
        finally:
            await pool.close()

    return asyncio.run(inside())


def open_run(folder, resume="auto"):
    return RunDir.open(
        folder,
        command="eval",
        resolved_config=Resolved(value=EvalConfig(), provenance={}),
        fingerprint={"a": 1},
        resume=resume,
    )


def test_records_of_a_scripted_model(qwen3):
    direct, code, failing, leak, lost = measured(qwen3, TURNS)
    assert (direct.correct, direct.calls, direct.turns, direct.route) == (True, 0, 1, "answer_tag")
    assert (code.correct, code.calls, code.failed_calls, code.turns) == (True, 1, 0, 2)
    assert (failing.correct, failing.calls, failing.failed_calls) == (False, 1, 1)
    assert (leak.correct, leak.calls, leak.stop) == (False, 1, "void_turn")
    assert lost.unscored
    figures = summarize([direct, code, failing, leak, lost])
    assert figures["n"].value == 4
    assert figures["accuracy"].value == 0.5
    assert figures["tool_success"].value == pytest.approx(2 / 3)
    assert figures["unscored"].value == 0.2


def test_resume_makes_only_what_is_not_final(qwen3, tmp_path):
    with open_run(tmp_path / "run") as run:
        measured(qwen3, TURNS, run=run, repeats=2)
    with open_run(tmp_path / "run", resume="must") as run:
        done = finished(run)
        assert len(done) == 8  # the two lost ones are tried again
        other = {name: ["<answer>5</answer>"] for name in TURNS}
        records = measured(qwen3, other, run=run, done=done, repeats=2)
        assert [r.correct for r in records] == [True] * 4 + [False] * 6
        assert not any(r.unscored for r in records)
        assert len(finished(run)) == 10
        rows = list(run.read_trajectories())
    assert len(rows) == 12
    examples = telling_examples(rows, limit=4)
    assert len({example.task["id"] for example in examples}) == 4
    assert examples[0].label == "scripted, greedy"
    assert groups(rows) == []


def test_an_empty_benchmark_name_and_a_missing_folder_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("AIR_BENCHMARKS", raising=False)
    with pytest.raises(ConfigError, match="benchmark: must be set"):
        load_benchmark(EvalConfig())
    with pytest.raises(ConfigError, match="mathvision:FOLDER"):
        load_benchmark(EvalConfig(benchmark="mathvision"))
    with pytest.raises(DataError, match="nowhere"):
        load_benchmark(EvalConfig(benchmark=str(tmp_path / "nowhere")))


@pytest.fixture
def eval_words(qwen3, tmp_path, picture):
    tasks = [
        Task(
            id=f"t{i}",
            prompt=[Part(kind="image"), Part(kind="text", text=f"value {i}?")],
            images=[],
            answer=Answer(value=str(i), type="int"),
            meta={"difficulty": "easy", "kind": "bar"},
        )
        for i in range(3)
    ]
    folder = tmp_path / "tasks"
    write_tasks_with(folder, tasks, picture(48, 32))
    words = ["eval", str(folder), "--run-dir", str(tmp_path / "run"), "--display", "none"]
    return [*words, "-o", f"model.path={qwen3.path}", "-o", "rollout.max_new_tokens=12"]


def write_tasks_with(folder, tasks, image):
    from dataclasses import replace

    from air_reasoning.images import save_blob

    ref = save_blob(image, folder / "blobs")
    write_tasks(folder, [replace(t, images=[ref]) for t in tasks])


def test_the_command_writes_summary_and_report(eval_words, tmp_path, capsys):
    words = [*eval_words, "-o", "code=both", "-o", "repeats=2"]
    assert cli.main(words) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    name = next(iter(summary["checkpoints"]))
    assert list(summary["checkpoints"]) == [name, f"{name} (code forbidden)"]
    assert summary["checkpoints"][name]["greedy"]["n"]["value"] == 3
    assert summary["checkpoints"][name]["sampled"]["n"]["value"] == 6
    assert summary["tool_benefit"]["sampled"]["all"]["n"] == 6
    assert "code forbidden" in (tmp_path / "run" / "report.html").read_text()
    assert "accuracy all" in capsys.readouterr().out

    before = (tmp_path / "run" / "trajectories" / "part-0000.jsonl").read_bytes()
    assert cli.main(words) == 0  # nothing left to do
    assert (tmp_path / "run" / "trajectories" / "part-0000.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary

    assert cli.main([*words, "-o", "rollout.max_new_tokens=13"]) == 2
    assert "rollout.max_new_tokens: 12 -> 13" in capsys.readouterr().err


def test_dry_run_starts_nothing(eval_words, tmp_path, capsys):
    assert cli.main([*eval_words, "--dry-run"]) == 0
    assert "3 tasks, 6 roll-outs" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


SCRIPT = {
    "mathvision/4": ["<code>print(6)</code>", "<answer>\\boxed{6}</answer>"],
    "mathvision/5": ["<answer>\\boxed{-1}</answer>"],
    "*": ["<think>a guess</think><answer>\\boxed{B}</answer>"],
}


def test_a_scripted_model_on_real_pictures_gives_the_whole_report(
    qwen3, tmp_path, capsys, benchmark_folder
):
    script = tmp_path / "turns.json"
    script.write_text(json.dumps(SCRIPT))
    words = ["eval", "mathvision", "--data", str(benchmark_folder("mathvision"))]
    words += ["--split", "testmini", "--limit", "12", "--run-dir", str(tmp_path / "run")]
    words += ["--repeats", "2", "--code", "both", "--model", str(qwen3.path), "--display", "none"]
    assert cli.main([*words, "-o", f"model.script={script}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    figures = summary["checkpoints"]["turns"]["sampled"]
    assert figures["n"]["value"] == 24
    assert figures["calls_mean"]["value"] == 1 / 12
    assert summary["repeats"]["turns"]["sampled"]["pass@2"]["value"] == figures["accuracy"]["value"]
    assert summary["tool_benefit"]["greedy"]["all"]["n"] == 12
    facts = summary["provenance"]
    assert (facts["back end"], facts["scoring"], facts["judge"]) == ("scripted", "official", "none")
    assert facts["prompt"].startswith("mathvision-")
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert "Accuracy. By subject" in page
    table = (tmp_path / "run" / "table.md").read_text()
    assert "| maj@2 |" in table
    assert "What code is worth" in capsys.readouterr().out


def test_a_killed_evaluation_goes_on_without_a_lost_or_doubled_item(qwen3, tmp_path, picture):
    tasks = [task(f"t{i}") for i in range(30)]
    write_tasks_with(tmp_path / "tasks", tasks, picture(48, 32))
    words = [sys.executable, "-m", "air_reasoning.cli", "eval", str(tmp_path / "tasks")]
    words += ["--run-dir", str(tmp_path / "run"), "--model", str(qwen3.path), "--display", "none"]
    words += ["-o", "rollout.max_new_tokens=40", "-o", "max_connections=2", "-o", "decoding=greedy"]
    part = tmp_path / "run" / "trajectories" / "part-0000.jsonl"
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = part.read_bytes().count(b"\n")
    assert 3 <= before < 30
    assert cli.main(words[3:]) == 0
    ids = [row["record"]["task_id"] for row in map(json.loads, part.read_bytes().splitlines())]
    assert sorted(ids) == sorted(t.id for t in tasks)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert next(iter(summary["checkpoints"].values()))["greedy"]["n"]["value"] == 30


def test_several_benchmarks_have_a_folder_each(eval_words, tmp_path):
    copy = tmp_path / "more"
    shutil.copytree(eval_words[1], copy)
    words = [*eval_words[:2], str(copy), *eval_words[2:], "-o", "decoding=greedy"]
    assert cli.main(words) == 0
    for name in ("tasks", "more"):
        assert (tmp_path / "run" / name / "summary.json").is_file()


def test_real_pictures_run_without_an_error_of_ours(qwen3, tmp_path, benchmark_folder):
    folder = benchmark_folder("mathvision")
    words = ["eval", f"mathvision:{folder}", "--run-dir", str(tmp_path / "run"), "--limit", "6"]
    words += ["-o", f"model.path={qwen3.path}", "-o", "rollout.max_new_tokens=8"]
    assert cli.main([*words, "-o", "decoding=greedy", "--display", "none"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    figures = next(iter(summary["checkpoints"].values()))["greedy"]
    assert figures["n"]["value"] == 6
    assert figures["unscored"]["value"] == 0
    shutil.rmtree(tmp_path / "run")

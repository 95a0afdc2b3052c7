"""The two-stage cold start against a faulty teacher behind real HTTP, in the real sandbox."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.cold_start import read_samples
from air_reasoning.data.cold_start_config import TwoStageConfig
from air_reasoning.data.reasons import Rejection, read_funnel
from air_reasoning.data.two_stage import run_cold_start
from air_reasoning.errors import AirError, BudgetReached, ConfigError, DataError
from air_reasoning.run_reader import read_status, read_trajectories
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.types import Answer, Part, Task

THOUGHT = "The bars are 17.5 and 24.2.\n17.5 * 24.2 = 423.5\n\\boxed{423.5}"
READ = "<think>The bars are 17.5 and 24.2.</think>"
ANSWER = "<answer>\\boxed{423.5}</answer>"


def cell(code):
    return f"<code>```python\n{code}\n```</code>"


PRODUCT = cell("print(round(17.5 * 24.2, 2))")


def rewritten(*parts):
    return f"<solution>{''.join(parts)}</solution>"


GOOD = rewritten(READ, PRODUCT, "<interpreter>423.5</interpreter>", ANSWER)

# item -> (replies by stage, expected mode or reason). One sample an item.
ITEMS: dict[str, tuple[dict[str, str], str]] = {
    "good": ({}, "code"),
    "bare": ({"rewrite": f"{READ}{PRODUCT}{ANSWER}"}, "code"),
    "reasoning": ({"thought": f"<think>hidden, 99</think>{THOUGHT}"}, "code"),
    "marked_easy": ({}, "direct"),
    "says_no_code": ({"rewrite": "NO_CODE"}, "direct"),
    "refuses": ({"thought": "I'm sorry, I can't help with that."}, Rejection.REFUSED),
    "silent": ({"thought": ""}, Rejection.REFUSED),
    "cut": ({"thought": f"{THOUGHT}[cut]"}, Rejection.CUT_OFF),
    "no_answer": ({"thought": "Both bars are tall. Who knows"}, Rejection.NO_ANSWER),
    "wrong": ({"thought": "\\boxed{423.6}"}, Rejection.WRONG_ANSWER),
    "rewriter_refuses": ({"rewrite": "I cannot help with this."}, Rejection.REWRITE_REFUSED),
    "rewriter_cut": ({"rewrite": f"{GOOD}[cut]"}, Rejection.REWRITE_CUT_OFF),
    "no_code_though_marked": ({"rewrite": "NO_CODE"}, Rejection.NO_CODE),
    "leaks_number": (
        {"rewrite": rewritten("<think>17.5 times 24.2 is about 423.5.</think>", PRODUCT, ANSWER)},
        Rejection.ANSWER_BEFORE_CODE,
    ),
    "leaks_box": (
        {"rewrite": rewritten(READ, "So \\boxed{423.50}. Check:", PRODUCT, ANSWER)},
        Rejection.ANSWER_BEFORE_CODE,
    ),
    "answers_first": (
        {"rewrite": rewritten(READ, ANSWER, PRODUCT)}, Rejection.ANSWER_BEFORE_CODE,
    ),
    "prints_constant": (
        {"rewrite": rewritten(READ, cell("result = 423.5\nprint(result)"), ANSWER)},
        Rejection.VACUOUS_CODE,
    ),
    "only_comment": (
        {"rewrite": rewritten(READ, cell("# 17.5 * 24.2"), ANSWER)}, Rejection.VACUOUS_CODE,
    ),
    "syntax_error": (
        {"rewrite": rewritten(READ, cell("print(17.5 * 24.2"), ANSWER)}, Rejection.VACUOUS_CODE,
    ),
    "syntax_error_later": (
        {"rewrite": rewritten(READ, PRODUCT, "then", cell("print(1 +"), ANSWER)},
        Rejection.CELL_ERROR,
    ),
    "raises": (
        {"rewrite": rewritten(READ, cell("print(17.5 * bar)"), ANSWER)}, Rejection.CELL_ERROR,
    ),
    "repairs": (
        {"rewrite": rewritten(READ, cell("print(17.5 * bar)"), "again", PRODUCT, ANSWER)},
        Rejection.CELL_ERROR,
    ),
    "loops": (
        {"rewrite": rewritten(READ, cell("n = 1\nwhile True:\n    n += 1"), ANSWER)},
        Rejection.CELL_TIMEOUT,
    ),
    "dies": (
        {"rewrite": rewritten(READ, cell("import os\nprint(2 * 3)\nos._exit(1)"), ANSWER)},
        Rejection.CELL_KILLED,
    ),
    "prints_nothing": (
        {"rewrite": rewritten(READ, cell("x = 17.5 * 24.2"), ANSWER)}, Rejection.NO_OUTPUT,
    ),
    "wrong_after_rewrite": (
        {"rewrite": rewritten(READ, PRODUCT, "<answer>\\boxed{424}</answer>")},
        Rejection.REWRITE_WRONG,
    ),
    "no_answer_after_cell": ({"rewrite": rewritten(READ, PRODUCT, "Done.")}, Rejection.MALFORMED),
    "two_answers": ({"rewrite": rewritten(READ, PRODUCT, ANSWER, ANSWER)}, Rejection.MALFORMED),
    "unclosed_cell": (
        {"rewrite": rewritten(READ, PRODUCT, ANSWER, "<code>```python\nprint(1)")},
        Rejection.MALFORMED,
    ),
    "invents_output": (  # harmless: nothing goes on from it, and the real output takes its place
        {"rewrite": rewritten(READ, PRODUCT, "<interpreter>999.9</interpreter>", ANSWER)}, "code",
    ),
    "goes_on_from_invented": (
        {"rewrite": rewritten(
            READ, cell("print(17.5 + 24.2)"), "<interpreter>423.5</interpreter>",
            "The output is 423.5.", ANSWER,
        )},
        Rejection.CONTRADICTS_OUTPUT,
    ),
    "rate_limited": ({}, "code"),
    "half_closed": ({}, "code"),
    "shut": ({}, "code"),
    "server_error": ({}, "code"),
    "filtered": ({}, Rejection.REQUEST_REFUSED),
}  # fmt: skip
FAULTS = {
    "rate_limited/thought": ["429", "429"],
    "half_closed/thought": ["half"],
    "half_closed/rewrite": ["half", "half"],
    "shut/rewrite": ["shut"],
    "server_error/thought": ["500", "503"],
    "filtered/rewrite": ["400*"],
}


def make_tasks(folder: Path, names, **meta) -> Path:
    picture = Image.new("RGB", (30, 20), "white")
    (folder / "in").mkdir(parents=True)
    picture.save(folder / "in" / "bars.png")
    tasks = []
    for name in names:
        marked = {"marked_easy": {"needs_code": False}}.get(name, {})
        marked = {"needs_code": True} if name == "no_code_though_marked" else marked
        line = {
            "id": name, "prompt": f"What is the product of the bars? (item {name})",
            "images": ["bars.png"], "meta": marked | meta,
            "answer": {"value": "423.5", "type": "float", "precision": 2},
        }  # fmt: skip
        tasks.append(line)
    file = folder / "in" / "tasks.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in tasks))
    write_tasks(folder / "tasks", read_tasks(file))
    return folder / "tasks"


def settings(teacher, tasks: Path, **changes) -> dict:
    endpoint = {
        "url": teacher.url, "retry_wait_s": 0.01, "retries": 4, "input_price": 1.0,
        "output_price": 4.0, "max_connections": 8,
    }  # fmt: skip
    return {
        "tasks": tasks, "samples": 1, "direct_share": 0.9, "cell_timeout_s": 1.0,
        "teacher": {"endpoint": endpoint, "max_tokens": 1000},
    } | changes  # fmt: skip


def run(config: dict, folder: Path, **options) -> None:
    resolved = Resolved(value=TwoStageConfig.model_validate(config), provenance={})
    run_cold_start(resolved, RunOptions(**{"run_dir": folder, "display": "none"} | options))


def outcomes(folder: Path) -> dict[str, str]:
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    found = {row["task_id"]: row["reason"] for row in rejected}
    kept = {sample.task_id: sample.mode for _, sample in read_samples(folder)}
    assert not found.keys() & kept.keys()
    return found | kept


@pytest.fixture
def scripted(teacher):
    teacher.replies = {"thought": [THOUGHT], "rewrite": [GOOD]} | {
        f"{name}/{stage}": [text]
        for name, (replies, _) in ITEMS.items()
        for stage, text in replies.items()
    }
    return teacher


def test_exactly_the_right_items_survive_and_each_rejection_has_its_reason(scripted, tmp_path):
    scripted.faults = {key: list(faults) for key, faults in FAULTS.items()}
    tasks = make_tasks(tmp_path, ITEMS)
    run(settings(scripted, tasks), tmp_path / "run")
    assert outcomes(tmp_path / "run") == {name: str(end) for name, (_, end) in ITEMS.items()}
    assert set(scripted.whole.values()) == {1}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    counts = Counter(str(end) for _, end in ITEMS.values())
    assert summary["kept"] == {"code": counts["code"], "repair": 0, "direct": 2}
    assert summary["rejected"] == {k: n for k, n in counts.items() if k not in ("code", "direct")}
    steps = [row["count"] for row in read_funnel(tmp_path / "run")["funnel"]]
    assert steps[0] == len(ITEMS)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == counts["code"] + counts["direct"]
    # 1000 tokens sent at $1 and 500 written at $4 a million; half answers are counted apart.
    assert summary["cost"]["responses"] == sum(scripted.whole.values())
    assert summary["cost"]["dollars"] == pytest.approx(0.003 * sum(scripted.whole.values()))
    assert summary["cost"]["lost_requests"] == 4  # three halves and the refused one


def test_the_real_output_takes_the_place_of_an_invented_one(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["invents_output", "good"])
    run(settings(scripted, tasks), tmp_path / "run")
    for _, sample in read_samples(tmp_path / "run"):
        text = "".join(segment.text for segment in sample.trajectory.segments)
        assert text == f"{READ}{PRODUCT}<interpreter>423.5</interpreter>{ANSWER}"
        assert [s.kind for s in sample.trajectory.segments] == [
            "think", "code", "output", "answer",
        ]  # fmt: skip


def test_a_repaired_failure_is_kept_where_the_setting_says_so(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["repairs", "raises", "loops"])
    run(settings(scripted, tasks, failed_cells="repaired"), tmp_path / "run")
    assert outcomes(tmp_path / "run") == {
        "repairs": "repair", "raises": "cell_error", "loops": "cell_timeout",
    }  # fmt: skip


def test_a_retry_after_holds_back_every_request(scripted, tmp_path):
    """While the service asks for a second of rest, the other worker may not go on asking."""
    scripted.faults, scripted.retry_after = {"a0/thought": ["429"]}, "1"
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(12)])
    run(settings(scripted, tasks, max_connections=2), tmp_path / "run")
    places = [place.split("/")[0] for _, place in scripted.requests]
    refused = places.index("a0")
    asked_again = places.index("a0", refused + 1)
    assert asked_again - refused <= 3  # one that was under way, one that woke up first
    assert len(outcomes(tmp_path / "run")) == 12


def test_further_samples_are_asked_for_only_until_enough_are_kept(scripted, tmp_path):
    wrong = "\\boxed{1}"
    scripted.replies |= {"late/thought": [wrong, wrong, THOUGHT], "never/thought": [wrong]}
    tasks = make_tasks(tmp_path, ["good", "late", "never"])
    run(settings(scripted, tasks, samples=4), tmp_path / "run")
    asked = Counter("/".join(place.split("/")[:2]) for place in scripted.whole.elements())
    assert asked == {
        "good/thought": 1, "good/rewrite": 1, "late/thought": 3, "late/rewrite": 1,
        "never/thought": 4,
    }  # fmt: skip
    run(settings(scripted, tasks, samples=4, ask="all"), tmp_path / "all")
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["kept"]["code"] == 2
    assert summary["rejected"]["spare"] == 3 + 3  # every later thought of "late" is right


def test_the_share_of_direct_samples_is_chosen_anew_at_no_cost(scripted, tmp_path):
    names = [*(f"c{n}" for n in range(6)), *(f"d{n}" for n in range(8))]
    scripted.replies |= {f"d{n}/rewrite": ["NO_CODE"] for n in range(8)}
    tasks = make_tasks(tmp_path, names)
    run(settings(scripted, tasks, direct_share=0.25), tmp_path / "run")
    paid = sum(scripted.whole.values())
    ends = Counter(outcomes(tmp_path / "run").values())
    assert ends == {"code": 6, "direct": 2, "over_direct_share": 6}
    run(settings(scripted, tasks, direct_share=0.5), tmp_path / "run")
    assert Counter(outcomes(tmp_path / "run").values()) == {
        "code": 6, "direct": 6, "over_direct_share": 2,
    }  # fmt: skip
    assert sum(scripted.whole.values()) == paid


def test_a_cap_stops_in_time_and_says_how_to_go_on(scripted, tmp_path):
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(10)])
    # A sample costs 2 x $0.003, at most about $0.0105: three fit for certain, five never.
    config = settings(scripted, tasks, budget={"max_cost": 0.03})
    with pytest.raises(BudgetReached, match=r"-o budget\.max_cost=DOLLARS .* tasks are left"):
        run(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["cost"]["dollars"] <= 0.03
    assert 3 <= summary["tasks"]["finished"] <= 5
    assert summary["cost"]["dollars"] == pytest.approx(0.006 * summary["tasks"]["finished"])
    assert read_status(tmp_path / "run")["state"] == "interrupted"
    before = Counter(scripted.whole)
    run(settings(scripted, tasks, budget={"max_cost": 1.0}), tmp_path / "run")
    assert set(outcomes(tmp_path / "run").values()) == {"code"}
    assert all(scripted.whole[key] == 1 for key in before)


def test_a_cap_on_requests(scripted, tmp_path):
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(10)])
    with pytest.raises(BudgetReached, match=r"budget\.max_requests: 6 of 7 .* 7 of 10 tasks"):
        run(settings(scripted, tasks, budget={"max_requests": 7}), tmp_path / "run")
    assert sum(scripted.whole.values()) == 6


def test_a_cap_needs_prices(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["good"])
    config = settings(scripted, tasks, budget={"max_cost": 1.0})
    config["teacher"]["endpoint"] |= {"input_price": 0, "output_price": 0}
    with pytest.raises(ConfigError, match=r"budget.max_cost: needs endpoint.input_price"):
        run(config, tmp_path / "run")


def test_a_service_that_is_down_stops_the_command_and_a_lost_task_stays_open(scripted, tmp_path):
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(8)])
    scripted.faults = {"a3/thought": ["half"] * 3}
    run(settings(scripted, tasks, max_connections=1, max_lost=0.2), tmp_path / "run")
    assert set(outcomes(tmp_path / "run")) == {f"a{n}" for n in range(8) if n != 3}
    run(settings(scripted, tasks), tmp_path / "run")
    assert len(outcomes(tmp_path / "run")) == 8
    assert set(scripted.whole.values()) == {1}
    scripted.faults = {f"a{n}/thought": ["401*"] for n in range(8)}
    with pytest.raises(AirError, match="HTTP 401"):
        run(settings(scripted, tasks), tmp_path / "other")
    assert read_status(tmp_path / "other")["state"] == "interrupted"


def command(config_file: Path, folder: Path) -> list[str]:
    words = ["data", "cold-start", "-c", str(config_file), "--run-dir", str(folder)]
    return [sys.executable, "-m", "air_reasoning.cli", *words, "--display", "none"]


def test_nothing_is_paid_twice_after_kill_9(scripted, tmp_path):
    """Killed with requests under way, twice; the third time it comes through."""
    names = [f"a{n}" for n in range(14)]
    tasks = make_tasks(tmp_path, names)
    config = settings(scripted, tasks, max_connections=3)
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps(config, default=str))
    ledger = tmp_path / "run" / "ledger.jsonl"
    for held in ("a4", "a9"):
        scripted.faults = {f"{held}/thought": ["hold"], f"{held}/rewrite": ["hold"]}
        process = subprocess.Popen(command(file, tmp_path / "run"))
        until = time.monotonic() + 60
        waited = f"thought/{held}/0"
        while not (ledger.exists() and waited in ledger.read_text()):
            time.sleep(0.01)
            assert time.monotonic() < until
            assert process.poll() is None
        # The others go on until they are done: the held one is the only one under way.
        while scripted.under_way != 1 or _open_in(ledger) != 1:
            time.sleep(0.01)
            assert time.monotonic() < until
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    scripted.faults = {}
    assert subprocess.run(command(file, tmp_path / "run"), check=False).returncode == 0
    assert outcomes(tmp_path / "run") == dict.fromkeys(names, "code")
    assert scripted.whole == {place: 1 for place in scripted.whole}
    assert len(scripted.whole) == 2 * len(names)
    rows = [row["trajectory"]["id"] for row in read_trajectories(tmp_path / "run")]
    assert len(rows) == len(set(rows)) == len(names)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["cost"]["responses"] == 2 * len(names)


def _open_in(ledger: Path) -> int:
    lines = [json.loads(line) for line in ledger.read_text().splitlines() if line.endswith("}")]
    asked = {(line["asked"], line["request"]) for line in lines if "asked" in line}
    return len(asked - {(line["paid"], line["request"]) for line in lines if "paid" in line})


def test_other_prompts_are_another_run_but_what_was_paid_is_used(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["good", "wrong"])
    run(settings(scripted, tasks), tmp_path / "run")
    own = tmp_path / "prompts"
    own.mkdir()
    (own / "rewrite.jinja").write_text(
        "{# version: mine-2 #}\n{{ question }}\nPut it into <solution>: {{ thought }}"
    )
    config = settings(scripted, tasks, prompts=own)
    with pytest.raises(ConfigError, match=r"prompt\.rewrite: 'air-rewrite-1 \w+' -> 'mine-2 \w+'"):
        run(config, tmp_path / "run")
    run(config, tmp_path / "run", overwrite=True)
    stages = Counter(place.split("/")[1] for place in scripted.whole.elements())
    assert stages == {"thought": 2, "rewrite": 2}  # the thoughts were in the ledger
    (own / "rewrite.jinja").write_text("{{ question }} {{ thoughts }}")
    with pytest.raises(DataError, match=r"rewrite\.jinja: 'thoughts' is undefined"):
        run(config, tmp_path / "third")


def test_the_estimate_before_and_after(scripted, tmp_path, capsys):
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(10)])
    config = settings(scripted, tasks, samples=2)
    run(config, tmp_path / "run", dry_run=True)
    told = capsys.readouterr().out
    assert "faulty-1 at" in told
    assert "tokens are estimated" in told
    assert not (tmp_path / "run").exists()
    assert not scripted.whole
    run(config, tmp_path / "run", limit=4)
    capsys.readouterr()
    run(config, tmp_path / "run", dry_run=True)
    told = capsys.readouterr().out
    assert "measured on 8 responses that are paid ($0.0240)" in told
    assert next(row for row in told.splitlines() if row.startswith("thought")).split()[3] == "1000"


def test_evaluation_tasks_are_refused(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["good"], split="test")
    with pytest.raises(DataError, match="task good is marked split: test"):
        run(settings(scripted, tasks), tmp_path / "run")
    assert not scripted.requests


def test_ctrl_c_lets_paid_requests_come_in(scripted, tmp_path, ctrl_c_when):
    tasks = make_tasks(tmp_path, [f"a{n}" for n in range(30)])
    with ctrl_c_when(lambda: len(scripted.whole) >= 6):
        run(settings(scripted, tasks, max_connections=2), tmp_path / "run")
    paid = Counter(scripted.whole)
    assert len(paid) < 60
    ledger = (tmp_path / "run" / "ledger.jsonl").read_text()
    assert ledger.count('"paid"') == len(paid) == ledger.count('"asked"')
    run(settings(scripted, tasks), tmp_path / "run")
    assert set(scripted.whole.values()) == {1}
    assert len(outcomes(tmp_path / "run")) == 30


def test_a_broken_picture_costs_nothing_and_stops_nobody(scripted, tmp_path):
    tasks = make_tasks(tmp_path, ["good"])
    Path(read_tasks(tasks)[0].images[0].path).write_bytes(b"no picture")
    run(settings(scripted, tasks), tmp_path / "run")
    rejected = json.loads((tmp_path / "run" / "rejected.jsonl").read_text())
    assert rejected["reason"] == "broken_picture"
    assert not scripted.requests


def test_a_task_that_is_asked_in_words_only(scripted, tmp_path):
    question = "What is 17.5 times 24.2? (item words)"
    task = Task(
        id="words", prompt=[Part(kind="text", text=question)], images=[],
        answer=Answer(value="423.5", type="float", precision=2),
    )  # fmt: skip
    write_tasks(tmp_path / "tasks", [task])
    # The numbers stand in the question: the prose may repeat them.
    run(settings(scripted, tmp_path / "tasks"), tmp_path / "run")
    assert outcomes(tmp_path / "run") == {"words": "code"}

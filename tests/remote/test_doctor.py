"""``air doctor``: what it finds on a machine and behind an address, and its exit code."""

import asyncio
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from air_reasoning import cli
from air_reasoning.doctor import machine
from air_reasoning.doctor.command import report
from air_reasoning.doctor.engine import engine_findings
from air_reasoning.doctor.machine import (
    available_memory,
    files_finding,
    key_finding,
    sandbox_finding,
)
from air_reasoning.doctor.packages import extra_finding, numbers, torchvision_finding
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.sandbox.settings import SandboxConfig

CONFIGS = Path(__file__).parents[2] / "configs"
KEY = "sk-never-shown"
WANTED = ["orjson>=3.10", "pillow>=99", "no-such-thing>=1", 'pytest>=8.3; extra == "dev"']


def engine(url, **fields):
    """Findings about an engine, by name."""
    config = EndpointConfig(url=url, **fields)
    return {found.check.strip(): found for found in asyncio.run(engine_findings(config))}


def test_this_machine_can_do_everything_but_the_engine_is_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ["--json", "--run-dir", str(tmp_path / "not" / "yet")]
    assert cli.main(["doctor", *words, "--endpoint", "http://127.0.0.1:9/v1"]) == 4
    out = capsys.readouterr().out
    told = json.loads(out)
    assert told["ok"] is False
    found = {row["check"]: row for row in told["checks"]}
    assert found["sandbox"]["found"].startswith("tier ")
    assert found["disk"]["found"].endswith(f"GiB free in {tmp_path}")
    assert found["torch"]["state"] == found["python"]["state"] == "ok"
    (failed,) = (row for row in told["checks"] if row["state"] == "failure")
    assert failed["check"] == "engine http://127.0.0.1:9/v1"
    assert failed["mend"].startswith("start it")
    assert KEY not in out


def test_a_full_disk_is_a_warning_and_no_temporary_files_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "LEAST_DISK", 2**80)
    monkeypatch.setattr(machine, "LEAST_TEMPORARY", 2**80)
    runs, temporary = machine.disk_findings(tmp_path)
    assert (runs.state, temporary.state) == ("warning", "failure")
    lines = report([runs, temporary]).splitlines()
    assert lines[0].startswith("warning  disk ")
    assert lines[2].startswith("failure  temporary files  ")
    assert lines[3].strip().startswith("-> free some space, or name another folder in TMPDIR")
    assert lines[-1] == "0 ok, 1 warning, 1 failure"


def test_packages_by_extra():
    assert (numbers("2.13.0+cpu"), numbers("2.9")) == ((2, 13, 0), (2, 9))
    core = extra_finding("", WANTED)
    assert core.state == "failure"
    assert "is older than 99, no-such-thing is missing" in core.found
    assert core.mend == "pip install 'air-reasoning'"
    assert extra_finding("dev", WANTED).state == "ok"
    assert extra_finding("serve", WANTED).state == "warning"
    train = extra_finding("train", ['nothing>=1; extra == "train"'])
    assert (train.state, train.mend) == ("warning", "pip install 'air-reasoning[train]'")


def test_a_torchvision_of_another_torch(monkeypatch, tmp_path):
    info = tmp_path / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    package = tmp_path / "torchvision.py"
    package.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = torchvision_finding()
    assert finding.state == "failure"
    assert "operator torchvision::nms does not exist" in finding.found
    assert finding.mend.startswith("pip uninstall torchvision")
    package.write_text("")
    assert torchvision_finding().state == "ok"


def test_memory_is_what_the_control_group_leaves(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 8000 kB\nMemAvailable: 6000 kB\n")
    assert available_memory(tmp_path) == (6000 * 1024, 8000 * 1024)
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("4096000\n")
    (group / "memory.current").write_text("1024000\n")
    assert available_memory(tmp_path) == (3072000, 4096000)
    (group / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) == (6000 * 1024, 8000 * 1024)
    assert machine.memory_finding(tmp_path).state == "warning"


def test_open_files_keys_and_a_sandbox_that_cannot_start():
    assert files_finding(1, 1).state == "ok"
    assert "ulimit -n 2000000457" in files_finding(10**9, 201).mend
    assert key_finding("A_KEY", {"A_KEY": KEY}).found == "A_KEY is set"
    refused = sandbox_finding(SandboxConfig(packages="/no/such/python"))
    assert (refused.state, "/no/such/python" in refused.found) == ("failure", True)


def test_a_chat_server(chat_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    chat_server.turns = ["yes"] * 3
    found = engine(chat_server.url)
    assert "m1" in found[f"engine {chat_server.url}"].found
    assert [found[name].state for name in ("chat", "streaming", "pictures")] == ["ok"] * 3
    assert found["token ids"].found.startswith("none")
    assert [body.get("stream", False) for body in chat_server.bodies] == [False, True, False]
    assert chat_server.keys[0] == f"Bearer {KEY}"


def test_a_server_that_refuses_the_key_or_is_none(chat_server):
    chat_server.failures = [401]
    found = engine(chat_server.url, key_env="A_KEY")["chat"]
    assert (found.state, "variable A_KEY" in found.found) == ("failure", True)
    assert engine("here")["engine here"].state == "failure"
    assert engine("")["engine"].state == "ok"


def test_a_model_that_sees_no_pictures(chat_server):
    chat_server.turns, complete = ["yes"] * 3, chat_server.complete

    async def blind(request):
        if "image_url" in (await request.body()).decode():
            return JSONResponse({"error": {"message": "text only model"}}, 400)
        return await complete(request)

    chat_server.answering = blind
    pictures = engine(chat_server.url)["pictures"]
    assert (pictures.state, "text only model" in pictures.found) == ("warning", True)


@pytest.mark.parametrize("scale_out", [True, False])
def test_what_a_vllm_can_do(chat_server, serving, scale_out):
    """Raw log-probabilities, adapters by a route that it lists; as vLLM 0.32.0 answered."""
    chat_server.turns, chat_server.owner = ["yes"] * 3, "vllm"
    row = {"token_id": 5, "logprob": -6.6}
    choice = {"finish_reason": "length", "token_ids": [5], "logprobs": {"content": [row]}}

    async def generate(request):
        body = await request.json()
        assert body["sampling_params"]["allowed_token_ids"] == [5]
        return JSONResponse({"prompt_token_ids": body["token_ids"], "choices": [choice]})

    async def completions(request):
        old = choice | {"logprobs": {"token_logprobs": [0.0]}}
        return JSONResponse({"choices": [old]})

    async def described(request):
        return JSONResponse({"paths": {"/v1/load_lora_adapter": {}} if scale_out else {}})

    routes = [
        Route("/v1/models", chat_server.list_models),
        Route("/v1/chat/completions", chat_server.complete, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/openapi.json", described),
    ]
    if scale_out:
        routes.append(Route("/inference/v1/generate", generate, methods=["POST"]))
    found = engine(serving(Starlette(routes=routes)) + "/v1", api="vllm")
    states = [found[n].state for n in ("token ids", "log-probabilities", "new weights")]
    assert states == (["ok", "warning", "ok"] if scale_out else ["warning", "ok", "warning"])
    mends = found["log-probabilities"].mend + found["token ids"].mend
    assert ("--logprobs-mode" if scale_out else "--enable-scale-out") in mends


def test_a_server_that_is_no_vllm_where_one_was_asked_for(chat_server):
    chat_server.turns = ["yes"] * 3
    assert engine(chat_server.url, api="vllm")["token ids"].state == "failure"


@pytest.mark.parametrize("processed", [True, False])
def test_a_training_over_vllm_servers_is_checked_before_it_starts(
    chat_server, serving, processed, cold_start_data, tiny_model, tmp_path, capsys
):
    """The settings of the set-up with eight GPUs, in which two servers stand for seven."""
    chat_server.turns, chat_server.owner = ["yes"] * 8, "vllm"
    row = {"token_id": 5, "logprob": 0.0 if processed else -6.6}
    choice = {"finish_reason": "length", "token_ids": [5], "logprobs": {"content": [row]}}

    async def generate(request):
        body = await request.json()
        return JSONResponse({"prompt_token_ids": body["token_ids"], "choices": [choice]})

    async def described(request):
        return JSONResponse({"paths": {"/v1/load_lora_adapter": {}}})

    routes = [
        Route("/v1/models", chat_server.list_models),
        Route("/v1/chat/completions", chat_server.complete, methods=["POST"]),
        Route("/inference/v1/generate", generate, methods=["POST"]),
        Route("/openapi.json", described),
    ]
    urls = [serving(Starlette(routes=routes)) + "/v1" for _ in range(2)]
    given = [
        *(f"tasks={cold_start_data}", f"model.path={tiny_model}", "rollout.max_new_tokens=32"),
        *(f"endpoint.url={','.join(urls)}", "engine.max_pixels=null", "engine.system_prompt=x"),
    ]
    words = ["rl", "-c", str(CONFIGS / "scale-8gpu-vllm.yaml"), "--dry-run"]
    words += ["--run-dir", str(tmp_path / "run"), *(w for each in given for w in ("-o", each))]
    assert cli.main(words) == (0 if processed else 4)
    shown = capsys.readouterr().out
    assert all(url in shown for url in urls)
    assert shown.count("it can load LoRA adapters") == 2
    assert ("--logprobs-mode processed_logprobs" in shown) == (not processed)

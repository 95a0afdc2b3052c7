"""verl's own classes around our loop give what our trainer gets for the same samples.

Real: verl's settings, worker, agent loop base, processor, advantage registry; our sandbox; a tiny
Qwen2.5-VL. Not real: verl's server (a local sampler behind its one method) and its TransferQueue (a
dictionary behind the two functions that the worker calls).
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make verl-env, make test-verl")

import torch
from hydra import compose, initialize_config_dir
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import agent_loop_tq
from verl.utils.config import validate_config
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from air_reasoning.cli import main
from air_reasoning.engine import Engine, load_for
from air_reasoning.integrations import verl as ours
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.rollout import rollout_group
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.local import LocalSampler
from air_reasoning.samplers.verl_server import ServerSampler
from air_reasoning.task_files import read_tasks, task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.train_rl import score
from air_reasoning.training_samples import keep_informative, training_samples

pytestmark = pytest.mark.timeout(900)
CROP = (
    "<think>look</think><code>\n```python\nprint(image_1.size)\nimage_1.crop((0, 0, 60, 40))\n```\n"
    "</code>"
)
PRINT = "<code>\n```python\nprint(6 * 7)\n```\n</code>"
WRONG = "<think>so</think><answer>\\boxed{no}</answer>"
GROUP, BANNED = 5, 1


class Server:
    """What ``LLMServerClient`` is to an agent loop. Some members say what the test wants first.

    No dataclass: hydra makes settings of those.
    """

    def __init__(
        self, sampler: LocalSampler, scripts: dict[str, list[list[int]]], lost: frozenset[str]
    ) -> None:
        self.sampler, self.scripts, self.lost = sampler, scripts, lost
        self.spoken: Counter[str] = Counter()
        self.asked: list[dict[str, Any]] = []

    async def generate(
        self, request_id: str, *, prompt_ids, sampling_params, image_data=None, video_data=None,
        audio_data=None, mm_processor_kwargs=None, **_,
    ) -> TokenOutput:  # fmt: skip
        self.asked.append(sampling_params)
        member = request_id.rpartition("/")[2]
        steps = {"global_steps": 3, "min_global_steps": 3, "max_global_steps": 3}
        if member in self.lost:
            raise RuntimeError("the server's actor died")
        said, script = self.spoken[request_id], self.scripts.get(member, [])
        if said < len(script):
            self.spoken[request_id] += 1
            ids = script[said]
            return TokenOutput(
                token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed",
                extra_fields=dict(steps),
            )  # fmt: skip
        name = uuid4().hex
        self.sampler.open(name)
        try:
            done = await self.sampler.sample(
                SampleRequest(
                    trajectory_id=name,
                    group_id="",
                    token_ids=list(prompt_ids),
                    images=list(image_data or []),
                    params=SamplingParams(
                        temperature=sampling_params["temperature"],
                        top_p=sampling_params["top_p"],
                        max_tokens=sampling_params["max_tokens"],
                        seed=sampling_params["seed"],
                        stop_ids=tuple(sampling_params["stop_token_ids"]),
                        stop_texts=tuple(sampling_params["stop"]),
                        banned_ids=tuple(sampling_params["logit_bias"]),
                        banned_texts=tuple(sampling_params["bad_words"]),
                    ),
                )
            )
        finally:
            self.sampler.release(name)
        return TokenOutput(
            token_ids=done.token_ids, log_probs=done.logprobs, stop_reason="completed",
            extra_fields=dict(steps),
        )  # fmt: skip


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory, talking_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("verl")
    with task_writer(folder / "tasks") as add:
        for task, image in make_tasks(TasksConfig(count=2, seed=5, matplotlib=0.0)):
            add(task, [image])
    (folder / "rl.yaml").write_text(
        f"tasks: {folder / 'tasks'}\nprompts: 2\ngroup_size: {GROUP}\nn_forbid: {BANNED}\n"
        f"model: {{path: {talking_model}}}\nanchor: {{weight: 0}}\nsteps: 10\n"
        "optimizer: {decay_share: 0}\nrollout: {max_turns: 3, max_new_tokens: 60}\n"
        "verl: {prompt_tokens: 600, tool_tokens: 600, gpus_per_node: 1}\n"
        "engine: {max_pixels: 9000}\n"  # below the pictures of the tasks, 128 x 128
    )
    words = ["export", "verl-job", "-c", str(folder / "rl.yaml"), "-o", str(folder / "job")]
    assert main(words) == 0
    return folder / "job"


@pytest.fixture(scope="session")
def config(job: Path) -> Any:
    with initialize_config_dir(str(job), version_base=None):
        return compose("verl")


@pytest.fixture
def queue(monkeypatch) -> dict[str, Any]:
    """verl's TransferQueue as a dictionary: key -> row, and uid -> status."""
    held: dict[str, Any] = {}

    async def put(key, partition_id, tag) -> None:
        held[key] = tag["status"]

    async def batch_put(keys, fields, tags, partition_id) -> None:
        for n, key in enumerate(keys):
            held[key] = {"fields": fields[n], "tag": tags[n], "partition": partition_id}

    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_put", put)
    monkeypatch.setattr(agent_loop_tq.tq, "async_kv_batch_put", batch_put)
    return held


def worker(config: Any, server: Server) -> ours.AirWorker:
    """verl's worker made by verl's own constructor, without the queue's connection."""
    made = object.__new__(ours.AirWorker)
    AgentLoopWorker.__init__(made, config, server)
    made.settings = ours.settings_of(ours.settings_path(config))
    made.groups = {}
    return made


def row_of(config: Any, made: ours.AirWorker, index: int = 0) -> dict[str, Any]:
    data = RLHFDataset(
        config.data.train_files, made.tokenizer, config.data, processor=made.processor
    )
    return data[index] | {"uid": "u", "global_steps": 3}


def server_for(job: Path, lost: frozenset[str]) -> Server:
    settings = ours.settings_of(str(job / "air.yaml"))
    loaded = load_for(settings.engine, settings.model.folder())
    task = read_tasks(job.parent / "tasks")[0]
    right = f"<think>so</think><answer>\\boxed{{{task.answer.value}}}</answer>"

    def encoded(text: str) -> list[int]:
        return TokenText(loaded.tokenizer).encode([Text(text, tags=True)])

    end = loaded.eos_ids[0]
    scripts = {  # members 0 and 1 are the model's own, 3 after its first turn
        "2": [encoded(PRINT), [*encoded(WRONG), end]],
        "3": [encoded(CROP)],
        "4": [[*encoded(right), end]],
    }
    return Server(sampler=LocalSampler(loaded), scripts=scripts, lost=lost)


async def run_both(job: Path, config: Any, lost: frozenset[str] = frozenset()) -> Any:
    """One prompt through verl's worker, then the same group through our own trainer's functions."""
    server = server_for(job, lost=lost)
    made = worker(config, server)
    row = row_of(config, made)
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0,
                "logprobs": True}  # fmt: skip
    info = {"step": 3, "sample_index": 0, "rollout_n": 0, "validate": False}
    await made._run_prompt(dict(row), sampling, info)
    server.spoken.clear()
    settings = made.settings
    around = ours.surroundings(str(job / "air.yaml"), config.actor_rollout_ref.model.path)
    sampler = ServerSampler(server, around.renderer.loaded, {}, 4096)
    engine = Engine(sampler=sampler, sandboxes=around.sandboxes, renderer=around.renderer)
    group = await rollout_group(
        read_tasks(job.parent / "tasks")[0], engine, settings.rollout, group_id="3:u",
        group_size=GROUP, n_forbid=BANNED, seed=settings.seed,
    )  # fmt: skip
    scored, _ = score([group], settings, 3)
    await around.sandboxes.close()
    await server.sampler.close()
    return made, server, scored[0].group


def test_the_settings_are_verls(config):
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert config.actor_rollout_ref.rollout.n == GROUP
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "vanilla"


def test_rows_are_those_of_our_own_trainer(job, config, queue):
    made, _, group = asyncio.run(run_both(job, config))
    settings = made.settings
    assert queue["u"] == "finished"
    rows = [queue[f"u_{n}_0"] for n in range(GROUP)]
    informative, _ = keep_informative([group], settings.samples)
    samples, _ = training_samples(informative, settings.samples)
    estimator = get_adv_estimator_fn(config.algorithm.adv_estimator)
    taught = 0
    for n, (row, reward, advantage) in enumerate(
        zip(rows, group.rewards, group.advantages, strict=True)
    ):
        fields, trajectory = row["fields"], group.trajectories[n]
        ids = [i for s in trajectory.segments for i in s.token_ids]
        assert fields["prompts"].tolist() == trajectory.prompt_ids
        assert fields["responses"].tolist() == ids
        own = [sample for sample in samples if sample.token_ids == ids]
        mask = own[0].loss_mask if own else [0] * len(ids)
        taught += bool(own)
        assert fields["response_mask"].tolist() == mask
        assert fields["loss_mask"].tolist() == mask
        if own:
            got = fields["rollout_log_probs"]
            assert torch.allclose(got, torch.tensor(own[0].logprobs), atol=1e-5)
        scores = fields["rm_scores"]
        assert float(scores.sum()) == pytest.approx(reward.total, abs=1e-6)
        advantages, _ = estimator(
            token_level_rewards=scores[None], response_mask=fields["response_mask"][None]
        )
        expected = torch.tensor([advantage * m for m in mask])
        assert torch.allclose(advantages[0], expected, atol=1e-6)
        assert row["tag"]["min_global_steps"] == row["tag"]["max_global_steps"] == 3
    assert taught >= 2
    mask = rows[2]["fields"]["response_mask"].tolist()
    assert (mask[0], mask[-1], 0 in mask) == (1, 1, True)  # its tool result is not trained on
    assert group.rewards[4].total > 0.5 > group.rewards[3].total


def test_pictures_of_tool_results_reach_servers_and_trainer(job, config, queue):
    made, server, group = asyncio.run(run_both(job, config))
    cell = next(s for s in group.trajectories[3].segments if s.kind == "output")
    assert [(i.width, i.height) for i in cell.images] == [(60, 40)]
    fields = queue["u_3_0"]["fields"]
    pictures, pad = fields["multi_modal_inputs"], made.processor.image_token_id
    grid = pictures["image_grid_thw"]
    assert len(grid) == 2
    merge = made.processor.image_processor.merge_size
    assert int(grid.prod(-1).sum()) // merge**2 == int((fields["input_ids"] == pad).sum())
    assert pictures["pixel_values"].shape[0] == int(grid.prod(-1).sum())
    assert fields["position_ids"].shape == (4, len(fields["input_ids"]))
    assert all(pad in asked["logit_bias"] for asked in server.asked)  # cannot be sampled


def test_banned_members_cannot_open_a_cell(job, config, queue):
    _, server, group = asyncio.run(run_both(job, config))
    assert [t.code_banned for t in group.trajectories] == [True, False, False, False, False]
    assert any("<code>" in asked["bad_words"] for asked in server.asked)
    assert not any(s.kind == "code" for s in group.trajectories[0].segments)


def test_a_lost_member_is_left_out_and_the_group_is_scored_without_it(job, config, queue):
    _, _, group = asyncio.run(run_both(job, config, lost=frozenset({"1"})))
    assert queue["u"] == "finished"
    assert sorted(key for key in queue if "_" in key) == [f"u_{n}_0" for n in (0, 2, 3, 4)]
    totals = [float(queue[f"u_{n}_0"]["fields"]["rm_scores"].sum()) for n in (0, 2, 3, 4)]
    assert totals == pytest.approx([reward.total for reward in group.rewards], abs=1e-6)
    extra = queue["u_4_0"]["fields"]["extra_fields"]
    extra = getattr(extra, "data", extra)
    assert extra["reward_extra_info"]["lost_in_group"] == 1.0


def test_a_group_that_is_lost_fails_and_leaves_no_row(job, config, queue):
    async def run() -> None:
        server = server_for(job, lost=frozenset("0123"))
        made = worker(config, server)
        row = row_of(config, made)
        sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
        info = {"step": 3, "sample_index": 0, "rollout_n": 0, "validate": False}
        await made._run_prompt(dict(row), sampling, info)
        around = ours.surroundings(str(job / "air.yaml"), config.actor_rollout_ref.model.path)
        await around.sandboxes.close()
        await server.sampler.close()
        assert made.groups == {}

    asyncio.run(run())
    assert queue == {"u": "failure"}

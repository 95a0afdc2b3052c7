"""verl 0.9.1 as the trainer: our turn loop over its servers, our reward over its groups.

    prompt -> n x AirAgentLoop.run (rollout.py, one sandbox session each) -> AirWorker waits for the
    whole group -> score (train_rl.py) -> token rows into verl's TransferQueue

verl asks for one number a trajectory and makes advantages of whatever rows are in a batch. Ours are
a matter of the whole group (bans, guard, what is left out), so reward and advantage are both made
here: of a row's token-level rewards the first is the advantage and the last is the reward less the
advantage. Their sum, which verl reports and filters by, is the reward; the estimator ``air`` reads
the first. A row that our trainer leaves out of the loss has a mask of zeros; one lost by our fault
does not reach verl at all.

`air export verl-job` writes the settings that name these classes. The file is for this version of
verl only: `make test-verl` is its contract.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUntypedBaseClass=false

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import ray
from omegaconf import OmegaConf
from PIL import Image
from pydantic import Field
from torch import Tensor
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ, AgentLoopWorkerTQ

from air_reasoning.config import load_config
from air_reasoning.engine import Engine
from air_reasoning.errors import ConfigError, DataError, SamplerError
from air_reasoning.images import image_hash
from air_reasoning.integrations.verl_rows import row_task
from air_reasoning.models.processor import load_processor
from air_reasoning.renderer import Renderer
from air_reasoning.rl_config import RLConfig
from air_reasoning.rollout import rollout
from air_reasoning.rollout_setup import derived_seed, prepare
from air_reasoning.samplers.verl_server import ServerSampler
from air_reasoning.sandbox.base import SandboxPool
from air_reasoning.sandbox.opening import open_pool
from air_reasoning.scoring import Scored, score_trajectory
from air_reasoning.train_rl import score
from air_reasoning.training_samples import training_samples
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import ImageRef, Segment, Task, Trajectory, TrajectoryGroup

logger = logging.getLogger(__name__)


class AirOutput(AgentLoopOutput):
    """What verl wants of a trajectory, and the trajectory itself until its group is scored."""

    task: Any = Field(default=None, exclude=True)
    trajectory: Any = Field(default=None, exclude=True)
    advantage: float = Field(default=0.0, exclude=True)

    def as_dict(self) -> dict[str, Any]:
        """The fields of verl's table; see the top of the file for ``rm_scores``."""
        fields = super().as_dict()
        scores = fields["rm_scores"]
        scores[0] += self.advantage
        scores[-1] -= self.advantage
        return fields


@register_adv_est("air")
def given_advantages(
    token_level_rewards: Tensor, response_mask: Tensor, **_: Any
) -> tuple[Tensor, Tensor]:
    """The estimator ``air``: the advantage that came with each row, on every trained token."""
    advantages = token_level_rewards[:, :1] * response_mask
    return advantages, advantages


@cache
def settings_of(path: str) -> RLConfig:
    """The settings file that `air export verl-job` wrote. Raises ConfigError."""
    return load_config(RLConfig, files=[Path(path)]).value


@dataclass(kw_only=True, slots=True)
class Surroundings:
    """What all trajectories of a worker share."""

    config: RLConfig
    renderer: Renderer
    sandboxes: SandboxPool


_surroundings: WeakKeyDictionary[Any, Surroundings] = WeakKeyDictionary()


def surroundings(settings: str, model: str) -> Surroundings:
    """Those of the running event loop, made by the first who asks."""
    loop = asyncio.get_running_loop()
    if loop not in _surroundings:
        config = settings_of(settings)
        engine = config.engine
        processor = load_processor(
            model, min_pixels=engine.min_pixels, max_pixels=engine.max_pixels
        )
        form = TURN_FORMATS[engine.format]
        _surroundings[loop] = Surroundings(
            config=config,
            renderer=Renderer(processor, form, engine.system_prompt),
            sandboxes=open_pool(engine.sandbox),
        )
    return _surroundings[loop]


class AirAgentLoop(AgentLoopBase):
    """One trajectory: ``rollout.py`` over verl's servers, with a sandbox session of its own."""

    def __init__(self, *args: Any, settings: str, **kwargs: Any) -> None:
        """``settings``: the file that the entry of agent.yaml names."""
        super().__init__(*args, **kwargs)
        self.here = surroundings(settings, self.config.actor_rollout_ref.model.path)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AirOutput:
        """Roll out the task of a row of the parquet file.

        A trajectory that we lost comes back, too; ``AirWorker`` leaves it out.

        Raises:
            DataError: a row that `air export verl-job` did not write, or a prompt that is too long.
        """
        given = dict(sampling_params)
        n_forbid, limits = given.pop("n_forbid", 0), self.rollout_config
        task, images = row_task(row)
        group_id, member = f"{row['global_steps']}:{row['uid']}", int(row["session_id"])
        kept: dict[str, Image.Image] = {}

        def keep(image: Image.Image) -> ImageRef:
            name = image_hash(image)
            kept[name] = image
            return ImageRef(sha256=name, width=image.width, height=image.height, path="")

        extra = {"mm_processor_kwargs": dict(self.mm_processor_kwargs or {})}
        renderer = self.here.renderer
        sampler = ServerSampler(self.server_manager, renderer.loaded, given, 0, **extra)
        engine = Engine(
            sampler=sampler, sandboxes=self.here.sandboxes, renderer=renderer, save_image=keep
        )
        prompt = prepare(task, engine, images)
        if len(prompt.ids) > limits.prompt_length:
            raise DataError(
                f"task {task.id}: its prompt has {len(prompt.ids)} tokens, more than "
                f"{limits.prompt_length}; raise verl.prompt_tokens or lower engine.max_pixels"
            )
        sampler.max_context = len(prompt.ids) + limits.response_length
        warmth = {key: given[key] for key in ("temperature", "top_p")}
        trajectory = await rollout(
            task,
            engine,
            self.here.config.rollout.model_copy(update=warmth),
            trajectory_id=f"{group_id}/{member}",
            group_id=group_id,
            seed=derived_seed(self.here.config.seed, group_id, member),
            code_banned=member < n_forbid,
            prompt=prompt,
        )
        trajectory.segments = fitting(trajectory.segments, limits.response_length)
        shown = [*prompt.shown, *(kept[i.sha256] for s in trajectory.segments for i in s.images)]
        return as_output(task, trajectory, shown, sampler)


def fitting(segments: list[Segment], response_length: int) -> list[Segment]:
    """Without the last tool results as long as all is too long: nobody read those."""
    kept = list(segments)
    while kept and kept[-1].kind == "output":
        if sum(len(segment.token_ids) for segment in kept) <= response_length:
            break
        kept.pop()
    return kept


def as_output(
    task: Task, trajectory: Trajectory, shown: list[Image.Image], sampler: ServerSampler
) -> AirOutput:
    """Token ids, mask and log-probabilities as the segments have them."""
    ids: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    for segment in trajectory.segments:
        ids += segment.token_ids
        mask += [int(segment.trainable)] * len(segment.token_ids)
        logprobs += segment.logprobs if segment.trainable else [0.0] * len(segment.token_ids)
    if not ids:  # nothing was written; verl cannot hold a row without a token
        ids, mask, logprobs = [sampler.processor.eos_ids[0]], [0], [0.0]
    outputs = sum(segment.kind == "output" for segment in trajectory.segments)
    timing, versions = trajectory.timing, sampler.versions
    steps = {"min_global_steps": min(versions, default=None)}
    steps["max_global_steps"] = max(versions, default=None)
    return AirOutput(
        prompt_ids=trajectory.prompt_ids,
        response_ids=ids,
        response_mask=mask,
        response_logprobs=logprobs,
        multi_modal_data={"images": shown} if shown else {},
        mm_processor_kwargs=sampler.extra["mm_processor_kwargs"],
        num_turns=2 + 2 * outputs,
        metrics=AgentLoopMetrics(
            generate_sequences=timing.get("sampler", 0.0),
            tool_calls=timing.get("sandbox", 0.0),
            num_preempted=sampler.preempted,
        ),
        extra_fields=steps | {"turn_scores": [], "tool_rewards": []},
        task=task,
        trajectory=trajectory,
    )


def score_members(outputs: Sequence[AirOutput], config: RLConfig, step: int) -> None:
    """Give the members of one whole group their rewards, advantages and final masks, in place.

    Those lost by our fault, and the last one when all others are, keep ``reward_score`` None.
    """
    trajectories = [output.trajectory for output in outputs]
    group = TrajectoryGroup(
        id=trajectories[0].group_id, task=outputs[0].task, trajectories=trajectories
    )
    scored, _ = score([group], config, min(step, config.steps))
    for each in scored:
        of = {output.trajectory.id: output for output in outputs}
        group = each.group
        rows = zip(group.trajectories, group.rewards, group.advantages, each.results, strict=True)
        for trajectory, reward, advantage, result in rows:
            output = of[trajectory.id]
            output.reward_score, output.advantage = reward.total, advantage
            terms = {f"reward_{name}": value for name, value in reward.terms.items()}
            lost = {"lost_in_group": float(len(outputs) - len(group.trajectories))}
            output.extra_fields["reward_extra_info"] = facts(result) | lost | terms
            one = replace(group, trajectories=[trajectory], rewards=[], advantages=[advantage])
            taught = each.informative and training_samples([one], config.samples)[0]
            if not taught or len(output.response_ids) == 1:
                output.response_mask = [0] * len(output.response_mask)


def score_for_validation(outputs: Sequence[AirOutput]) -> None:
    """1 for a right answer, else 0; each member by itself. Lost ones keep None."""
    for output in outputs:
        if not output.trajectory.stop.our_fault:
            result = score_trajectory(output.task, output.trajectory)
            output.reward_score = float(result.verdict.correct)
            output.extra_fields["reward_extra_info"] = facts(result)


def facts(result: Scored) -> dict[str, float]:
    """What verl's tables and filters show of a trajectory beside its reward."""
    outcome = result.outcome
    return {
        "acc": float(result.verdict.correct),
        "calls": float(outcome.calls),
        "failed_calls": float(outcome.failed_calls),
    }


@dataclass(kw_only=True, slots=True)
class Gathering:
    """A group whose members come in one by one; ``whole`` when none is under way any more."""

    size: int
    outputs: dict[int, AirOutput | None] = field(default_factory=dict[int, AirOutput | None])
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    scored: bool = False

    def report(self, member: int, output: AirOutput | None) -> None:
        """None: it failed. The first report of a member counts."""
        self.outputs.setdefault(member, output)
        if len(self.outputs) == self.size:
            self.whole.set()


class AirWorker(AgentLoopWorkerTQ.__ray_metadata__.modified_class):
    """verl's worker, which hands a group on when it is whole and scored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Raises ConfigError: agent.yaml names no settings."""
        super().__init__(*args, **kwargs)
        self.settings = settings_of(settings_path(self.config))
        self.groups: dict[str, Gathering] = {}

    async def _run_prompt(
        self, prompt: dict, sampling_params: dict, trajectory: dict, trace: bool = False
    ) -> None:
        rollouts, validate = self.config.actor_rollout_ref.rollout, trajectory["validate"]
        size = prompt.get("__rollout_n__", rollouts.val_kwargs.n if validate else rollouts.n)
        self.groups[prompt["uid"]] = Gathering(size=int(size))
        banned = {"n_forbid": 0 if validate else self.settings.n_forbid}
        try:
            await super()._run_prompt(prompt, sampling_params | banned, trajectory, trace)
        finally:
            del self.groups[prompt["uid"]]

    async def _run_agent_loop(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._run_agent_loop(*args, **kwargs)
        finally:  # a member that raised must not be waited for; the others reported before
            self.groups[kwargs["uid"]].report(kwargs["session_id"], None)

    async def _agent_loop_postprocess(self, output: AirOutput, validate: bool, **kw: Any) -> None:
        gathering = self.groups[kw["uid"]]
        gathering.report(kw["session_id"], output)
        await gathering.whole.wait()
        members = [each for each in gathering.outputs.values() if each is not None]
        if not gathering.scored:
            gathering.scored = True
            if validate:
                score_for_validation(members)
            else:
                score_members(members, self.settings, int(kw["global_steps"]))
        if output.reward_score is not None:
            return await super()._agent_loop_postprocess(output, validate, **kw)
        lost = output.trajectory
        logger.warning("trajectory %s was lost: %s %s", lost.id, lost.stop, lost.error)
        if all(each.reward_score is None for each in members):
            raise SamplerError(f"group {lost.group_id}: too few of its trajectories are left")


class AirManager(AgentLoopManagerTQ):
    """verl's manager with our workers: ``agent_loop_manager_class`` of its settings."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """See verl's class."""
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = ray.remote(AirWorker)


def settings_path(config: Any) -> str:
    """Where agent.yaml says our settings are. Raises ConfigError: it does not."""
    path = config.actor_rollout_ref.rollout.agent.agent_loop_config_path
    entries = OmegaConf.load(path) if path else []
    for entry in entries:
        if entry.get("settings"):
            return str(entry.settings)
    raise ConfigError(
        f"rollout.agent.agent_loop_config_path is {path!r}: no entry with settings; use the "
        "agent.yaml that `air export verl-job` wrote"
    )

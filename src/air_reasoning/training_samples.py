"""From scored groups to the rows of the loss: what is trained on, and what is left out and counted.

    groups, lost = drop_lost(groups)                 # before the reward
    ... score_group, group_advantages ...
    groups, constant = keep_informative(groups)
    samples, counts = training_samples(groups, config)

Everything left out has a counter; nothing is left out silently.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from air_reasoning.config import Config
from air_reasoning.errors import DataError
from air_reasoning.types import (
    ImageRef,
    Segment,
    StopReason,
    Task,
    TrainingSample,
    Trajectory,
    TrajectoryGroup,
)

Counts = dict[str, float]
NEGLIGIBLE = 1e-6
"""An advantage this small teaches nothing."""
SPREAD = 1.5
"""How much longer than another a response of the same micro-batch may be."""


class SamplesConfig(Config):
    """Which trajectories the loss leaves out."""

    drop_constant: bool = True
    """Leave out groups whose advantages are all zero (DAPO, arXiv 2503.14476); else their tokens
    count in the loss's denominator."""
    mask_truncated: bool = True
    """Leave out trajectories that hit the turn, token or context limit (Mini-o3): punishing them
    teaches early answers."""
    mask_void_turns: bool = True
    """Leave out trajectories with a turn of neither code nor answer (SimpleTIR, arXiv 2509.02479):
    their unlikely tokens blow up gradients."""


def add_counts(counts: Counts, more: Counts) -> Counts:
    """Counts of two rounds or processes as one."""
    return counts | {name: counts.get(name, 0.0) + count for name, count in more.items()}


def drop_lost(groups: Sequence[TrajectoryGroup]) -> tuple[list[TrajectoryGroup], Counts]:
    """Take out the trajectories lost to our sandbox or sampler, before anything is scored.

    A group left with fewer than two members goes too: it has nothing to compare. The groups given
    are not changed.

    Returns:
        Groups without rewards or advantages, and the counts ``groups/lost_trajectories`` and
        ``groups/lost_groups``.
    """
    kept: list[TrajectoryGroup] = []
    lost = 0
    for group in groups:
        ours = [t for t in group.trajectories if not t.stop.our_fault]
        lost += len(group.trajectories) - len(ours)
        if len(ours) >= 2:
            kept.append(replace(group, trajectories=ours, rewards=[], advantages=[]))
    lost_groups = float(len(groups) - len(kept))
    return kept, {"groups/lost_trajectories": float(lost), "groups/lost_groups": lost_groups}


def first_fault(groups: Sequence[TrajectoryGroup]) -> str:
    """What was wrong with the first trajectory that we lost; empty if none is."""
    for trajectory in (t for group in groups for t in group.trajectories):
        if trajectory.stop.our_fault:
            lost = [e.error for e in trajectory.executions if e.status == "lost" and e.error]
            said = trajectory.error or (lost[0]["message"] if lost else "")
            return f"The first: {trajectory.id}, {trajectory.stop}: {said}"
    return ""


def keep_informative(
    groups: Sequence[TrajectoryGroup], config: SamplesConfig | None = None
) -> tuple[list[TrajectoryGroup], Counts]:
    """Drop the groups in which every advantage is zero (dynamic sampling, arXiv 2503.14476).

    With ``drop_constant`` off they are only counted.

    Returns:
        The groups kept, and the counts ``groups/informative`` and ``groups/constant``.
    """
    teaching = [g for g in groups if any(abs(a) > NEGLIGIBLE for a in g.advantages)]
    kept = teaching if config is None or config.drop_constant else list(groups)
    return kept, {
        "groups/informative": float(len(teaching)),
        "groups/constant": float(len(groups) - len(teaching)),
    }


def training_samples(
    groups: Sequence[TrajectoryGroup], config: SamplesConfig | None = None
) -> tuple[list[TrainingSample], Counts]:
    """One sample for every trajectory that may teach; rows of one group stay together.

    Example: prompt ``[1, 2]``, segments think ``[3]``, code ``[4, 5]``, output ``[6, 7]``, answer
    ``[8]`` become ``token_ids=[3, 4, 5, 6, 7, 8]`` with ``loss_mask=[1, 1, 1, 0, 0, 1]``.

    Returns:
        The samples, and one count for every reason why a trajectory is not among them:
        ``samples/our_fault``, ``samples/truncated``, ``samples/void_turn`` and
        ``samples/banned_unused`` (sampled with code banned, and no better than its group: its
        tokens count only where the advantage is positive).

    Raises:
        DataError: if a trajectory has no token ids or log-probabilities (a text-only engine).
        ValueError: if a group has not one advantage a trajectory.
    """
    config = config or SamplesConfig()
    samples: list[TrainingSample] = []
    left_out = Counter[str]()
    for group in groups:
        for trajectory, advantage in zip(group.trajectories, group.advantages, strict=True):
            reason = _why_left_out(trajectory, advantage, config)
            if reason:
                left_out[reason] += 1
            else:
                samples.append(_sample(group.task, trajectory, advantage))
    counts = {f"samples/{reason}": float(left_out[reason]) for reason in _REASONS}
    return samples, {"samples/kept": float(len(samples))} | counts


def trainable_tokens(samples: Sequence[TrainingSample]) -> int:
    """The denominator of the token-level loss, over whatever the caller calls the global batch."""
    return sum(sum(sample.loss_mask) for sample in samples)


def micro_batches(samples: Sequence[TrainingSample], max_tokens: int) -> list[list[TrainingSample]]:
    """Cut into batches whose padded size, rows x (longest prompt + longest response), fits.

    Responses of a batch differ at most by the factor ``SPREAD`` in length: one that rambles would
    pad all others to its length. Within a class of lengths the order is kept, so that rows of one
    group mostly share a batch and with it their prompt. A single row that is too long makes a batch
    of its own: nothing is truncated.
    """
    longest = max((len(s.token_ids) for s in samples), default=0)
    classes: dict[int, list[TrainingSample]] = {}
    for sample in samples:
        shorter = int(math.log(longest / max(1, len(sample.token_ids)), SPREAD))
        classes.setdefault(shorter, []).append(sample)
    return [part for key in sorted(classes) for part in _fitting(classes[key], max_tokens)]


def _fitting(samples: Sequence[TrainingSample], max_tokens: int) -> list[list[TrainingSample]]:
    batches: list[list[TrainingSample]] = []
    prompt = response = 0
    for sample in samples:
        prompt = max(prompt, len(sample.prompt_ids))
        response = max(response, len(sample.token_ids))
        if batches and (len(batches[-1]) + 1) * (prompt + response) <= max_tokens:
            batches[-1].append(sample)
        else:
            batches.append([sample])
            prompt, response = len(sample.prompt_ids), len(sample.token_ids)
    return batches


def mini_batches(samples: Sequence[TrainingSample], count: int) -> list[list[TrainingSample]]:
    """At most ``count`` parts of whole groups, as equal in groups as can be, for one update each.

    Without samples one empty part: the reading anchor may still teach.
    """
    groups = list(dict.fromkeys(sample.group_id for sample in samples))
    count = max(1, min(count, len(groups)))
    part_of = {group: place * count // len(groups) for place, group in enumerate(groups)}
    parts: list[list[TrainingSample]] = [[] for _ in range(count)]
    for sample in samples:
        parts[part_of[sample.group_id]].append(sample)
    return parts


_REASONS = ("our_fault", "truncated", "void_turn", "banned_unused")


def _why_left_out(trajectory: Trajectory, advantage: float, config: SamplesConfig) -> str:
    if trajectory.stop.our_fault:
        return "our_fault"
    if config.mask_truncated and trajectory.stop.truncated:
        return "truncated"
    if config.mask_void_turns and trajectory.stop is StopReason.VOID_TURN:
        return "void_turn"
    if trajectory.code_banned and advantage <= NEGLIGIBLE:
        return "banned_unused"
    return ""


def _sample(task: Task, trajectory: Trajectory, advantage: float) -> TrainingSample:
    sample = TrainingSample(
        group_id=trajectory.group_id,
        prompt_ids=trajectory.prompt_ids,
        token_ids=[],
        loss_mask=[],
        logprobs=[],
        advantage=advantage,
        images=[*prompt_images(task), *(i for s in trajectory.segments for i in s.images)],
        policy_version=trajectory.policy_version,
        code_banned=trajectory.code_banned,
    )
    for segment in trajectory.segments:
        sample.token_ids += segment.token_ids
        sample.loss_mask += [int(segment.trainable)] * len(segment.token_ids)
        sample.logprobs += _logprobs(segment, trajectory)
        sample.temperatures += _temperatures(segment, trajectory)
    if not any(sample.loss_mask):
        raise DataError(
            f"trajectory {trajectory.id} has no sampled token ids: train on roll-outs of an engine "
            "that returns token ids and log-probabilities (local or vllm)"
        )
    return sample


def prompt_images(task: Task) -> list[ImageRef]:
    """The pictures of a prompt in the order of their placeholders."""
    return [task.images[part.image] for part in task.prompt if part.kind == "image"]


def _logprobs(segment: Segment, trajectory: Trajectory) -> list[float]:
    if not segment.trainable:
        return [0.0] * len(segment.token_ids)
    if len(segment.logprobs) != len(segment.token_ids):
        raise DataError(
            f"trajectory {trajectory.id}: a {segment.kind} segment has {len(segment.token_ids)} "
            f"token ids but {len(segment.logprobs)} log-probabilities; train on roll-outs of an "
            "engine that returns both (local or vllm)"
        )
    return segment.logprobs


def _temperatures(segment: Segment, trajectory: Trajectory) -> list[float]:
    """At which each token was sampled; nothing where the trajectory has but one temperature.

    A greedy token's log-probability is that at temperature 1, as samplers give it.
    """
    if not any(s.temperatures for s in trajectory.segments):
        return []
    return [t or 1.0 for t in segment.temperatures] or [1.0] * len(segment.token_ids)

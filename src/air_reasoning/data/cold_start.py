"""The cold start: scripted solutions played through the real turn loop and the real sandbox.

    task -> script -> roll-out (cells are executed, real output comes back) -> answer check -> kept

A sample is a trajectory with its token ids, exactly as reinforcement learning will see them, and a
weight for each token. A sample is kept only if its answer is right and its cells did what the
script wanted; everything rejected is counted by reason.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.data.scripts import Mode, Script, write_script
from air_reasoning.display import Display, progress
from air_reasoning.engine import Engine
from air_reasoning.errors import DataError
from air_reasoning.files import atomic_file
from air_reasoning.json_io import dump_line, from_json, read_jsonl
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.run_reader import located
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.sandbox.base import SandboxPool
from air_reasoning.scoring import score_trajectory
from air_reasoning.task_files import read_tasks
from air_reasoning.types import Segment, Task, Trajectory

SAMPLES_NAME = "samples.jsonl"
Weights = list[list[float]]
"""Run-length form: [tokens, weight of each in the loss]."""


class ColdStartConfig(Config):
    """How often which kind of solution is shown, and what counts how much.

    Code must not be the rule: what the cold start leaves open is what reinforcement learns.
    """

    seed: int = 0
    """The same seed gives the same samples."""
    code: float = Field(default=0.22, ge=0, le=1)
    """Share of samples that compute their answer, as a mean over the kinds of questions."""
    repair: float = Field(default=0.03, ge=0, le=1)
    """Share whose first cell fails and whose second works."""
    give_up: float = Field(default=0.08, ge=0, le=1)
    """Share that answers after a failed cell."""
    kind_spread: float = Field(default=0.5, ge=0, le=1)
    """How far the shares differ between kinds of questions of one difficulty: 0.5 is from half to
    one and a half of the mean. It shows the model that whether to call depends on the question."""
    transcript_weight: float = Field(default=0.3, ge=0)
    """Weight of the transcription, which the base model knows."""
    easy_answer_weight: float = Field(default=4.0, ge=0)
    """Weight of a direct answer to an easy question."""
    hard_answer_weight: float = Field(default=0.3, ge=0)
    """Weight of a direct answer to a hard question: it cannot be learned, only guessed."""


@dataclass(kw_only=True, slots=True)
class ColdStartSample:
    """One kept trajectory; ``weights`` covers its response tokens in order."""

    task_id: str
    mode: str
    trajectory: Trajectory
    weights: Weights = field(default_factory=list[list[float]])


def choose_mode(
    task: Task, kinds: dict[str, list[str]], config: ColdStartConfig, rng: random.Random
) -> Mode:
    """Draw the kind of solution; ``kinds`` lists the kinds of questions by difficulty, sorted."""
    peers = kinds[task.meta["difficulty"]]
    place = peers.index(task.meta["kind"]) / max(1, len(peers) - 1) if len(peers) > 1 else 0.5
    factor = 1 + config.kind_spread * (2 * place - 1)
    shares: dict[Mode, float] = {
        "code": config.code * factor,
        "repair": config.repair * factor,
        "give_up": config.give_up * factor,
    }
    point = rng.random()
    for mode, share in shares.items():
        if point < share:
            return mode
        point -= share
    return "direct"


async def build_samples(
    tasks: list[Task],
    renderer: Renderer,
    sandboxes: SandboxPool,
    config: ColdStartConfig,
    display: Display,
) -> tuple[list[ColdStartSample], dict[str, int]]:
    """Play a script for every task.

    Returns the samples in the order of the tasks, and the counts ``kept/<mode>`` and
    ``rejected/<reason>``.
    """
    rng = random.Random(config.seed)
    kinds: dict[str, list[str]] = {}
    for task in tasks:
        peers = kinds.setdefault(str(task.meta.get("difficulty")), [])
        if task.meta.get("kind") not in peers:
            peers.append(task.meta.get("kind", ""))
    for peers in kinds.values():
        peers.sort()
    scripts = {t.id: write_script(t, choose_mode(t, kinds, config, rng), rng) for t in tasks}
    sampler = ScriptedSampler(renderer.loaded.tokenizer, {i: s.turns for i, s in scripts.items()})
    engine = Engine(sampler=sampler, sandboxes=sandboxes, renderer=renderer)
    gate, counts = asyncio.Semaphore(64), Counter[str]()
    with progress(display, len(tasks), "cold start") as bar:

        async def play(task: Task) -> ColdStartSample | None:
            async with gate:
                trajectory = await rollout(task, engine, RolloutConfig(), trajectory_id=task.id)
            bar.advance()
            script = scripts[task.id]
            reason = _rejection(task, trajectory, script)
            counts[f"rejected/{reason}" if reason else f"kept/{script.mode}"] += 1
            if reason:
                return None
            weights = _weights(task, trajectory, script, renderer, config)
            return ColdStartSample(
                task_id=task.id, mode=script.mode, trajectory=trajectory, weights=weights
            )

        played = await asyncio.gather(*(play(task) for task in tasks))
    return [sample for sample in played if sample is not None], dict(counts)


def _rejection(task: Task, trajectory: Trajectory, script: Script) -> str:
    """Why a sample is not kept; empty if it is."""
    if trajectory.stop.our_fault:
        return trajectory.stop.value
    scored = score_trajectory(task, trajectory)
    if not scored.verdict.correct:
        return "wrong_answer"
    wanted = {"direct": (0, 0), "code": (1, 0), "repair": (2, 1), "give_up": (1, 1)}[script.mode]
    if (scored.outcome.calls, scored.outcome.failed_calls) != wanted:
        return "cell_outcome"
    computed = trajectory.executions[-1].stdout.strip() if wanted[0] > wanted[1] else None
    if computed is not None and computed != task.answer.value:
        return "wrong_answer"
    return "" if scored.outcome.format_ok else "format"


def _weights(
    task: Task, trajectory: Trajectory, script: Script, renderer: Renderer, config: ColdStartConfig
) -> Weights:
    """Tool output 0; transcription little; a direct answer by difficulty, but for its first token.

    The first token of an answer or a cell is the decision whether to call: it always counts fully,
    so that the shares shown become the shares learned.
    """
    uncomputed = script.mode in ("direct", "give_up")
    answer = 1.0
    if uncomputed and task.meta["difficulty"] == "easy" and script.mode == "direct":
        answer = config.easy_answer_weight
    elif uncomputed and task.meta["difficulty"] == "hard":
        answer = config.hard_answer_weight
    weights: Weights = []
    for segment in trajectory.segments:
        count = len(segment.token_ids)
        match segment.kind:
            case "output":
                weights.append([count, 0.0])
            case "think":
                read = _transcript_tokens(segment, renderer)
                weights += [[read, config.transcript_weight], [count - read, 1.0]]
            case "answer":
                weights += [[1, 1.0], [count - 1, answer]]
            case _:
                weights.append([count, 1.0])
    return [part for part in weights if part[0]]


def _transcript_tokens(segment: Segment, renderer: Renderer) -> int:
    """Tokens of a thought before the asked values are restated."""
    (separator,) = renderer.loaded.tokenizer.encode(";", add_special_tokens=False)
    return segment.token_ids.index(separator) if separator in segment.token_ids else 0


def write_samples(folder: Path, samples: list[ColdStartSample], name: str = SAMPLES_NAME) -> None:
    """Write the samples beside their tasks, whole or not at all."""
    with atomic_file(folder / name) as file:
        for sample in samples:
            file.write(dump_line(sample) + b"\n")


def read_samples(folder: Path, name: str = SAMPLES_NAME) -> list[tuple[Task, ColdStartSample]]:
    """Samples with their tasks, picture paths absolute.

    Raises:
        DataError: no such files, a broken line, or a sample whose task is missing.
    """
    tasks: dict[str, Task] = {task.id: task for task in read_tasks(folder)}
    path = folder / name
    if not path.exists():
        raise DataError(f"{path} is missing: 'air base-model' makes it")
    pairs: list[tuple[Task, ColdStartSample]] = []
    for where, line in read_jsonl(path):
        sample = from_json(ColdStartSample, located(line, folder.absolute()), where)
        if sample.task_id not in tasks:
            raise DataError(f"{where}: no task {sample.task_id} in {folder / 'tasks.jsonl'}")
        pairs.append((tasks[sample.task_id], sample))
    return pairs


def spread(weights: Weights) -> list[float]:
    """One weight a token.

    >>> spread([[2, 0.0], [1, 0.5]])
    [0.0, 0.0, 0.5]
    """
    return [weight for count, weight in weights for _ in range(int(count))]

"""The turn loop: the model writes, the sandbox runs what it wrote, the result goes back, and so on.

    task -> prompt -> [model turn -> cell -> tool result]* -> turn with an answer -> trajectory

What the model does wrong is data: it ends in one ``StopReason`` or in an ``Execution`` that failed.
What *we* do wrong (sandbox or sampler lost) is marked as such and never scored.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from PIL import Image

from air_reasoning.conversation import conversation
from air_reasoning.engine import Engine
from air_reasoning.errors import SamplerError
from air_reasoning.rollout_setup import (
    Event,
    Prompt,
    RolloutConfig,
    derived_seed,
    next_params,
    prepare,
    sampling_params,
)
from air_reasoning.samplers.base import Completion, Message, SampleRequest, SamplingParams
from air_reasoning.sandbox.base import Session, is_void
from air_reasoning.turn_format import VOID_CELL, Piece, parse_turn, render_execution
from air_reasoning.types import (
    Execution,
    ImageRef,
    Segment,
    StopReason,
    Task,
    Trajectory,
    TrajectoryGroup,
)


@dataclass(kw_only=True, slots=True)
class _Run:
    """One trajectory in the making. ``ids`` and ``shown`` are all that the model has seen.

    ``messages`` is the prompt as a conversation, for engines that take no ids.
    """

    engine: Engine
    config: RolloutConfig
    trajectory: Trajectory
    prompt: Prompt
    messages: list[Message]
    ids: list[int]
    shown: list[Image.Image]
    params: SamplingParams
    on_event: Callable[[Event], None] | None
    stack: AsyncExitStack
    session: Session | None = None

    def add(self, segments: Sequence[Segment]) -> None:
        """Append segments and what they hold, together."""
        for segment in segments:
            self.trajectory.segments.append(segment)
            self.ids += segment.token_ids
            self.tell(Event(kind="segment", trajectory_id=self.trajectory.id, segment=segment))

    def tell(self, event: Event) -> None:
        if self.on_event is not None:
            self.on_event(event)

    def tell_text(self, text: str) -> None:
        self.tell(Event(kind="delta", trajectory_id=self.trajectory.id, text=text))

    def spend(self, part: str, since: float) -> None:
        timing = self.trajectory.timing
        timing[part] = timing.get(part, 0.0) + perf_counter() - since


async def rollout(
    task: Task,
    engine: Engine,
    config: RolloutConfig,
    *,
    trajectory_id: str,
    group_id: str = "",
    seed: int = 0,
    code_banned: bool = False,
    prompt: Prompt | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Trajectory:
    """Roll out one task once.

    ``code_banned``: the opening code tag cannot be sampled and nothing is executed. ``seed`` fixes
    both the tokens and the cells' random numbers. ``trajectory_id`` must be free in the sampler.

    Raises:
        DataError: the task is broken (a picture is missing, ...). SandboxError: no sandbox here.
    """
    started = perf_counter()
    prompt = prompt or prepare(task, engine)
    trajectory = Trajectory(
        id=trajectory_id,
        task_id=task.id,
        group_id=group_id,
        prompt_ids=prompt.ids,
        code_banned=code_banned,
    )
    trajectory.usage.prompt = len(prompt.ids)
    engine.sampler.open(trajectory_id)
    try:
        async with AsyncExitStack() as stack:
            run = _Run(
                engine=engine,
                config=config,
                trajectory=trajectory,
                prompt=prompt,
                messages=prompt.messages or engine.renderer.messages(task, code_banned=code_banned),
                ids=list(prompt.ids),
                shown=list(prompt.shown),
                params=sampling_params(engine, config, seed, code_banned),
                on_event=on_event,
                stack=stack,
            )
            trajectory.stop = await _turns(run)
            run.tell(Event(kind="stop", trajectory_id=trajectory_id, stop=trajectory.stop))
    except SamplerError as error:
        trajectory.stop, trajectory.error = StopReason.SAMPLER_ERROR, str(error)
    finally:
        engine.sampler.release(trajectory_id)
    trajectory.timing["total"] = perf_counter() - started
    return trajectory


async def _turns(run: _Run) -> StopReason:
    for turn in range(run.config.max_turns):
        outcome = await _model_turn(run)
        if isinstance(outcome, StopReason):
            return outcome
        if turn + 1 < run.config.max_turns and not await _tool_turn(run, outcome):
            return StopReason.SANDBOX_LOST
    return StopReason.MAX_TURNS


async def _model_turn(run: _Run) -> StopReason | Piece:
    """Let the model write until it calls (returns the cell) or ends (returns why)."""
    renderer = run.engine.renderer
    turn = Completion(token_ids=[], logprobs=[], text="", finish_reason="stop")
    while True:
        completion = await _sample(run, turn)
        turn.token_ids += completion.token_ids
        turn.logprobs += completion.logprobs
        turn.temperatures += completion.temperatures
        turn.text += completion.text
        text = renderer.turn_text(turn)
        pieces = parse_turn(text, renderer.form)
        cell = None if run.trajectory.code_banned else _cell_at_end(pieces)
        stopped = completion.finish_reason != "stop" or completion.written == 0
        if stopped or cell is not None or renderer.ended(turn):
            break
        # A closing tag closed nothing: it stands alone, or in a string of the code. On with it.
    run.add(renderer.turn_segments(turn))
    if cell is not None:
        return cell
    match completion.finish_reason:
        case "length":
            return StopReason.MAX_TOKENS
        case "context":
            return StopReason.CONTEXT_FULL
        case "stop":
            answered = any(p.kind == "answer" for p in pieces) or "\\boxed{" in text
            return StopReason.ANSWERED if answered else StopReason.VOID_TURN


async def _sample(run: _Run, turn: Completion) -> Completion:
    usage, renderer = run.trajectory.usage, run.engine.renderer
    left = run.config.max_new_tokens - usage.model
    if left <= 0:
        return Completion(token_ids=[], logprobs=[], text="", finish_reason="length")
    started, written = perf_counter(), renderer.turn_text(turn)
    params = next_params(run.params, run.config, written, renderer.form)
    completion = await run.engine.sampler.sample(
        SampleRequest(
            trajectory_id=run.trajectory.id,
            group_id=run.trajectory.group_id,
            token_ids=run.ids + turn.token_ids,
            images=run.shown,
            params=replace(params, max_tokens=left),
            messages=conversation(run.messages, run.trajectory.segments, written, renderer.form),
            on_token=_deltas(run) if run.on_event else None,
            on_text=run.tell_text if run.on_event else None,
        )
    )
    if run.config.code_temperature is not None:
        completion.temperatures = [params.temperature] * completion.written
    run.trajectory.policy_version = completion.policy_version
    usage.model += completion.written
    usage.sent += completion.prompt_tokens
    usage.cached += completion.cached_tokens
    usage.prompt = usage.prompt or completion.prompt_tokens
    run.spend("sampler", started)
    return completion


def _cell_at_end(pieces: list[Piece]) -> Piece | None:
    """The cell with which the turn ends, white space aside."""
    last = next((p for p in reversed(pieces) if p.text.strip()), None)
    return last if last is not None and last.kind == "code" and last.closed else None


async def _tool_turn(run: _Run, cell: Piece) -> bool:
    """Execute the cell and append its result, text and pictures together; False if we lost it."""
    if is_void(cell.body):
        _append_output(run, None, VOID_CELL, [], [])
        return True
    started = perf_counter()
    if run.session is None:
        sandbox = run.engine.sandboxes.session(run.prompt.images, seed=run.params.seed)
        run.session = await run.stack.enter_async_context(sandbox)
    execution = await run.session.run(cell.body, run.config.cell_timeout_s)
    run.spend("sandbox", started)
    code = next(s for s in reversed(run.trajectory.segments) if s.kind == "code")
    code.code = cell.body
    if execution.status == "lost":
        run.add([Segment(kind="output", text="", execution=execution)])
        return False
    pixels = [run.session.pixels[ref.sha256] for ref in execution.images]
    if run.engine.save_image is not None:
        execution.images = [run.engine.save_image(image) for image in pixels]
    text = render_execution(execution, run.config.output_chars)
    seen = [n for n, image in enumerate(pixels) if run.engine.renderer.can_show(image)]
    if len(seen) < len(pixels):
        text += f"\n({len(pixels) - len(seen)} images of a shape that cannot be shown)"
    refs = [execution.images[n] for n in seen]
    _append_output(run, execution, text, refs, [pixels[n] for n in seen])
    return True


def _append_output(
    run: _Run,
    execution: Execution | None,
    text: str,
    refs: list[ImageRef],
    pixels: list[Image.Image],
) -> None:
    renderer = run.engine.renderer
    opening, closing = renderer.form.output
    ids = renderer.output_ids(text, pixels)
    run.trajectory.usage.output += len(ids)
    run.shown = run.shown + pixels
    text = opening + text + closing
    run.add([Segment(kind="output", text=text, token_ids=ids, images=refs, execution=execution)])


def _deltas(run: _Run) -> Callable[[int], None]:
    """Turns sampled ids into ``delta`` events, whole characters only."""
    held = Completion(token_ids=[], logprobs=[], text="", finish_reason="stop")

    def on_token(token_id: int) -> None:
        held.token_ids.append(token_id)
        text = run.engine.renderer.turn_text(held)
        if not text.endswith("\ufffd"):
            held.token_ids.clear()
            run.tell_text(text)

    return on_token


async def rollout_group(
    task: Task,
    engine: Engine,
    config: RolloutConfig,
    *,
    group_id: str,
    group_size: int,
    n_forbid: int = 0,
    seed: int = 0,
) -> TrajectoryGroup:
    """``group_size`` roll-outs of one task, the first ``n_forbid`` with code banned.

    Whole or not at all: members that we lost are in it, marked by their stop reason.
    """
    prompt = prepare(task, engine)
    members = [
        rollout(
            task,
            engine,
            config,
            trajectory_id=f"{group_id}/{member}",
            group_id=group_id,
            seed=derived_seed(seed, group_id, member),
            code_banned=member < n_forbid,
            prompt=prompt,
        )
        for member in range(group_size)
    ]
    return TrajectoryGroup(id=group_id, task=task, trajectories=await _all(members))


async def rollout_groups(
    tasks: Sequence[Task],
    engine: Engine,
    config: RolloutConfig,
    *,
    group_size: int,
    n_forbid: int = 0,
    seed: int = 0,
    label: str = "",
    first_place: int = 0,
) -> list[TrajectoryGroup]:
    """A group for each task, all rolled out at once, in the order of the tasks.

    Group ids are ``{label}{place}:{task id}``; give each step of a run a label of its own, and
    each part of a step the place of its first task.
    """
    return await _all(
        [
            rollout_group(
                task,
                engine,
                config,
                group_id=f"{label}{place}:{task.id}",
                group_size=group_size,
                n_forbid=n_forbid,
                seed=seed,
            )
            for place, task in enumerate(tasks, first_place)
        ]
    )


async def _all(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Their results in order. The first error cancels the rest, and is raised as it is."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""The vocabulary of the project: task, segment, trajectory, group, training sample.

Plain dataclasses without behaviour; JSON appears only at the disk and the wire (``run_dir``).
One direction of flow: task -> rollout -> trajectory -> group -> rewards -> advantages -> samples.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

AnswerType = Literal["int", "float", "choice", "list", "expr", "text"]
SegmentKind = Literal["think", "text", "code", "output", "answer"]
ExecutionStatus = Literal["ok", "error", "timeout", "killed", "lost"]


@dataclass(kw_only=True, slots=True, frozen=True)
class ImageRef:
    """A picture by content. ``path`` is where the pixels are (absolute once loaded).

    ``sha256`` is over mode, size and raw pixels (``images.image_hash``), so that the same picture
    in two files is one picture. Sizes are in pixels.
    """

    sha256: str
    width: int
    height: int
    path: str


@dataclass(kw_only=True, slots=True, frozen=True)
class Part:
    """One piece of a prompt: text, or the picture ``images[image]`` of the task."""

    kind: Literal["text", "image"]
    text: str = ""
    image: int = 0


@dataclass(kw_only=True, slots=True, frozen=True)
class Answer:
    """The gold answer and how to compare with it.

    ``value`` is the canonical text; ``precision`` is digits after the point for ``float``;
    ``tolerance`` is an absolute difference; ``rule`` names a benchmark's official comparison.
    """

    value: str
    type: AnswerType = "text"
    precision: int | None = None
    unit: str = ""
    tolerance: float | None = None
    rule: str = ""


@dataclass(kw_only=True, slots=True)
class Task:
    """One question. ``meta["split"] == "test"`` marks tasks that training refuses."""

    id: str
    prompt: list[Part]
    images: list[ImageRef]
    answer: Answer
    choices: list[str] = field(default_factory=list[str])
    source: str = ""
    license: str = ""
    meta: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(kw_only=True, slots=True)
class Execution:
    """What came back from one cell.

    ``lost`` is our failure; every other status is the model's doing. ``value`` is the ``repr`` of
    the cell's last expression (None if there is none, or if it came back as an image). ``error`` is
    None or ``{"type", "message", "traceback"}``. Times are milliseconds. ``tier`` names the
    isolation in force. ``state_lost`` says that the variables of earlier cells are gone.
    """

    status: ExecutionStatus
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: dict[str, str] | None = None
    images: list[ImageRef] = field(default_factory=list[ImageRef])
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    tier: str = ""
    state_lost: bool = False


@dataclass(kw_only=True, slots=True)
class Segment:
    """A run of tokens of one kind, tags included.

    ``text`` is what a person reads; ``token_ids`` are what the model saw, and the truth.
    ``logprobs`` (natural log, of the sampling distribution) has one entry per token of a
    model-written segment and is empty for ``output``: output is never trained on, so the loss mask
    follows from ``kind`` and not from a regex. ``temperatures`` has one entry per token where they
    differ within a turn, else it is empty: all ``rollout.temperature``. ``code`` holds the bare
    source for a ``code`` segment that was executed; ``execution`` belongs to the ``output`` segment
    that answers it.
    """

    kind: SegmentKind
    text: str
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    temperatures: list[float] = field(default_factory=list[float])
    code: str = ""
    images: list[ImageRef] = field(default_factory=list[ImageRef])
    execution: Execution | None = None

    @property
    def trainable(self) -> bool:
        """Whether the model wrote it."""
        return self.kind != "output"


class StopReason(StrEnum):
    """Why a trajectory ended; each has exactly one."""

    ANSWERED = "answered"
    MAX_TURNS = "max_turns"
    MAX_TOKENS = "max_tokens"
    CONTEXT_FULL = "context_full"
    VOID_TURN = "void_turn"
    SANDBOX_LOST = "sandbox_lost"
    SAMPLER_ERROR = "sampler_error"

    @property
    def our_fault(self) -> bool:
        """Such a trajectory is dropped and counted, never scored."""
        return self in (StopReason.SANDBOX_LOST, StopReason.SAMPLER_ERROR)

    @property
    def truncated(self) -> bool:
        """A limit ended it; training may mask it instead of punishing it."""
        return self in (StopReason.MAX_TURNS, StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL)


@dataclass(kw_only=True, slots=True)
class Usage:
    """Token counts of one trajectory; ``model`` are sampled, ``output`` came from the sandbox.

    ``sent`` is the prompt side of all requests together, as an endpoint bills it, and ``cached``
    the part of it that it did not compute again; both 0 where the engine does not tell.
    """

    prompt: int = 0
    model: int = 0
    output: int = 0
    sent: int = 0
    cached: int = 0


@dataclass(kw_only=True, slots=True)
class Trajectory:
    """One roll-out of one task.

    ``prompt_ids`` + the segments' ``token_ids`` is exactly the sequence that the model saw.
    ``timing`` holds seconds by part (``sampler``, ``sandbox``, ``total``). ``error`` says what
    failed where ``stop`` is our fault.
    """

    id: str
    task_id: str
    group_id: str
    prompt_ids: list[int] = field(default_factory=list[int])
    segments: list[Segment] = field(default_factory=list[Segment])
    stop: StopReason = StopReason.ANSWERED
    code_banned: bool = False
    policy_version: int = 0
    usage: Usage = field(default_factory=Usage)
    timing: dict[str, float] = field(default_factory=dict[str, float])
    error: str = ""

    @property
    def executions(self) -> list[Execution]:
        """Results of the executed cells, in order."""
        return [s.execution for s in self.segments if s.execution is not None]


@dataclass(slots=True, frozen=True)
class Outcome:
    """All that a reward may know about one trajectory: ``Outcome(True, 1)`` is right after a call.

    ``calls`` counts executed cells (empty and comment-only ones are never executed),
    ``failed_calls`` those that came back without ``ok``. ``code_banned``: the code tag could not be
    sampled.
    """

    correct: bool
    calls: int
    failed_calls: int = 0
    format_ok: bool = True
    code_banned: bool = False

    @property
    def uses_code(self) -> bool:
        """Whether at least one cell was executed."""
        return self.calls > 0

    @property
    def call_worked(self) -> bool:
        """Whether at least one executed cell came back without an error."""
        return self.calls > self.failed_calls


@dataclass(kw_only=True, slots=True)
class Reward:
    """``total`` and the named terms it is the guarded sum of. Never an advantage."""

    total: float
    terms: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(kw_only=True, slots=True)
class TrajectoryGroup:
    """All roll-outs of one task at one policy version. Parallel lists, one entry a trajectory."""

    id: str
    task: Task
    trajectories: list[Trajectory]
    rewards: list[Reward] = field(default_factory=list[Reward])
    advantages: list[float] = field(default_factory=list[float])


@dataclass(kw_only=True, slots=True)
class TrainingSample:
    """One trajectory as the loss sees it; all lists but ``prompt_ids`` have one entry a token.

    ``token_ids`` is the response (prompt not included); ``loss_mask`` is 1 where the model wrote
    and the advantage counts; ``logprobs`` are the sampler's (0 where ``loss_mask`` is 0).
    ``images`` are prompt pictures first, then those of outputs, in the order of their placeholders.
    ``temperatures`` is empty where all tokens were sampled at one. ``code_banned`` rows were
    sampled from a narrower distribution: the loss does not reweight them.
    """

    group_id: str
    prompt_ids: list[int]
    token_ids: list[int]
    loss_mask: list[int]
    logprobs: list[float]
    advantage: float
    images: list[ImageRef] = field(default_factory=list[ImageRef])
    policy_version: int = 0
    code_banned: bool = False
    temperatures: list[float] = field(default_factory=list[float])

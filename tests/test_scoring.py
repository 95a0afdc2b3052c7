"""What a trajectory counts as: calls, failures, format, our fault."""

import pytest

from air_reasoning.scoring import score_trajectory, well_formed
from air_reasoning.types import (
    Answer,
    Execution,
    Outcome,
    Part,
    Segment,
    StopReason,
    Task,
    Trajectory,
    Usage,
)

TASK = Task(
    id="bar-1",
    prompt=[Part(kind="text", text="1+2?")],
    images=[],
    answer=Answer(value="3", type="int"),
    meta={"difficulty": "easy", "kind": "bar"},
)
THINK = Segment(kind="think", text="<think>a=1,b=2</think>")
CODE = Segment(
    kind="code", text="<code>```python\nprint('</code>', 3)\n```</code>", code="print(3)"
)
VOID = Segment(kind="code", text="<code># nothing</code>")
ANSWER = Segment(kind="answer", text="<answer>\\boxed{3}</answer>")


def output(status):
    return Segment(
        kind="output", text="<interpreter>3</interpreter>", execution=Execution(status=status)
    )


def trajectory(*segments, stop=StopReason.ANSWERED, banned=False):
    return Trajectory(
        id="t", task_id="bar-1", group_id="g", segments=list(segments), stop=stop,
        code_banned=banned, usage=Usage(model=21),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (trajectory(THINK, ANSWER), Outcome(True, 0)),
        (trajectory(THINK, ANSWER, banned=True), Outcome(True, 0, code_banned=True)),
        (trajectory(THINK, CODE, output("ok"), ANSWER), Outcome(True, 1)),
        (trajectory(CODE, output("error"), CODE, output("ok"), ANSWER), Outcome(True, 2, 1)),
        (trajectory(CODE, output("timeout"), ANSWER), Outcome(True, 1, 1)),
        (trajectory(VOID, Segment(kind="output", text="no code"), ANSWER), Outcome(True, 0)),
        (
            trajectory(ANSWER, CODE, output("ok"), stop=StopReason.MAX_TURNS),
            Outcome(False, 1, 0, False),
        ),
        (trajectory(THINK, stop=StopReason.MAX_TOKENS), Outcome(False, 0, 0, False)),
    ],
)
def test_outcome(made, outcome):
    assert score_trajectory(TASK, made).outcome == outcome


def test_record():
    made = trajectory(THINK, CODE, output("ok"), ANSWER)
    record = score_trajectory(TASK, made, repeat=2).record
    assert (record.task_id, record.repeat, record.difficulty, record.kind) == (
        "bar-1",
        2,
        "easy",
        "bar",
    )
    assert (record.turns, record.tokens, record.calls, record.route) == (2, 21, 1, "answer_tag")
    assert not record.unscored


def test_our_failure_is_unscored_and_no_call():
    made = trajectory(CODE, output("lost"), stop=StopReason.SANDBOX_LOST)
    scored = score_trajectory(TASK, made)
    assert scored.record.unscored
    assert scored.record.calls == scored.record.failed_calls == 0


@pytest.mark.parametrize(
    ("segments", "good"),
    [
        ([THINK, ANSWER], True),
        ([THINK, Segment(kind="text", text="It is \\boxed{3}.")], True),
        ([Segment(kind="think", text="<think>a"), CODE, output("ok"),
          Segment(kind="think", text="b</think>"), ANSWER], True),
        ([Segment(kind="think", text="<think>a"), ANSWER], False),
        ([ANSWER, ANSWER], False),
        ([Segment(kind="answer", text="<answer>3")], False),
        ([Segment(kind="code", text="<code>print(3)"), ANSWER], False),
        ([Segment(kind="text", text="print(3)</code>"), ANSWER], False),
        ([Segment(kind="text", text="\\boxed{1} or \\boxed{2}")], False),
        ([Segment(kind="text", text="no idea")], False),
    ],
)  # fmt: skip
def test_format(segments, good):
    assert well_formed(trajectory(*segments)) is good

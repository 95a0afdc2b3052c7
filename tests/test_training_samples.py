import pytest

from air_reasoning.errors import DataError
from air_reasoning.training_samples import (
    SamplesConfig,
    drop_lost,
    keep_informative,
    micro_batches,
    trainable_tokens,
    training_samples,
)
from air_reasoning.types import (
    Answer,
    ImageRef,
    Part,
    Reward,
    Segment,
    StopReason,
    Task,
    TrainingSample,
    Trajectory,
    TrajectoryGroup,
)


def picture(name: str) -> ImageRef:
    return ImageRef(sha256=name, width=4, height=4, path=f"{name}.png")


TASK = Task(
    id="task",
    prompt=[Part(kind="image", image=1), Part(kind="text", text="?"), Part(kind="image", image=0)],
    images=[picture("a"), picture("b"), picture("never shown")],
    answer=Answer(value="3"),
)


def written(kind, ids: list[int], logprob: float = -0.5) -> Segment:
    return Segment(kind=kind, text="", token_ids=ids, logprobs=[logprob] * len(ids))


def trajectory(name: str = "t", *, stop: StopReason = StopReason.ANSWERED, banned: bool = False):
    return Trajectory(
        id=name,
        task_id="task",
        group_id="g",
        prompt_ids=[1, 2],
        segments=[written("think", [3])],
        stop=stop,
        code_banned=banned,
        policy_version=7,
    )


def group(members: list[Trajectory], advantages: list[float]) -> TrajectoryGroup:
    return TrajectoryGroup(id="g", task=TASK, trajectories=members, advantages=advantages)


def test_output_is_masked_and_pictures_keep_their_order():
    member = trajectory()
    member.segments = [
        written("think", [3], -0.1),
        written("code", [4, 5], -0.2),
        Segment(kind="output", text="", token_ids=[6, 7], images=[picture("c"), picture("d")]),
        written("answer", [8], -0.3),
    ]
    samples, counts = training_samples([group([member], [0.25])])
    assert samples == [
        TrainingSample(
            group_id="g",
            prompt_ids=[1, 2],
            token_ids=[3, 4, 5, 6, 7, 8],
            loss_mask=[1, 1, 1, 0, 0, 1],
            logprobs=[-0.1, -0.2, -0.2, 0.0, 0.0, -0.3],
            advantage=0.25,
            images=[picture("b"), picture("a"), picture("c"), picture("d")],
            policy_version=7,
        )
    ]
    assert counts["samples/kept"] == 1
    assert trainable_tokens(samples) == 4


def test_what_is_left_out_is_counted_by_reason():
    members = [
        trajectory("kept"),
        trajectory("turns", stop=StopReason.MAX_TURNS),
        trajectory("tokens", stop=StopReason.MAX_TOKENS),
        trajectory("full", stop=StopReason.CONTEXT_FULL),
        trajectory("void", stop=StopReason.VOID_TURN),
        trajectory("lost", stop=StopReason.SANDBOX_LOST),
        trajectory("engine", stop=StopReason.SAMPLER_ERROR),
    ]
    samples, counts = training_samples([group(members, [1.0] * 7)])
    assert len(samples) == 1
    assert counts == {
        "samples/kept": 1,
        "samples/our_fault": 2,
        "samples/truncated": 3,
        "samples/void_turn": 1,
        "samples/banned_unused": 0,
    }
    punished = SamplesConfig(mask_truncated=False, mask_void_turns=False)
    assert len(training_samples([group(members, [1.0] * 7)], punished)[0]) == 5


def test_banned_members_train_only_where_their_advantage_is_positive():
    members = [trajectory("a", banned=True), trajectory("b", banned=True), trajectory("c")]
    samples, counts = training_samples([group(members, [0.0, 0.5, -0.5])])
    assert [(s.advantage, s.code_banned) for s in samples] == [(0.5, True), (-0.5, False)]
    assert counts["samples/banned_unused"] == 1


def test_segments_without_logprobs_are_refused_by_name():
    member = trajectory("t-17")
    member.segments[0].logprobs = []
    with pytest.raises(DataError, match=r"t-17: a think segment has 1 token ids but 0"):
        training_samples([group([member], [1.0])])
    member.segments[0].token_ids = []
    with pytest.raises(DataError, match="t-17 has no sampled token ids"):
        training_samples([group([member], [1.0])])


def test_an_advantage_for_every_trajectory_is_required():
    with pytest.raises(ValueError, match="zip"):
        training_samples([group([trajectory(), trajectory()], [1.0])])


def test_constant_groups_are_dropped_and_counted():
    flat, mixed = group([trajectory()] * 2, [0.0, 0.0]), group([trajectory()] * 2, [0.0, 0.5])
    kept, counts = keep_informative([flat, mixed, flat])
    assert kept == [mixed]
    assert counts == {"groups/informative": 1, "groups/constant": 2}


def test_lost_trajectories_leave_before_the_reward():
    lost = trajectory("lost", stop=StopReason.SANDBOX_LOST)
    whole = group([trajectory("a"), lost, trajectory("b")], [])
    whole.rewards = [Reward(total=0.0)] * 3
    broken = group([trajectory("c"), lost], [])
    kept, counts = drop_lost([whole, broken])
    assert [[t.id for t in g.trajectories] for g in kept] == [["a", "b"]]
    assert kept[0].rewards == []
    assert len(whole.trajectories) == 3
    assert counts == {"groups/lost_trajectories": 2, "groups/lost_groups": 1}


def sample(prompt: int, response: int) -> TrainingSample:
    return TrainingSample(
        group_id="g",
        prompt_ids=[0] * prompt,
        token_ids=[0] * response,
        loss_mask=[1] * response,
        logprobs=[0.0] * response,
        advantage=1.0,
    )


def test_micro_batches_fit_the_padded_budget_and_lose_nothing():
    rows = [sample(4, length) for length in (6, 5, 16, 6, 1, 5, 6)] + [sample(50, 50)]
    batches = micro_batches(rows, 40)
    # 4 x (4 + 6) fits. One long response does not pad the short ones.
    lengths = [[len(s.token_ids) for s in batch] for batch in batches]
    assert lengths == [[50], [16], [6, 5, 6, 5], [6], [1]]
    assert [id(s) for b in batches[2:4] for s in b] == [id(rows[i]) for i in (0, 1, 3, 5, 6)]
    assert micro_batches([], 40) == []

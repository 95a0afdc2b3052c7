"""Two processes train as one does, whole or spread, however they were started."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from air_reasoning.parallel import Parallel
from air_reasoning.types import TrainingSample

pytestmark = pytest.mark.timeout(600)
AIR = ("air_reasoning.cli", "rl")
LAUNCHED = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no"),
    *("--main_process_port", "0", "-m", *AIR),
)


def done(process) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ((*AIR, "--processes", "2"), {}),
        ((*AIR, "-o", "processes=2"), {"sharding": "fsdp2"}),
        (LAUNCHED, {}),
    ],
    ids=["air", "fsdp2", "accelerate"],
)
def test_two_processes_give_the_losses_and_weights_of_one(
    trainings, same_as_plain, words: tuple[str, ...], changes: dict[str, str]
):
    done(trainings.start("two", *words, **changes))
    same_as_plain(trainings, "two", 1e-5)
    state = json.loads((trainings.folder / "two" / "status.json").read_text())
    assert state["state"] == "done"


def test_a_run_of_two_processes_goes_on_in_one(trainings, same_as_plain):
    """Checkpoints of a spread model are whole ones."""
    stop = {"alarms": {"entropy": {"high": 0.0, "stop_after": 2}}}
    process = trainings.start("two", *AIR, "-o", "processes=2", sharding="fsdp2", **stop)
    process.communicate()
    assert len(trainings.metrics("two")) == 2
    trainings.run("two")
    same_as_plain(trainings, "two", 1e-5)


def test_muon_makes_the_same_first_step_on_a_spread_model(trainings):
    """Up to bfloat16, in which its orthogonalisation is computed. In bf16 it runs, too."""
    settings = {"steps": 1, "optimizer": {"kind": "muon", "freeze": ["model.visual"]}}
    trainings.run("one", **settings)
    done(trainings.start("two", *AIR, "-o", "processes=2", sharding="fsdp2", **settings))
    done(trainings.start("bf16", *AIR, "-o", "processes=2", sharding="fsdp2", bf16=True, steps=1))
    before = load_file(trainings.model / "model.safetensors")
    one, two = trainings.weights("one"), trainings.weights("two")
    for name, weight in one.items():
        moved = (weight - before[name].float()).norm()
        assert (weight - two[name]).norm() <= 0.1 * moved, name


def row(group: str, tokens: int) -> TrainingSample:
    return TrainingSample(
        group_id=group, prompt_ids=[1], token_ids=[1] * tokens, loss_mask=[1] * tokens,
        logprobs=[0.0] * tokens, advantage=1.0,
    )  # fmt: skip


def test_groups_are_dealt_out_whole_by_their_tokens():
    samples = [row("a", 9), row("b", 2), row("b", 2), row("c", 4), row("a", 9)]
    shares = [Parallel(rank=rank, world=2).share(samples) for rank in (0, 1)]
    assert [[s.group_id for s in share] for share in shares] == [["a", "a"], ["b", "b", "c"]]
    assert Parallel().share(samples) == samples
    assert [Parallel(rank=r, world=3).span(4) for r in range(3)] == [
        range(0, 1), range(1, 2), range(2, 4),
    ]  # fmt: skip


def test_torch_is_built_with_gloo():
    assert torch.distributed.is_gloo_available(), sys.version

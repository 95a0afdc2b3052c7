import math

import pytest
import torch
from torch import Tensor

from air_reasoning.errors import ConfigError
from air_reasoning.loss import LossConfig, Metrics, merge_metrics, policy_loss, sft_loss


def one_token(
    ratio: float = 1.0, advantage: float = 1.0, sampler: float = 0.0, **settings: object
) -> tuple[float, float, Metrics]:
    """Loss, its gradient and the metrics of a single token with log-probability -1."""
    logprob = torch.tensor([[-1.0]], requires_grad=True)
    old = logprob.detach() - math.log(ratio)
    loss, metrics = policy_loss(
        logprob,
        old,
        old - sampler,
        torch.tensor([advantage]),
        torch.ones(1, 1),
        LossConfig.model_validate(settings),
        1,
    )
    loss.backward()
    assert logprob.grad is not None
    return round(loss.item(), 4), round(logprob.grad.item(), 4), metrics


def test_sft_loss_on_two_rows_by_hand():
    logprobs = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, -math.inf, -math.inf]])
    weights = torch.tensor([[1.0, 0.5, 0.0], [2.0, 0.0, 0.0]])
    assert sft_loss(logprobs, weights, 4.0).item() == pytest.approx((1 + 1 + 16) / 4)


def test_first_update_is_the_plain_policy_gradient():
    assert one_token(advantage=2.0)[:2] == (-2.0, -2.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.2, 1.0, -1.2, -1.2),  # inside the clip
        (1.5, 1.0, -1.28, 0.0),  # clip-higher stops a good token at 1.28
        (1.5, -1.0, 1.5, 1.5),  # a bad token that grew keeps its full gradient
        (0.5, -1.0, 0.8, 0.0),  # a bad token stops shrinking at 0.8
        (0.5, 1.0, -0.5, -0.5),
    ],
)
def test_ppo_clip(ratio: float, advantage: float, loss: float, gradient: float):
    got_loss, got_gradient, metrics = one_token(ratio, advantage)
    assert (got_loss, got_gradient) == (loss, gradient)
    assert metrics["policy/clip_share"] == float(gradient == 0)
    assert metrics["policy/ratio"] == pytest.approx(ratio)


def test_cispo_keeps_the_gradient_of_a_clipped_token():
    # -1.28 * A * logprob: gradient -1.28 where ppo has none.
    assert one_token(1.5, 1.0, kind="cispo")[:2] == (1.28, -1.28)
    assert one_token(0.5, -1.0, kind="cispo")[:2] == (-0.5, 0.5)


def test_gspo_uses_the_geometric_mean_of_the_row():
    logprobs = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True)
    old = torch.tensor([[-0.3, 0.1, 0.0]])  # mean log-ratio of the two trained tokens: 0.1
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    config = LossConfig(kind="gspo", sampler_weight_cap=None)
    loss, metrics = policy_loss(logprobs, old, old, torch.tensor([1.0]), mask, config, 2)
    assert loss.item() == pytest.approx(-math.exp(0.1))
    assert metrics["policy/ratio_max"] == pytest.approx(math.exp(0.1))
    loss.backward()
    assert logprobs.grad is not None
    share = -math.exp(0.1) / 2
    assert logprobs.grad[0].tolist() == pytest.approx([share, share, 0.0])


def test_importance_weights_against_the_sampler_are_truncated():
    assert one_token(sampler=math.log(1.5))[0] == -1.5
    loss, _, metrics = one_token(sampler=math.log(8.0))
    assert loss == -2.0
    assert metrics["sampler/capped_share"] == 1.0
    assert metrics["sampler/logprob_gap_max"] == pytest.approx(math.log(8.0))
    assert one_token(sampler=math.log(8.0), sampler_weight_cap=None)[0] == -1.0


def test_banned_rows_keep_weight_one():
    """p(code) = 0.99: the ban lifts the first token's probability a hundredfold."""
    logprobs, sampler = torch.full((2, 1), math.log(0.01)), torch.zeros(2, 1)
    loss, metrics = policy_loss(
        logprobs,
        None,
        sampler,
        torch.tensor([1.0, 1.0]),
        torch.ones(2, 1),
        LossConfig(),
        2,
        code_banned_B=torch.tensor([True, False]),
    )
    assert loss.item() == pytest.approx(-(1 + 0.01) / 2)
    assert metrics["sampler/logprob_gap"] == pytest.approx(-math.log(0.01) / 2)


def test_k3_and_entropy_terms():
    logprobs = torch.tensor([[-1.0]])
    config = LossConfig(kl_coef=0.5, entropy_coef=0.1)
    loss, metrics = policy_loss(
        logprobs,
        None,
        logprobs,
        torch.tensor([0.0]),
        torch.ones(1, 1),
        config,
        1,
        entropy_BT=torch.tensor([[2.0]]),
        reference_logprobs_BT=torch.tensor([[0.0]]),
    )
    assert metrics["policy/kl"] == pytest.approx(math.e - 2)
    assert metrics["policy/entropy"] == 2.0
    assert loss.item() == pytest.approx(0.5 * (math.e - 2) - 0.2)


def test_missing_tensors_and_denominators_are_named():
    row = torch.zeros(1, 1)
    arguments = (row, None, row, torch.zeros(1), torch.ones(1, 1))
    with pytest.raises(ConfigError, match="kl_coef"):
        policy_loss(*arguments, LossConfig(kl_coef=0.1), 1)
    with pytest.raises(ConfigError, match="entropy_coef"):
        policy_loss(*arguments, LossConfig(entropy_coef=0.1), 1)
    with pytest.raises(ValueError, match="denominator is 0"):
        policy_loss(*arguments, LossConfig(), 0)


def test_values_at_masked_positions_do_not_matter():
    mask = torch.tensor([[1.0, 0.0]])
    logprobs = torch.tensor([[-1.0, -math.inf]], requires_grad=True)
    junk = torch.tensor([[-1.0, math.nan]])
    config = LossConfig(kl_coef=0.1)
    loss, metrics = policy_loss(
        logprobs, junk, junk, torch.ones(1), mask, config, 1, reference_logprobs_BT=junk
    )
    loss.backward()
    assert loss.item() == -1.0
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[-1.0, 0.0]]
    assert all(math.isfinite(value) for value in metrics.values())


def batch(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logprobs = -noise(6, 9).abs()
    lengths = torch.tensor([9, 4, 7, 1, 9, 5])
    mask = (torch.arange(9) < lengths[:, None]) & (noise(6, 9) > -1)
    return {
        "logprobs": logprobs,
        "old": logprobs + 0.3 * noise(6, 9),
        "sampler": logprobs + 0.3 * noise(6, 9),
        "advantages": noise(6),
        "mask": mask.double(),
        "banned": torch.tensor([True, False, False, True, False, False]),
        "entropy": noise(6, 9).abs(),
        "reference": logprobs + 0.1 * noise(6, 9),
    }


def loss_of(tensors: dict[str, Tensor], config: LossConfig, denominator: float):
    return policy_loss(
        tensors["logprobs"],
        tensors["old"],
        tensors["sampler"],
        tensors["advantages"],
        tensors["mask"],
        config,
        denominator,
        code_banned_B=tensors["banned"],
        entropy_BT=tensors["entropy"],
        reference_logprobs_BT=tensors["reference"],
    )


@pytest.mark.parametrize("kind", ["ppo", "cispo", "gspo"])
@pytest.mark.parametrize("split", [[6], [1, 5], [2, 2, 2], [1] * 6])
@pytest.mark.parametrize("padding", [0, 3])
def test_any_split_and_padding_gives_the_same_loss_gradients_and_metrics(kind, split, padding):
    config = LossConfig(kind=kind, kl_coef=0.1, entropy_coef=0.01)
    whole = batch()
    denominator = whole["mask"].sum().item()
    whole["logprobs"].requires_grad_()
    loss, metrics = loss_of(whole, config, denominator)
    loss.backward()

    parts = batch()
    parts["logprobs"].requires_grad_()
    losses, part_metrics = [], []
    for rows in torch.arange(6).split(split):
        piece = {name: _padded(value[rows], padding) for name, value in parts.items()}
        part, values = loss_of(piece, config, denominator)
        part.backward()
        losses.append(part.item())
        part_metrics.append(values)
    assert sum(losses) == pytest.approx(loss.item(), abs=1e-9)
    assert torch.allclose(parts["logprobs"].grad, whole["logprobs"].grad, atol=1e-9)
    assert merge_metrics(part_metrics) == pytest.approx(metrics, abs=1e-6)


def _padded(tensor: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, columns)) if tensor.ndim == 2 else tensor

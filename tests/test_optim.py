import pytest
import torch
from torch import nn

from air_reasoning.errors import AirError, ConfigError, DataError
from air_reasoning.optim import OptimizerConfig, build_optimizer, lr_scale


class Small(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.visual = nn.Linear(3, width)
        self.embed_tokens = nn.Embedding(5, width)
        self.norm = nn.LayerNorm(width)
        self.layer = nn.Linear(width, width)
        self.lm_head = nn.Linear(width, 5, bias=False)
        self.lm_head.weight = self.embed_tokens.weight

    def forward(self, ids, pixels):
        return self.lm_head(self.norm(self.layer(self.embed_tokens(ids) + self.visual(pixels))))


def loss_of(model: Small) -> torch.Tensor:
    ids, pixels = torch.tensor([0, 1, 2, 3]), torch.arange(12.0).view(4, 3) / 12
    return nn.functional.cross_entropy(model(ids, pixels), torch.tensor([1, 2, 3, 4]))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def names(model: Small, part: torch.optim.Optimizer) -> set[str]:
    held = {id(p) for group in part.param_groups for p in group["params"]}
    return {n for n, p in model.named_parameters() if id(p) in held}


def test_schedule_by_hand():
    config = OptimizerConfig(warmup_steps=2, decay_share=0.4, final_share=0.1)
    scales = [round(lr_scale(step, 10, config), 4) for step in range(10)]
    assert scales == [0.5, 1, 1, 1, 1, 1, 0.775, 0.55, 0.325, 0.1]
    assert [lr_scale(step, 3, OptimizerConfig()) for step in range(3)] == [1, 1, 1]
    assert lr_scale(99, 10, config) == 0.1  # past the end it stays


def test_muon_takes_inner_matrices_only():
    model = small()
    adamw, muon = build_optimizer(model, OptimizerConfig(kind="muon")).parts
    assert names(model, muon) == {"visual.weight", "layer.weight"}
    assert names(model, adamw) == {
        "visual.bias",
        "embed_tokens.weight",  # tied to the head, once
        "norm.weight",
        "norm.bias",
        "layer.bias",
    }


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_learns(kind):
    model = small()
    optimizer = build_optimizer(model, OptimizerConfig(kind=kind, lr=0.02, max_grad_norm=10))
    first = loss_of(model).item()
    for _ in range(60):
        loss_of(model).backward()
        optimizer.step()
    assert loss_of(model).item() < 0.1 * first


def test_the_first_adamw_step_is_lr_times_scale():
    model = small()
    before = model.layer.weight.detach().clone()
    optimizer = build_optimizer(model, OptimizerConfig(lr=0.01))
    loss_of(model).backward()
    metrics = optimizer.step(0.5)
    assert (model.layer.weight - before).abs().max().item() == pytest.approx(0.005, rel=1e-3)
    assert metrics["optim/lr"] == 0.005
    assert model.layer.weight.grad is None


def test_only_matrices_decay():
    model = small()
    nn.init.constant_(model.norm.bias, 2.0)
    weight = model.layer.weight.detach().clone()
    optimizer = build_optimizer(model, OptimizerConfig(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert model.norm.bias.tolist() == [2.0] * 4
    assert torch.allclose(model.layer.weight, weight * 0.95)


def test_frozen_parameters_do_not_move():
    model = small()
    optimizer = build_optimizer(model, OptimizerConfig(freeze=("visual", "norm.*")))
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"visual.weight", "visual.bias", "norm.weight", "norm.bias"}
    assert frozen.isdisjoint(optimizer.parameters)


def test_freezing_nothing_or_everything_is_refused():
    with pytest.raises(ConfigError, match=r"called vision; the model has .*visual\.weight"):
        build_optimizer(small(), OptimizerConfig(freeze=("vision",)))
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_optimizer(small(), OptimizerConfig(freeze=("*",)))


def test_a_gradient_that_is_not_finite_leaves_the_weights():
    model = small()
    before = model.layer.weight.detach().clone()
    optimizer = build_optimizer(model, OptimizerConfig(lr=0.01))
    (loss_of(model) * float("nan")).backward()
    with pytest.raises(AirError, match="gradient norm is nan"):
        optimizer.step()
    assert torch.equal(model.layer.weight, before)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_continuing_from_the_state_equals_not_stopping(kind):
    config = OptimizerConfig(kind=kind, lr=0.01)

    def steps(model, optimizer, count):
        for _ in range(count):
            loss_of(model).backward()
            optimizer.step()

    straight = small()
    steps(straight, build_optimizer(straight, config), 6)
    first = small()
    optimizer = build_optimizer(first, config)
    steps(first, optimizer, 3)
    second = small(seed=1)
    second.load_state_dict(first.state_dict())
    continued = build_optimizer(second, config)
    continued.load_state_dict(optimizer.state_dict())
    steps(second, continued, 3)
    for name, parameter in straight.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name


def test_the_state_of_another_model_or_kind_is_refused():
    state = build_optimizer(small(), OptimizerConfig()).state_dict()
    with pytest.raises(DataError, match=r"visual.weight has shape \[4, 3\] there and \[6, 3\]"):
        build_optimizer(Small(width=6), OptimizerConfig()).load_state_dict(state)
    with pytest.raises(DataError, match=r"optimizer\.kind"):
        build_optimizer(small(), OptimizerConfig(kind="muon")).load_state_dict(state)

"""Remembered features are the tower's own, whatever order and company the pictures come in."""

import pytest
import torch
from torch import Tensor

from air_reasoning.models.frozen_vision import remember_pictures
from air_reasoning.models.tiny import build_tiny


@pytest.fixture(scope="module")
def model(tokenizer):
    model = build_tiny(tokenizer, width=64, layers=1).eval()
    model.model.visual.requires_grad_(False)
    return model


def pictures(*grids: tuple[int, int]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(sum(h * w for h, w in grids))
    values = [
        torch.randn(h * w, 3 * 8 * 8, generator=torch.Generator().manual_seed(h)) for h, w in grids
    ]
    return torch.cat(values), torch.tensor([[1, h, w] for h, w in grids])


def features(model, *grids: tuple[int, int]) -> Tensor:
    values, grid = pictures(*grids)
    return torch.cat(list(model.model.get_image_features(values, grid).pooler_output))


def test_features_are_the_towers_own_in_any_order_and_company(model):
    plain = features(model, (4, 4), (8, 6), (16, 16))
    with remember_pictures(model):
        assert torch.allclose(features(model, (8, 6)), plain[4:16], atol=1e-5)
        again = features(model, (4, 4), (8, 6), (16, 16))
        twice = features(model, (8, 6), (8, 6))
    assert torch.allclose(again, plain, atol=1e-5)
    assert torch.equal(twice[:12], twice[12:])
    assert "forward" not in vars(model.model.visual)


def test_a_known_picture_is_not_computed_again(model, monkeypatch):
    seen: list[int] = []
    compute = model.model.visual.forward
    monkeypatch.setattr(
        model.model.visual,
        "forward",
        lambda values, grid, **k: seen.append(len(grid)) or compute(values, grid, **k),
    )
    with remember_pictures(model):
        features(model, (4, 4), (8, 6))
        features(model, (8, 6), (16, 16))
    assert seen == [2, 1]


def test_the_oldest_go_when_room_is_short(model):
    with remember_pictures(model, megabytes=0):
        first = features(model, (4, 4))
        features(model, (8, 6))
        assert torch.allclose(features(model, (4, 4)), first, atol=1e-6)


def test_a_tower_that_trains_is_left_alone(model):
    model.model.visual.requires_grad_(True)
    with remember_pictures(model):
        assert "forward" not in vars(model.model.visual)
    model.model.visual.requires_grad_(False)

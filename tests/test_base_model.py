"""The shipped models' own chain at a tiny scale: every stage runs, and what is there stays."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from air_reasoning.base_model import BaseModelConfig, Round, run_base_model, samples_name
from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.cold_start import read_samples
from air_reasoning.json_io import read_json
from air_reasoning.models.shipped import WEIGHTS


def config(**changes):
    rounds = (Round(steps=2, batch=2, practice_rows=1), Round(steps=1, batch=2, practice_rows=1))
    small = {
        "reading_steps": 2, "reading_batch": 2, "processes": 1, "shards": 0, "tasks": 6,
        "rounds": rounds, "threads": 1, "test_tasks": 2, "test_pictures": 1, "install": False,
    }  # fmt: skip
    return Resolved(value=BaseModelConfig(**small | changes), provenance={})


def weights(folder: Path):
    return load_file(folder / "model.safetensors")


@pytest.mark.timeout(300)
def test_the_chain_leaves_two_models_with_their_cards_and_goes_on_where_it_was(tmp_path):
    shipped = {p: p.read_bytes() for p in WEIGHTS.glob("*/README.md")}
    options = RunOptions(run_dir=tmp_path / "run", display="none")
    run_base_model(config(), options)
    base, round_1, cold_start = (tmp_path / "run" / n for n in ("base", "round_1", "cold_start"))
    for folder in (base, cold_start):
        Qwen3VLForConditionalGeneration.from_pretrained(folder)
        assert weights(folder)["model.visual.pos_embed.weight"].dtype == torch.float16
        assert "| all | " in (folder / "README.md").read_text()
        assert set(read_json(folder / "figures.json")) >= {"reading", "greedy", "direct"}
    assert "Round 2: 1 updates of 2 samples" in (cold_start / "README.md").read_text()
    tower, moved = (
        "model.visual.pos_embed.weight",
        "model.language_model.layers.0.self_attn.q_proj.weight",
    )
    assert torch.equal(weights(base)[tower], weights(cold_start)[tower])
    states = [weights(folder)[moved] for folder in (base, round_1, cold_start)]
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    assert {p: p.read_bytes() for p in shipped} == shipped

    # Interrupted between the rounds: only what is missing is made again, and it is the same.
    before = weights(cold_start)
    for path in cold_start.iterdir():
        path.unlink()
    run_base_model(config(), options)
    assert all(torch.equal(before[name], value) for name, value in weights(cold_start).items())


@pytest.mark.timeout(300)
def test_rounds_show_their_own_samples_of_the_same_tasks(tmp_path):
    calls = {"code": 1.0, "repair": 0.0, "give_up": 0.0, "kind_spread": 0.0}
    rounds = (
        Round(steps=1, batch=2, practice_rows=0),
        Round(cold_start=calls, steps=1, batch=2, practice_rows=0),  # pyright: ignore
    )
    options = RunOptions(run_dir=tmp_path / "run", display="none")
    run_base_model(config(rounds=rounds, shipped_base=True), options)
    data = tmp_path / "run" / "cold_start_data"
    first, second = (read_samples(data, samples_name(n)) for n in (0, 1))
    assert {s.mode for _, s in second} == {"code"} != {s.mode for _, s in first}
    assert {t.id for t, _ in second} >= {t.id for t, _ in first}
    shipped, used = WEIGHTS / "base", tmp_path / "run" / "base"
    assert all(torch.equal(weights(shipped)[n], v) for n, v in weights(used).items())

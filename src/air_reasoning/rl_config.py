"""All settings of ``air rl``, and what of them changes a result."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from air_reasoning.advantage import AdvantageConfig
from air_reasoning.alarms import AlarmConfig
from air_reasoning.config import Config
from air_reasoning.engine import EngineConfig
from air_reasoning.logprobs import Layout
from air_reasoning.loss import LossConfig
from air_reasoning.models.lora import LoraConfig
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import OptimizerConfig
from air_reasoning.reading_anchor import AnchorConfig
from air_reasoning.reward import RewardConfig
from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.samplers.settings import UNMOVING as ENDPOINT_UNMOVING
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.training_samples import SamplesConfig


class RLConfig(Config):
    """What to train on what, how to pay it, and how far to go."""

    model: ModelConfig = ModelConfig()
    """The checkpoint to start from."""
    tasks: Path
    """Task folder or file; tasks marked split: test are refused."""
    steps: int = Field(default=180, ge=1)
    """Batches of roll-outs; updates, if ``updates`` is 1."""
    prompts: int = Field(default=16, ge=1)
    """Tasks a step."""
    group_size: int = Field(default=8, ge=2)
    """Roll-outs of each task; one alone has nothing to be compared with."""
    n_forbid: int = Field(default=2, ge=0)
    """How many of them may not use code, so that what code is worth stays measurable."""
    refill: int = Field(default=0, ge=0)
    """Rounds of further tasks for groups that turned out constant (dynamic sampling)."""
    updates: int = Field(default=1, ge=1)
    """Optimiser steps on each step's samples, each on its share of the groups; above 1 the clip of
    the loss acts."""
    max_staleness: int = Field(default=0, ge=0)
    """How many updates old the policy of a roll-out may be. Above 0 roll-outs of later steps run
    while one trains, on a copy of the model; the sampler weights of the loss correct for it."""
    seed: int = 0
    """Fixes task order and every random number."""
    bf16: bool = True
    """Compute the update in bfloat16; weights stay in float32."""
    attention: str = "eager"
    """How the update computes attention: eager is fastest in bf16 on a CPU; on a GPU sdpa."""
    layout: Layout = "shared"
    """How the update lays out rows, with equal results: shared computes each prompt once, padded
    every row whole, packed every row whole without padding (for flash_attention_2)."""
    gradient_checkpointing: bool = False
    """Hold only each layer's input and compute the rest again: less memory, a third more time.
    Not with layout shared."""
    micro_batch_tokens: int = Field(default=32768, ge=1)
    """Padded tokens that go through the model at once (gradient accumulation); the result does not
    depend on it."""
    threads: int = Field(default=1, ge=1)
    """Threads of torch. More than one is slower on a busy machine."""
    processes: int = Field(default=1, ge=1)
    """Processes that share roll-outs and update; the result does not depend on it."""
    sharding: Literal["none", "fsdp2"] = "none"
    """none: every process holds the whole model; fsdp2: weights, gradients and averages are
    spread, and a whole copy is kept for sampling."""
    rollout: RolloutConfig = RolloutConfig(max_turns=3, max_new_tokens=160)
    """How far a trajectory may go."""
    reward: RewardConfig = RewardConfig()
    """What a trajectory is paid."""
    advantage: AdvantageConfig = AdvantageConfig()
    """How it is compared with its group."""
    samples: SamplesConfig = SamplesConfig()
    """Which trajectories are left out of the loss."""
    loss: LossConfig = LossConfig()
    """The policy loss."""
    anchor: AnchorConfig = AnchorConfig()
    """Keeps a small model reading."""
    optimizer: OptimizerConfig = OptimizerConfig(
        lr=4e-4, warmup_steps=5, decay_share=0.3, freeze=("model.visual",)
    )
    """Rule and schedule."""
    lora: LoraConfig = LoraConfig()
    """Low-rank adapters instead of whole weights."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""
    endpoint: EndpointConfig = EndpointConfig()
    """vLLM servers that roll out instead of this process (api vllm; processor is the model's own);
    they are given the new weights before each step."""
    weights_folder: Path | None = None
    """Where new weights are laid for the servers, which have to read the same path; None: the
    folder ``weights`` of the run."""
    alarms: AlarmConfig = AlarmConfig()
    """Bands that figures should stay in."""
    save_every: int = Field(default=20, ge=1)
    """Steps between checkpoints; Ctrl-C makes one, too."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints that are kept, apart from the best."""
    best_by: str = "accuracy"
    """The figure, averaged over the steps since the checkpoint before, whose highest checkpoint is
    kept, too; empty: none is."""
    write_every: int = Field(default=10, ge=1)
    """Steps between steps whose trajectories are written to the run folder."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.n_forbid >= self.group_size:
            raise ValueError(
                f"n_forbid is {self.n_forbid} of group_size {self.group_size}: at least one member "
                "must be free to call"
            )
        if self.rollout.temperature == 0:
            raise ValueError(
                "rollout.temperature is 0: greedy roll-outs are all alike and teach nothing; "
                "set it to 1"
            )
        if self.endpoint.url and self.endpoint.api != "vllm":
            raise ValueError(
                "endpoint.api has to be vllm: training needs token ids and log-probabilities"
            )
        if self.endpoint.url and self.processes > 1:
            raise ValueError("endpoint does not go with processes above 1; the servers roll out")
        if self.gradient_checkpointing and self.layout == "shared":
            raise ValueError(
                "gradient_checkpointing cannot keep the prompt's cache that layout: shared needs; "
                "set layout: padded or packed"
            )
        if self.lora.rank > 0 and self.sharding != "none":
            raise ValueError("lora and sharding do not go together; set sharding: none")
        return self


UNMOVING = (
    *("model", "tasks", "threads", "processes", "sharding", "alarms"),
    *("save_every", "keep_last", "best_by", "write_every"),
    *("weights_folder", *(f"endpoint.{name}" for name in ENDPOINT_UNMOVING)),
    *("engine.sandbox.urls", "engine.sandbox.token_env", "engine.sandbox.max_sessions"),
)
"""Settings that change no result, or are known by content instead of by path."""

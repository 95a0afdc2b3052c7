"""Settings of ``air eval``."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.engine import EngineConfig
from air_reasoning.eval.judge import ExtractorConfig, JudgeConfig
from air_reasoning.rollout import RolloutConfig
from air_reasoning.samplers.settings import EndpointConfig


class ModelConfig(Config):
    """Which checkpoint."""

    path: Path | None = None
    """Folder of a Qwen-VL checkpoint; None: the shipped cold start."""
    name: str = ""
    """Its name in tables; empty: the folder's."""
    script: Path | None = None
    """JSON file of turns by task id ("*": every other task), played back instead of the model."""


class PriceConfig(Config):
    """What tokens cost, for the report; 0: not told."""

    prompt: float = Field(default=0, ge=0)
    """Price of a million prompt tokens (tool output included), in any currency."""
    completion: float = Field(default=0, ge=0)
    """Price of a million tokens that the model writes."""


class EvalConfig(Config):
    """What is measured on what, and how often."""

    benchmark: str = ""
    """Task folder, task file, or a benchmark, as in mathvision or mathvision:FOLDER."""
    data: Path | None = None
    """Folder of the benchmark's files; None: AIR_BENCHMARKS/NAME."""
    split: str = ""
    """Split of a benchmark; empty: its first (testmini where there is one)."""
    scoring: Literal["official", "strict"] = "official"
    """official: the benchmark's own rules, quirks included; strict: this project's comparison."""
    model: ModelConfig = ModelConfig()
    """The checkpoint."""
    endpoint: EndpointConfig = EndpointConfig()
    """A model behind HTTP instead of the checkpoint; give it tokens with rollout.max_new_tokens."""
    decoding: Literal["greedy", "sampled", "both"] = "both"
    """greedy: once a task at temperature 0; sampled: repeats at rollout.temperature."""
    repeats: int = Field(default=1, ge=1)
    """Sampled roll-outs a task."""
    code: Literal["allow", "forbid", "both"] = "allow"
    """Whether the model may call code; both also measures what the tool is worth."""
    seed: int = 0
    """Fixes every trajectory's random numbers, whatever runs beside it."""
    max_connections: int = Field(default=256, ge=1)
    """Roll-outs at the same time."""
    max_unscored: float = Field(default=0.02, ge=0, le=1)
    """Share of trajectories that may be lost by our fault before the command exits with 3."""
    judge: JudgeConfig = JudgeConfig()
    """A model that compares free-form answers, where the benchmark officially has one."""
    extractor: ExtractorConfig = ExtractorConfig()
    """A model that reads the answer off a response, where the benchmark officially has one."""
    price: PriceConfig = PriceConfig()
    """Only for the report."""
    rollout: RolloutConfig = RolloutConfig()
    """How far a trajectory may go, and how it is sampled."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""

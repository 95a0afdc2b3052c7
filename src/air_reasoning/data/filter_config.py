"""Settings of ``air data filter``."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from air_reasoning.config import Config
from air_reasoning.data.budget import BudgetConfig
from air_reasoning.data.writer import WriterConfig
from air_reasoning.engine import EngineConfig
from air_reasoning.eval.settings import ModelConfig
from air_reasoning.rollout import RolloutConfig
from air_reasoning.samplers.settings import EndpointConfig


class DuplicatesConfig(Config):
    """What counts as the same item again."""

    remove: bool = True
    """Leave out near-duplicates of tasks that come earlier."""
    similarity: float = Field(default=0.8, gt=0, le=1)
    """Share of five-letter runs that two questions have in common, the same numbers given."""
    benchmarks: tuple[str, ...] = ()
    """Evaluation sets to keep apart: NAME:FOLDER of a known benchmark, or task folders."""


class FilterConfig(Config):
    """Which tasks to select, by what."""

    tasks: Path
    """Task folder or task file."""
    duplicates: DuplicatesConfig = DuplicatesConfig()
    """Near-duplicates and evaluation items."""
    judge: WriterConfig | None = None
    """A model that checks question, picture and gold answer; None: no judge."""
    votes: int = Field(default=1, ge=1)
    """Verdicts of the judge a task; most of them decide."""
    drop_disputed: bool = True
    """Leave out tasks whose gold answer the judge disputes; they are reported in any case."""
    prompts: Path | None = None
    """Folder of own prompts (judge.jinja); None: the shipped one."""
    k_code: int = Field(default=8, ge=0)
    """Roll-outs a task with code allowed; 0 and 0: no roll-outs at all."""
    k_text: int = Field(default=8, ge=0)
    """Roll-outs a task with code forbidden."""
    band: tuple[float, float] = (0.0, 1.0)
    """Pass rate over both kinds of roll-outs, strictly inside, of tasks that are kept."""
    margin: float = Field(default=0.25, gt=0, le=1)
    """Difference of pass rates from which on code helps or hurts."""
    model: ModelConfig = ModelConfig()
    """The current policy: a checkpoint, or a script that is played back."""
    endpoint: EndpointConfig = EndpointConfig()
    """The current policy behind HTTP instead."""
    rollout: RolloutConfig = RolloutConfig()
    """How far a trajectory may go, and how it is sampled."""
    engine: EngineConfig = EngineConfig()
    """The policy's surroundings."""
    seed: int = 0
    """Fixes every trajectory's random numbers, whatever runs beside it."""
    max_connections: int = Field(default=256, ge=1)
    """Roll-outs at the same time."""
    max_lost: float = Field(default=0.02, ge=0, le=1)
    """Share of roll-outs and verdicts that may be lost before the command exits with 3."""
    budget: BudgetConfig = BudgetConfig()
    """Caps of judge and roll-outs together; max_requests and the pace are the judge's alone."""

    @model_validator(mode="after")
    def _band_is_one(self) -> Self:
        if not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError("band: two pass rates between 0 and 1, the smaller one first")
        return self

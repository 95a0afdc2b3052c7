"""Settings of ``air data cold-start``."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.data.budget import BudgetConfig
from air_reasoning.data.checks import FailedCells
from air_reasoning.data.writer import WriterConfig
from air_reasoning.sandbox.settings import SandboxConfig


class TwoStageConfig(Config):
    """Who writes what for which tasks, what is kept, and what it may cost."""

    tasks: Path
    """Task folder or task file; tasks of evaluation sets (split: test) are refused."""
    teacher: WriterConfig = WriterConfig()
    """Writes the textual solutions."""
    rewriter: WriterConfig | None = None
    """Turns heavy computations into cells; None: the teacher does."""
    rewriter_sees_pictures: bool = False
    """Send the pictures to the rewriter, too; dearer, and needed only if its cells shall measure or
    crop them."""
    prompts: Path | None = None
    """Folder of own prompts (thought.jinja, rewrite.jinja); None: the shipped ones."""
    format: Literal["air", "thyme", "deepeyesv2"] = "air"
    """Tags of the samples."""
    samples: int = Field(default=4, ge=1)
    """Textual solutions a task, at most."""
    ask: Literal["until_kept", "all"] = "until_kept"
    """until_kept: a further solution is asked for only while too few are kept; all: always."""
    keep_per_task: int = Field(default=1, ge=1)
    """Samples kept a task, at most."""
    easy: Literal["direct", "rewrite"] = "direct"
    """Tasks marked needs_code: false keep the text as a code-free sample, or are rewritten too."""
    direct_share: float = Field(default=0.3, ge=0, lt=1)
    """Largest share of code-free samples among those kept. Changing it and running again costs
    nothing: the selection is made anew from what is there."""
    failed_cells: FailedCells = "reject"
    """reject: every cell has to run; repaired: a cell may raise if a later one works."""
    output_chars: int = Field(default=2000, ge=16)
    """Characters of a cell's output that are kept; the middle is cut out."""
    cell_timeout_s: float | None = Field(default=None, gt=0)
    """Seconds of wall time for one cell; None: the sandbox's own limit."""
    seed: int = 0
    """Of sampling and of the cells' random numbers."""
    max_connections: int = Field(default=32, ge=1)
    """Tasks under way at the same time."""
    max_lost: float = Field(default=0.02, ge=0, le=1)
    """Share of tasks without a response that is accepted before the command exits with 3."""
    budget: BudgetConfig = BudgetConfig()
    """Caps and pace."""
    assume_right: float = Field(default=0.6, ge=0, le=1)
    """For the estimate before anything is measured: share of right textual solutions."""
    assume_code: float = Field(default=0.7, ge=0, le=1)
    """For the same: share of right ones that are rewritten."""
    sandbox: SandboxConfig = SandboxConfig(max_sessions=16)
    """Where the cells run."""

    @property
    def rewriting(self) -> WriterConfig:
        """The rewriter, also where it is the teacher."""
        return self.rewriter or self.teacher

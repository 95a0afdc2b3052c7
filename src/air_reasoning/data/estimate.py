"""What a cold start will cost, before it is paid: requests, tokens and dollars, stage by stage.

Where the run folder holds a ledger already, tokens and shares are those measured so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from air_reasoning.data.budget import price, prompt_tokens
from air_reasoning.data.cold_start_config import TwoStageConfig
from air_reasoning.data.ledger import Ledger
from air_reasoning.data.prompts import Prompts
from air_reasoning.data.writer import WriterConfig
from air_reasoning.display import table
from air_reasoning.types import Task

LOOKED_AT = 200
"""Tasks whose prompts are rendered for the mean."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Part:
    """One kind of request: how many are expected and at most, and the mean tokens of each."""

    role: str
    requests: float
    most: int
    sent: float
    written: float
    cost: float
    cost_most: float


def estimate(
    tasks: Sequence[Task], config: TwoStageConfig, prompts: Prompts, ledger: Ledger | None = None
) -> list[Part]:
    """Expected and largest cost of all tasks, from nothing; prices of 0 give 0."""
    looked = tasks[:: max(1, len(tasks) // LOOKED_AT)][:LOOKED_AT]
    teacher, rewriter = config.teacher, config.rewriting
    thought = sum(
        prompt_tokens(prompts.render("thought", task), task.images, teacher.max_pixels)
        for task in looked
    ) / len(looked)
    blank = sum(
        prompt_tokens(
            prompts.render("rewrite", task, thought=""),
            task.images if config.rewriter_sees_pictures else [],
            rewriter.max_pixels,
        )
        for task in looked
    ) / len(looked)
    right, asked = config.assume_right, _asked(config)
    coded = sum(t.meta.get("needs_code") is not False for t in tasks) / len(tasks)
    coded = 1.0 if config.easy == "rewrite" else coded
    rewrites = asked * right * coded
    if config.ask == "all":
        rewrites = min(rewrites, config.keep_per_task)
    most = len(tasks) * config.samples
    return [
        _part("thought", teacher, len(tasks) * asked, most, thought, ledger),
        _part(
            "rewrite", rewriter, len(tasks) * rewrites, round(most * coded),
            blank + teacher.expected_tokens, ledger,
        ),
    ]  # fmt: skip


def _asked(config: TwoStageConfig) -> float:
    """Mean textual solutions a task: tries until ``keep_per_task`` succeed, at most ``samples``."""
    if config.ask == "all":
        return config.samples
    success = config.assume_right * config.assume_code
    reached = [1.0] + [0.0] * config.keep_per_task  # by number kept so far
    tries = 0.0
    for _ in range(config.samples):
        open_share = sum(reached[:-1])
        tries += open_share
        moved = [share * success for share in reached[:-1]]
        for kept, share in enumerate(moved):
            reached[kept] -= share
            reached[kept + 1] += share
    return tries


def _part(
    role: str, writer: WriterConfig, requests: float, most: int, sent: float, ledger: Ledger | None
) -> Part:
    written: float = min(writer.expected_tokens, writer.max_tokens)
    if ledger is not None and (replies := ledger.counts[f"{role}/replies"]):
        sent = ledger.counts[f"{role}/prompt_tokens"] / replies
        written = ledger.counts[f"{role}/written"] / replies
    return Part(
        role=role, requests=requests, most=most, sent=sent, written=written,
        cost=price(writer.endpoint, requests * sent, requests * written),
        cost_most=price(writer.endpoint, most * sent * 4 / 3, most * writer.max_tokens),
    )  # fmt: skip


def estimate_text(
    tasks: Sequence[Task], config: TwoStageConfig, prompts: Prompts, ledger_file: Path
) -> str:
    """The table that ``--dry-run`` prints, and what it rests on."""
    ledger = Ledger(ledger_file) if ledger_file.is_file() else None
    try:
        parts = estimate(tasks, config, prompts, ledger)
        rows = [
            {
                "request": part.role,
                "expected": round(part.requests),
                "at most": part.most,
                "tokens sent": round(part.sent),
                "written": round(part.written),
                "expected $": f"{part.cost:.2f}",
                "at most $": f"{part.cost_most:.2f}",
            }
            for part in parts
        ]
        lines = [f"{len(tasks)} tasks; tokens are the mean of one request", table(rows), ""]
        lines.append(
            f"expected ${sum(p.cost for p in parts):.2f}, at most "
            f"${sum(p.cost_most for p in parts):.2f} for all tasks"
        )
        measured = ledger.counts["replies"] if ledger is not None else 0
        if ledger is not None and measured:
            lines.append(
                f"tokens are measured on {measured} responses that are paid "
                f"(${ledger.spent:.4f}) and will not be asked again"
            )
        else:
            lines.append(
                "tokens are estimated: 4 characters or 750 pixels each, expected_tokens written; "
                f"{config.assume_right:.0%} right and {config.assume_code:.0%} of them kept are "
                "assumptions (assume_right, assume_code); try --limit 20 and look again"
            )
        if not any(p.cost_most for p in parts):
            lines.append("no prices: set teacher.endpoint.input_price and output_price")
        cap = config.budget.max_cost
        lines.append(f"cap: {'none; set budget.max_cost' if cap is None else f'${cap:.2f}'}")
        return "\n".join(lines)
    finally:
        if ledger is not None:
            ledger.close()

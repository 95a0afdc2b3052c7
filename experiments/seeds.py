"""The main claim over several seeds: what each reward gains over the same cold start.

    for s in 0 1 2; do air quickstart --seed $s --run-dir runs/seed-$s; done
    python experiments/seeds.py runs/seed-0 runs/seed-1 runs/seed-2 > docs/results.md

Prints a Markdown page: every seed's figures and their mean, then each aim with the figure reached.
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

FIGURES = (
    "accuracy", "accuracy_easy", "accuracy_medium", "accuracy_hard", "accuracy_interleaved",
    "code_share_easy", "code_share_medium", "code_share_hard", "code_share_right",
    "code_share_wrong", "tool_success", "tokens_mean", "tokens_easy", "tokens_hard",
)  # fmt: skip
NAMES = ("cold_start", "outcome_grpo", "group_constrained")
Runs = list[dict[str, Any]]


def value(run: dict[str, Any], name: str, decoding: str, figure: str) -> float | None:
    """One figure of one run; None where it is undefined."""
    return run["checkpoints"][name][decoding][figure]["value"]


def mean(runs: Runs, name: str, decoding: str, figure: str) -> float | None:
    """Mean over the runs in which the figure is defined."""
    known = [v for r in runs if (v := value(r, name, decoding, figure)) is not None]
    return fmean(known) if known else None


def shown(number: float | None, figure: str) -> str:
    """Shares in percent."""
    if number is None:
        return "undefined"
    return f"{number:.1f}" if figure.startswith("tokens") else f"{100 * number:.1f}"


def figures_table(runs: Runs, decoding: str) -> str:
    """Rows are figures; cells are the mean and, in brackets, every seed."""
    lines = ["| | " + " | ".join(NAMES) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for figure in FIGURES:
        cells = []
        for name in NAMES:
            each = ", ".join(shown(value(r, name, decoding, figure), figure) for r in runs)
            cells.append(f"**{shown(mean(runs, name, decoding, figure), figure)}** ({each})")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def aims(runs: Runs) -> list[tuple[str, float | None, float, bool]]:
    """(aim, reached, wanted, reached is at least wanted rather than at most)."""

    def m(name: str, decoding: str, figure: str) -> float | None:
        return mean(runs, name, decoding, figure)

    def minus(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else 100 * (a - b)

    def percent(a: float | None) -> float | None:
        return None if a is None else 100 * a

    ours, theirs, cold = "group_constrained", "outcome_grpo", "cold_start"
    rows: list[tuple[str, float | None, float, bool]] = []
    for d in ("greedy", "sampled"):
        gain = minus(m(ours, d, "accuracy"), m(cold, d, "accuracy"))
        rows.append((f"accuracy gain over the cold start, {d}, points", gain, 6.1, True))
        behind = minus(m(theirs, d, "accuracy"), m(ours, d, "accuracy"))
        rows.append((f"accuracy behind outcome-only, {d}, points", behind, 1.0, False))
        rows.append((f"tool success, {d}, %", percent(m(ours, d, "tool_success")), 95, True))
        rows.append((f"code on hard, {d}, %", percent(m(ours, d, "code_share_hard")), 90, True))
        rows.append((f"code on easy, {d}, %", percent(m(ours, d, "code_share_easy")), 15, False))
        easy = percent(m(theirs, d, "code_share_easy"))
        rows.append((f"outcome-only's code on easy, {d}, %", easy, 80, True))
        tokens, more = m(ours, d, "tokens_easy"), m(theirs, d, "tokens_easy")
        fewer = None if tokens is None or not more else 100 * (1 - tokens / more)
        rows.append((f"fewer tokens on easy than outcome-only, {d}, %", fewer, 20, True))
    interleaved = minus(
        m(ours, "sampled", "accuracy_interleaved"), m(cold, "sampled", "accuracy_interleaved")
    )
    rows.append(("gain on interleaved samples, sampled, points", interleaved, 9.9, True))
    return rows


def aims_table(runs: Runs) -> str:
    """Each aim with the mean over the seeds."""
    lines = ["| aim | wanted | mean of the seeds | |", "|---|---|---|---|"]
    for text, reached, wanted, at_least in aims(runs):
        sign = "≥" if at_least else "≤"
        if reached is None:
            lines.append(f"| {text} | {sign} {wanted} | undefined | |")
            continue
        good = reached >= wanted if at_least else reached <= wanted
        lines.append(
            f"| {text} | {sign} {wanted} | {reached:.1f} | {'yes' if good else '**no**'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the summaries and print the page."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    if not folders:
        sys.exit("usage: python experiments/seeds.py RUN_FOLDER...")
    runs: Runs = [json.loads((f / "summary.json").read_text()) for f in folders]
    seeds = ", ".join(str(run["seed"]) for run in runs)
    tests = value(runs[0], "cold_start", "greedy", "n")
    print(f"# Results: {len(runs)} seeds ({seeds}), {tests:.0f} held-out tasks each\n")
    print((__doc__ or "").split("\n\n")[1] + "\n")
    print("Every cell is the mean over the seeds and, in brackets, each seed. Shares in percent.\n")
    print("## Aims\n\n" + aims_table(runs) + "\n")
    for decoding, title in (("greedy", "Greedy"), ("sampled", "Sampled at temperature 1")):
        print(f"## {title}\n\n" + figures_table(runs, decoding) + "\n")


if __name__ == "__main__":
    main()

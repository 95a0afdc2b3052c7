"""What ``air data import | export | validate`` print at the end."""

from pathlib import Path

from air_reasoning.data.exporting import Exported
from air_reasoning.data.formats.record import REASONS
from air_reasoning.data.importing import REJECTED_NAME, Imported
from air_reasoning.data.validate import MEANING, Validated
from air_reasoning.display import table


def imported_text(counts: Imported, folder: Path) -> str:
    """How many rows became what, why others did not, and columns that were not understood."""
    lines = [
        f"{counts.rows} rows of format {counts.format}: {counts.tasks} tasks, "
        f"{counts.samples} samples, {sum(counts.rejected.values())} rejected"
    ]
    rows = [
        {"rejected": reason, "rows": n, "meaning": REASONS.get(reason, "")}
        for reason, n in counts.rejected.most_common()
    ]
    if rows:
        lines += ["", table(rows), f"each with its place in {folder / REJECTED_NAME}"]
    if counts.unread:
        lines += ["", table([{"column not used": n, "rows": c} for n, c in counts.unread.items()])]
    lines += ["", f"check it: air data validate {folder}"]
    return "\n".join(lines)


def exported_text(counts: Exported, out: Path) -> str:
    """What the format holds, what our column keeps, what is lost."""
    lines = [f"{counts.rows} {counts.what} in {out}, format {counts.format}"]
    rows = [
        {"field": name, "rows": n, "held": "in the column air, which only air reads"}
        for name, n in counts.carried.items() if name != "question_only"
    ]  # fmt: skip
    rows += [{"field": name, "rows": n, "held": "lost"} for name, n in counts.lost.items()]
    return "\n".join([*lines, "", table(rows)]) if rows else lines[0]


def validated_text(counts: Validated, report: Path | None) -> str:
    """Problems by kind, with their first examples."""
    head = f"{counts.tasks} tasks, {counts.samples} samples looked at"
    if counts.replayed.cells:
        again = counts.replayed
        head += f", {again.cells} cells run again ({again.lost} lost by the sandbox)"
    if not counts.findings:
        return f"{head}: nothing found"
    rows = [
        {"problem": problem, "count": counts.findings[problem], "meaning": meaning}
        for problem, meaning in MEANING.items() if counts.findings[problem]
    ]  # fmt: skip
    lines = [f"{head}: {sum(counts.findings.values())} findings", "", table(rows), ""]
    for problem in MEANING:
        for finding in counts.examples.get(problem, ()):
            lines.append(f"{problem}  {finding.where}  {finding.item}  {finding.detail}")
    if report is not None:
        lines += ["", f"all of them: {report}"]
    return "\n".join(lines)

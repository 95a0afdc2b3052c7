"""A small line chart in text: enough to see where a curve goes."""

from collections.abc import Mapping, Sequence

MARKS = "○△■●◇"


def chart(series: Mapping[str, Sequence[float | None]], *, width: int = 60, height: int = 8) -> str:
    """Curves of values in 0..1 over steps, each mark the mean of its column; None is left out.

    Later series are drawn over earlier ones.
    """
    grid = [[" "] * width for _ in range(height)]
    for mark, values in zip(MARKS, series.values(), strict=False):
        for column in range(width):
            low = column * len(values) // width
            high = max(low + 1, (column + 1) * len(values) // width)
            known = [v for v in values[low:high] if v is not None]
            if known:
                share = sum(known) / len(known)
                grid[height - 1 - min(height - 1, int(share * height))][column] = mark
    labels = {0: "100 %", height // 2: " 50 %", height - 1: "  0 %"}
    lines = [f"{labels.get(i, ''):>5} │{''.join(row)}" for i, row in enumerate(grid)]
    steps = max((len(v) for v in series.values()), default=0)
    lines.append("      └" + "─" * width)
    legend = "   ".join(f"{mark} {name}" for mark, name in zip(MARKS, series, strict=False))
    lines.append(f"       step 1{f'{steps}':>{max(1, width - 6)}}")
    lines.append(f"       {legend}")
    return "\n".join(lines)

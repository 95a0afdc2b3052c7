"""Figures of several roll-outs of one task: mean@k, pass@k and maj@k.

    repeat_figures(records)["pass@4"]

A task with k scored roll-outs of which c are right counts c/k for mean@k; 1 - C(k-c, j)/C(k, j) for
pass@j (Chen et al. 2021, unbiased for j <= k); and for maj@k whether the answer that most roll-outs
give is right. Answers are the same if they are after ``answers.normalize`` and case; "no answer"
has no vote; of equally frequent answers the one that came first wins. Tasks of which we lost a
roll-out are left out, so that k is the same for all.
"""

import math
from collections import Counter
from collections.abc import Sequence

from air_reasoning.answer_values import normalize
from air_reasoning.intervals import Metric, mean, share
from air_reasoning.metrics import Record


def repeat_figures(records: Sequence[Record]) -> dict[str, Metric]:
    """``mean@k``, ``pass@1`` ... ``pass@k`` in powers of two, ``maj@k``; empty for k = 1."""
    tasks = dict[str, list[Record]]()
    for record in records:
        tasks.setdefault(record.task_id, []).append(record)
    k = max((len(of) for of in tasks.values()), default=0)
    whole = {
        name: of
        for name, of in tasks.items()
        if len(of) == k and not any(record.unscored for record in of)
    }
    if k < 2 or not whole:
        return {}
    names, right = list(whole), [sum(r.correct for r in of) for of in whole.values()]
    figures = {f"mean@{k}": mean([c / k for c in right], names)}
    for j in sorted({2**n for n in range(k.bit_length())} | {k}):
        figures[f"pass@{j}"] = mean([pass_at(j, k, c) for c in right], names)
    figures[f"maj@{k}"] = share([majority_is_right(of) for of in whole.values()], names)
    return figures


def pass_at(j: int, k: int, right: int) -> float:
    """The chance that j of k roll-outs, drawn without putting back, hold a right one.

    ``pass_at(2, 4, 1)`` is 0.5.
    """
    return 1 - math.comb(k - right, j) / math.comb(k, j)


def majority_is_right(records: Sequence[Record]) -> bool:
    """Whether the most frequent answer is right, by the verdict on its first occurrence."""
    votes = [
        (normalize(record.answer).casefold(), record.correct) for record in records if record.answer
    ]
    if not votes:
        return False
    counts = Counter(answer for answer, _ in votes)
    winner = max(counts, key=lambda answer: counts[answer])  # the first of equals
    return next(correct for answer, correct in votes if answer == winner)

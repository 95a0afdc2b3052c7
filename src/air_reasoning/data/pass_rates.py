"""What a policy makes of a task: pass rates with code and without, the band, the marks."""

from collections.abc import Sequence
from dataclasses import dataclass

from air_reasoning.data.reasons import Rejection
from air_reasoning.metrics import Record


@dataclass(kw_only=True, slots=True)
class PassRates:
    """Right ones among the roll-outs that were scored, with code allowed and forbidden."""

    right_code: int = 0
    k_code: int = 0
    right_text: int = 0
    k_text: int = 0

    def add(self, record: Record, *, code: bool) -> None:
        """Count one roll-out; what we lost is in no rate."""
        if record.unscored:
            return
        if code:
            self.right_code += record.correct
            self.k_code += 1
        else:
            self.right_text += record.correct
            self.k_text += 1

    @property
    def p_code(self) -> float | None:
        """Pass rate with code allowed; None without roll-outs."""
        return self.right_code / self.k_code if self.k_code else None

    @property
    def p_text(self) -> float | None:
        """Pass rate with code forbidden; None without roll-outs."""
        return self.right_text / self.k_text if self.k_text else None

    @property
    def p(self) -> float | None:
        """Over both."""
        k = self.k_code + self.k_text
        return (self.right_code + self.right_text) / k if k else None


def outside(rates: PassRates, band: tuple[float, float]) -> Rejection | None:
    """Why a task is left out: its pass rate over both has to be strictly inside ``band``.

    >>> outside(PassRates(right_code=3, k_code=4, k_text=4), (0.0, 1.0)) is None
    True
    >>> outside(PassRates(k_code=4, k_text=4), (0.0, 1.0)).value
    'never_solved'
    """
    p = rates.p
    if p is None:
        raise ValueError("a task without roll-outs has no pass rate")
    if p == 0 and band[0] >= 0:
        return Rejection.NEVER_SOLVED
    if p == 1 and band[1] <= 1:
        return Rejection.ALWAYS_SOLVED
    if p <= band[0]:
        return Rejection.BELOW_BAND
    return Rejection.ABOVE_BAND if p >= band[1] else None


def marks(rates: PassRates, margin: float) -> dict[str, bool]:
    """``needs_code``: solved with code and never without; ``code_helps`` and ``code_hurts``: the
    rates differ by at least ``margin``. None of them where one side has no roll-outs.

    >>> marks(PassRates(right_code=3, k_code=4, right_text=0, k_text=4), 0.25)
    {'needs_code': True, 'code_helps': True, 'code_hurts': False}
    """
    p_code, p_text = rates.p_code, rates.p_text
    if p_code is None or p_text is None:
        return {}
    return {
        "needs_code": p_code > 0 and p_text == 0,
        "code_helps": p_code - p_text >= margin,
        "code_hurts": p_text - p_code >= margin,
    }


def histogram(values: Sequence[float], bins: int = 10) -> list[int]:
    """Counts of values in [0, 1] in equal bins; 1 goes into the last one.

    >>> histogram([0.0, 0.05, 0.5, 1.0], 2)
    [2, 2]
    """
    counts = [0] * bins
    for value in values:
        counts[min(int(value * bins), bins - 1)] += 1
    return counts

"""One line of the doctor's report."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failure"]


@dataclass(kw_only=True, slots=True, frozen=True)
class Finding:
    """What was looked at and found; ``mend`` is what to do, empty if all is well.

    A ``warning`` leaves some part of the work out of reach, or slow; a ``failure`` is something
    that every part needs, or that was asked for.
    """

    check: str
    state: State
    found: str
    mend: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    """Some part of the work is out of reach."""
    return Finding(check=check, state="warning", found=found, mend=mend)


def failure(check: str, found: str, mend: str) -> Finding:
    """Nothing works before this is mended."""
    return Finding(check=check, state="failure", found=found, mend=mend)

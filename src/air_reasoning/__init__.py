"""Multimodal models that reason and compute by turns: train, run, evaluate and look at them.

from air_reasoning import solve
trajectory = solve("chart.png", "What is the mean of all values?")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from air_reasoning.api import solve, solve_async

__version__ = "0.1.0"
__all__ = ["__version__", "solve", "solve_async"]


def __getattr__(name: str) -> Any:
    """``solve`` and ``solve_async`` are imported when they are first asked for."""
    if name in ("solve", "solve_async"):
        from air_reasoning import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

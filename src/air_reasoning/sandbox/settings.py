"""Settings of the sandbox."""

from pydantic import Field

from air_reasoning.config import Config

DEFAULT_PRELOAD = [
    "bisect",
    "collections",
    "copy",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
]


class SandboxConfig(Config):
    """How many sessions, and what each may use."""

    timeout_s: float = Field(default=10.0, gt=0)
    """Seconds of wall time for one cell; then it is interrupted, at last killed."""
    grace_s: float = Field(default=0.2, gt=0)
    """Seconds that an interrupted cell has to come back with its variables before it is killed."""
    memory_mb: int = Field(default=2048, ge=64)
    """Address space of each process of a session, in MiB."""
    max_sessions: int = Field(default=64, ge=1)
    """Sessions out at the same time; more wait."""
    output_chars: int = Field(default=65536, ge=256)
    """Bytes (UTF-8) of each of stdout, stderr, value and traceback; the middle is cut out."""
    max_images: int = Field(default=8, ge=0)
    """Images that one cell may give back."""
    max_image_pixels: int = Field(default=4_000_000, ge=1)
    """Width times height of an image given back; a larger one is left out with a notice."""
    preload: list[str] = DEFAULT_PRELOAD
    """Modules imported once, before sessions are forked; others cost their import each time."""
    python: str | None = None
    """Interpreter (3.11 or newer) whose packages the cells see; unset: the one that runs this."""

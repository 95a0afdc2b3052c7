"""Settings of the sandbox."""

from typing import Literal

from pydantic import Field

from air_reasoning.config import Config

# fmt: off
STANDARD = [
    "bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "json", "math", "operator", "random", "re", "statistics", "string",
]
PLOTTING = ["numpy?", "numpy.random?", "PIL.Image?", "sympy?", "matplotlib.pyplot?"]
SCIENCE = [
    "scipy.integrate?", "scipy.linalg?", "scipy.optimize?", "scipy.spatial?", "scipy.stats?",
    "pandas?", "networkx?", "sklearn.linear_model?", "sklearn.cluster?", "sklearn.metrics?",
]
# fmt: on


class SandboxConfig(Config):
    """How many sessions, and what each may use."""

    timeout_s: float = Field(default=10.0, gt=0)
    """Seconds of wall time for one cell; then it is interrupted, at last killed."""
    grace_s: float = Field(default=0.2, gt=0)
    """Seconds that an interrupted cell has to come back with its variables before it is killed."""
    memory_mb: int = Field(default=2048, ge=64)
    """Address space of each process of a session, in MiB."""
    disk_mb: int = Field(default=64, ge=1)
    """Files of a session together, and each one, in MiB; in memory with tier A."""
    tasks: int = Field(default=64, ge=1)
    """Processes and threads of a session; with tier C it may start threads only, of any number."""
    cpu_s: int = Field(default=600, ge=1)
    """Processor time of each process of a session, all cells together, in seconds; then it ends."""
    max_sessions: int = Field(default=64, ge=1)
    """Sessions out at the same time; more wait."""
    output_chars: int = Field(default=65536, ge=256)
    """Bytes (UTF-8) of each of stdout, stderr, value and traceback; the middle is cut out."""
    max_images: int = Field(default=8, ge=0)
    """Images that one cell may give back."""
    max_image_pixels: int = Field(default=4_000_000, ge=1)
    """Width times height of an image given back; a larger one is left out with a notice."""
    preload: list[list[str]] = Field(default=[STANDARD, PLOTTING, SCIENCE], min_length=1)
    """Modules imported once, in layers. A session comes from a parent process that has the layers
    up to the last one that its first cell names; what it imports beyond costs the import each time.
    A name that ends in ? may be missing."""
    ready_sessions: int = Field(default=2, ge=0)
    """Processes kept waiting for each layer in use, so that a session need not wait for one."""
    idle_s: float = Field(default=1800.0, gt=0)
    """Seconds without a cell after which a session's process is ended."""
    recycle_sessions: int = Field(default=20_000, ge=1)
    """Sessions after which a parent process is replaced; its sessions go on."""
    urls: tuple[str, ...] = ()
    """Addresses of sandbox servers (`air sandbox serve`) to run cells on instead of this machine;
    the limits of a session are then theirs, and only timeout_s and max_sessions are ours."""
    token_env: str = "SANDBOX_TOKEN"
    """Environment variable with the token of these servers."""
    packages: str | None = None
    """Interpreter (3.11 or newer), or folder of a virtual environment, whose packages the cells
    see; unset: the one that runs this."""
    tier: Literal["auto", "A", "B", "C"] = "auto"
    """Isolation to insist on; auto takes the strongest that this host allows, and refuses if there
    is none. A: namespaces; B: root without them; C: an ordinary user without them."""
    unsafe: bool = False
    """Run model-written code without isolation where there is none to be had."""

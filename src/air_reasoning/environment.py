"""What a result may depend on besides settings: versions and machine; no names, no secrets."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from air_reasoning import __version__

PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "pillow", "pydantic"),
    *("matplotlib", "scikit-learn", "vega-datasets", "math-verify"),
)


def environment() -> dict[str, Any]:
    """Versions of Python and packages (None: not installed), processor, threads, memory in MB.

    Reads package metadata only, so that nothing heavy is imported.
    """
    return {
        "air_reasoning": __version__,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "platform": f"{sys.platform}-{platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_count": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
    }


def package_version(name: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")

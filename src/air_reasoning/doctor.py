"""``air doctor``: what this machine has for each part of the work, and how to mend the rest."""

import asyncio
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import air_reasoning
from air_reasoning.display import table
from air_reasoning.environment import package_version
from air_reasoning.errors import AirError

TRAIN_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")
DATA_PACKAGES = ("pyarrow", "vega-datasets", "scikit-learn", "matplotlib")


@dataclass(kw_only=True, slots=True, frozen=True)
class Check:
    """One finding. ``mend`` is empty if all is well."""

    name: str
    found: str
    mend: str = ""


def doctor_command() -> int:
    """Print every check; 0 if all are well, 4 if something is missing."""
    checks = [
        Check(name="python", found=sys.version.split()[0]),
        *(_package(name, "train") for name in TRAIN_PACKAGES),
        *(_package(name, "data") for name in DATA_PACKAGES),
        _torchvision(),
        _weights(),
        _sandbox(),
    ]
    rows = [{"check": c.name, "found": c.found, "to do": c.mend or "-"} for c in checks]
    print(table(rows))
    return 4 if any(check.mend for check in checks) else 0


def _package(name: str, extra: str) -> Check:
    found = package_version(name)
    mend = "" if found else f"pip install 'air-reasoning[{extra}]'"
    return Check(name=name, found=found or "missing", mend=mend)


def _torchvision() -> Check:
    """A torchvision built for another torch breaks transformers' imports; none is needed."""
    version = package_version("torchvision")
    if version is None:
        return Check(name="torchvision", found="none (good: not needed)")
    if importlib.util.find_spec("torch") is None:
        return Check(name="torchvision", found=version)
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0][:60]
        mend = "pip uninstall torchvision, or install the build of your torch"
        return Check(name="torchvision", found=f"{version}, does not load: {reason}", mend=mend)
    return Check(name="torchvision", found=version)


def _weights() -> Check:
    folder = Path(air_reasoning.__file__).parent / "weights"
    models = sorted(file.parent.name for file in folder.glob("*/model.safetensors"))
    if models:
        return Check(name="shipped models", found=", ".join(models))
    return Check(name="shipped models", found="none", mend="make base-model")


def _sandbox() -> Check:
    try:
        result = asyncio.run(_run_a_cell())
    except (AirError, OSError) as error:
        return Check(name="sandbox", found=f"does not start: {error}", mend="see the message")
    if result != "2":
        return Check(name="sandbox", found=f"1 + 1 gave {result}", mend="report this")
    return Check(name="sandbox", found="works")


async def _run_a_cell() -> str | None:
    from air_reasoning.sandbox.process import ProcessPool
    from air_reasoning.sandbox.settings import SandboxConfig

    pool = ProcessPool(SandboxConfig())
    try:
        async with pool.session() as session:
            return (await session.run("1 + 1")).value
    finally:
        await pool.close()

"""What this machine offers: sandbox, models, memory, disk, open files, keys."""

import asyncio
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from air_reasoning.doctor.finding import Finding, failure, ok, warning
from air_reasoning.errors import AirError, PrerequisiteError
from air_reasoning.models.shipped import shipped_model
from air_reasoning.sandbox.probing import probe_host
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig

Kind = Callable[[str, str, str], Finding]
GIB = 2**30
LEAST_MEMORY = 3 * GIB
"""A training of the shipped model with its roll-outs takes 2.6 GB."""
LEAST_DISK, LEAST_TEMPORARY = 5 * GIB, GIB // 4


def sandbox_finding(config: SandboxConfig) -> Finding:
    """The tier in force, by a cell that ran; what a weaker tier lacks."""
    try:
        missing = {layer: why for layer, why in probe_host(config).items() if why}
        tier, value = asyncio.run(_one_cell(config))
    except (AirError, OSError) as error:
        return failure("sandbox", f"refuses: {error}", "docs/sandbox.md, Tiers")
    if value != "2":
        return failure("sandbox", f"tier {tier}, but 1 + 1 gave {value}", "air sandbox check")
    found = f"tier {tier}, a cell ran"
    if tier == "A":
        return ok("sandbox", found)
    if tier == "unsafe":
        return warning("sandbox", "NO ISOLATION: sandbox.unsafe is set", "docs/sandbox.md, Tiers")
    why = missing.get("user namespace") or missing.get("tier A") or "it was not asked for"
    return warning("sandbox", f"{found}; tier A, which is stronger: {why}", "air sandbox check")


async def _one_cell(config: SandboxConfig) -> tuple[str, str | None]:
    async with ProcessPool(config) as pool, pool.session() as session:
        execution = await session.run("1 + 1")
        return execution.tier, execution.value


def model_finding() -> Finding:
    """Whether this copy has the small models."""
    try:
        return ok("shipped model", str(shipped_model()))
    except PrerequisiteError:
        return warning("shipped model", "none", "make base-model; or name one with --model")


def memory_finding(files: Path = Path("/")) -> Finding:
    """Memory that can still be had, by the machine and by the control group.

    ``files``: where ``proc`` and ``sys`` are.
    """
    free, of = available_memory(files)
    found = f"{free / GIB:.1f} of {of / GIB:.1f} GiB free"
    if free >= LEAST_MEMORY:
        return ok("memory", found)
    mend = f"a training needs about {LEAST_MEMORY // GIB} GiB; end something, or train elsewhere"
    return warning("memory", found, mend)


def available_memory(files: Path) -> tuple[int, int]:
    """(free, in all) in bytes: the less of what the machine has and the control group may use."""
    lines = (files / "proc/meminfo").read_text().splitlines()
    known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    free, of = known["MemAvailable"], known["MemTotal"]
    group = files / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no limit ("max"), or no control groups of version 2
        return free, of
    return min(free, max(0, limit - used)), min(of, limit)


def disk_findings(folder: Path) -> list[Finding]:
    """Where runs go (``folder``) and where temporary files go."""
    temporary = Path(tempfile.gettempdir())
    mend = "free some space, or put runs elsewhere with --run-dir"
    found = [_disk("disk", folder, LEAST_DISK, warning, mend)]
    mend = "free some space, or name another folder in TMPDIR; the sandbox needs it"
    return [*found, _disk("temporary files", temporary, LEAST_TEMPORARY, failure, mend)]


def _disk(check: str, folder: Path, least: int, bad: Kind, mend: str) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free in {folder}"
    writable = os.access(folder, os.W_OK | os.X_OK)
    if writable and free >= least:
        return ok(check, found)
    return bad(check, found if writable else f"{folder} cannot be written", mend)


def files_finding(sessions: int, connections: int) -> Finding:
    """Whether a process may open as many files as so many roll-outs at once need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    needed = 2 * sessions + connections + 256
    found = f"a process may open {'any number of' if unlimited else soft} files"
    if unlimited or soft >= needed:
        return ok("open files", found)
    mend = f"ulimit -n {needed}" + ("" if hard >= needed else f" (as root: the limit is {hard})")
    return warning("open files", f"{found}; {sessions} sessions at once need {needed}", mend)


def key_finding(name: str, env: Mapping[str, str]) -> Finding:
    """Whether the key's variable is set; its value is never shown."""
    if not name:
        return ok("key", "endpoint.key_env is empty: none is sent")
    return ok("key", f"{name} is {'set' if env.get(name) else 'not set: none is sent'}")

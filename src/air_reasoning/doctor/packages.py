"""Python and its packages, by what this package's own metadata asks for."""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from air_reasoning.doctor.finding import Finding, failure, ok, warning
from air_reasoning.environment import package_version

EXTRAS = {
    "": "everything",
    "train": "models on this machine, and training",
    "data": "making tasks",
    "serve": "air serve",
}
TORCH = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"threads": torch.get_num_threads(), "gpus": gpus}))
"""
IMPORT_S = 180.0


def package_findings() -> list[Finding]:
    """Python, the packages of each extra, torch as it loads, and torchvision beside it."""
    try:
        wanted = requires("air-reasoning") or []
    except PackageNotFoundError:
        wanted = None
    found = [ok("python", f"{platform.python_version()} at {sys.executable}")]
    if wanted is None:
        mend = "pip install -e . (make setup)"
        found.append(warning("packages", "air-reasoning is imported, not installed", mend))
    else:
        found += [extra_finding(extra, wanted) for extra in EXTRAS]
    if package_version("torch") is not None:
        found += [torch_finding(), torchvision_finding()]
    return found


def extra_finding(extra: str, wanted: Sequence[str]) -> Finding:
    """Whether the packages of one extra are there and new enough.

    ``wanted`` are requirements as ``importlib.metadata.requires`` gives them.
    """
    check = f"packages [{extra}]" if extra else "packages"
    marker = f'extra == "{extra}"' if extra else ""
    rows = [row.partition(";") for row in wanted]
    names = [name.strip() for name, _, condition in rows if condition.strip() == marker]
    if not names:
        return warning(check, "the installed copy does not know this extra", "make setup")
    bad = [complaint for name in names if (complaint := _complaint(name))]
    if not bad:
        return ok(check, f"all {len(names)}")
    mend = f"pip install 'air-reasoning{f'[{extra}]' if extra else ''}'"
    kind = warning if extra else failure
    return kind(check, f"{', '.join(bad)}; needed for {EXTRAS[extra]}", mend)


def _complaint(requirement: str) -> str:
    """What is wrong with ``name>=version`` here, if anything."""
    name, _, least = requirement.partition(">=")
    found = package_version(name)
    if found is None:
        return f"{name} is missing"
    return f"{name} {found} is older than {least}" if numbers(found) < numbers(least) else ""


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers: ``2.13.0+cpu`` is (2, 13, 0)."""
    whole = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, whole[0].split("."))) if whole else ()


def torch_finding() -> Finding:
    """Whether torch loads, and what it runs on; in a process of its own."""
    version = package_version("torch")
    answer = _run(TORCH)
    if isinstance(answer, str):
        mend = "pip install --force-reinstall torch"
        return failure("torch", f"{version} does not load: {answer}", mend)
    gpus = answer["gpus"]
    where = ", ".join(gpus) if gpus else f"no GPU, {answer['threads']} threads"
    return ok("torch", f"{version}, {where}")


def torchvision_finding() -> Finding:
    """A torchvision built for another torch breaks transformers' imports; none is needed."""
    version, torch = package_version("torchvision"), package_version("torch")
    if version is None:
        return ok("torchvision", "none, and none is needed")
    answer = _run("import torchvision; print('{}')")
    if isinstance(answer, str):
        found = f"{version} does not load beside torch {torch}: {answer}"
        mend = "pip uninstall torchvision; or install the build that belongs to this torch"
        return failure("torchvision", found, mend)
    return ok("torchvision", f"{version} loads beside torch {torch}")


def _run(code: str) -> dict[str, Any] | str:
    """What ``code`` prints as JSON, or the last line of its complaint."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_S
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {IMPORT_S:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:160]
    return json.loads(done.stdout.strip().splitlines()[-1])

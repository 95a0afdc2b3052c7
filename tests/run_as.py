"""``run_as.py USER COMMAND...``: as root, run a command as another user that can reach our files.

The interpreter, its packages and this repository may lie below folders that only root may enter.
In a mount namespace of its own such a folder is covered by an open one that holds only these.
"""

import os
import sys
from pathlib import Path

from air_reasoning.sandbox.child import kernel

NEEDED = [sys.base_prefix, sys.prefix, str(Path(__file__).parent.parent), *sys.path]


def open_the_way(paths: list[str]) -> None:
    kernel.unshare(kernel.NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    hold = "/sys"  # a folder that nobody here needs
    kernel.mount("tmpfs", hold, "tmpfs", 0, "mode=755,size=1m")
    closed = {path: _closed_folder(path) for path in {os.path.realpath(p) for p in paths if p}}
    behind = {path: folder for path, folder in closed.items() if folder and Path(path).is_dir()}
    for number, path in enumerate(behind):
        Path(hold, str(number)).mkdir()
        kernel.mount(path, f"{hold}/{number}", None, kernel.MS_BIND | kernel.MS_REC)
    for folder in set(behind.values()):
        kernel.mount("tmpfs", folder, "tmpfs", 0, "mode=755,size=1m")
    for number, path in sorted(enumerate(behind), key=lambda pair: len(pair[1])):
        Path(path).mkdir(parents=True, exist_ok=True)
        kernel.mount(f"{hold}/{number}", path, None, kernel.MS_BIND | kernel.MS_REC)


def _closed_folder(path: str) -> str | None:
    for folder in [*reversed(Path(path).parents), Path(path)]:
        if folder.is_dir() and not folder.stat().st_mode & 0o001:
            return str(folder)
    return None


if __name__ == "__main__":
    os.environ["PATH"] = "/usr/bin:/bin"
    open_the_way(NEEDED)
    if int(sys.argv[1]):
        kernel.become(int(sys.argv[1]))
    os.environ.update(HOME="/tmp", TMPDIR="/tmp")
    os.execv(sys.argv[2], sys.argv[2:])

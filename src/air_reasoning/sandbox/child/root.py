"""What a session sees of the host's files: libraries, the interpreter and its packages. No more.

Not this project itself: the shipped models and the tasks' generators are hidden even where they are
installed among the packages.
"""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from . import kernel

SYSTEM = (
    "/bin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/share/fonts", "/usr/share/fontconfig", "/usr/share/zoneinfo", "/etc/fonts",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
HIDDEN = "air_reasoning"
HOME = "/home/session"  # the folder that a session mounts its own files on
USER = 1000


def visible() -> list[str]:
    """Existing paths, none inside another, and the module search path cut down to them."""
    homes = {sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)} - {"/usr"}
    found = [*SYSTEM, *(f"{home}/{part}" for home in homes for part in ("bin", "lib", "lib64"))]
    found += [f"{sys.prefix}/pyvenv.cfg"]
    found += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    paths: list[str] = []
    for path in sorted({os.path.normpath(path) for path in found}):
        if Path(path).exists() and not _below(path, paths):
            paths.append(path)
    sys.path[:] = [path for path in sys.path if _below(path, paths)]
    return paths


def _below(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}/") for other in others)


def hidden_in(paths: list[str]) -> list[str]:
    """Where this project lies inside ``paths``."""
    found = [str(Path(path) / HIDDEN) for path in sys.path if _below(path, paths)]
    return [path for path in found if Path(path).is_dir()]


def readable_rules(paths: list[str]) -> dict[str, int]:
    """Landlock rights for ``paths`` without what is hidden in them, which takes their siblings."""
    rules = {path: kernel.READ for path in paths}
    for secret in hidden_in(paths):
        top = next(path for path in paths if _below(secret, [path]))
        del rules[top]
        inner = Path(top)
        for part in [*Path(secret).relative_to(top).parts]:
            rules |= {str(path): kernel.READ for path in inner.iterdir() if path.name != part}
            inner /= part
    writable = kernel.READ | kernel.WRITE_FILE | kernel.IOCTL_DEV
    return rules | {path: writable for path in DEVICES if Path(path).exists()}


def build(paths: list[str], where: str) -> None:
    """Put a read-only root together on the folder ``where`` and move into it.

    ``where`` is removed from the host's view afterwards.

    Raises:
        OSError: a mount is refused.
    """
    secrets = hidden_in(paths)
    parent = os.open(Path(where).parent, os.O_PATH)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", where, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    for path in (*paths, *DEVICES):
        _show(path, where)
    for secret in secrets:
        kernel.mount("tmpfs", where + secret, "tmpfs", kernel.MS_RDONLY, "mode=755,size=4k")
    _write_own_files(Path(where))
    os.chdir(where)
    kernel.pivot_root()
    kernel.make_read_only("/")
    os.rmdir(Path(where).name, dir_fd=parent)
    os.close(parent)


def _show(path: str, where: str) -> None:
    target = Path(where + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(path).is_symlink() and path.count("/") == 1:  # /bin -> usr/bin and its like
        target.symlink_to(Path(path).readlink())
        return
    if stat.S_ISDIR(Path(path).stat().st_mode):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    kernel.mount(path, str(target), None, kernel.MS_BIND | kernel.MS_REC)


def _write_own_files(root: Path) -> None:
    (root / HOME[1:]).mkdir(parents=True)
    (root / "etc").mkdir(exist_ok=True)
    home = f"{HOME}/work"
    (root / "etc/passwd").write_text(f"session:x:{USER}:{USER}::{home}:/bin/sh\n", encoding="ascii")
    (root / "etc/group").write_text(f"session:x:{USER}:\n", encoding="ascii")
    for link, target in (
        ("tmp", f"{HOME}/tmp"),
        ("dev/shm", f"{HOME}/tmp"),
        ("dev/random", "urandom"),
    ):
        if not (root / link).exists():  # the environment shown may itself lie below /tmp
            (root / link).symlink_to(target)

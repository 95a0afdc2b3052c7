"""Counting and removing a session's files, however deep they are nested and whatever their rights.

Needed where no mount of its own does it. Nothing here recurses or follows a link.
"""

import contextlib
import itertools
import os
import secrets
from pathlib import Path

MIB = 1 << 20


def too_much(folder: Path, disk_mb: int, names: int) -> bool:
    """Whether there are more files or bytes than that, or places that cannot be counted."""
    size = count = 0
    waiting = [str(folder)]
    try:
        while waiting:
            for entry in os.scandir(waiting.pop()):
                with contextlib.suppress(FileNotFoundError):  # it may change under our eyes
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                count += 1
                if size > disk_mb * MIB or count > names:
                    return True
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def remove(folder: Path) -> None:
    """Remove it with everything in it; nothing may run in it any more. Absent is fine.

    What lies deeper is first moved up, so that no path gets long.
    """
    fresh = (f"{folder}/{secrets.token_hex(8)}-{number}" for number in itertools.count())
    with contextlib.suppress(OSError):
        while entries := list(os.scandir(folder)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    Path(entry.path).unlink()
                    continue
                Path(entry.path).chmod(0o700)
                for inner in list(os.scandir(entry.path)):
                    if inner.is_dir(follow_symlinks=False):
                        Path(inner.path).chmod(0o700)
                    Path(inner.path).rename(next(fresh))
                Path(entry.path).rmdir()
        folder.rmdir()

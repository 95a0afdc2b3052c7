"""The benchmarks by name. One file each in ``eval/benchmarks``; see there how each is scored."""

import difflib
import importlib
import os
from pathlib import Path
from typing import cast

from air_reasoning.config import BENCHMARKS_VARIABLE
from air_reasoning.errors import ConfigError
from air_reasoning.eval.benchmarks.adapter import Adapter

BENCHMARKS = (
    *("mathvista", "mathverse", "mathvision", "wemath", "dynamath", "logicvista", "chartqa"),
    *("olympiadbench", "geoqa", "generic"),
)


def find_adapter(name: str) -> Adapter:
    """The adapter of a benchmark. Raises ConfigError: no such name (with the nearest one)."""
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no benchmark {name!r}{hint} Known: {', '.join(BENCHMARKS)}")
    module = importlib.import_module(f"air_reasoning.eval.benchmarks.{name}")
    return cast(Adapter, module.ADAPTER)


def data_folder(adapter: Adapter, given: Path | None) -> Path | None:
    """The folder of a benchmark's files: as given, else ``$AIR_BENCHMARKS/NAME`` if that is set.

    A folder that holds all benchmarks is taken for the one in it.
    """
    if given is None:
        root = os.environ.get(BENCHMARKS_VARIABLE, "")
        return Path(root) / adapter.name if root else None
    inner = given / adapter.name
    return inner if inner.is_dir() else given

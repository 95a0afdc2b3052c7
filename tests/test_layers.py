"""A file imports only from lower layers, as the table in CONTRIBUTING.md says."""

import ast
import re
import subprocess
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "air_reasoning"
TORCH_FREE = ("cli", "viewer.*", "doctor.*", "api", "solve_cli", "serve.*")


def table() -> tuple[dict[str, int], list[str]]:
    """Pattern -> layer, and the patterns that may be imported inside their own layer."""
    layers: dict[str, int] = {}
    shared: list[str] = []
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        if row := re.match(r"\| (\d) \|(.*)\|.*\|(.*)\|$", line):
            layers |= dict.fromkeys(re.findall(r"`(.+?)`", row[2]), int(row[1]))
            shared += re.findall(r"`(.+?)`", row[3])
    return layers, shared


def modules() -> dict[str, ast.Module]:
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py"]
    name = {file: ".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in files}
    return {name[file]: ast.parse(file.read_text()) for file in files}


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("air_reasoning"):
            base = (node.module or "").removeprefix("air_reasoning").lstrip(".")
            joined = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= ({base} | joined) & known
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("air_reasoning.") for a in node.names} & known
    return found


def layer(module: str, layers: dict[str, int]) -> int:
    fitting = [pattern for pattern in layers if fnmatch(module, pattern)]
    assert fitting, f"{module} is missing in the table of CONTRIBUTING.md"
    return layers[max(fitting, key=len)]


def test_files_import_only_from_lower_layers():
    layers, shared = table()
    trees = modules()
    assert len(trees) > 10
    graph = {name: imports(tree, set(trees)) for name, tree in trees.items()}
    for name, used in graph.items():
        for other in used:
            own = name.rpartition(".")[0]
            same_folder = bool(own) and other.startswith(f"{own}.")
            inside = same_folder or any(fnmatch(other, pattern) for pattern in shared)
            here, there = layer(name, layers), layer(other, layers)
            assert there < here or (there == here and inside), f"{name} ({here}) imports {other}"
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_core_loads_no_heavy_library():
    layers, _ = table()
    core = [
        name
        for name in modules()
        if layer(name, layers) < 2 or any(fnmatch(name, pattern) for pattern in TORCH_FREE)
    ]
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('air_reasoning.{name}')\n" for name in core if "main" not in name
    )
    code += "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

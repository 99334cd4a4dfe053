"""The arrows of docs/architecture.md, proven from the source: nothing imports upward, nothing imports in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "itkm").rglob("*.py"))
}

FLOOR = {"errors", "files", "progress", "devices"}
METHOD = {"models", "losses", "labelling", "matching", "evaluation"}
BELOW_STAGES = {"config", "training", *METHOD, "data", *FLOOR}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "devices": set(),
    "files": {"errors"},
    "data": FLOOR,
    "losses": FLOOR,
    "labelling": FLOOR,
    "matching": {"labelling", *FLOOR},  # nearest neighbours
    "evaluation": {"labelling", *FLOOR},  # re-ranking
    "models": {"data", *FLOOR},
    "config": {"models", "labelling", "data", *FLOOR},
    "training": BELOW_STAGES - {"training", "evaluation"},
    "report": BELOW_STAGES - {"report", "training"},
    "tracking": {"config", *FLOOR},
    "runner": FLOOR,
    "feeds": {"config", "report", "evaluation", "labelling", "data", *FLOOR},
    "stages": {"feeds", "report", "tracking", *BELOW_STAGES},
    "registry": {"stages", "tracking", *BELOW_STAGES},
    "usage": {"tracking", *FLOOR},
    "purge": {"feeds", "data", *FLOOR},
    "pretrain": BELOW_STAGES,
    "retrieval": {"registry", "report", "training", "models", "evaluation", "data", *FLOOR},
    "ablation": {"stages", "report", "tracking", *BELOW_STAGES},
    "cli": {
        "ablation",
        "feeds",
        "purge",
        "runner",
        "registry",
        "stages",
        "usage",
        "pretrain",
        "retrieval",
        "report",
        *BELOW_STAGES,
    },
    "__main__": {"cli"},
}
"""Which other rooms a room may import."""

TRAINING_STAGES = ("homogeneous", "extract", "cluster", "prompts", "heterogeneous")
SUBCLASSING = ("itkm.feeds.expectations", "itkm.feeds.plan")  # of Great Expectations' classes; imported late, as it is
OPTIONAL = ("dvc", "prefect", "mlflow", "great_expectations", "faiss", "hdbscan", "h5py", "lmdb")


def room(module: str) -> str:
    """The part of `itkm` that a module belongs to; '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports, anywhere in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found & set(MODULES) - {module})


def closure(module: str, *, without: frozenset[str] = frozenset()) -> set[str]:
    """A module and all modules of ours that it imports, directly or not."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen and current not in without:
            seen.add(current)
            waiting.extend(imports(current))
    return seen


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_point_downwards(module: str) -> None:
    own = room(module)
    allowed = MAY_IMPORT.get(own, set()) | {own, ""}
    assert {target for target in imports(module) if room(target) not in allowed} == set()


def test_every_room_is_known() -> None:
    assert {room(module) for module in MODULES} - {""} == set(MAY_IMPORT)


def test_no_module_imports_in_a_circle() -> None:
    graph = {module: {target for target in imports(module) if target != "itkm"} for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_no_room_imports_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module in MODULES:
        if room(module):
            graph[room(module)] |= {room(target) for target in imports(module)} - {"", room(module)}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("stage", TRAINING_STAGES)
def test_training_cannot_reach_a_label(stage: str) -> None:
    reached = closure(f"itkm.stages.{stage}")
    assert not {module for module in reached if room(module) == "evaluation" or module == "itkm.data.evaluation"}


def test_the_method_needs_no_orchestrator_tracker_or_optional_library() -> None:
    rooms = [name for name in MODULES if room(name) not in {"", "cli", "__main__", "pretrain"}]
    method = [name for name in rooms if name not in SUBCLASSING]
    script = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocked())
for name in {method!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""The graph in dvc.yaml: it names all that a stage depends on, and a user's own data run through it."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from clone import Project, crops, make_clone
from itkm.cli.pipeline import SCENARIO_STAGES, STAGES
from itkm.config import Settings
from itkm.stages.layout import Layout

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "itkm").rglob("*.py"))
}
SCENARIO = "${item.scenario}"
NOT_FOLLOWED = {"itkm.config"}  # its values come in through `params`


# --- what dvc.yaml declares, against what the code does ---


@dataclass
class Reached:
    """What a stage's code reaches: files of ours, sections of params.yaml, paths of the layout."""

    files: set[str] = field(default_factory=set)
    sections: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layout_path(name: str) -> str:
    value = getattr(Layout(), name)
    return (value(SCENARIO) if callable(value) else value).as_posix()


def reached(stage: str) -> Reached:
    found = Reached()
    seen, waiting = set(NOT_FOLLOWED), [f"itkm.stages.{stage}"]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in MODULES:
            continue
        seen.add(module)
        tree = parsed(module)
        waiting += imported(tree)
        if MODULES[module].name != "__init__.py":
            found.files.add(MODULES[module].relative_to(ROOT).as_posix())
    for node in (node for code in stage_code(stage) for node in ast.walk(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "settings" and node.attr in Settings.model_fields:
                found.sections.add(node.attr)
            elif node.value.id == "layout" and node.attr != "root":
                found.paths.add(layout_path(node.attr))
    return found


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def stage_code(stage: str) -> Iterator[ast.AST]:
    """A stage's own code, and the functions that it takes from its neighbours."""
    tree = parsed(f"itkm.stages.{stage}")
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("itkm.stages."):
            names = {alias.name for alias in node.names}
            functions = ast.walk(parsed(str(node.module)))
            yield from (found for found in functions if isinstance(found, ast.FunctionDef) and found.name in names)


def declared(stage: str, *kinds: str) -> set[str]:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    entries = [entry for kind in kinds for entry in graph["stages"][stage].get(kind, [])]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def covered(path: str, by: set[str]) -> bool:
    return any(path == entry or path.startswith(f"{entry}/") for entry in by)


def test_the_stages_are_those_of_the_command() -> None:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert tuple(graph) == STAGES
    assert {stage for stage in graph if "matrix" in graph[stage]} == SCENARIO_STAGES
    for stage in graph:
        suffix = f" --scenario {SCENARIO}" if stage in SCENARIO_STAGES else ""
        assert graph[stage]["cmd"] == f"python -m itkm run {stage}{suffix}"
        assert graph[stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_the_code_that_it_imports(stage: str) -> None:
    deps = declared(stage, "deps")
    missed = {path for path in reached(stage).files if not covered(path, deps)}
    assert missed == set()
    stale = {entry for entry in deps if entry.startswith("itkm/") and not (ROOT / entry).exists()}
    assert stale == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_the_parameters_that_it_reads(stage: str) -> None:
    params = {entry.split(".")[0] for entry in declared(stage, "params")}
    assert reached(stage).sections - params - {"device", "scenarios"} == set()
    if stage not in SCENARIO_STAGES:
        assert "scenarios" in params


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_the_files_that_it_reads_and_writes(stage: str) -> None:
    known = declared(stage, "deps", "outs", "metrics")
    assert {path for path in reached(stage).paths if not covered(path, known)} == set()


def test_nothing_is_trained_on_data_that_validation_did_not_see() -> None:
    assert "reports/validation" in declared("homogeneous", "deps")
    assert declared("validate", "outs") == {f"reports/validation/{SCENARIO}.json"}


def test_plots_show_columns_of_declared_outputs() -> None:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    outs = set().union(*(declared(stage, "outs") for stage in STAGES))
    for plot in graph["plots"]:
        (options,) = plot.values()
        assert all(covered(path, outs) for path in options["y"])
        template = ROOT / ".dvc" / "plots" / f"{options['template']}.json"
        assert options["template"] == "simple" or json.loads(template.read_text())["mark"]["type"] == "line"


# --- a user's own data, from import to report ---


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_clone(tmp_path_factory.mktemp("project"))


def write_market(root: Path) -> Path:
    """A tree of Market-1501's shape: eight persons to train on, four to search for, two cameras a group."""
    name = "{person:04d}_c{camera}s1_{number:06d}_00.jpg"
    cameras = range(1, 7)
    for folder, persons, images in (("bounding_box_train", range(1, 9), 2), ("bounding_box_test", range(11, 15), 1)):
        list(crops(root / folder, persons, cameras, images, name))
    list(crops(root / "query", range(11, 15), range(6, 7), 1, name))
    return root


def write_table(root: Path) -> Path:
    """A csv manifest beside crops of two groups."""
    with (root / "list.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["path", "group", "camera", "split", "person"])
        table.writeheader()
        for part, persons, images in (("train", range(1, 9), 4), ("test", range(11, 15), 1)):
            for file, shown in crops(root, persons, range(1, 4), images, part + "/{person}-{camera}-{number}.jpg"):
                group = "night" if shown["camera"] == 3 else "day"
                split = part if part == "train" else {"night": "query", "day": "gallery"}[group]
                path = file.relative_to(root).as_posix()
                view = {"group": group, "camera": f"c{shown['camera']}"}
                table.writerow({"path": path, "split": split, "person": shown["person"], **view})
    return root / "list.csv"


ON_ONE = ("prepare@{0}", "validate@{0}", "homogeneous", "extract@{0}", "cluster@{0}")
ON_ALL = ("prompts", "heterogeneous", "evaluate", "report")


def stages(scenario: str) -> set[str]:
    return {name.format(scenario) for name in ON_ONE + ON_ALL}


@pytest.fixture(scope="module")
def first_run(project: Project, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The stages that ran after the import of a Market-1501-shaped tree."""
    tree = str(write_market(tmp_path_factory.mktemp("source") / "Market-1501-v15.09.15"))
    where = ("--scenario", "street", "--out", "data/street")
    groups = ("--group", "near=c1,c2,c3", "--group", "far=c4,c5,c6")
    project.run("itkm", "data", "import", "market1501", tree, *where, *groups, "--allow-partial")
    project.run("dvc", "add", "--quiet", "data", "models")
    project.set(scenarios=["street"])
    return project.repro()


@pytest.fixture
def trained(project: Project, first_run: list[str]) -> Project:
    """The project after its first run; whatever a test changed in it before has been run too."""
    assert first_run
    project.set(scenarios=["street"])
    return project


def test_a_market_1501_tree_runs_through(first_run: list[str], trained: Project) -> None:
    assert sorted(first_run) == sorted(stages("street"))
    street = trained.metrics()["scenarios"]["street"]
    for model in ("zero_shot", "homogeneous", "heterogeneous"):
        assert street[model]["queries"] == 4
        assert 0 < street[model]["mAP"] <= 1
    for file in ("reports/report.html", "artifacts/model/model.safetensors", "artifacts/model/texts.safetensors"):
        assert (trained.folder / file).stat().st_size > 0
    assert "street" in trained.run("itkm", "result")


def test_a_second_run_runs_nothing(trained: Project) -> None:
    assert trained.repro() == []


def test_another_protocol_is_only_evaluated_again(trained: Project) -> None:
    trained.set(evaluate={"protocol": "market1501"})
    assert trained.repro() == ["evaluate", "report"]
    assert trained.metrics()["scenarios"]["street"]["heterogeneous"]["protocol"] == "market1501"


def test_another_stage_3_leaves_stages_1_and_2(trained: Project) -> None:
    trained.set(heterogeneous={"text_weight": 0.5})
    assert trained.repro() == ["heterogeneous", "evaluate", "report"]


def test_a_setting_of_the_renderer_concerns_no_stage(trained: Project) -> None:
    trained.set(render={"seed": 7})
    assert trained.repro() == []


def test_dvc_shows_metrics_and_plots(trained: Project) -> None:
    assert "heterogeneous" in trained.run("dvc", "metrics", "show", "--md")
    trained.run("dvc", "plots", "show", "--out", "plots")
    page = (trained.folder / "plots" / "index.html").read_text(encoding="utf-8")
    for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]:
        assert next(iter(plot)) in page
    assert '"group": "near"' in page


def test_a_csv_manifest_runs_through(trained: Project, tmp_path: Path) -> None:
    where = ("--scenario", "mine", "--out", "data/mine")
    trained.run("itkm", "data", "import", "manifest", str(write_table(tmp_path)), *where)
    trained.set(scenarios=["mine"])
    assert sorted(trained.repro()) == sorted(stages("mine"))
    assert set(trained.metrics()["scenarios"]) == {"mine"}


def test_a_scenario_without_data_is_named_with_its_remedy(trained: Project) -> None:
    trained.set(scenarios=["yours"])
    said = trained.run("dvc", "repro", code=255)
    assert "itkm data import FORMAT PATH --scenario yours --out data/yours" in said
    assert "Traceback" not in said


def test_unreadable_data_are_not_trained_on(trained: Project) -> None:
    shard = trained.folder / "data" / "street" / "shards" / "c1.tar"
    content = shard.read_bytes().replace(b"\xff\xd8\xff", b"\x00\x00\x00", 1)
    shard.unlink()  # DVC may have linked it to its cache
    shard.write_bytes(content)
    said = trained.run("dvc", "repro", code=255)
    assert "[decodable] 1 images cannot be read" in said
    assert "Running stage 'homogeneous'" not in said

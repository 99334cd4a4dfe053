"""The graph of a project, read from DVC: the order of the stages is written in dvc.yaml alone."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from itkm.errors import InputError


@dataclass(frozen=True)
class Graph:
    """What dvc.yaml describes.

    Attributes:
        upstream: the stages, named as `dvc stage list` does, each with those that it depends on; no stage stands before
            one that it depends on.
        missing: `.dvc` files whose data are not there, as in a fresh clone.
    """

    upstream: dict[str, frozenset[str]]
    missing: tuple[str, ...]


def read_graph(root: Path) -> Graph:
    """Reads the graph of the project in a folder.

    Raises:
        InputError: the folder is not a project of DVC, or its files cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage import PipelineStage, Stage

    def name(stage: Stage) -> str:
        """As DVC names it in the project's folder; its own `addressing` depends on where we are."""
        file = Path(stage.path).relative_to(repo.root_dir).as_posix()
        if not isinstance(stage, PipelineStage):
            return file
        return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"

    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph  # an edge leads from a stage to what it depends on
            stages = [stage for stage in graph if isinstance(stage, PipelineStage)]
            below = {name(stage): frozenset(map(name, graph.successors(stage))) for stage in stages}
            sources = [stage for stage in graph if not isinstance(stage, PipelineStage)]
            missing = sorted(name(stage) for stage in sources if not all(out.exists for out in stage.outs))
    except DvcException as error:
        raise InputError(f"{root}: {error}. Run the flow in the folder of a project, where dvc.yaml lies.") from error
    order = [stage for stage in TopologicalSorter(below).static_order() if stage in below]
    return Graph({stage: below[stage] & below.keys() for stage in order}, tuple(missing))

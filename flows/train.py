"""The flow `train`: dvc.yaml's graph as a flow run, a task a stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import process
from flows.artifacts import publish_results
from flows.by_hand import without_arguments
from flows.graph import read_graph
from itkm.errors import ItkmError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

CACHED = "Cached"  # the state of a stage that DVC skipped
SKIPPED = ("didn't change, skipping", "is cached - skipping run")  # what DVC says of it
JOBS = int(os.environ.get("ITKM_JOBS") or max(2, (os.cpu_count() or 1) // 2))  # stages at once, if the graph allows
HOURS = 48.0
RUNNER: Any = ThreadPoolTaskRunner(max_workers=JOBS)


class StageError(ItkmError):
    """Not all stages are done."""


@task(**process.PLAIN, cache_policy=NO_CACHE, **process.RETRIES)
def run_stage(stage: str, root: Path, hours: float) -> State[str]:
    """One stage, if DVC finds that it has to run."""
    lines = process.dvc("repro", "--single-item", stage, cwd=root, hours=hours)
    skipped = any(said in line for line in lines for said in SKIPPED)
    return Completed(name=CACHED if skipped else "Completed", data=stage)


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="pull")
def pull(names: list[str], root: Path) -> None:
    """Data that a fresh clone lacks, from the cache or the remote."""
    process.dvc("pull", *names, cwd=root)


@flow(name="train", log_prints=True, **process.PLAIN, task_runner=RUNNER)
def train(root: Path = Path(), hours: float = HOURS) -> dict[str, str]:
    """Runs what changed in a project, as `dvc repro` does.

    Args:
        root: the project's folder.
        hours: after which a stage is stopped.

    Returns:
        The state in which each stage ended: Completed, or Cached where DVC skipped it.
    """
    root = root.resolve()
    graph = read_graph(root)
    if graph.missing:
        pull(list(graph.missing), root)
    futures: dict[str, PrefectFuture[Any]] = {}
    try:
        for stage, upstream in graph.upstream.items():
            body = run_stage.with_options(name=stage, task_run_name=stage)
            ready = [futures[name] for name in upstream]
            futures[stage] = body.submit(stage, root, hours, return_state=False, wait_for=ready)
        wait(list(futures.values()))
    except BaseException:
        process.stop_all()
        raise
    states = {stage: future.state for stage, future in futures.items()}
    if failed := [stage for stage, state in states.items() if not state.is_completed()]:
        first = next(state for state in states.values() if state.is_failed() or state.is_crashed())
        raise StageError(f"not done: {', '.join(failed)}. {first.message}")
    publish_results(root)
    return {stage: str(state.name) for stage, state in states.items()}


if __name__ == "__main__":
    without_arguments(train)

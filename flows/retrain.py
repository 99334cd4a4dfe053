"""The flow `retrain`: train in a private clone, publish the result, register it, and let the rules decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import process
from flows.by_hand import without_arguments
from flows.promote import promote
from flows.train import CACHED, HOURS, train
from flows.workspace import commit, is_new, published, push, workspace
from itkm.errors import ItkmError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

FREE = 5  # GB that must be free
DAYS = 7.0  # that a clone stays
ATTEMPTS = 5  # of one flow run, which is started again where its process died


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="publish")
def publish(folder: Path, root: Path) -> str:
    """Commits the result, pushes its files and then the branch, so that no pointer ever dangles; returns the branch."""
    commit(folder, f"Retrain: {flow_run.name}")
    if branch := published(folder, root):
        return branch
    process.dvc("push", cwd=folder)
    return push(folder, root)


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="register", **process.RETRIES)
def register(folder: Path) -> dict[str, Any]:
    """Registers the model as challenger; a model that is registered already stays the version that it is."""
    return process.model("register", cwd=folder)[1]


@flow(name="retrain", log_prints=True, **process.PLAIN)
def retrain(root: Path = Path(), hours: float = HOURS, free: int = FREE, days: float = DAYS) -> State[Any]:
    """Trains the project's last commit; ends in the state Promoted, Refused, or Cached where there was nothing new.

    Args:
        root: the project's folder, whose work tree is not touched.
        hours: after which a stage is stopped.
        free: GB that must be free on its disk.
        days: after which clones of earlier runs are removed.
    """
    root = root.resolve()
    if flow_run.run_count > ATTEMPTS:
        raise ItkmError(f"this run ended {ATTEMPTS} times without a result. See its log, and start a new one.")
    name = flow_run.id or "by-hand"
    where = root / process.RUNS / name
    get_run_logger().info("Works in %s, as soon as no process that was taken for crashed does so any more.", where)
    with workspace(root, name, free=free * 10**9, days=days) as folder:
        states = train(folder, hours)
        if set(states.values()) == {CACHED} and not is_new(folder):
            return Completed(name=CACHED, message="Nothing new: no stage had to run.")
        branch = publish(folder, root)
        registered = register(folder)
        version = registered["version"]
        if registered["decided"]:
            return Completed(name=CACHED, message=f"Nothing new: version {version} was decided on before.")
        state = promote(version, folder, return_state=True)
        decision = state.result()
        return Completed(name=state.name, message=f"{branch}: {state.message}", data=decision)


if __name__ == "__main__":
    without_arguments(retrain)

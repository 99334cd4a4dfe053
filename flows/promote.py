"""The flows `promote` and `rollback`: which model is the champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.states import Completed

from flows import process
from flows.artifacts import publish_decision, publish_rollback
from flows.by_hand import without_arguments

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

REFUSED = 4  # exit code of `itkm model promote` where the rules say no


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="decide", **process.RETRIES)
def decide(command: list[str], root: Path) -> dict[str, Any]:
    """What `itkm model` says and does."""
    return process.model(*command, cwd=root, codes=(0, REFUSED))[1]


@flow(name="promote", log_prints=True, **process.PLAIN)
def promote(version: str | None = None, root: Path = Path()) -> State[dict[str, Any]]:
    """Makes a version the champion, if the rules of promotion say so; ends in the state Promoted or Refused.

    Args:
        version: of the model `itkm`; the challenger, if none is given.
        root: a folder of the project, in which a champion of another evaluation set is evaluated again.
    """
    chosen = [] if version is None else ["--version", version]
    decision = decide(["promote", *chosen], root.resolve())
    publish_decision(decision)
    name = "Promoted" if decision["promoted"] else "Refused"
    _tell(name.lower(), decision)
    return Completed(name=name, message="; ".join(decision["reasons"]), data=decision)


@flow(name="rollback", log_prints=True, **process.PLAIN)
def rollback(root: Path = Path()) -> dict[str, Any]:
    """Makes the previous champion the champion again."""
    once = decide.with_options(retries=0)  # a second one would go a step further back
    decision = once(["rollback"], root.resolve())
    publish_rollback(decision)
    _tell("rolled-back", decision)
    return decision


def _tell(what: str, decision: dict[str, Any]) -> None:
    """An event that automations can react to."""
    emit_event(
        f"itkm.model.{what}",
        resource={"prefect.resource.id": "itkm.model.itkm", "prefect.resource.name": "itkm"},
        payload={"champion": decision["champion"], "reasons": decision["reasons"]},
    )


if __name__ == "__main__":
    without_arguments(promote)

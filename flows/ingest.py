"""The flow `ingest_feed`: a camera's new images are checked and, if they are good, become part of the data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import process
from flows.artifacts import Verdict, publish_verdict
from flows.by_hand import by_hand
from flows.locks import alone
from itkm.errors import InputError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

FEEDS = Path(".itkm", "feeds", "runs")
VERDICTS = (0, 3, 4)  # exit codes of `itkm feed validate`: accepted, with warnings, refused


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="validate")
def validate(feed: Path, view: dict[str, str], folder: Path, root: Path, *, new_camera: bool) -> None:
    """Claims and judges a feed; its report, its verdict and what does not decode lie in `folder`."""
    options = [word for name, value in view.items() for word in (f"--{name}", value)]
    known = ["--new-camera"] if new_camera else []
    command = [sys.executable, "-m", "itkm", "feed", "validate", str(feed), *options, *known, "--out", str(folder)]
    process.run(command, cwd=root, codes=VERDICTS)


@task(**process.PLAIN, cache_policy=NO_CACHE, task_run_name="accept")
def accept(folder: Path, root: Path) -> None:
    """Adds a feed to the data, one feed at a time."""
    with alone(root / ".itkm" / "accept.lock", patient=True):
        process.run([sys.executable, "-m", "itkm", "feed", "accept", str(folder)], cwd=root)


@flow(name="ingest_feed", log_prints=True, **process.PLAIN)
def ingest_feed(
    feed: Path, camera: str, scenario: str, group: str, new_camera: bool = False, root: Path = Path()
) -> State[str]:
    """Validates a feed and accepts it; ends in the state Accepted, or in the failed state Rejected.

    Args:
        feed: a folder or an archive of images; `itkm feed validate --help` says what becomes of it.
        camera: that took them.
        scenario: of the project to which they belong.
        group: of the scenario.
        new_camera: the data do not know the camera yet.
        root: the project's folder; the feed becomes a commit on its branch.
    """
    root = root.resolve()
    _require_branch(root)
    folder = root / FEEDS / (flow_run.id or "by-hand")
    view = {"camera": camera, "scenario": scenario, "group": group}
    validate(feed.resolve(), view, folder, root, new_camera=new_camera)
    verdict = publish_verdict(folder)
    if verdict.status == "refused":
        _tell("rejected", view, verdict)
        return Failed(name="Rejected", message=verdict.reason)
    accept(folder, root)
    _tell("accepted", view, verdict)
    return Completed(name="Accepted", message=verdict.reason, data=verdict.status)


def _require_branch(root: Path) -> None:
    """Refuses a detached HEAD, where a commit would be lost."""
    if not process.git("branch", "--show-current", cwd=root):
        raise InputError(
            f"{root}: git is on no branch (detached HEAD), and the feed's commit would be lost. Switch to one."
        )


def _tell(what: str, view: dict[str, str], verdict: Verdict) -> None:
    """An event that starts a retraining, or a notice."""
    emit_event(
        f"itkm.feed.{what}",
        resource={"prefect.resource.id": f"itkm.scenario.{view['scenario']}", **view},
        payload={**view, "status": verdict.status, "reason": verdict.reason},
    )


if __name__ == "__main__":
    if len(sys.argv) != 5:
        click.echo("usage: python -m flows.ingest FEED CAMERA SCENARIO GROUP", err=True)
        sys.exit(InputError.exit_code)
    feed, camera, scenario, group = sys.argv[1:]
    by_hand(lambda: ingest_feed(Path(feed), camera, scenario, group))

"""All runs of an ablation, one after the other: what is finished is found again, what fails stops no other."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from itkm.ablation.findings import Failure, Finding, collect, load, save
from itkm.ablation.variants import Run
from itkm.ablation.workspace import Workspace
from itkm.errors import ItkmError

logger = logging.getLogger(__name__)


def execute_runs(runs: Sequence[Run], workspace: Workspace) -> list[Finding | Failure]:
    """Runs what is not finished yet, and says a line about each."""
    outcomes: list[Finding | Failure] = []
    for number, run in enumerate(runs, start=1):
        place = f"[{number}/{len(runs)}] {run.title}"
        if found := load(run, workspace.finding(run)):
            logger.info("%s: finished before", place)
            outcomes.append(found)
            continue
        logger.info("%s: begins; `tail -f %s` to watch", place, workspace.log(run))
        begun = time.perf_counter()
        try:
            computed = workspace.execute(run)
            found = collect(run, workspace.layout, computed=computed, seconds=time.perf_counter() - begun)
            save(found, workspace.finding(run))
            outcomes.append(found)
            said = f"finished, computed stages: {computed} (the others came from the cache)"
        except ItkmError as error:
            outcomes.append(Failure(run, str(error)))
            said = f"failed: {error}"
        logger.info("%s: %s, after %.0f s", place, said, time.perf_counter() - begun)
    return outcomes

"""`itkm run` and `itkm result`: the stages of the pipeline, and what a run found."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import click

from itkm.cli.options import SPACE, project_settings
from itkm.errors import InputError

STAGES = (
    *("prepare", "validate", "homogeneous", "extract", "cluster"),
    *("prompts", "heterogeneous", "evaluate", "report"),
)
SCENARIO_STAGES = frozenset({"prepare", "validate", "extract", "cluster"})


@click.command()
@click.argument("stage", metavar="STAGE", type=click.Choice(STAGES))
@click.option("--scenario", help=f"Only this scenario; for {', '.join(sorted(SCENARIO_STAGES))}.")
def run(stage: str, scenario: str | None) -> None:
    """Run one stage of the pipeline, as dvc.yaml calls it; `dvc repro` runs all that changed.

    STAGE is one of prepare, validate, homogeneous, extract, cluster, prompts, heterogeneous, evaluate, report.

    With ITKM_RUNNER=docker it runs in a container; ITKM_IMAGE and ITKM_GPUS say in which and with which GPUs.

    \b
    Examples:
      itkm run prepare --scenario vi
      itkm run homogeneous
      ITKM_RUNNER=docker dvc repro
    """
    from itkm.files import require_space
    from itkm.runner import in_docker, run_in_docker
    from itkm.stages.layout import Layout
    from itkm.usage import sampled

    settings, layout = project_settings(), Layout()
    if scenario is not None and stage not in SCENARIO_STAGES:
        raise InputError(f"--scenario: stage {stage} works on all scenarios at once. Leave the option out.")
    if scenario is not None and scenario not in settings.scenarios:
        raise InputError(
            f"--scenario {scenario}: not named in params.yaml, which has {', '.join(settings.scenarios)}. Add it to "
            "`scenarios` there, or choose one of these."
        )
    require_space(layout.root, SPACE)
    if in_docker():
        command = ["run", stage, *(["--scenario", scenario] if scenario else [])]
        run_in_docker(command, workspace=layout.root, weights=Path(settings.model.weights))
    body = importlib.import_module(f"itkm.stages.{stage}").run
    if stage not in SCENARIO_STAGES:
        with sampled(layout.root, stage):
            body(settings, layout)
        return
    for name in [scenario] if scenario is not None else settings.scenarios:
        with sampled(layout.root, f"{stage}-{name}"):
            body(settings, layout, name)


@click.command()
def result() -> None:
    """Print the result table of the last run and say where its report lies.

    \b
    Example:
      itkm result
    """
    from itkm.report.table import result_table
    from itkm.stages.layout import Layout

    layout = Layout()
    try:
        metrics = json.loads(layout.metrics.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{layout.metrics}: not found. Run `dvc repro` in the project's folder first.") from error
    click.echo(result_table(metrics))
    click.echo(f"Report: {layout.report.resolve()}")

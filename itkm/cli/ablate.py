"""`itkm ablate`: what each component of the method is worth."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from itkm.cli.options import FOLDER, PARAMS, SPACE, project_settings
from itkm.errors import ItkmError


def _seeds(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    """Numbers behind commas, each once."""
    try:
        return list(dict.fromkeys(int(own) for own in value.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected whole numbers such as 1,2,3.") from error


@click.command()
@click.option("--variants", help="Names with commas between them; `full` is always run.  [default: all]")
@click.option(
    "--seeds", default="1,2,3", show_default=True, callback=_seeds, help="Every variant is trained with each."
)
@click.option(
    "--split",
    default="validation",
    show_default=True,
    type=click.Choice(("validation", "test")),
    help="Identities that are scored: choose on validation, publish test.",
)
@click.option("--out", default="reports/ablation", show_default=True, type=FOLDER, help="Where page and tables go.")
def ablate(variants: str | None, seeds: list[int], split: str, out: Path) -> None:
    """Train variants of the method with several seeds, and compare them with the full one.

    Variants: full, single-scenario, no-scenario-embedding, single-frontend, no-separation, offline-texts, no-chm,
    no-ihm, no-text, homogeneous-only.

    Every run goes through DVC in a private copy of the project: what runs have in common is computed once, and a
    command that was stopped goes on when it is typed again. Writes ablation.html, results.md, results.csv,
    differences.csv and epochs.csv.

    \b
    Examples:
      itkm ablate
      itkm ablate --variants no-chm,no-ihm --seeds 1,2,3,4,5 --split test --out reports/matching
    """
    import yaml

    from itkm.ablation.findings import Failure
    from itkm.ablation.output import write_results
    from itkm.ablation.runs import execute_runs
    from itkm.ablation.variants import VARIANTS, choose_variants, plan_runs
    from itkm.ablation.workspace import open_workspace
    from itkm.files import require_space

    settings = project_settings()
    names = choose_variants([name.strip() for name in variants.split(",")] if variants is not None else list(VARIANTS))
    runs = plan_runs(yaml.safe_load(PARAMS.read_text(encoding="utf-8")), variants=names, seeds=seeds, split=split)
    require_space(Path(), SPACE)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what it started ends with it
    with open_workspace(Path()) as workspace:
        workspace.refresh()
        outcomes = execute_runs(runs, workspace)
    write_results(outcomes, out, split=split, seeds=seeds, settings=settings)
    failed = [own for own in outcomes if isinstance(own, Failure)]
    if len(failed) == len(outcomes):
        raise ItkmError(f"all {len(failed)} runs failed; the first: {failed[0].reason}")
    if failed:
        raise ItkmError(f"{len(failed)} of {len(outcomes)} runs failed: {', '.join(own.run.title for own in failed)}.")

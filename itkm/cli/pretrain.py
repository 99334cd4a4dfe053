"""`itkm pretrain`: the tiny CLIP of the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm.cli.options import FOLDER, SPACE, project_settings
from itkm.errors import ItkmError

if TYPE_CHECKING:
    from itkm.config import Settings


@click.command()
@click.option("--out", type=FOLDER, help="Gets the weights.  [default: model.weights of params.yaml]")
@click.option("--check", "check_only", is_flag=True, help="Train nothing: measure the weights that are there.")
def pretrain(out: Path | None, check_only: bool) -> None:
    """Make the tiny CLIP of the embedded default again, or check what it sees in persons that it never met.

    Needs the extra `pretrain`. No scenario has a person of the corpus from which it learns.

    \b
    Examples:
      itkm pretrain --check
      itkm pretrain --out models/demo
    """
    settings = project_settings()
    if not check_only:
        from itkm.files import require_space
        from itkm.pretrain.align import pretrain as align

        folder = out or Path(settings.model.weights)
        require_space(folder, SPACE)
        align(settings, folder)
        click.echo(f"{folder}: written. Next: `itkm pretrain --check`.")
        return
    _check_gate(settings)


def _check_gate(settings: Settings) -> None:
    """Prints both halves of the gate of the demo's weights.

    Raises:
        ItkmError: something is below its floor.
    """
    from itkm.data.manifest import MANIFEST_FILE
    from itkm.pretrain.bound import MARGIN, check_true_labels
    from itkm.pretrain.gate import check_attributes
    from itkm.stages.layout import Layout

    attributes = check_attributes(settings)
    click.echo(f"{'attribute':10} {'pixels':9} {'head':>5} {'chance':>7} {'text':>5} {'chance':>7} {'floor':>6}")
    for found in attributes:
        floor = "-" if found.floor is None else f"{found.floor:.2f}"
        click.echo(
            f"{found.attribute:10} {found.pixels:9} {found.head:5.2f} {found.chance:7.2f} {found.text:5.2f} "
            f"{found.text_chance:7.2f} {floor:>6}{'' if found.passed else '  missed'}"
        )
    folders = {scenario: Layout().data(scenario) for scenario in settings.scenarios}
    gains = check_true_labels(settings, {name: (folder / MANIFEST_FILE, folder) for name, folder in folders.items()})
    click.echo(f"{'scenario':10} {'zero-shot mAP':>14} {'true labels':>12} {'floor':>6}")
    for scenario, (before, after) in gains.items():
        missed = "" if after >= before + MARGIN else "  missed"
        click.echo(f"{scenario:10} {before:14.3f} {after:12.3f} {before + MARGIN:6.3f}{missed}")
    if not all(found.passed for found in attributes) or any(high < low + MARGIN for low, high in gains.values()):
        raise ItkmError(
            f"{settings.model.weights}: the gate is not passed. Train longer: pretrain.steps in params.yaml."
        )

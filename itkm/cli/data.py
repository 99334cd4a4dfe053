"""`itkm data`: import, check and look at data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm.cli.options import FILE, FOLDER, SPACE, project_settings
from itkm.errors import InputError
from itkm.progress import progress

if TYPE_CHECKING:
    from itkm.data.importers.source import SourceImage


@click.group()
def data() -> None:
    """Import, check and look at data sets.

    \b
    Examples:
      itkm data formats
      itkm data import market1501 Market-1501-v15.09.15 --scenario cr --out data/cr
      itkm data check data/cr
    """


@data.command("import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("source", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--scenario", required=True, help="Name of the scenario that the data become.")
@click.option("--out", required=True, type=FOLDER, help="Folder for manifest and shards: data/<scenario> of a project.")
@click.option("--group", "groups", multiple=True, metavar="NAME=CAMERA,...", help="The cameras of a group; give two.")
@click.option("--trial", default=1, show_default=True, help="Which division of the identities, if there are several.")
@click.option("--allow-partial", is_flag=True, help="Skip unreadable images, and only warn of odd statistics.")
def import_(
    format_name: str,
    source: Path,
    scenario: str,
    out: Path,
    groups: tuple[str, ...],
    trial: int,
    allow_partial: bool,
) -> None:
    """Read a data set and write its manifest and tar shards.

    Type the same command again if it was cut off: it goes on where it was. Once all is there, it changes nothing.

    \b
    Examples:
      itkm data import market1501 Market-1501-v15.09.15 --scenario cr --out data/cr
      itkm data import regdb RegDB --trial 3 --scenario vi --out data/vi
      itkm data import folder crops --group day=cam1,cam2 --group night=cam3 --scenario mine --out data/mine
      itkm data import manifest crops/list.csv --scenario mine --out data/mine
    """
    from itkm.data.importers import Request, import_dataset, parse_groups

    request = Request(source, scenario, parse_groups(groups), allow_partial=allow_partial, trial=trial)
    summary = import_dataset(format_name, request, out=out, progress=_shown)
    for warning in summary.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{out}: {summary.images} images, {summary.persons} known persons, {summary.cameras} cameras")
    click.echo(f"  groups: {_counts(summary.per_group)}\n  splits: {_counts(summary.per_split)}")
    if summary.skipped:
        click.echo(f"  skipped: {summary.skipped} unreadable images")
    trained = f"name {scenario} in `scenarios` of params.yaml, and `dvc repro`"
    click.echo(f"Next: `itkm data check {out}`, {trained if len(summary.per_group) > 1 else 'and `itkm embed`'}.")


def _shown(images: Sequence[SourceImage]) -> Iterable[SourceImage]:
    return progress(images, total=len(images), title="import", unit="image")


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(numbers.items()))


@data.command()
def formats() -> None:
    """List the formats that can be imported.

    \b
    Example:
      itkm data formats
    """
    from itkm.data.importers import FORMATS

    for name, form in FORMATS.items():
        click.echo(f"{name}\n  {form.description}\n  layout:  {form.layout}\n  licence: {form.licence}")
        if form.trials > 1:
            click.echo(f"  trials:  1 to {form.trials}, by --trial")
        if form.groups == 1:
            click.echo("  groups:  one; to embed, search and score, not to train on")
        elif not form.own_groups:
            click.echo("  groups:  by --group")
        click.echo()


@data.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
def check(folder: Path) -> None:
    """Check every convention of an imported scenario and name the offending rows.

    Exit code 2 where the data cannot be used; warnings alone leave it 0.

    \b
    Example:
      itkm data check data/cr
    """
    from itkm.data.check import check_dataset

    findings = check_dataset(folder)
    for finding in findings:
        click.echo(f"{finding.severity}: [{finding.rule}] {finding.message}")
        for row in finding.rows:
            click.echo(f"  {row}")
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        raise InputError(f"{folder}: not usable ({errors} of the findings above are errors). Correct and import again.")
    click.echo(f"{folder}: usable ({len(findings)} warnings)")


@data.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--out", type=FILE, help="Image file  [default: contact-sheet-<name of DIR>.png]")
@click.option("--rows", default=6, show_default=True, type=click.IntRange(1), help="Most lines (cameras) of a group.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the random choice of images.")
def show(folder: Path, out: Path | None, rows: int, seed: int) -> None:
    """Draw a contact sheet of a scenario: its groups, a line of random images for each camera.

    \b
    Example:
      itkm data show data/cr --out cr.png
    """
    from PIL import Image

    from itkm.data.show import contact_sheet
    from itkm.files import replacing

    target = out or Path(f"contact-sheet-{folder.resolve().name}.png")
    if Image.registered_extensions().get(target.suffix.lower()) not in Image.SAVE:
        raise InputError(f"{target}: no suffix of an image that can be written. Name it .png or .jpg.")
    sheet = contact_sheet(folder, rows=rows, seed=seed)
    with replacing(target) as temporary:
        sheet.save(temporary)
    click.echo(f"{target}: {sheet.width}x{sheet.height} pixels")


@data.command()
@click.option("--out", default=Path("data"), show_default=True, type=FOLDER, help="Gets a folder for each scenario.")
@click.option("--scenario", "scenarios", multiple=True, help="Only this scenario; may be repeated.")
def render(out: Path, scenarios: tuple[str, ...]) -> None:
    """Render the default data set of persons who do not exist, as `render` in params.yaml says.

    The same settings give the same persons, cameras and images. Needs the extra `render`.

    \b
    Examples:
      itkm data render
      itkm data render --scenario vi --out rendered
    """
    from itkm.data.render.dataset import GROUPS, render_scenario
    from itkm.data.render.pack import packed
    from itkm.data.shards import HIDDEN, require_replaceable, write_scenario
    from itkm.files import locked, require_space

    settings = project_settings().render
    for scenario in scenarios:
        if scenario not in GROUPS:
            raise InputError(f"scenario {scenario!r} cannot be rendered, expected one of {', '.join(GROUPS)}.")
    require_space(out, SPACE)
    for folder in (out / scenario for scenario in scenarios or GROUPS):
        with locked(folder / HIDDEN):
            require_replaceable(folder)
            manifest = write_scenario(packed(render_scenario(settings, folder.name), settings), folder)
        click.echo(f"{folder}: {len(manifest)} images")

"""The command `itkm`: it parses, calls and prints. What a command needs is imported when it is called."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm import __version__
from itkm.errors import InputError, ItkmError

if TYPE_CHECKING:
    from itkm.config import Settings
    from itkm.data.importers.source import SourceImage

STAGES = (
    *("prepare", "validate", "homogeneous", "extract", "cluster"),
    *("prompts", "heterogeneous", "evaluate", "report"),
)
SCENARIO_STAGES = frozenset({"prepare", "validate", "extract", "cluster"})
PARAMS = Path("params.yaml")
SPACE = 500_000_000  # bytes that must be free before a stage or a rendering begins
INTERRUPTED = 130  # 128 + SIGINT, as shells count

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 (a failure of ours), 2 (bad input) or 130 (Ctrl-C)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in given
    _log_to_stderr()
    try:
        cli.main([argument for argument in given if argument != "--debug"], prog_name="itkm", standalone_mode=False)
    except click.Abort as error:
        reason = error.__cause__ if error.__cause__ is not None else KeyboardInterrupt()
        return _fail(reason, debug=debug)
    except Exception as error:
        return _fail(error, debug=debug)
    return 0


def _fail(error: BaseException, *, debug: bool) -> int:
    """Says what went wrong and returns the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        click.echo("itkm: stopped. Type the same command again: what is finished is kept, and it goes on.", err=True)
        return INTERRUPTED
    if isinstance(error, ItkmError):
        click.echo(f"itkm: {error}", err=True)
        return error.exit_code
    kind = type(error).__name__
    click.echo(f"itkm: a failure of ours: {kind}: {error}. Add --debug to see where; please report it.", err=True)
    return ItkmError.exit_code


class _PlainLines(logging.Formatter):
    """A message a line; only what is worth a look says its level."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, behind its level from `warning` on."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("itkm").setLevel(logging.INFO)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="itkm")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; any command takes it.")
def cli(debug: bool) -> None:
    """One model for person re-identification in many scenarios, trained without labels.

    \b
    Examples:
      itkm data import folder crops --group day=cam1,cam2 --group night=cam3 --scenario mine --out data/mine
      dvc repro
      itkm result
    """


@cli.group()
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
@click.option("--allow-partial", is_flag=True, help="Skip unreadable images, and only warn of odd statistics.")
def import_(
    format_name: str, source: Path, scenario: str, out: Path, groups: tuple[str, ...], allow_partial: bool
) -> None:
    """Read a data set and write its manifest and tar shards.

    \b
    Examples:
      itkm data import market1501 Market-1501-v15.09.15 --scenario cr --out data/cr
      itkm data import folder crops --group day=cam1,cam2 --group night=cam3 --scenario mine --out data/mine
      itkm data import manifest crops/list.csv --scenario mine --out data/mine
    """
    from itkm.data.importers import import_dataset, parse_groups

    summary = import_dataset(
        format_name,
        source,
        scenario=scenario,
        out=out,
        groups=parse_groups(groups),
        allow_partial=allow_partial,
        progress=_progress_bar,
    )
    for warning in summary.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{out}: {summary.images} images, {summary.persons} known persons, {summary.cameras} cameras")
    click.echo(f"  groups: {_counts(summary.per_group)}\n  splits: {_counts(summary.per_split)}")
    if summary.skipped:
        click.echo(f"  skipped: {summary.skipped} unreadable images")
    click.echo(f"Next: `itkm data check {out}`, name {scenario} in `scenarios` of params.yaml, and `dvc repro`.")


def _progress_bar(images: Sequence[SourceImage]) -> Sequence[SourceImage]:
    from tqdm import tqdm

    bar: Sequence[SourceImage] = tqdm(images, desc="import", unit="image", leave=False, disable=not sys.stderr.isatty())
    return bar


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
        click.echo(f"{name}\n  {form.description}\n  layout: {form.layout}\n  licence: {form.licence}")


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
    from itkm.data.show import contact_sheet
    from itkm.files import replacing

    target = out or Path(f"contact-sheet-{folder.resolve().name}.png")
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
    from itkm.data.shards import write_scenario
    from itkm.files import require_space

    settings = _settings().render
    require_space(out, SPACE)
    for scenario in scenarios or GROUPS:
        if scenario not in GROUPS:
            raise InputError(f"scenario {scenario!r} cannot be rendered, expected one of {', '.join(GROUPS)}.")
        manifest = write_scenario(packed(render_scenario(settings, scenario), settings), out / scenario)
        click.echo(f"{out / scenario}: {len(manifest)} images")


@cli.command()
@click.argument("stage", metavar="STAGE", type=click.Choice(STAGES))
@click.option("--scenario", help=f"Only this scenario; for {', '.join(sorted(SCENARIO_STAGES))}.")
def run(stage: str, scenario: str | None) -> None:
    """Run one stage of the pipeline, as dvc.yaml calls it; `dvc repro` runs all that changed.

    STAGE is one of prepare, validate, homogeneous, extract, cluster, prompts, heterogeneous, evaluate, report.

    \b
    Examples:
      itkm run prepare --scenario vi
      itkm run homogeneous
    """
    from itkm.files import require_space
    from itkm.stages.layout import Layout

    settings, layout = _settings(), Layout()
    if scenario is not None and stage not in SCENARIO_STAGES:
        raise InputError(f"--scenario: stage {stage} works on all scenarios at once. Leave the option out.")
    if scenario is not None and scenario not in settings.scenarios:
        raise InputError(
            f"--scenario {scenario}: not named in params.yaml, which has {', '.join(settings.scenarios)}. Add it to "
            "`scenarios` there, or choose one of these."
        )
    require_space(layout.root, SPACE)
    body = importlib.import_module(f"itkm.stages.{stage}").run
    if stage not in SCENARIO_STAGES:
        body(settings, layout)
        return
    for name in [scenario] if scenario is not None else settings.scenarios:
        body(settings, layout, name)


@cli.command()
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


@cli.command()
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
    settings = _settings()
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


def _settings() -> Settings:
    from itkm.config import read_settings

    return read_settings(PARAMS)

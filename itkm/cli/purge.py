"""`itkm purge`: the images of a camera or a person are erased."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm.errors import ItkmError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from itkm.purge.plan import Plan
    from itkm.purge.working import Item

SHOWN = 10  # of each kind


@click.command()
@click.option("--scenario", required=True, help="Of which the images are: a folder below data/.")
@click.option("--camera", help="Erase all images of this camera.")
@click.option("--person", type=int, help="Erase all images of this person, by its number in the manifest.")
@click.option("--yes", is_flag=True, help="Do it. Without it, only list what would go.")
def purge(scenario: str, camera: str | None, person: int | None, yes: bool) -> None:
    """Erase the images of a camera or a person from data, results, DVC's cache and all remotes.

    Older versions of the data lose the shards that hold them, and cannot be restored; the present version is written
    anew, recorded and pushed. Models that were trained on the images are listed, not erased. Cut off, the same command
    goes on.

    \b
    Examples:
      itkm purge --scenario vi --camera c3
      itkm purge --scenario vi --person 12 --yes
    """
    from itkm.purge.erase import erase, tracked_by
    from itkm.purge.plan import make_plan
    from itkm.purge.traces import Subject

    plan = make_plan(Path(), Subject(scenario, camera, person))
    click.echo(f"{plan.subject.name}: {len(plan.journal.traces.images)} images")
    models = _models(plan)
    if not yes:
        _list([*plan.in_project(), *plan.in_stores()])
    else:
        click.echo(f"{erase(plan)} files erased or written anew; none is left.")
    _tell("Models that were trained on them:", models)
    _tell("Out of reach:", list(plan.out_of_reach()))
    if not yes:
        click.echo("Nothing was changed. Add --yes to erase them.")
        return
    tracked = tracked_by(plan.root, scenario)
    commit = f"`git commit -m 'Erase {plan.subject.name}' {tracked[0]}`, " if tracked else ""
    click.echo(f"Next: {commit}`dvc repro`, then register and promote the new model.")


def _list(items: Sequence[Item]) -> None:
    """What would go, by kind."""
    kinds: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        kinds[item.kind].append(item)
    for kind, own in kinds.items():
        click.echo(f"{kind}: {len(own)} files, {sum(item.size for item in own) / 1e6:.1f} MB")
        for item in own[:SHOWN]:
            click.echo(f"  {item.name}")
        if len(own) > SHOWN:
            click.echo(f"  and {len(own) - SHOWN} more")


def _models(plan: Plan) -> list[str]:
    """The registered models whose data listed the images."""
    from itkm.registry.store import NothingRegisteredError, open_registry

    tag = f"manifest.{plan.subject.scenario}"
    try:
        with open_registry(plan.root) as registry:
            found = [own for own in registry.versions() if own.tags.get(tag) in plan.journal.manifests]
    except NothingRegisteredError:
        return []
    except ItkmError as error:
        return [f"not known: {error}"]
    return [f"models:/itkm/{own.number}{''.join(f' ({alias})' for alias in own.aliases)}" for own in found]


def _tell(title: str, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        click.echo(f"{title if number == 0 else ''}\n  {line}".lstrip("\n"))

"""`itkm model`: the registered models, which one is the champion, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itkm.cli.options import project_settings
from itkm.errors import ItkmError

if TYPE_CHECKING:
    from itkm.registry.promotion import Promotion
    from itkm.registry.rules import Scores
    from itkm.registry.store import Version

ROOT = Path()
WORDS = {"promote": "promoted", "refuse": "refused", "rollback": "rolled back"}
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class RefusedError(ItkmError):
    """The rules refused a promotion: not a failure, and not the user's mistake."""

    exit_code = 4


@click.group()
def model() -> None:
    """Register, compare, promote and roll back trained models.

    The versions lie in MLflow: at MLFLOW_TRACKING_URI, by default mlflow.db in the project. `champion` is the model in
    use, `challenger` the newest, `previous` what the champion replaced. `models:/itkm@champion` and `models:/itkm/3`
    stand wherever --model takes a folder.

    \b
    Examples:
      itkm model register
      itkm model promote
      itkm model list
      itkm embed photos --model models:/itkm@champion --out photos.npz
    """


@model.command()
@JSON
def register(as_json: bool) -> None:
    """Register artifacts/model of the finished run as the challenger.

    The same model again changes nothing.

    \b
    Examples:
      itkm model register
      itkm model register --json
    """
    from itkm.registry.register import register as register_model
    from itkm.stages.layout import Layout

    found = register_model(project_settings(), Layout(ROOT))
    version = found.version
    if as_json:
        _print({**_summary(version), "created": found.created, "decided": version.decided})
        return
    state = "registered" if found.created else "was registered before"
    click.echo(f"models:/itkm/{version.number} {state}{_as_aliases(version)}. Next: `itkm model promote`.")


@model.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List the registered models, newest first.

    \b
    Examples:
      itkm model list
      itkm model list --json
    """
    from itkm.registry.store import NothingRegisteredError, open_registry

    try:
        with open_registry(ROOT) as registry:
            versions = registry.versions()
    except NothingRegisteredError:
        versions = []
    if as_json:
        _print({"versions": [_summary(version) for version in versions]})
        return
    click.echo(_table(versions) if versions else "No model is registered. Train one, then `itkm model register`.")


@model.command()
@click.argument("version", default="challenger")
@click.argument("other", required=False)
@JSON
def compare(version: str, other: str | None, as_json: bool) -> None:
    """Show what `itkm model promote` would decide on VERSION, and change nothing.

    VERSION and OTHER are numbers or aliases; without them the challenger is compared with the champion.

    \b
    Examples:
      itkm model compare
      itkm model compare 4 2 --json
    """
    from itkm.registry.promotion import compare as compare_versions
    from itkm.registry.store import open_registry

    with open_registry(ROOT) as registry:
        found = compare_versions(registry, version, other, project_settings().registry)
    _show(found, as_json=as_json)


@model.command()
@click.option("--version", default="challenger", show_default=True, help="Number or alias.")
@click.option("--force", metavar="REASON", help="Promote what the rules refuse; the reason is kept.")
@JSON
def promote(version: str, force: str | None, as_json: bool) -> None:
    """Make a model the champion, if it is good enough by the rules of params.yaml.

    Exit code 4 where it is refused. Where the champion was scored on other images, it is evaluated again first.

    \b
    Examples:
      itkm model promote
      itkm model promote --version 3 --force "the old camera is gone" --json
    """
    from itkm.registry.promotion import promote as promote_version
    from itkm.registry.store import open_registry
    from itkm.stages.layout import Layout

    settings = project_settings()

    def evaluate(folder: Path, old: Scores) -> Scores:
        from itkm.registry.scores import scores_again  # with torch, which is seldom needed here

        return scores_again(folder, old, settings, Layout(ROOT))

    with open_registry(ROOT) as registry:
        found = promote_version(registry, version, settings.registry, evaluate=evaluate, root=ROOT, force=force)
    _show(found, as_json=as_json)
    if found.decision.outcome == "refuse":
        raise RefusedError(f"version {found.version} is refused: {' '.join(found.decision.reasons)}")


@model.command()
@click.option("--reason", default="by hand", show_default=True, help="Why; it is kept.")
@JSON
def rollback(reason: str, as_json: bool) -> None:
    """Make the model that the champion replaced the champion again; each call goes one step back.

    \b
    Examples:
      itkm model rollback
      itkm model rollback --reason "misses people at night" --json
    """
    from itkm.registry.promotion import rollback as roll_back
    from itkm.registry.store import open_registry

    with open_registry(ROOT) as registry:
        found, finished = roll_back(registry, reason=reason, root=ROOT)
    _show(found, as_json=as_json, finished=finished)


def _show(found: Promotion, *, as_json: bool, **more: object) -> None:
    """A decision and the state after it."""
    decision = found.decision.model_dump(mode="json")
    if as_json:
        state = {"version": found.version, "champion": found.champion, "previous": found.previous, "metric": "mAP"}
        _print({"promoted": decision["outcome"] == "promote", **state, **decision, **more})
        return
    for name, pair in {**decision["scores"], **decision["health"]}.items():
        click.echo(f"{name:24} {_number(pair['candidate'])}  champion {_number(pair['champion'])}")
    for reason in decision["reasons"]:
        click.echo(reason)
    click.echo(f"{decision['outcome']}: champion is {found.champion or '-'}, previous is {found.previous or '-'}")


def _summary(version: Version) -> dict[str, Any]:
    """A version for programs."""
    from itkm.registry.rules import finite

    last = version.decisions[-1] if version.decisions else None
    known = {name: finite(own.mAP) for name, own in version.scores.scenarios.items()}
    values = [value for value in known.values() if value is not None]
    return {
        "name": "itkm",
        "version": version.number,
        "uri": f"models:/itkm/{version.number}",
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "created_at": version.created_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "model": version.files["model.safetensors"],
        "mAP": sum(values) / len(values) if values else None,
        "scenarios": known,
        "decision": WORDS[last["outcome"]] if last else None,
        "reasons": last["reasons"] if last else [],
        "decisions": version.decisions,
        "tags": {name: value for name, value in version.tags.items() if not name.startswith("decision.")},
    }


def _table(versions: list[Version]) -> str:
    """The versions in columns."""
    lines = [f"{'version':>7}  {'registered':20}  {'mAP':>6}  {'decision':12}  {'data':8}  {'commit':8}  aliases"]
    for version in versions:
        own: Mapping[str, Any] = _summary(version)
        tags = own["tags"]
        lines.append(
            f"{own['version']:>7}  {own['created_at']:20}  {_number(own['mAP'])}  {own['decision'] or '-':12}  "
            f"{tags['data'][:8]:8}  {tags['git_commit'][:8]:8}  {', '.join(own['aliases']) or '-'}"
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{'-':>6}" if value is None else f"{value:6.3f}"


def _as_aliases(version: Version) -> str:
    return f" as {', '.join(version.aliases)}" if version.aliases else ""


def _print(content: Mapping[str, Any]) -> None:
    click.echo(json.dumps(content, allow_nan=False))

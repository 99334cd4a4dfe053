"""`itkm feed`: the images of a new camera are judged, accepted, and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from itkm.cli.options import FILE, FOLDER, project_settings
from itkm.errors import InputError
from itkm.progress import progress

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from itkm.data.images import Encoded
    from itkm.feeds.feed import Feed
    from itkm.feeds.profile import Row
    from itkm.feeds.reference import Embedder
    from itkm.feeds.verdict import Verdict
    from itkm.retrieval.gallery import Gallery
    from itkm.retrieval.model import Model

PATTERN = (
    r"(?:(?P<camera>[A-Za-z0-9][A-Za-z0-9.-]*)_)?(?P<timestamp>\d{8}T\d{6}(?:\.\d+)?Z?)(?:_t?(?P<tracklet>\d+)(?!\d))?"
)
"""Reads `gate-3_20260302T060000Z_t0012_00003.jpg`, and the same without camera or tracklet."""


@click.group()
def feed() -> None:
    """Judge the images of a new camera, and make them training data.

    \b
    Examples:
      itkm feed validate drop --camera gate-3 --new-camera --scenario vi --group infrared --out feeds/gate-3
      itkm feed accept feeds/gate-3
      itkm feed history gate-3
    """


@feed.command()
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--camera", required=True, help="The camera that delivered them.")
@click.option("--scenario", required=True, help="The scenario that they are for.")
@click.option("--group", required=True, help="The group of the scenario that the camera is of.")
@click.option("--out", "folder", required=True, type=FOLDER, help="The feed folder: gets images, report and verdict.")
@click.option("--reference", type=FOLDER, help="Accepted data to compare with.  [default: data/<scenario>]")
@click.option(
    "--boxes", type=FILE, help="DIR is a video: cut the boxes of this csv (frame,x,y,width,height[,tracklet])."
)
@click.option("--names", "pattern", default=PATTERN, metavar="REGEX", help="What file names tell; see below.")
@click.option("--new-camera", is_flag=True, help="The accepted data do not know the camera yet.")
def validate(
    source: Path,
    camera: str,
    scenario: str,
    group: str,
    folder: Path,
    reference: Path | None,
    boxes: Path | None,
    pattern: str,
    new_camera: bool,
) -> None:
    """Claim the images in DIR, and write a report from which a person can decide.

    DIR is a folder (it is MOVED to the feed folder, by one rename), or what is only read: a folder on another disk, a
    tar or zip, a csv or parquet table (path[,camera,timestamp,tracklet]), or a video with --boxes. What does not decode
    is put into quarantine/ with its reason; nothing is deleted. Cut off and typed again, it goes on.

    --names is matched at the start of each name, its groups (?P<camera>...), (?P<timestamp>...) and (?P<tracklet>...)
    are all optional; by default it reads gate-3_20260302T060000Z_t0012_00003.jpg. Times without a zone are UTC.

    Exit code: 0 accepted, 3 accepted with warnings, 4 refused (2 bad input, 1 a failure of ours).

    \b
    Examples:
      itkm feed validate drop --camera gate-3 --new-camera --scenario vi --group infrared --out feeds/gate-3
      itkm feed validate monday.zip --camera gate-3 --scenario vi --group infrared --out feeds/gate-3-monday
      itkm feed validate gate.mp4 --boxes boxes.csv --camera gate-3 --scenario vi --group infrared --out feeds/video
      itkm feed validate drop --names "(?P<camera>c\\d+)_(?P<timestamp>\\d{8}T\\d{6})" --camera c7 --scenario vi \\
        --group visible --out feeds/c7
    """
    from itkm.feeds.feed import REPORT_FILE, Feed
    from itkm.feeds.intake import claim, require_declared, sort_files
    from itkm.feeds.names import compiled
    from itkm.feeds.suite import require_great_expectations
    from itkm.files import locked
    from itkm.stages.layout import Layout

    data = reference or Layout().data(scenario)
    declared = Feed(camera, scenario, group, source=str(source), claimed_at="")
    compiled(pattern)
    require_great_expectations()
    require_declared(declared, data, new_camera=new_camera)
    with locked(folder):
        claimed = claim(source, folder, declared, boxes=boxes, pattern=pattern)
        claimed, profile = sort_files(folder, claimed, pattern=pattern, progress=_shown)
        verdict = _judge(folder, claimed, profile, data)
    click.echo(f"{verdict.status}: {verdict.reason}")
    click.echo(f"  images: {verdict.decoded} of {verdict.images} files; report: {folder / REPORT_FILE}")
    click.echo(f"Next: {verdict.next_action}\n  {verdict.command}")
    click.get_current_context().exit(verdict.exit_code)


@feed.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--override", default="", metavar="REASON", help="Accept what was refused; the reason is recorded.")
def accept(folder: Path, override: str) -> None:
    """Make the images of the feed folder DIR training data, and version them.

    They are packed as a shard per camera and day and named in the manifest of data/<scenario>. Then `dvc add`, a commit
    of data.dvc alone, `dvc push`, and `git push` where the branch has an upstream. Cut off and typed again, it goes on;
    a feed that is accepted already adds nothing.

    \b
    Examples:
      itkm feed accept feeds/gate-3
      itkm feed accept feeds/gate-3 --override "the lens was cleaned, the blurred hour is wanted"
    """
    from itkm.feeds.accept import accept as accept_feed
    from itkm.feeds.accept import publish, require_project
    from itkm.feeds.feed import Feed
    from itkm.stages.layout import Layout

    layout = Layout()
    require_project(layout.root)
    data = layout.data(Feed.load(folder).scenario)
    record = accept_feed(folder, data, override=override)
    click.echo(f"{record['images']} images of {record['camera']} in {', '.join(record['shards'])} of {data}")
    click.echo(f"done: {', '.join(publish(data, record, root=layout.root))}")
    click.echo("Next: `dvc repro` trains with them.")


@feed.command()
@click.argument("camera", metavar="CAMERA")
def history(camera: str) -> None:
    """List the feeds of CAMERA in all scenarios, oldest first.

    The share behind a check is that of the files that failed it.

    \b
    Example:
      itkm feed history gate-3
    """
    from itkm.feeds.history import earlier
    from itkm.stages.layout import Layout

    folders = [Layout().data(scenario) for scenario in project_settings().scenarios]
    records = earlier(folders, camera)
    if records.empty:
        raise InputError(f"{camera}: no feed of this camera yet. Validate one with `itkm feed validate`.")
    click.echo("claimed               scenario  images  aside  verdict")
    for old in records.to_dict("records"):
        verdict = f"{old['status']}{', in the data' if old['event'] == 'accepted' else ''}"
        click.echo(f"{old['date']:20}  {old['scenario']:8}  {old['images']:6}  {old['quarantined']:5}  {verdict}")
        failed = {check: share for check, share in old["shares"].items() if share}
        if failed:
            click.echo(f"  {', '.join(f'{check} {share:.1%}' for check, share in failed.items())}")
        if old["override"]:
            click.echo(f"  override: {old['override']}")


@feed.command()
def calibrate() -> None:
    """Print the limits that the accepted data suggest: lines for the section `feeds` of params.yaml.

    Nothing is changed: compare them with the lines there, and take over what is right. From then on, feeds of each
    scenario and group are measured by what its accepted cameras deliver.

    \b
    Example:
      itkm feed calibrate
    """
    from itkm.feeds.calibrate import as_lines
    from itkm.feeds.calibrate import calibrate as limits_of
    from itkm.feeds.reference import CACHE, cached_profile
    from itkm.stages.layout import Layout

    settings, layout = project_settings(), Layout()
    profiles = {scenario: cached_profile(layout.data(scenario), CACHE) for scenario in settings.scenarios}
    click.echo(as_lines(limits_of(profiles), settings.feeds))


def _judge(folder: Path, feed: Feed, profile: pd.DataFrame, data: Path) -> Verdict:
    """Compares the images of a feed folder with accepted ones, and writes profile, features, verdict and report."""
    from itkm.feeds import history
    from itkm.feeds.compare import compare
    from itkm.feeds.feed import PROFILE_FILE
    from itkm.feeds.reference import CACHE, load_reference
    from itkm.feeds.report import write_report
    from itkm.feeds.suite import validate as judge
    from itkm.files import replacing
    from itkm.stages.layout import Layout

    model, home = _current_model(feed.scenario, feed.group), Layout().data(feed.scenario)
    embedder = _embedder(model, feed.scenario, feed.group)
    known = load_reference(data, group=feed.group, embedder=embedder, cache=CACHE)
    features = None if model is None else _embed(folder, profile, feed, model)
    profile = compare(profile, known, features)
    with replacing(folder / PROFILE_FILE) as temporary:
        profile.to_parquet(temporary, index=False)
    settings = project_settings().feeds
    verdict = judge(profile, feed=feed, settings=settings, reference=known, features=features, folder=folder)
    past = history.earlier([home], feed.camera)
    write_report(folder, profile, verdict, reference=known, features=features, history=past)
    history.append(history.record_of(feed, verdict), home / history.VALIDATED)
    return verdict


def _shown(rows: Iterable[Row], total: int) -> Iterable[Row]:
    return progress(rows, total=total, title="decode", unit="image")


def _current_model(scenario: str, group: str) -> Model | None:
    """The project's model, if there is one and it knows the scenario and group."""
    from itkm.retrieval.model import open_model
    from itkm.stages.layout import Layout

    folder = Layout().model
    if not folder.is_dir():
        return None
    model = open_model(folder)
    try:
        model.choose(scenario, group)
    except InputError as error:
        click.echo(f"no features: {error}", err=True)
        return None
    return model


def _embed(folder: Path, profile: pd.DataFrame, feed: Feed, model: Model) -> NDArray[np.float32] | None:
    """Writes `features.npz` of the images of a feed folder; its features [N, D], None where no image decodes."""
    from itkm.feeds.feed import FEATURES_FILE, IMAGES
    from itkm.retrieval.images import read_file

    paths = profile.loc[profile["decode_ok"], "path"].tolist()
    if not paths:
        return None
    encoded = [(path, partial(read_file, folder / IMAGES / path)) for path in paths]
    gallery = _gallery(encoded, paths, model, scenario=feed.scenario, group=feed.group, data=folder / IMAGES)
    gallery.save(folder / FEATURES_FILE)
    return gallery.images.features


def _embedder(model: Model | None, scenario: str, group: str) -> Embedder | None:
    """The model as feeds need it; None without one."""
    from itkm.feeds.reference import Embedder

    if model is None:
        return None

    def embed(images: Sequence[Encoded]) -> NDArray[np.float32]:
        names = [name for name, _ in images]
        return _gallery(images, names, model, scenario=scenario, group=group, data=Path()).images.features

    return Embedder(embed, model.fingerprint)


def _gallery(
    images: Sequence[Encoded], paths: Sequence[str], model: Model, *, scenario: str, group: str, data: Path
) -> Gallery:
    """Features of images of which nothing but scenario, group and path is known."""
    import numpy as np

    from itkm.retrieval.embed import embed_images
    from itkm.retrieval.images import Images

    unknown = {"person": np.full(len(paths), -1), "camera": np.zeros(len(paths), dtype=np.int64)}
    views = {"scenario": np.full(len(paths), scenario), "group": np.full(len(paths), group)}
    return embed_images(Images(images, {**unknown, **views, "path": np.array(paths)}, data), model)

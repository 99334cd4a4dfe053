"""Importers: one file a format, each lists its images; `import_dataset` packs what any of them lists."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PIL import Image

from itkm.data.groups import name_groups, order_groups
from itkm.data.images import decode
from itkm.data.importers import (
    caviar,
    cuhk03,
    cuhk03_np,
    cuhk_pedes,
    folder,
    icfg_pedes,
    llcm,
    ltcc,
    luperson,
    market1501,
    mlr_cuhk03,
    mlr_market1501,
    mlr_viper,
    msmt17,
    prcc,
    regdb,
    rstp_reid,
    synth_pedes,
    sysu_mm01,
    table,
    vc_clothes,
)
from itkm.data.importers.journal import Journal, Packed, listing_key
from itkm.data.importers.source import Format, Request, SourceImage, parse_groups, readable
from itkm.data.manifest import RENDERED, expected, is_name, read_manifest
from itkm.data.shards import HIDDEN, places, require_replaceable, suffix_of, unlisted_shards, valid_row
from itkm.errors import InputError
from itkm.files import locked, require_space

__all__ = ["FORMATS", "ImportSummary", "Request", "import_dataset", "parse_groups"]

MAX_FAULTS = 10
TAR_OVERHEAD = 1024  # bytes: a header and the padding

Progress = Callable[[Sequence[SourceImage]], Iterable[SourceImage]]


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        folder.FORMAT,
        table.FORMAT,
        market1501.FORMAT,
        msmt17.FORMAT,
        sysu_mm01.FORMAT,
        regdb.FORMAT,
        llcm.FORMAT,
        prcc.FORMAT,
        ltcc.FORMAT,
        vc_clothes.FORMAT,
        cuhk03.FORMAT,
        cuhk03.DETECTED,
        cuhk03_np.FORMAT,
        cuhk03_np.DETECTED,
        mlr_cuhk03.FORMAT,
        mlr_viper.FORMAT,
        mlr_market1501.FORMAT,
        caviar.FORMAT,
        cuhk_pedes.FORMAT,
        icfg_pedes.FORMAT,
        rstp_reid.FORMAT,
        synth_pedes.FORMAT,
        luperson.FORMAT,
    )
}


@dataclass(frozen=True)
class ImportSummary:
    """What an import wrote.

    Attributes:
        images, persons, cameras: how many; persons without distractors and unknown ones.
        per_split, per_group: images of each.
        skipped: images that could not be read, left out.
        warnings: what the user should know.
    """

    images: int
    persons: int
    cameras: int
    per_split: dict[str, int]
    per_group: dict[str, int]
    skipped: int
    warnings: tuple[str, ...]


def import_dataset(format_name: str, request: Request, *, out: Path, progress: Progress = iter) -> ImportSummary:
    """Packs a data set into manifest and tar shards; the same source gives the same bytes again.

    An import that was killed goes on after the shards that it had finished; one that is complete changes nothing.
    Others may not import into `out` meanwhile.

    Args:
        format_name: a key of `FORMATS`.
        request: what to import.
        out: gets `manifest.parquet` and `shards/`.
        progress: wraps the loop over the images that are yet to be packed, for a progress bar.

    Raises:
        InputError: unknown format or trial, a scenario of an unusable name, a source that is unusable or without
            images, wrong groups, too little space, another command at work in `out`, feeds in it that were accepted
            since, or (unless partial is allowed) unreadable images: the first 10 are named. Nothing is left in `out`
            then.
    """
    form = _format(format_name)
    _require_fitting(form, request)
    listing = form.read(request)
    if not listing.images:
        raise InputError(f"{request.source}: no image found. Expected {form.layout}. Get the whole set.")
    require_groups = order_groups if form.groups == 2 else name_groups
    require_groups(request.scenario, (str(image.row["group"]) for image in listing.images), file=request.source)
    journal = Journal(out, key=listing_key(listing.images, allow_partial=request.allow_partial))
    warnings = list(listing.warnings)
    with locked(out / HIDDEN):
        if not journal.is_complete():
            require_replaceable(out)
            if not journal.resume():
                warnings.append(
                    f"{out}: an import that was cut off here had other images or options, and was not resumed."
                )
            try:
                _import(listing.images, journal, out=out, allow_partial=request.allow_partial, progress=progress)
            except InputError:
                journal.discard()
                raise
    frame = read_manifest(out)
    return ImportSummary(
        images=len(frame),
        persons=int(frame.loc[frame["person"] > 0, "person"].nunique()),
        cameras=int(frame["camera"].nunique()),
        per_split={str(name): int(count) for name, count in frame["split"].value_counts().items()},
        per_group={str(name): int(count) for name, count in frame["group"].value_counts().items()},
        skipped=len(journal.faults),
        warnings=(*warnings, *journal.faults[:MAX_FAULTS], *_left_over(out, set(frame["shard"]))),
    )


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(
            f"unknown format {name!r}, expected one of {', '.join(sorted(FORMATS))}. See `itkm data formats`."
        )
    return FORMATS[name]


def _require_fitting(form: Format, request: Request) -> None:
    """Refuses what a format cannot do, before it is asked to."""
    source = request.source
    _require_name(request.scenario)
    with readable(source):
        is_there = source.is_file() if form.source_is_file else source.is_dir()
    if not is_there:
        kind = "file" if form.source_is_file else "folder"
        raise InputError(f"{source}: no such {kind}. Expected {form.layout}.")
    if not 1 <= request.trial <= form.trials:
        raise InputError(f"--trial {request.trial}: {form.name} has trials 1 to {form.trials}. Choose one of these.")
    if form.own_groups and request.groups:
        raise InputError(f"--group: {form.name} says itself which group an image is of. Leave the option out.")


def _require_name(scenario: str) -> None:
    """Refuses a scenario that no row may name, before its images are blamed for it."""
    if not is_name(scenario):
        raise InputError(f"--scenario {scenario!r}: expected {expected('scenario')}, of at most 64. Give another name.")


def _import(
    images: Sequence[SourceImage], journal: Journal, *, out: Path, allow_partial: bool, progress: Progress
) -> None:
    """Packs the images that the journal lacks, a shard at a time, and completes it."""
    missing: dict[str, list[int]] = {}
    rows = [valid_row(image.row, number=number) for number, image in enumerate(images)]
    for number, place in enumerate(places(rows)):
        if not journal.has(place):
            missing.setdefault(place, []).append(number)
    numbers = [number for listed in missing.values() for number in listed]
    pending = [replace(images[number], row=rows[number]) for number in numbers]
    files = (image.file for image in pending if image.read is None)
    require_space(out, sum(_packed_size(file) for file in files))
    packed = zip(numbers, _packed(progress(pending), allow_partial=allow_partial), strict=True)
    for place, listed in missing.items():
        journal.write(place, islice(packed, len(listed)))
    if journal.faults and not allow_partial:
        raise _unreadable(journal.faults)
    journal.complete()


def _packed_size(file: Path) -> int:
    """Bytes of an image in a shard; 0 where it cannot be read, as it is then named when its turn comes."""
    try:
        return file.stat().st_size + TAR_OVERHEAD
    except OSError:
        return 0


def _packed(images: Iterable[SourceImage], *, allow_partial: bool) -> Iterator[Packed]:
    """Each image, or why it cannot be read; gives up at the tenth of these unless partial is allowed."""
    faults: list[str] = []
    for image in images:
        try:
            yield _pack(image)
        except InputError as error:
            faults.append(str(error))
            if len(faults) == MAX_FAULTS and not allow_partial:
                raise _unreadable(faults) from error
            yield faults[-1]


def _unreadable(faults: Sequence[str]) -> InputError:
    remedy = "Replace or remove these, or skip what cannot be read with --allow-partial."
    return InputError("\n".join([*faults[:MAX_FAULTS], remedy]))


def _pack(image: SourceImage) -> Packed:
    try:
        content = image.read() if image.read else image.file.read_bytes()
    except OSError as error:
        raise InputError(f"{image.where}: cannot be read ({error.strerror}).") from error
    decoded = decode(content, name=image.where)
    row = {**image.row, "resolution": image.row["resolution"] or f"{decoded.width}x{decoded.height}"}
    if str(row["source"]).startswith(RENDERED):  # a user's folder of that name: these persons may exist
        row["source"] = f"./{row['source']}"
    # JPEG and PNG are copied as they are; anything else is packed again as PNG, which loses nothing.
    return row, content if suffix_of(content) else _as_png(decoded)


def _as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _left_over(out: Path, shards: set[str]) -> list[str]:
    return [f"{out / name}: of an earlier import, no row names it. Remove it." for name in unlisted_shards(out, shards)]

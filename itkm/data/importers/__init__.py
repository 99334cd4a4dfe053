"""Importers: one file a format, each lists its images; `import_dataset` packs what any of them lists."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from itkm.data.groups import order_groups
from itkm.data.images import decode
from itkm.data.importers import folder, market1501, table
from itkm.data.importers.source import Format, Request, SourceImage, parse_groups
from itkm.data.manifest import RENDERED
from itkm.data.shards import suffix_of, unlisted_shards, write_scenario
from itkm.errors import InputError
from itkm.files import require_space

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

    Args:
        format_name: a key of `FORMATS`.
        request: what to import.
        out: gets `manifest.parquet` and `shards/`.
        progress: wraps the loop over the images, for a progress bar.

    Raises:
        InputError: unknown format or trial, unusable source, not two groups, too little space, or (unless partial is
            allowed) unreadable images: all of the first 10 are named. Nothing is left in `out` then.
    """
    form = _format(format_name)
    source = request.source
    if not (source.is_file() if form.source_is_file else source.is_dir()):
        kind = "file" if form.source_is_file else "folder"
        raise InputError(f"{source}: no such {kind}. Expected {form.layout}.")
    if not 1 <= request.trial <= form.trials:
        raise InputError(f"--trial {request.trial}: {format_name} has trials 1 to {form.trials}. Choose one of these.")
    listing = form.read(request)
    order_groups(request.scenario, (str(image.row["group"]) for image in listing.images), file=source)
    files = (image.file for image in listing.images if image.read is None)
    copies = (file.stat().st_size + TAR_OVERHEAD for file in files if file.is_file())  # others are named later
    require_space(out, sum(copies))
    faults: list[str] = []
    frame = write_scenario(_contents(progress(listing.images), faults, allow_partial=request.allow_partial), out)
    return ImportSummary(
        images=len(frame),
        persons=int(frame.loc[frame["person"] > 0, "person"].nunique()),
        cameras=int(frame["camera"].nunique()),
        per_split={str(name): int(count) for name, count in frame["split"].value_counts().items()},
        per_group={str(name): int(count) for name, count in frame["group"].value_counts().items()},
        skipped=len(faults),
        warnings=(*listing.warnings, *faults[:MAX_FAULTS], *_left_over(out, set(frame["shard"]))),
    )


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(
            f"unknown format {name!r}, expected one of {', '.join(sorted(FORMATS))}. See `itkm data formats`."
        )
    return FORMATS[name]


def _contents(
    images: Iterable[SourceImage], faults: list[str], *, allow_partial: bool
) -> Iterator[tuple[Mapping[str, object], bytes]]:
    """Row and content of each readable image; the others go to `faults` and, unless partial is allowed, are raised."""
    for image in images:
        try:
            packed = _pack(image)
        except InputError as error:
            faults.append(str(error))
            if len(faults) == MAX_FAULTS and not allow_partial:
                break
        else:
            yield packed
    if faults and not allow_partial:
        raise InputError(
            "\n".join(faults) + "\nReplace or remove these, or skip what cannot be read with --allow-partial."
        )


def _pack(image: SourceImage) -> tuple[Mapping[str, object], bytes]:
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

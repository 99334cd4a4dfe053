"""Trees of published data sets, tiny: images of noise under true names; and the import of one of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from itkm.data.importers import Request, import_dataset
from itkm.data.importers.source import Format
from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader

Fact = tuple[str, str, str, str, int]  # source, split, group, camera, person


def draw(seed: int, *, size: tuple[int, int] = (24, 48), form: str = "PNG") -> bytes:
    """An image file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def plant(root: Path, *names: str, size: tuple[int, int] = (24, 48)) -> None:
    """Writes a different image under each name; its suffix tells its format."""
    forms = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(name.encode()[-8:], "big")
        file.write_bytes(draw(seed, size=size, form=forms[file.suffix]))


def imported(
    form: Format, source: Path, out: Path, *, trial: int = 1, allow_partial: bool = False, scenario: str = "cr"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Imports a tree for real; the manifest and the warnings."""
    request = Request(source, scenario, {}, allow_partial=allow_partial, trial=trial)
    summary = import_dataset(form.name, request, out=out)
    return read_manifest(out), summary.warnings


def facts(frame: pd.DataFrame) -> list[Fact]:
    """What a manifest says of each image, sorted by source."""
    return sorted(frame[["source", "split", "group", "camera", "person"]].itertuples(index=False, name=None))


def content(frame: pd.DataFrame, folder: Path, source: str) -> bytes:
    """The packed image whose source is this."""
    row = frame.set_index("source").loc[source]
    return ShardReader(folder).read(row["shard"], row["path"])

"""LUPerson, persons without labels.

Reference
    Fu et al., Unsupervised Pre-training for Person Re-identification, CVPR 2021.
    https://github.com/DengpanFu/LUPerson
Layout
    A folder with data.mdb (lmdb); keys such as 00_03_0012_00000017: country, city, video, number of the image; values
    are JPEG files. The pickle of keys beside it is not read.
    Nobody is seen by two videos, and which videos share a camera is not known: all are of camera c1.
Statistics
    4,180,243 images, all to train on. As the paper counts them: a difference warns.
Groups
    One, `visible`: to embed and search, not to train on with two groups.
Licence
    For research only; ask the authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from itkm.data.importers.captions import GROUP
from itkm.data.importers.extras import load_extra
from itkm.data.importers.source import (
    UNKNOWN,
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    require_inside,
    require_published,
)
from itkm.errors import InputError

KEY = re.compile(r"\d+_\d+_\d+_\d+")
FILE = "data.mdb"

WHOLE = Part("the set", None, 4_180_243)


def list_luperson(request: Request) -> Listing:
    """Lists LUPerson, of the folder with `data.mdb` or the one that holds it, in the order of the keys.

    Raises:
        InputError: there is none, it is no lmdb, or a key does not parse.
    """
    file = require_inside(folder_with(request.source, [FILE]) / FILE, root=request.source)
    images: list[SourceImage] = []
    with _reading(file) as transaction:
        for raw in transaction.cursor().iternext(keys=True, values=False):
            key = bytes(raw).decode("ascii", errors="replace")
            if KEY.fullmatch(key) is None:
                raise InputError(f"{file}: key {key!r}, expected one such as 00_03_0012_00000017. Get the set again.")
            row = {**UNKNOWN, "scenario": request.scenario, "group": GROUP, "camera": "c1", "source": key}
            images.append(SourceImage(file, row, where=f"{file} key {key}", read=partial(_record, file, bytes(raw))))
    return Listing(images, require_published("LUPerson", WHOLE.differences(images), request, asserted=False))


@contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """A transaction; nothing stays open after it, as a process may open a data base only once."""
    lmdb = load_extra("lmdb", file=file)
    try:
        with (
            lmdb.open(str(file.parent), readonly=True, lock=False, create=False, readahead=False) as environment,
            environment.begin() as transaction,
        ):
            yield transaction
    except lmdb.Error as error:
        raise InputError(f"{file}: cannot be read as lmdb ({error}). Get the set again.") from error


def _record(file: Path, key: bytes) -> bytes:
    with _reading(file) as transaction:
        return bytes(transaction.get(key))


FORMAT = Format(
    name="luperson",
    description="LUPerson (Fu et al., CVPR 2021): 4 million images without labels, no test",
    layout="a folder with data.mdb (lmdb)",
    licence="research only; ask the authors",
    read=list_luperson,
    groups=1,
    own_groups=True,
)

"""By what the images that must go are known again, wherever they lie and whatever they are called there."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from itkm.data.manifest import names_of
from itkm.data.shards import ShardReader, members_of
from itkm.errors import InputError

Form = Literal["image", "npz", "parquet", "tar"]
"""What a file is, told by its content: its name may be any."""

PATHS = ("path", "query_path", "gallery_path")  # columns of our .npz files that name images


@dataclass(frozen=True)
class Subject:
    """Whose images go: of one camera or of one person of a scenario."""

    scenario: str
    camera: str | None = None
    person: int | None = None

    def __post_init__(self) -> None:
        if (self.camera is None) == (self.person is None):
            raise InputError("give either --camera or --person, one of the two: whose images go.")
        if self.person is not None and self.person < 1:
            raise InputError(f"--person {self.person}: no person's number. Expected 1 and up, as in the manifest.")

    @property
    def name(self) -> str:
        """For messages and file names."""
        whose = f"camera-{self.camera}" if self.camera is not None else f"person-{self.person}"
        return f"{self.scenario}-{whose}"

    def rows(self, manifest: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a manifest are theirs, bool [N]."""
        own = manifest["camera"] == self.camera if self.camera is not None else manifest["person"] == self.person
        return own.to_numpy(dtype=bool)


class Traces(BaseModel):
    """What tells the images that must go. Holds no image and no feature.

    Attributes:
        scenario: of the images.
        names: members of shards and names of files, as manifests have them.
        images: SHA-256 of their files.
        sizes: of their files, in bytes: what has another size needs no hash.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    names: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    sizes: frozenset[int] = frozenset()

    def __or__(self, other: Traces) -> Traces:
        return Traces(
            scenario=self.scenario,
            names=self.names | other.names,
            images=self.images | other.images,
            sizes=self.sizes | other.sizes,
        )

    def of_content(self, content: bytes) -> bool:
        """Whether a file is one of the images."""
        return len(content) in self.sizes and hashlib.sha256(content).hexdigest() in self.images

    def rows(self, names: NDArray[np.str_], scenario: NDArray[np.str_] | None) -> NDArray[np.bool_]:
        """Which rows of a table are of the images, bool [N]; rows of another scenario are not, whatever their name."""
        found = np.isin(names, sorted(self.names))
        return found if scenario is None else found & (scenario == self.scenario)


def traces_of(manifest: pd.DataFrame, rows: NDArray[np.bool_], folder: Path, *, scenario: str) -> Traces:
    """The traces of some rows of a manifest, from their images.

    Args:
        manifest: of one scenario.
        rows: bool [N], those whose images must go.
        folder: in which the shards lie; images that are no longer there only leave their names.
        scenario: its name.
    """
    own = manifest[rows]
    reader = ShardReader(folder)
    present = {shard: set(reader.names(shard)) for shard in own["shard"].unique() if (folder / shard).is_file()}
    pairs = zip(own["shard"], own["path"], strict=True)
    contents = (reader.read(shard, path) for shard, path in pairs if path in present.get(shard, ()))
    names = frozenset(own["path"]) | frozenset(names_of(own).tolist())
    return _with_images(Traces(scenario=scenario, names=names), contents)


def _with_images(traces: Traces, contents: Iterable[bytes]) -> Traces:
    found = {(hashlib.sha256(content).hexdigest(), len(content)) for content in contents}
    images, sizes = frozenset(digest for digest, _ in found), frozenset(size for _, size in found)
    return traces.model_copy(update={"images": traces.images | images, "sizes": traces.sizes | sizes})


def holds(stream: BinaryIO, size: int, traces: Traces, *, name: str) -> Form | None:
    """What a file is, by its content, if it is one of the images or has some of them; None where it has none.

    Args:
        stream: the file, at its start; it must seek.
        size: of the file, in bytes.
        traces: what tells the images.
        name: of the file, for errors.

    Raises:
        InputError: a damaged tar: nobody knows whose images lie behind the damage.
    """
    start = stream.read(512)
    stream.seek(0)
    if start[257:262] == b"ustar":
        try:
            return "tar" if _tar_holds(stream, traces) else None
        except Exception as error:  # damaged bytes can make a reader raise anything
            raise InputError(
                f"{name}: a tar that cannot be read to its end ({error}), so that nobody knows whose images it holds. "
                "Bring it back whole or remove it, then type the same command again."
            ) from error
    try:
        if start.startswith(b"PK\x03\x04"):
            return "npz" if _npz_holds(stream, traces) else None
        if start.startswith(b"PAR1"):
            return "parquet" if _parquet_holds(stream, traces) else None
    except Exception:  # such a file only looks like one
        return None
    return "image" if size in traces.sizes and traces.of_content(stream.read()) else None


def _tar_holds(stream: BinaryIO, traces: Traces) -> bool:
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        found = False
        for member in members_of(tar):  # to the end, as a damaged one cannot be written anew either
            if not found and member.isreg() and member.size in traces.sizes:
                content = tar.extractfile(member)
                found = content is not None and traces.of_content(content.read())
    return found


def _npz_holds(stream: BinaryIO, traces: Traces) -> bool:
    with np.load(stream, allow_pickle=False) as arrays:
        scenario = arrays.get("scenario")
        for name in PATHS:
            paths = arrays.get(name)
            if paths is None or paths.ndim != 1:
                continue
            fits = scenario is not None and scenario.shape == paths.shape
            if traces.rows(paths.astype(np.str_), scenario if fits else None).any():
                return True
    return False


def _parquet_holds(stream: BinaryIO, traces: Traces) -> bool:
    table = pq.ParquetFile(stream)
    known = set(table.schema_arrow.names)
    if "path" not in known:
        return False
    wanted = [name for name in ("path", "scenario", "sha256") if name in known]
    return bool(table_rows(table.read(wanted).to_pandas(), traces).any())


def table_rows(frame: pd.DataFrame, traces: Traces) -> NDArray[np.bool_]:
    """Which rows of a table with the column `path`, and perhaps `scenario` and `sha256`, are of the images."""
    scenario = frame["scenario"].to_numpy(dtype=np.str_) if "scenario" in frame else None
    found = traces.rows(frame["path"].to_numpy(dtype=np.str_), scenario)
    return found | frame["sha256"].isin(traces.images).to_numpy(dtype=bool) if "sha256" in frame else found


def file_holds(file: Path, traces: Traces) -> Form | None:
    """`holds` of a file on the disk."""
    with file.open("rb") as stream:
        return holds(stream, file.stat().st_size, traces, name=str(file))

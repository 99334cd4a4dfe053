"""Feeds of a camera as they arrive, clean or with faults planted in a known share of their files.

The persons are the rendered ones of the default data, read from the remote that the repository carries; each camera has
a look of its own. A clean drop is what one camera saw; the accepted data are those of the others.
"""

from __future__ import annotations

import functools
import io
import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from PIL import Image

from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.data.shards import ShardReader, write_scenario

ROOT = Path(__file__).parents[2]
REMOTE = ROOT / "storage" / "files" / "md5"
START = datetime(2026, 3, 2, 6, tzinfo=UTC)  # a Monday; a drop spans the 12 hours from here
OTHER = {"visible": "infrared", "infrared": "visible"}

Pixels = NDArray[np.uint8]
Random = np.random.Generator


@dataclass(frozen=True)
class Drop:
    """What a camera delivers.

    Attributes:
        scenario, group, camera: as which it is declared.
        files: content by name, in the order of time.
        planted: the names of the files that each planted fault is in.
    """

    scenario: str
    group: str
    camera: str
    files: dict[str, bytes]
    planted: dict[str, frozenset[str]] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Writes the files into a folder, which is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


@functools.cache
def unpacked(scenario: str) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """The manifest of a rendered scenario, and the content of each of its images by path."""
    listing = json.loads(_stored(yaml.safe_load((ROOT / "data.dvc").read_text())["outs"][0]["md5"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for entry in listing:
            if entry["relpath"].startswith(f"{scenario}/"):
                file = folder / entry["relpath"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_stored(entry["md5"]))
        manifest = read_manifest(folder / scenario)
        reader = ShardReader(folder / scenario)
        contents = {
            path: reader.read(shard, path) for shard, path in zip(manifest["shard"], manifest["path"], strict=True)
        }
    return manifest, contents


def cameras(scenario: str, group: str) -> list[str]:
    """The rendered cameras of a group."""
    manifest, _ = unpacked(scenario)
    return sorted(manifest.loc[manifest["group"] == group, "camera"].unique())


def accepted(folder: Path, scenario: str, *, without: str, limit: int | None = None) -> Path:
    """Writes the accepted data `folder`/<scenario>: all cameras but one, of each at most `limit` images of a split."""
    manifest, contents = unpacked(scenario)
    rows = manifest[manifest["camera"] != without]
    if limit is not None:
        rows = rows.groupby(["camera", "split"], sort=False).head(limit)
    columns = [name for name in rows.columns if name not in ("path", "shard")]
    images = zip(rows[columns].to_dict("records"), (contents[path] for path in rows["path"]), strict=True)
    target = folder / scenario
    write_scenario(images, target)
    assert (target / MANIFEST_FILE).is_file()
    return target


def clean_drop(scenario: str, camera: str, *, images: int | None = None, declared: str | None = None) -> Drop:
    """What a rendered camera saw: images named by camera, time and tracklet, over 12 hours of one day.

    Args:
        scenario, camera: of the rendered data.
        images: how many at most.
        declared: the name by which the camera is declared; None = its own.
    """
    manifest, contents = unpacked(scenario)
    rows = manifest[manifest["camera"] == camera].iloc[:images]
    name = declared or camera
    step = timedelta(hours=12) / len(rows)
    files = {
        file_name(name, START + number * step, tracklet=person, number=number): contents[path]
        for number, (path, person) in enumerate(zip(rows["path"], rows["person"], strict=True))
    }
    return Drop(scenario, str(rows["group"].iloc[0]), name, files)


def file_name(camera: str, time: datetime, *, tracklet: int, number: int) -> str:
    """The name of a crop: `cam_20260302T060000Z_t0012_00003.jpg`, which the default pattern reads."""
    return f"{camera}_{time:%Y%m%dT%H%M%SZ}_t{tracklet:04d}_{number:05d}.jpg"


def plant(drop: Drop, fault: str, share: float, *, seed: int = 0, data: Path | None = None) -> Drop:
    """The drop with one more fault, in the given share of its files.

    Args:
        drop: what the fault is planted in; a file is given at most one fault.
        fault: a key of `FAULTS`.
        share: of the drop's files.
        seed: of which files, and of how strong the fault is in each.
        data: the accepted data (`accepted`), from which `evaluation overlap` takes its images.
    """
    rng = np.random.default_rng((seed, list(FAULTS).index(fault)))
    taken = frozenset().union(*drop.planted.values())
    copied = {name.replace("-copy", "").replace("-again", "") for name in taken}
    free = [name for name in drop.files if name not in taken | copied]
    count = max(1, round(share * len(drop.files)))
    chosen = [free[place] for place in sorted(rng.choice(len(free), size=count, replace=False).tolist())]
    files = dict(drop.files)
    names = FAULTS[fault](_Target(replace(drop, files=files), rng, data), chosen)
    return replace(drop, files=dict(sorted(files.items())), planted={**drop.planted, fault: frozenset(names)})


@dataclass(frozen=True)
class _Target:
    """A drop whose files a fault changes, and what it draws from."""

    drop: Drop
    rng: Random
    data: Path | None

    def put(self, name: str, content: bytes) -> str:
        self.drop.files[name] = content
        return name

    def rename(self, name: str, new: str) -> str:
        return self.put(new, self.drop.files.pop(name))


Fault = Callable[[_Target, list[str]], list[str]]


def _in_pixels(change: Callable[[Pixels, Random], Pixels]) -> Fault:
    """A fault that changes each image's pixels uint8 [H, W, 3]."""

    def apply(target: _Target, names: list[str]) -> list[str]:
        return [target.put(name, encode(change(pixels(target.drop.files[name]), target.rng))) for name in names]

    return apply


def _in_bytes(change: Callable[[bytes, Random], bytes]) -> Fault:
    """A fault that changes each file's content."""

    def apply(target: _Target, names: list[str]) -> list[str]:
        return [target.put(name, change(target.drop.files[name], target.rng)) for name in names]

    return apply


def _darken(image: Pixels, rng: Random) -> Pixels:
    noise = rng.normal(0, 1.5, image.shape)  # a camera in the dark is noisy, too
    return _clip(image * rng.uniform(0.03, 0.1) + noise)


def _blur(image: Pixels, rng: Random) -> Pixels:
    sigma = rng.uniform(0.035, 0.06) * image.shape[0]
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def _shrink(image: Pixels, rng: Random) -> Pixels:
    height = int(rng.integers(16, 28))
    size = (max(8, round(height * image.shape[1] / image.shape[0])), height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _drift(image: Pixels, rng: Random) -> Pixels:
    """A camera that was turned, fogged and lost its white balance; each image a little differently."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 14 + rng.normal(0, 2), 0.7)
    turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return _clip(90 + 0.45 * turned * np.array([1.25, 0.9, 0.65]) + rng.normal(0, 3))


def _grey(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).convert("L"))


def _grey_one_channel(content: bytes, rng: Random) -> bytes:
    return encode(_grey(pixels(content)))


def _grey_as_rgb(image: Pixels, rng: Random) -> Pixels:
    return np.repeat(_grey(image)[..., None], 3, axis=2)


def _wrong_modality(target: _Target, names: list[str]) -> list[str]:
    """Images of a camera of the other group; in a visible feed half are stored with one channel, half as RGB."""
    manifest, contents = unpacked(target.drop.scenario)
    paths = manifest.loc[manifest["group"] == OTHER[target.drop.group], "path"].to_numpy()
    for number, (name, path) in enumerate(zip(names, target.rng.choice(paths, len(names), replace=False), strict=True)):
        content = contents[str(path)]
        one_channel = target.drop.group == "visible" and number % 2 == 0
        target.put(name, encode(_grey(pixels(content))) if one_channel else content)
    return names


def _duplicate(target: _Target, names: list[str]) -> list[str]:
    return [target.put(f"{name[:-4]}-copy.jpg", target.drop.files[name]) for name in names]


def _reencode(target: _Target, names: list[str]) -> list[str]:
    def again(name: str) -> bytes:
        return encode(pixels(target.drop.files[name]), quality=int(target.rng.integers(50, 80)))

    return [target.put(f"{name[:-4]}-again.jpg", again(name)) for name in names]


def _in_the_future(target: _Target, names: list[str]) -> list[str]:
    return [target.rename(name, _with_time(name, datetime.now(UTC) + timedelta(days=400))) for name in names]


def _with_time(name: str, time: datetime) -> str:
    camera, _, rest = name.split("_", 2)
    return f"{camera}_{time:%Y%m%dT%H%M%SZ}_{rest}"


def _unknown_camera(target: _Target, names: list[str]) -> list[str]:
    return [target.rename(name, f"nowhere-9_{name.split('_', 1)[1]}") for name in names]


def _mixed_cameras(target: _Target, names: list[str]) -> list[str]:
    """Images of another camera of the same group, under that camera's name."""
    others = cameras(target.drop.scenario, target.drop.group)
    manifest, contents = unpacked(target.drop.scenario)
    own = manifest[manifest["path"].isin([path for path in contents if contents[path] in target.drop.files.values()])]
    other = next(camera for camera in others if camera not in set(own["camera"]))
    paths = manifest.loc[(manifest["camera"] == other) & (manifest["split"] == "train"), "path"].to_numpy()
    renamed = []
    for name, path in zip(names, target.rng.choice(paths, len(names), replace=False), strict=True):
        renamed.append(target.rename(name, f"{other}_{name.split('_', 1)[1]}"))
        # a little brighter, or they would be copies of accepted images: another fault
        target.put(renamed[-1], encode(_shifted(pixels(contents[str(path)]))))
    return renamed


def _shifted(image: Pixels) -> Pixels:
    """Another crop of the same person: mirrored and moved by a tenth."""
    height, width = image.shape[:2]
    cut = image[height // 10 :, : width - width // 10, :]
    return np.asarray(cv2.resize(np.ascontiguousarray(cut[:, ::-1]), (width, height)), dtype=np.uint8)


def _evaluation_overlap(target: _Target, names: list[str]) -> list[str]:
    """Images by which models are judged, every other one encoded again."""
    assert target.data is not None, "evaluation overlap needs the accepted data"
    manifest = read_manifest(target.data)
    judged = manifest[(manifest["split"] != "train") & (manifest["group"] == target.drop.group)]
    reader = ShardReader(target.data)
    rows = judged.iloc[target.rng.choice(len(judged), len(names), replace=False)]
    for number, (name, shard, path) in enumerate(zip(names, rows["shard"], rows["path"], strict=True)):
        content = reader.read(shard, path)
        target.put(name, content if number % 2 else encode(pixels(content), quality=70))
    return names


FAULTS: Mapping[str, Fault] = {
    "dark": _in_pixels(_darken),
    "blurred": _in_pixels(_blur),
    "tiny": _in_pixels(_shrink),
    "wrong modality": _wrong_modality,  # of an infrared feed: colour; of a visible one: grey, half of it as RGB
    "grey": _in_bytes(_grey_one_channel),
    "grey as rgb": _in_pixels(_grey_as_rgb),
    "duplicated": _duplicate,
    "re-encoded": _reencode,
    "truncated": _in_bytes(lambda content, rng: content[: int(len(content) * rng.uniform(0.4, 0.8))]),
    "zero bytes": _in_bytes(lambda content, rng: b""),
    "html": _in_bytes(lambda content, rng: b"<!DOCTYPE html><title>404</title><p>no such crop</p>" * 20),
    "future": _in_the_future,
    "unknown camera": _unknown_camera,
    "mixed cameras": _mixed_cameras,
    "evaluation overlap": _evaluation_overlap,
    "drifted": _in_pixels(_drift),
}
"""Fault by name; `duplicated` and `re-encoded` add files, the others change those chosen."""


def pixels(content: bytes) -> Pixels:
    """An image file as uint8 [H, W, 3], RGB."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def encode(image: Pixels, *, quality: int = 88) -> bytes:
    """Pixels uint8 [H, W, 3] or [H, W] as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that declares `side` x `side` pixels; its data are those of a few lines."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    lines = zlib.compress(bytes(3 * side + 1) * 8, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def variations(drop: Drop, count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Any number of distinct crops with names, for measurements of speed: shifted, brightened, noisy copies."""
    rng = np.random.default_rng(seed)
    sources = [pixels(content) for content in drop.files.values()]
    for number in range(count):
        image = sources[number % len(sources)]
        moved = np.roll(image, rng.integers(-12, 13, 2), axis=(0, 1))
        noisy = _clip(moved * rng.uniform(0.8, 1.2) + rng.normal(0, 2, image.shape))
        time = START + timedelta(seconds=number)
        yield file_name(drop.camera, time, tracklet=number // 10, number=number), encode(noisy)


def _clip(values: NDArray[np.floating]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _stored(digest: str) -> bytes:
    return (REMOTE / digest[:2] / digest[2:]).read_bytes()

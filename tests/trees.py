"""Trees laid out like published sets: true names and folder shapes, a few tiny images; and imports of them.

Each function named after a set writes it below a folder and returns the folder to import. In every tree some queries
have positives and negatives in the gallery.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from itkm.data.importers import Request, import_dataset
from itkm.data.importers.source import Groups, Part
from itkm.data.manifest import read_manifest

NO_GROUPS: Groups = {}
FORMS = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}


def write_images(root: Path, names: Iterable[str]) -> None:
    """An image for each name, of pixels that only it has."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (32, 16, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, FORMS[file.suffix])
        file.write_bytes(stream.getvalue())


def write_json(file: Path, value: object) -> None:
    """A json file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def write_text(file: Path, lines: Iterable[str]) -> None:
    """A text file of these lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def imported(
    name: str, source: Path, out: Path, *, groups: Groups = NO_GROUPS, trial: int = 1, scenario: str = "s"
) -> pd.DataFrame:
    """The manifest of an import of so few images that the published numbers cannot hold."""
    import_dataset(name, Request(source, scenario, groups, allow_partial=True, trial=trial), out=out)
    return read_manifest(out)


def views(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """What a reader tells of each image: source, split, group, camera, person, clothes."""
    return list(frame[["source", "split", "group", "camera", "person", "clothes"]].itertuples(index=False, name=None))


def renumbered(
    parts: Iterable[tuple[*tuple[object, ...], Part]], numbers: Iterable[tuple[int | None, int | None]]
) -> tuple[tuple[object, ...], ...]:
    """The same parts of a set as if these identities and images had been published of them."""
    return tuple(
        (*marks, Part(part.name, persons, images))
        for (*marks, part), (persons, images) in zip(parts, numbers, strict=True)
    )


def market1501(folder: Path) -> Path:
    root = folder / "Market-1501-v15.09.15"
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c6s1_000551_01.jpg", "0007_c3s3_077419_03.jpg"],
        "query": ["0001_c1s1_001051_00.jpg", "0003_c6s3_075694_00.jpg"],
        "bounding_box_test": [
            "-1_c1s1_000401_03.jpg",
            "0000_c1s1_000151_01.jpg",
            "0001_c2s1_000301_00.jpg",
            "0003_c1s6_015971_02.jpg",
        ],
    }
    write_images(root, (f"{part}/{name}" for part, files in names.items() for name in files))
    (root / "query/Thumbs.db").write_bytes(b"not an image")
    return root


def msmt17(folder: Path, *, version: str = "V1") -> Path:
    root = folder / f"MSMT17_{version}"
    train, test = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[version]
    lists = {
        "train": [
            "0000/0000_000_01_0303morning_0008_0.jpg 0",
            "0000/0000_001_02_0303noon_0113_1.jpg 0",
            "0001/0001_000_15_0302afternoon_1074_1.jpg 1",
        ],
        "val": ["0001/0001_006_03_0302morning_0099_0.jpg 1"],
        "query": ["0000/0000_000_01_0303morning_0020_0.jpg 0", "0001/0001_004_02_0113noon_0555_2.jpg 1"],
        "gallery": [
            "0000/0000_003_01_0303morning_0030_1.jpg 0",
            "0000/0000_005_14_0303noon_0030_1.jpg 0",
            "0001/0001_007_05_0113noon_0777_0.jpg 1",
        ],
    }
    for name, lines in lists.items():
        write_text(root / f"list_{name}.txt", lines)
        write_images(root / (train if name in ("train", "val") else test), (line.split()[0] for line in lines))
    return root


def sysu_mm01(folder: Path) -> Path:
    root = folder / "SYSU-MM01"
    write_images(
        root,
        [
            *("cam1/0001/0001.jpg", "cam1/0001/0002.jpg", "cam3/0001/0001.jpg", "cam5/0005/0001.jpg"),
            *("cam6/0005/0001.jpg", "cam2/0002/0004.jpg", "cam3/0002/0001.jpg"),  # 0002 is of val_id
            *("cam1/0006/0001.jpg", "cam1/0006/0010.jpg", "cam4/0006/0001.jpg", "cam3/0006/0003.jpg"),
            *("cam2/0333/0001.jpg", "cam6/0333/0001.jpg", "cam6/0333/0002.jpg"),
            "cam1/0400/0001.jpg",  # of no list
        ],
    )
    for name, identities in {"train_id": "5,1", "val_id": "2", "test_id": "333,6"}.items():
        write_text(root / f"exp/{name}.txt", [identities])
    return root


def regdb(folder: Path) -> Path:
    root = folder / "RegDB"
    of_person = {
        1: ("male_back_{}_05421_1.bmp", "male_front_{}_05422_1.bmp"),
        17: ("female_front_{}_00753_17.bmp", "female_back_{}_00760_17.bmp"),
        222: ("male_back_{}_09241_222.bmp", "male_back_{}_09250_222.bmp"),
        409: ("female_back_{}_01000_409.bmp", "female_back_{}_01001_409.bmp"),
    }
    for trial in range(1, 11):
        train = (17, 222) if trial % 2 else (1, 409)
        for half, persons in (("train", train), ("test", tuple(sorted(set(of_person) - set(train))))):
            for modality, folder_name in (("visible", "Visible"), ("thermal", "Thermal")):
                lines = [
                    f"{folder_name}/{person}/{name.format(modality[0])} {label}"
                    for label, person in enumerate(persons)
                    for name in of_person[person]
                ]
                write_text(root / f"idx/{half}_{modality}_{trial}.txt", lines)
                write_images(root, (line.split()[0] for line in lines))
    return root


def llcm(folder: Path) -> Path:
    root = folder / "LLCM"
    lists = {
        "train_vis": [
            "vis/0351/0351_c06_s200656_f4830_vis.jpg 0",
            "vis/0351/0351_c01_s107200_f3012_vis.jpg 0",
            "vis/1064/1064_c09_s200656_f0100_vis.jpg 1",
        ],
        "train_nir": ["nir/0351/0351_c06_s200656_f4830_nir.jpg 0", "nir/1064/1064_c02_s200656_f0200_nir.jpg 1"],
    }
    for name, lines in lists.items():
        write_text(root / f"idx/{name}.txt", lines)
        write_images(root, (line.split()[0] for line in lines))
    write_text(root / "idx/test_id.txt", ["40,2"])
    write_images(
        root,
        [
            *("test_vis/cam1/0002/0002_c01_s1_f1_vis.jpg", "test_vis/cam3/0002/0002_c03_s1_f2_vis.jpg"),
            *("test_vis/cam3/0002/0002_c03_s1_f9_vis.jpg", "test_vis/cam9/0040/0040_c09_s1_f3_vis.jpg"),
            *("test_nir/cam1/0002/0002_c01_s1_f1_nir.jpg", "test_nir/cam2/0040/0040_c02_s1_f4_nir.jpg"),
            "test_vis/cam1/0351/0351_c01_s1_f1_vis.jpg",  # no identity to test with
        ],
    )
    return root


def prcc(folder: Path) -> Path:
    root = folder / "prcc"
    write_images(
        root / "rgb",
        [
            *("train/002/A_cropped_rgb004.jpg", "train/002/B_cropped_rgb010.jpg", "train/002/C_cropped_rgb020.jpg"),
            *("train/015/A_cropped_rgb001.jpg", "val/002/A_cropped_rgb099.jpg"),
            *("test/A/001/cropped_rgb001.jpg", "test/A/001/cropped_rgb009.jpg", "test/A/132/cropped_rgb003.jpg"),
            *("test/B/001/cropped_rgb055.jpg", "test/B/132/cropped_rgb060.jpg"),
            *("test/C/001/cropped_rgb077.jpg", "test/C/132/cropped_rgb080.jpg"),
        ],
    )
    write_images(root / "sketch", ["train/002/A_cropped_rgb004.jpg"])
    return root


def ltcc(folder: Path) -> Path:
    root = folder / "LTCC_ReID"
    write_images(
        root,
        [
            *("train/094_1_c9_004554.png", "train/094_2_c12_004600.png", "train/101_1_c1_000001.png"),
            *("query/000_1_c4_000010.png", "query/007_1_c2_000020.png"),
            *("test/000_1_c5_000030.png", "test/000_2_c6_000040.png", "test/007_1_c3_000050.png"),
            "test/007_2_c1_000060.png",
        ],
    )
    for half in ("train", "test"):
        write_text(root / f"info/cloth-change_id_{half}.txt", ["94"])
    return root


def vc_clothes(folder: Path) -> Path:
    root = folder / "VC-Clothes"
    write_images(
        root,
        [
            *("train/0001-01-01-01.jpg", "train/0001-02-01-03.jpg", "train/0001-04-02-02.jpg"),
            *("query/0257-02-01-01.jpg", "query/0257-03-01-01.jpg", "query/0300-03-01-02.jpg"),
            *("gallery/0257-03-01-02.jpg", "gallery/0257-04-02-01.jpg", "gallery/0300-02-01-01.jpg"),
            "gallery/0300-04-03-01.jpg",
        ],
    )
    return root


CUHK03_NAMES = [
    f"{person}_{view}_{number:02d}.png"
    for person in ("1_001", "1_002", "2_001", "5_001")
    for view, number in ((1, 1), (1, 2), (2, 6))
]


def cuhk03(folder: Path, *, boxes: str = "labeled") -> Path:
    root = folder / "cuhk03"
    write_images(root / f"images_{boxes}", CUHK03_NAMES)
    tested = [[f"images_{boxes}/{name}", 0, 0] for name in CUHK03_NAMES if name.startswith(("1_001", "2_001"))]
    write_json(root / f"splits_classic_{boxes}.json", [{"query": tested}] * 20)
    return root


def cuhk03_np(folder: Path, *, boxes: str = "labeled") -> Path:
    root = cuhk03(folder, boxes=boxes)
    places = {"train_idx": [1, 2, 3, 10, 11, 12], "query_idx": [4, 7], "gallery_idx": [5, 6, 8, 9]}
    names = np.array(CUHK03_NAMES, dtype=object)[:, None]
    columns = {key: np.array(own)[:, None] for key, own in places.items()}
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", {"filelist": names, **columns})
    return root


def mlr_cuhk03(folder: Path) -> Path:
    root = folder / "MLR_CUHK03"
    write_images(
        root,
        [
            *("train/lr/0001_c1_01_2x.png", "train/hr/0001_c2_01.png", "train/hr/0002_c1_01.png"),
            *("query/lr/0003_c1_01_3x.png", "query/lr/0004_c2_01_4x.png"),
            *("gallery/hr/0003_c2_01.png", "gallery/hr/0003_c2_02.png", "gallery/hr/0004_c1_01.png"),
        ],
    )
    return root


def mlr_viper(folder: Path) -> Path:
    root = folder / "VIPeR"
    write_images(
        root,
        [f"cam_{camera}/{person:03d}_{angle}.bmp" for camera, angle in (("a", 0), ("b", 90)) for person in range(6)],
    )
    return root


def mlr_market1501(folder: Path) -> Path:
    root = folder / "Market-1501-v15.09.15"
    write_images(
        root,
        [
            *("bounding_box_train/0002_c1s1_000451_03_2x.jpg", "bounding_box_train/0002_c6s1_000551_01.jpg"),
            *("query/0001_c1s1_001051_00_3x.jpg", "query/0003_c6s3_075694_00_4x.jpg"),
            *("bounding_box_test/0000_c1s1_000151_01.jpg", "bounding_box_test/0001_c2s1_000301_00.jpg"),
            "bounding_box_test/0003_c1s6_015971_02.jpg",
        ],
    )
    return root


def caviar(folder: Path) -> Path:
    root = folder / "CAVIAR4REID"
    write_images(root, [f"{person:04d}{number:03d}.jpg" for person in (1, 2, 5, 9) for number in range(1, 21)])
    write_images(root, [f"0003{number:03d}.jpg" for number in range(1, 11)])  # of one camera
    return root


def captioned(folder: Path, *, name: str, file: str, images: str, entries: Sequence[Mapping[str, object]]) -> Path:
    """A set with captions: its json, and the image of each entry."""
    root = folder / name
    write_json(root / file, [{"captions": ["A man in black.", "He walks."]} | dict(entry) for entry in entries])
    write_images(root / images, (str(entry.get("file_path", entry.get("img_path"))) for entry in entries))
    return root


cuhk_pedes = partial(
    captioned,
    name="CUHK-PEDES",
    file="reid_raw.json",
    images="imgs",
    entries=[
        {"split": "train", "file_path": "CUHK01/0363004.png", "id": 1},
        {"split": "val", "file_path": "cam_a/111_45.bmp", "id": 11004},
        {"split": "test", "file_path": "test_query/p7.jpg", "id": 12004},
        {"split": "test", "file_path": "Market/0001_c1s1.jpg", "id": 12004},
        {"split": "test", "file_path": "Market/0002_c1s1.jpg", "id": 12005},
    ],
)
icfg_pedes = partial(
    captioned,
    name="ICFG-PEDES",
    file="ICFG-PEDES.json",
    images="imgs",
    entries=[
        {"split": "train", "file_path": "train/0000/0000_000_01_0303morning_0008_0.jpg", "id": 0},
        {"split": "test", "file_path": "test/0627/0627_010_05_0303afternoon_1591_0.jpg", "id": 3102},
        {"split": "test", "file_path": "test/0700/0700_001_14_0303noon_1591_0.jpg", "id": 3103},
    ],
)
rstp_reid = partial(
    captioned,
    name="RSTPReid",
    file="data_captions.json",
    images="imgs",
    entries=[
        {"split": "train", "img_path": "0000_c14_0031.jpg", "id": 0},
        {"split": "val", "img_path": "3701_c1_0031.jpg", "id": 3701},
        {"split": "test", "img_path": "3901_c1_0031.jpg", "id": 3901},
        {"split": "test", "img_path": "3902_c7_0031.jpg", "id": 3902},
    ],
)
synth_pedes = partial(
    captioned,
    name="SYNTH-PEDES",
    file="synthpedes-dataset.json",
    images=".",
    entries=[{"file_path": "Part1/7/1.jpg", "id": 7}, {"file_path": "Part10/8/3.jpg", "id": 8}],
)


def luperson(folder: Path) -> Path:
    root = folder / "lmdb"
    write_images(folder / "loose", ["a.jpg", "b.jpg"])
    root.mkdir()
    with lmdb.open(str(root), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        for key, name in (("00_03_0012_00000017", "a"), ("01_00_0001_00000002", "b")):
            transaction.put(key.encode(), (folder / f"loose/{name}.jpg").read_bytes())
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    "market1501": market1501,
    "msmt17": msmt17,
    "sysu-mm01": sysu_mm01,
    "regdb": regdb,
    "llcm": llcm,
    "prcc": prcc,
    "ltcc": ltcc,
    "vc-clothes": vc_clothes,
    "cuhk03": cuhk03,
    "cuhk03-detected": partial(cuhk03, boxes="detected"),
    "cuhk03-np": cuhk03_np,
    "cuhk03-np-detected": partial(cuhk03_np, boxes="detected"),
    "mlr-cuhk03": mlr_cuhk03,
    "mlr-viper": mlr_viper,
    "mlr-market1501": mlr_market1501,
    "caviar4reid": caviar,
    "cuhk-pedes": cuhk_pedes,
    "icfg-pedes": icfg_pedes,
    "rstp-reid": rstp_reid,
    "synth-pedes": synth_pedes,
    "luperson": luperson,
}
"""By the name of the format."""

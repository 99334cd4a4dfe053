"""Every published set, from a tree of its true shape to a score under its own protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itkm.cli import main
from itkm.data.check import check_dataset
from itkm.data.importers import FORMATS, Request, import_dataset
from itkm.data.shards import ShardReader
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import protocol_named
from itkm.evaluation.ranking import Scores, score
from itkm.retrieval.images import labels_of, read_rows
from trees import NO_GROUPS, TREES, imported

PROTOCOLS = {
    "market1501": ["market1501"],
    "msmt17": ["msmt17"],
    "sysu-mm01": ["sysu-all", "sysu-indoor", "sysu-all-multi"],
    "regdb": ["regdb"],
    "llcm": ["llcm"],
    "prcc": ["prcc", "prcc-single"],
    "ltcc": ["ltcc", "ltcc-cc", "ltcc-sc"],
    "vc-clothes": ["vc-clothes", "vc-clothes-cc", "vc-clothes-sc"],
    "cuhk03": ["mlr-single-shot"],
    "cuhk03-detected": ["mlr-single-shot"],
    "cuhk03-np": ["market1501"],
    "cuhk03-np-detected": ["market1501"],
    "mlr-cuhk03": ["mlr-single-shot"],
    "mlr-viper": ["mlr-single-shot"],
    "mlr-market1501": ["market1501"],
    "caviar4reid": ["caviar"],
    "cuhk-pedes": ["text"],
    "icfg-pedes": ["text"],
    "rstp-reid": ["text"],
}
UNTESTED = {"synth-pedes", "luperson"}
CASES = [(name, protocol) for name, protocols in PROTOCOLS.items() for protocol in protocols]


def features_of(rows: pd.DataFrame, *, seed: int, known: bool = True) -> FeatureSet:
    """Features of images: a direction for each person, if persons are to be known, and a little noise."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(20_000, 64))
    labels = labels_of(rows)
    noise = generator.normal(0, 0.01, size=(len(rows), 64))
    values = directions[labels["person"]] + noise if known else generator.normal(size=(len(rows), 64))
    return FeatureSet(values.astype(np.float32), **labels)


def scored(folder: Path, protocol: str, *, known: bool = True) -> Scores:
    """The score of what was imported; captions ask as their images would."""
    query = read_rows(folder, ["gallery" if protocol == "text" else "query"])
    gallery = read_rows(folder, ["gallery"])
    both = (features_of(query, seed=1, known=known), features_of(gallery, seed=2, known=known))
    return score(*both, protocol_named(protocol))


def test_every_published_set_is_tried() -> None:
    assert set(TREES) == set(FORMATS) - {"folder", "manifest"}
    assert set(PROTOCOLS) == set(TREES) - UNTESTED


@pytest.mark.parametrize(("name", "protocol"), CASES)
def test_perfect_features_score_one(name: str, protocol: str, tmp_path: Path) -> None:
    imported(name, TREES[name](tmp_path), tmp_path / "out")
    scores = scored(tmp_path / "out", protocol)
    assert scores.queries - scores.skipped > 0
    assert (scores.rank1, scores.mAP, scores.mINP) == (1.0, 1.0, 1.0)


def test_other_features_do_not(tmp_path: Path) -> None:
    imported("sysu-mm01", TREES["sysu-mm01"](tmp_path), tmp_path / "out")
    assert scored(tmp_path / "out", "sysu-all", known=False).mAP < 1.0


@pytest.mark.parametrize("name", TREES)
def test_an_import_breaks_no_convention(name: str, tmp_path: Path) -> None:
    source = TREES[name](tmp_path)
    frame = imported(name, source, tmp_path / "s")
    assert frame["group"].nunique() == FORMATS[name].groups
    errors = {found.rule for found in check_dataset(tmp_path / "s") if found.severity == "error"}
    assert errors <= (set() if FORMATS[name].groups == 2 else {"groups", "cameras"})
    reader = ShardReader(tmp_path / "s")
    for shard, path in frame[["shard", "path"]].itertuples(index=False):
        assert reader.read(shard, path)
    again = [file.stat().st_mtime_ns for file in sorted((tmp_path / "s").rglob("*"))]
    imported(name, source, tmp_path / "s")
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "s").rglob("*"))] == again


IMPORT_ALL = """
import sys
from pathlib import Path
from itkm.data.importers import Request, import_dataset

for source in sorted(Path(sys.argv[1]).iterdir()):
    request = Request(source, "s", {}, allow_partial=True)
    import_dataset(source.name, request, out=Path(sys.argv[2], source.name))
"""


def test_no_import_depends_on_the_order_of_a_set(tmp_path: Path) -> None:
    for name, tree in TREES.items():
        tree(tmp_path / name)
    trees = tmp_path / "trees"
    trees.mkdir()
    for name in TREES:
        (source,) = (path for path in (tmp_path / name).iterdir() if path.name != "loose")
        source.rename(trees / name)
    manifests = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", IMPORT_ALL, str(trees), str(tmp_path / f"out{seed}")]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        manifests.append({name: (tmp_path / f"out{seed}/{name}/manifest.parquet").read_bytes() for name in TREES})
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.own_groups and name in TREES])
def test_sets_with_groups_of_their_own_take_no_option(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = TREES[name](tmp_path)
    options = ["--scenario", "s", "--out", str(tmp_path / "s"), "--group", "a=c1", "--group", "b=c2"]
    assert main(["data", "import", name, str(source), *options]) == 2
    assert f"--group: {name} says itself which group an image is of. Leave the option out." in capsys.readouterr().err


def test_formats_are_listed_with_layout_licence_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "formats"]) == 0
    told = {lines.split("\n")[0]: lines for lines in capsys.readouterr().out.strip().split("\n\n")}
    assert list(told) == list(FORMATS)
    for name, form in FORMATS.items():
        assert form.layout in told[name] and form.licence in told[name]
        assert max(map(len, told[name].split("\n"))) <= 120
    assert "1 to 10, by --trial" in told["regdb"]
    assert "by --group" in told["msmt17"] and "groups" not in told["sysu-mm01"]
    assert "not to train on" in told["luperson"]


@pytest.mark.parametrize("name", TREES)
def test_the_published_numbers_are_checked(name: str, tmp_path: Path) -> None:
    """A few images are no published set: those that published code asserts refuse it, the others warn."""
    warns = {"llcm", "prcc", "ltcc", "vc-clothes", "cuhk-pedes", "icfg-pedes", "rstp-reid", "synth-pedes", "luperson"}
    source, out = TREES[name](tmp_path), tmp_path / "s"
    options = ["--scenario", "s", "--out", str(out)]
    assert main(["data", "import", name, str(source), *options]) == (0 if name in warns else 2)
    assert out.exists() == (name in warns)
    summary = import_dataset(name, Request(source, "s", NO_GROUPS, allow_partial=True), out=out)
    assert any("expected" in warning for warning in summary.warnings)

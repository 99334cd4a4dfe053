"""`itkm score`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from itkm.cli import main
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import PROTOCOLS
from itkm.evaluation.ranking import score, score_as_published

CONTRACT = ["protocol", "queries", "skipped", "gallery", "rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]


def images(count: int, seed: int) -> FeatureSet:
    rng = np.random.default_rng(seed)
    person = rng.integers(1, 9, size=count)
    features = (np.eye(12)[person] + 0.4 * rng.normal(size=(count, 12))).astype(np.float32)
    return FeatureSet(
        features,
        person,
        rng.integers(1, 7, size=count),
        clothes=rng.integers(2, size=count),
        path=np.array([f"{number:03}.jpg" for number in range(count)]),
        flipped=(features + 0.1 * rng.normal(size=features.shape)).astype(np.float32),
    )


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FeatureSet, FeatureSet]:
    """Query and gallery, as `q.npz` and `g.npz` of the current folder."""
    monkeypatch.chdir(tmp_path)
    query, gallery = images(30, 1), images(120, 2)
    query.save(Path("q.npz"))
    gallery.save(Path("g.npz"))
    return query, gallery


def run(*further: str, protocol: str = "market1501") -> int:
    return main(["score", "--query", "q.npz", "--gallery", "g.npz", "--protocol", protocol, *further])


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_json_is_one_object_with_the_contracted_keys(
    name: str, files: tuple[FeatureSet, FeatureSet], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json", protocol=name) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed)[:10] == CONTRACT
    assert printed["protocol"] == name
    expected = score_as_published(*files, PROTOCOLS[name], verification=True).as_dict()
    assert printed == {**expected, "rerank": False, "flip": False}
    assert [point["fpr"] for point in printed["verification"]] == [1e-2, 1e-3, 1e-4]


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_the_table_is_headed_by_the_protocol(
    name: str, files: tuple[FeatureSet, FeatureSet], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(protocol=name) == 0
    out = capsys.readouterr().out
    scores = score(*files, PROTOCOLS[name])
    assert out.startswith(f"protocol {name}: ")
    assert f"{100 * scores.mAP:.2f}" in out
    assert f"{scores.queries} queries" in out
    assert ("the gallery asks" in out) == PROTOCOLS[name].both_ways
    assert ("closed form: " in out) == PROTOCOLS[name].single_shot
    assert max(map(len, out.splitlines()[1:])) <= 100


def test_flip_and_rerank_are_said_with_the_result(
    files: tuple[FeatureSet, FeatureSet], capsys: pytest.CaptureFixture[str]
) -> None:
    from itkm.evaluation.rerank import rerank

    query, gallery = (own.averaged() for own in files)
    similarity = rerank(query.features, gallery.features)
    expected = score(query, gallery, PROTOCOLS["market1501"], similarity=similarity, verification=True)
    assert run("--flip", "--rerank", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {**expected.as_dict(), "rerank": True, "flip": True}
    assert run("--flip", "--rerank") == 0
    assert capsys.readouterr().out.splitlines()[1] == "re-ranked, flip-averaged"


def test_flip_averages_before_it_compares(
    files: tuple[FeatureSet, FeatureSet], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--flip", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    query, gallery = (own.averaged() for own in files)
    assert printed["flip"] is True
    assert printed["mAP"] == score(query, gallery, PROTOCOLS["market1501"]).mAP
    assert printed["mAP"] != score(*files, PROTOCOLS["market1501"]).mAP


def test_a_line_for_each_query_that_asks(files: tuple[FeatureSet, FeatureSet]) -> None:
    query, gallery = files
    query = replace(query, person=np.where(np.arange(30) == 4, 77, query.person), camera=np.tile([1, 2, 3], 10))
    query.save(Path("q.npz"))
    assert run("--per-query", "lists/f.csv", protocol="prcc") == 0
    with Path("lists/f.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    scores = score(query, gallery, PROTOCOLS["prcc"])
    asking = np.arange(2, 30, 3)
    assert list(lines[0]) == ["path", "person", "camera", "average_precision", "first_rank", "skipped"]
    assert [line["path"] for line in lines] == [f"{row:03}.jpg" for row in asking]
    for line, row in zip(lines, asking, strict=True):
        assert (int(line["person"]), int(line["camera"])) == (query.person[row], 3)
        assert float(line["average_precision"]) == pytest.approx(scores.average_precision[row], abs=1e-6)
        assert float(line["first_rank"]) == scores.first_rank[row]
        assert line["skipped"] == "false"


def test_a_skipped_query_has_empty_cells(files: tuple[FeatureSet, FeatureSet]) -> None:
    query, _ = files
    replace(query, person=np.where(np.arange(30) == 4, 77, query.person), path=None).save(Path("q.npz"))
    assert run("--per-query", "f.csv", protocol="text") == 0
    line = Path("f.csv").read_text(encoding="utf-8").splitlines()[1 + 4]
    assert line == f",77,{query.camera[4]},,,true"


def spoilt(files: tuple[FeatureSet, FeatureSet], column: str, row: int, value: object) -> None:
    """Writes the gallery with one value changed."""
    _, gallery = files
    columns = {name: getattr(gallery, name).copy() for name in ("features", "person", "camera", "path")}
    if isinstance(value, int) and value >= 2**63:
        columns[column] = columns[column].astype(np.uint64)
    columns[column][row] = value
    np.savez("g.npz", **columns)


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("features", 3, np.nan, "g.npz: features: row 3 is not finite"),
        ("features", 5, 0, "g.npz: features: row 5 (005.jpg) is all zeros (1 such rows)"),
        ("person", 7, 2**63 + 1, "g.npz: person: row 7 is 9223372036854775809, more than int64 holds"),
        ("person", 8, -5, "g.npz: person: row 8 is -5"),
    ],
)
def test_a_bad_row_is_named_with_its_file(
    files: tuple[FeatureSet, FeatureSet],
    capsys: pytest.CaptureFixture[str],
    column: str,
    row: int,
    value: object,
    said: str,
) -> None:
    spoilt(files, column, row, value)
    assert run() == 2
    assert said in capsys.readouterr().err


def test_bad_input_is_one_message_and_exit_2(
    files: tuple[FeatureSet, FeatureSet], capsys: pytest.CaptureFixture[str]
) -> None:
    query, gallery = files
    replace(query, flipped=None).save(Path("q.npz"))
    gallery.rows(np.array([], dtype=np.int64)).save(Path("empty.npz"))
    replace(gallery, features=gallery.features[:, :5], flipped=None).save(Path("narrow.npz"))
    replace(query, camera=np.ones(30, np.int64)).save(Path("one-camera.npz"))
    given = ["score", "--query", "q.npz", "--protocol", "market1501", "--gallery"]
    for arguments, said in (
        ([*given, "none.npz"], "none.npz: no such file"),
        ([*given, "empty.npz"], "market1501: the gallery is empty"),
        ([*given, "narrow.npz"], "query features have 12 values and gallery features 5"),
        ([*given, "g.npz", "--flip"], "q.npz: no column `flipped`"),
        ([*given, "g.npz", "--draw", "rand_perm_cam.mat"], "only SYSU-MM01 has a published draw"),
        ([*given[:4], "markte1501", "--gallery", "g.npz"], "Did you mean 'market1501'?"),
        (
            ["score", "--query", "one-camera.npz", "--gallery", "one-camera.npz", "--protocol", "market1501"],
            "none of the 30 queries has a valid positive",
        ),
        ([*given[:4], "sysu-all", "--gallery", "g.npz", "--draw", "none.mat"], "none.mat: no such file"),
    ):
        assert main(arguments) == 2, said
        out, err = capsys.readouterr()
        assert said in err
        assert "Traceback" not in out + err


def test_it_starts_without_anything_heavy(files: tuple[FeatureSet, FeatureSet]) -> None:
    script = """
import sys
from itkm.cli import main
assert main(["score", "--query", "q.npz", "--gallery", "g.npz", "--protocol", "sysu-all"]) == 0
loaded = [name for name in ("torch", "pandas", "scipy", "sklearn", "PIL", "pydantic") if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""`itkm embed` and `itkm search` as they are typed, one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from browser import CHROMIUM, measure
from itkm.cli import main
from itkm.data.manifest import read_manifest, write_manifest
from itkm.evaluation.features import FeatureSet
from itkm.stages.layout import Layout


@pytest.fixture
def here(project: Layout, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `photos`, `model`, and data whose persons 1 to 3 are searched for by infrared."""
    folder = photos.parent
    monkeypatch.chdir(folder)
    Path("model").symlink_to(project.model.resolve())
    frame = read_manifest(project.data("vi"))
    frame["split"] = np.where(frame["person"] > 3, "train", np.where(frame["group"] == "infrared", "query", "gallery"))
    frame["caption"] = np.where(frame["split"] == "query", "a photo of a man", "")
    write_manifest(frame, Path("data/vi"))
    Path("data/vi/shards").symlink_to((project.data("vi") / "shards").resolve())
    return folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The rows of a ranked list: rank, similarity, person, camera, group, path."""
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[0].isdigit()]


@pytest.mark.usefixtures("here")
def test_a_folder_is_embedded_and_an_image_of_it_finds_itself(capsys: pytest.CaptureFixture[str]) -> None:
    view = ["--model", "model", "--scenario", "vi", "--group", "infrared"]
    assert main(["embed", "photos", *view, "--flip", "--out", "out/g.npz"]) == 0
    out, err = capsys.readouterr()
    assert out == "out/g.npz: 32 images, features of 912 values\n"
    assert "as scenario vi, group infrared" in err
    images = FeatureSet.load(Path("out/g.npz"))
    assert images.features.shape == (32, 912)
    assert images.flipped is not None
    assert main(["search", "--model", "model", "--gallery", "out/g.npz", "photos/007.png", "--top", "3"]) == 0
    ranked = lines(capsys)
    assert len(ranked) == 3
    assert ranked[0] == ["1", "1.000", "-", "0", "infrared", "photos/007.png"]


@pytest.mark.usefixtures("here")
def test_a_scenario_is_embedded_scored_and_searched(capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("query", "gallery"):
        assert main(["embed", "data/vi", "--model", "model", "--split", split, "--out", f"{split}.npz"]) == 0
    query, gallery = FeatureSet.load(Path("query.npz")), FeatureSet.load(Path("gallery.npz"))
    assert len(query) == len(gallery) == 12
    assert query.group is not None and set(query.group.tolist()) == {"infrared"}
    assert main(["score", "--query", "query.npz", "--gallery", "gallery.npz", "--protocol", "cross-group"]) == 0
    capsys.readouterr()
    command = ["search", "--model", "model", "--gallery", "gallery.npz", "--group", "infrared", "--html", "found.html"]
    assert main([*command, "photos/000.png"]) == 0
    ranked = lines(capsys)
    assert len(ranked) == 10
    assert {row[4] for row in ranked} == {"visible"}
    assert Path("found.html").read_text(encoding="utf-8").count("data:image/jpeg") == 11


@pytest.mark.usefixtures("here")
def test_words_find_images_and_captions_are_scored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "data/vi", "--model", "model", "--split", "gallery", "--out", "gallery.npz"]) == 0
    text = ["--text", "a photo of a woman", "--top", "100"]
    assert main(["search", "--model", "model", "--gallery", "gallery.npz", *text, "--html", "found.html"]) == 0
    assert len(lines(capsys)) == 12
    assert "a photo of a woman" in Path("found.html").read_text(encoding="utf-8")
    of = ["embed", "data/vi", "--model", "model"]
    assert main([*of, "--split", "gallery", "--projected", "--out", "images.npz"]) == 0
    assert main([*of, "--split", "query", "--captions", "--out", "captions.npz"]) == 0
    assert "captions.npz: 12 captions, features of 16 values" in capsys.readouterr().out
    assert main(["score", "--query", "captions.npz", "--gallery", "images.npz", "--protocol", "text"]) == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nobody can look at the page")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_opens_in_chromium(here: Path, width: int) -> None:
    assert main(["embed", "photos", "--model", "model", "--out", "g.npz"]) == 0
    assert main(["search", "--model", "model", "--gallery", "g.npz", "photos/007.png", "--html", "found.html"]) == 0
    assert measure(Path("found.html").read_text(encoding="utf-8"), here, width=width) == f"{width} 0 0 0"


def test_a_moved_gallery_says_how_to_find_its_images(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", "photos", "--model", "model", "--out", "g.npz"]) == 0
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    command = ["search", "--model", "../model", "--gallery", "../g.npz", "../photos/007.png", "--html", "found.html"]
    assert main(command) == 0
    assert "10 of 10 pictures were not found" in capsys.readouterr().err
    assert main([*command, "--data", ".."]) == 0
    assert "not found" not in capsys.readouterr().err
    assert Path("found.html").read_text(encoding="utf-8").count("data:image/jpeg") == 11


SEARCH = ("search", "--model", "model", "--gallery", "g.npz")
EMBED = ("embed", "--model", "model", "--out", "f.npz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*SEARCH, "photos/000.png", "--text", "a man"), "give either an IMAGE or --text"),
        (SEARCH, "give either an IMAGE or --text"),
        ((*SEARCH, "--text", "a man", "--group", "visible"), "Leave them out with --text"),
        ((*SEARCH, "--text", "a man", "--top", "0"), "0 is not in the range x>=1"),
        ((*SEARCH, "gone.png"), "gone.png: cannot be read (No such file"),
        ((*SEARCH, "photos/000.png", "--group", "high"), "group 'high': unknown to the model"),
        (("search", "--model", "none", "--gallery", "g.npz", "--text", "a"), "none/config.json: not found"),
        (("search", "--model", "model", "--gallery", "none.npz", "--text", "a"), "none.npz: no such file"),
        ((*EMBED, "gone"), "Path 'gone' does not exist"),
        ((*EMBED, "model"), "model: no image in this folder"),
        ((*EMBED, "photos", "--split", "query"), "--split and --captions need a folder"),
        ((*EMBED, "photos", "--captions"), "--split and --captions need a folder"),
        ((*EMBED, "photos", "--scenario", "xx"), "scenario 'xx': unknown to the model"),
        ((*EMBED, "photos", "data/vi"), "data/vi: an imported scenario stands alone"),
        ((*EMBED, "data/vi", "--captions", "--flip"), "words have no --flip"),
        ((*EMBED, "data/vi", "--split", "validation"), "Choose among gallery, query, train"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_is_one_message_and_exit_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    features = np.ones((2, 912), dtype=np.float32)
    np.savez("g.npz", features=features, projected=np.ones((2, 16)), person=[1, 2], camera=[0, 0])
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in out + err
    assert not Path("f.npz").exists()


@pytest.mark.usefixtures("here")
def test_an_unreadable_image_leaves_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/031.png").write_bytes(b"no image")
    assert main([*EMBED, "photos"]) == 2
    assert "photos/031.png: cannot be decoded" in capsys.readouterr().err
    assert not list(Path().glob("*f.npz*"))

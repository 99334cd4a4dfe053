"""`models:/itkm@champion` becomes a folder: downloaded once, whole, and never other than registered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from registered import add_model

from itkm.errors import InputError
from itkm.registry.fetch import fetch
from itkm.registry.store import CHAMPION, NothingRegisteredError, Registry


@pytest.fixture
def champion(registry: Registry, root: Path) -> Path:
    """Where the champion's weights lie on the server; there are two versions."""
    for content in ("first", "second"):
        add_model(registry, root, 0.5, content=content)
    registry.point(CHAMPION, "2")
    run = registry.version("2").run_id
    return root / "mlartifacts" / run / "artifacts" / "model" / "model.safetensors"


@pytest.mark.usefixtures("champion")
def test_by_alias_and_by_number() -> None:
    assert (fetch("models:/itkm@champion") / "model.safetensors").read_text() == "second"
    assert (fetch("models:/itkm/1") / "model.safetensors").read_text() == "first"
    assert fetch("models:/itkm/2") == fetch("models:/itkm@champion")


def test_a_model_is_downloaded_once(champion: Path) -> None:
    folder = fetch("models:/itkm@champion")
    champion.unlink()
    assert fetch("models:/itkm@champion") == folder
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert [file.name for file in folder.parent.iterdir()] == [folder.name], "no temporary folder stays"


@pytest.mark.parametrize("fault", ["changed", "missing", "further"])
@pytest.mark.usefixtures("champion")
def test_a_damaged_cache_is_downloaded_again(fault: str) -> None:
    folder = fetch("models:/itkm@champion")
    if fault == "changed":
        (folder / "model.safetensors").write_text("Second")
    elif fault == "missing":
        (folder / "config.json").unlink()
    else:
        (folder / "code.py").write_text("")
    fetch("models:/itkm@champion")
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "config.json": "{}",
        "model.safetensors": "second",
    }


@pytest.mark.parametrize("fault", ["changed", "missing", "further"])
def test_what_is_not_what_was_registered_is_refused(champion: Path, fault: str) -> None:
    if fault == "changed":
        champion.write_text("Second")
    elif fault == "missing":
        champion.unlink()
    else:
        (champion.parent / "code.py").write_text("")
    with pytest.raises(InputError, match=r"models:/itkm/2: .* is not the file that was registered"):
        fetch("models:/itkm@champion")
    assert not list(Path(".itkm/models").iterdir())


def test_files_that_are_gone_are_said_to_be(champion: Path) -> None:
    shutil.rmtree(champion.parent)
    with pytest.raises(InputError, match="models:/itkm/2: its files are not there any more"):
        fetch("models:/itkm@champion")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("models:/other@champion", "no model's address. Expected models:/itkm@champion or models:/itkm/3"),
        ("models:/itkm", "no model's address"),
        ("models:/itkm@../../x", "no model's address"),
        ("models:/itkm@challenger", "version 'challenger': not registered. Known are champion, 2, 1"),
        ("models:/itkm/7", "version '7': not registered"),
    ],
)
@pytest.mark.usefixtures("champion")
def test_an_address_of_no_model(address: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(address)
    assert said in str(caught.value)


@pytest.mark.usefixtures("registry")
def test_nothing_is_registered() -> None:
    with pytest.raises(NothingRegisteredError, match="Train one with `dvc repro`, then `itkm model register`"):
        fetch("models:/itkm@champion")


def test_there_is_no_registry_and_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NothingRegisteredError, match=r"mlflow.db: not found, so no model is registered"):
        fetch("models:/itkm@champion")
    assert list(tmp_path.iterdir()) == []

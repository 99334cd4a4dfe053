"""CAVIAR4REID: the persons of both cameras, halved."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from itkm.data.importers import caviar
from itkm.data.importers.source import Part
from itkm.errors import InputError
from planted import facts, imported, plant


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Persons 1, 2, 4 and 5 of both cameras, person 3 of one."""
    images = {1: 20, 2: 20, 3: 10, 4: 20, 5: 20}
    root = tmp_path / "CAVIAR4REID"
    plant(
        root, *(f"{person:04d}{number:03d}.jpg" for person, count in images.items() for number in range(1, count + 1))
    )
    return root


def test_divisions(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caviar, "WHOLE", Part("the folder", 5, 90))
    monkeypatch.setattr(caviar, "USED", Part("what two cameras see", 4, 80))
    for trial in (1, 2, 10):
        frame, warnings = imported(caviar.FORMAT, tree, tmp_path / f"cr{trial}", trial=trial)
        random.seed(trial)
        trained = random.sample([1, 2, 4, 5], 2)
        expected = []
        for person in (1, 2, 4, 5):
            for number in range(1, 21):
                group, camera, split = ("high", "c1", "gallery") if number <= 10 else ("low", "c2", "query")
                split = "train" if person in trained else split
                expected.append((f"{person:04d}{number:03d}.jpg", split, group, camera, person))
        assert facts(frame) == expected
        assert warnings == ()


def test_a_wrong_copy_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the published CAVIAR4REID: the folder has 5 identities, expected 72"):
        imported(caviar.FORMAT, tree, tmp_path / "cr")
    plant(tree, "1.jpg")
    with pytest.raises(InputError, match=r"1\.jpg: expected a name such as 0001001\.jpg"):
        imported(caviar.FORMAT, tree, tmp_path / "cr")
    with pytest.raises(InputError, match="has trials 1 to 10"):
        imported(caviar.FORMAT, tree, tmp_path / "cr", trial=11)

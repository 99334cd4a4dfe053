"""A clone of this project with tiny data and settings, in which commands run as users type them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from itkm.models.clip import DemoConfig, build_demo, save_demo
from tiny import make_crop

ROOT = Path(__file__).parents[1]
TINY = {"epochs": 1, "identities": 2, "instances": 2, "camera_centring": False}


@dataclass(frozen=True)
class Project:
    """A clone of this project with data of its own."""

    folder: Path

    def run(self, *arguments: str, code: int = 0) -> str:
        """Runs a command in the project and returns all that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.folder, capture_output=True, text=True, env=self.environment()
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        """`python` is ours, and DVC keeps its own files out of the user's home."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "tmp" / "site")}

    def repro(self, *arguments: str, code: int = 0) -> list[str]:
        """`dvc repro`; returns the stages that ran."""
        return re.findall(r"Running stage '(.+)'", self.run("dvc", "repro", *arguments, code=code))

    def set(self, **sections: Any) -> None:
        """Edits params.yaml; lists stay on their line, as in the original."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, value in sections.items():
            if isinstance(value, dict):
                params[section].update(value)
            else:
                params[section] = value
        path.write_text(yaml.safe_dump(params, default_flow_style=None), encoding="utf-8")

    def metrics(self) -> dict[str, Any]:
        """The result."""
        content: dict[str, Any] = json.loads((self.folder / "reports" / "metrics.json").read_text(encoding="utf-8"))
        return content


def make_clone(folder: Path) -> Project:
    """A copy of the project, with a CLIP that knows nothing, and settings for tiny data."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "itkm", folder / "itkm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    config = DemoConfig(words=("a", "photo", "of", "person", "."), text_layers=1)
    save_demo(build_demo(config), config, folder / "models" / "demo")
    clone = Project(folder)
    clone.set(
        seed=3,
        model={"height": 48, "width": 24},
        labelling={"k1": 6, "k2": 2, "eps": 0.7, "min_samples": 2},
        homogeneous=TINY,
        heterogeneous=TINY,
        prompts={"epochs": 1},
    )
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return clone


def crops(
    folder: Path, persons: range, cameras: range, images: int, name: str
) -> Iterator[tuple[Path, dict[str, int]]]:
    """Writes crops `name` (a format of person, camera and number) and says what each shows."""
    for person in persons:
        for camera in cameras:
            for number in range(images):
                file = folder / name.format(person=person, camera=camera, number=number)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(make_crop(person, 1000 * camera + number))
                yield file, {"person": person, "camera": camera}

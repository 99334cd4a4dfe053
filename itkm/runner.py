"""Where the body of a stage runs: here, or in a container of its own behind the same command.

`dvc.yaml` always says `python -m itkm run STAGE`. With `ITKM_RUNNER=docker` that command becomes `docker run`, in which
the same command runs with the same folders at the same paths, the same user, the same environment and the same
addresses: what a stage leaves cannot tell where it ran. The environment chooses:

* `ITKM_RUNNER`: `local` (the default) or `docker`.
* `ITKM_GPUS`: what `docker run --gpus` takes, by default `all`; `none` on a machine without a GPU.
* `ITKM_IMAGE`: the image, by default the one of `docker/image.lock`.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from itkm.errors import InputError

LOCK = Path("docker", "image.lock")
SHARED_MEMORY = "16g"  # an upper limit: only what is used is taken
# Settings of the stages and of their libraries. `docker run` gets their names alone: a command line can be read by all.
HANDED_ON = (
    *("ITKM_", "MLFLOW_", "AWS_", "HF_", "DO_NOT_TRACK", "PYTHONUNBUFFERED"),
    *("OMP_", "MKL_", "OPENBLAS_", "CUDA_", "CUBLAS_", "NCCL_", "PYTORCH_", "TORCH"),
)
OWN = {"ITKM_RUNNER"}  # decides outside, and would start a container in the container


def in_docker() -> bool:
    """Whether stages run in containers.

    Raises:
        InputError: `ITKM_RUNNER` is neither `local` nor `docker`.
    """
    runner = os.environ.get("ITKM_RUNNER") or "local"
    if runner not in ("local", "docker"):
        raise InputError(f"ITKM_RUNNER={runner}: expected local or docker. Set it to one of them, or leave it out.")
    return runner == "docker"


def run_in_docker(arguments: Sequence[str], *, workspace: Path, weights: Path) -> NoReturn:
    """Runs `python -m itkm` in a container and never returns: `docker run` takes the place of this process.

    So signals reach it as they would reach us, and its exit code is ours.

    Args:
        arguments: of `python -m itkm`.
        workspace: the project's folder.
        weights: the CLIP to start from, which may lie elsewhere.

    Raises:
        InputError: no docker, no daemon, no such image, no GPU to be had, or `torchrun` started this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "ITKM_RUNNER=docker: each process of torchrun would start a container and remove that of the others. Start "
            "torchrun inside the container, or leave ITKM_RUNNER out to run here."
        )
    gpus = os.environ.get("ITKM_GPUS") or "all"
    image = os.environ.get("ITKM_IMAGE") or locked_image(workspace, gpu=gpus != "none")
    docker = _docker()
    identity = _identity(docker, image)
    if gpus != "none":
        _require_gpus(docker, image, gpus)
    name = container_name(arguments, workspace=workspace)
    subprocess.run([docker, "rm", "--force", name], capture_output=True)  # left where its `docker run` was killed
    folders = mounted(workspace.resolve(), weights=weights)
    command = docker_run(arguments, image=image, identity=identity, gpus=gpus, workspace=workspace, folders=folders)
    os.execv(docker, [docker, *command])


def docker_run(
    arguments: Sequence[str], *, image: str, identity: str, gpus: str, workspace: Path, folders: Mapping[Path, str]
) -> list[str]:
    """The arguments of `docker` that run `python -m itkm` in a container as it would run here.

    Args:
        arguments: of `python -m itkm`.
        image: in which it runs.
        identity: the image's identity, which the tracking notes.
        gpus: as `docker run --gpus` takes them, or `none`.
        workspace: the project's folder.
        folders: those that the container sees, from `mounted`.
    """
    names = sorted(name for name in os.environ if name.startswith(HANDED_ON) and name not in OWN)
    return [
        *("run", "--rm", "--init", f"--name={container_name(arguments, workspace=workspace)}"),
        *([] if gpus == "none" else [f"--gpus={gpus}"]),
        *(f"--shm-size={SHARED_MEMORY}", f"--user={os.getuid()}:{os.getgid()}", "--network=host"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp:exec"),
        *(f"--mount=type=bind,source={folder},target={folder}{mode}" for folder, mode in folders.items()),
        f"--workdir={workspace.resolve()}",
        *(f"--env={name}" for name in names),
        f"--env=ITKM_IMAGE_DIGEST={identity}",
        *(image, "python", "-m", "itkm", *arguments),
    ]


def mounted(workspace: Path, *, weights: Path) -> dict[Path, str]:
    """What a container sees, at the paths it has here, each with the end of its `--mount`; outermost first.

    The workspace; and what lies outside of it, as with the clone of a flow run: DVC's cache, into which checked-out
    files may be links, a local MLflow, and the weights to start from.
    """
    outside = {(workspace / weights).resolve(): ",readonly"}
    if cache := _cache(workspace):
        outside[cache] = ",readonly"
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("sqlite:////"):
        outside[Path(address.removeprefix("sqlite:///")).parent.resolve()] = ""
    found = {at: mode for at, mode in outside.items() if at.exists() and not at.is_relative_to(workspace)}
    return dict(sorted({**found, workspace: ""}.items()))


def container_name(arguments: Sequence[str], *, workspace: Path) -> str:
    """One name for each command and workspace: what an earlier try left behind is found by it."""
    place = hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:12]
    return "-".join(["itkm", place, *(argument.strip("-") for argument in arguments)])


def locked_image(workspace: Path, *, gpu: bool) -> str:
    """The image that `docker/image.lock` names.

    Raises:
        InputError: the project has no such file, or it names no image.
    """
    file, device = workspace / LOCK, "gpu" if gpu else "cpu"
    try:
        return str(yaml.safe_load(file.read_text(encoding="utf-8"))[device]["image"])
    except FileNotFoundError as error:
        raise InputError(f"{file}: not found. Name an image in ITKM_IMAGE, or take the file from ITKM.") from error
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: expected `{device}:` with `image:` below it. Write it by docker/lock.sh.") from error


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise InputError(
            "ITKM_RUNNER=docker: there is no command `docker`. Install Docker Engine, or leave ITKM_RUNNER out to run "
            "here."
        )
    return docker


def _identity(docker: str, image: str) -> str:
    """The identity of an image that is on this machine.

    Raises:
        InputError: it is not, or Docker does not answer.
    """
    asked = subprocess.run([docker, "image", "inspect", "--format={{.Id}}", image], capture_output=True, text=True)
    if not asked.returncode:
        return asked.stdout.strip()
    if "no such image" in asked.stderr.lower():
        raise InputError(
            f"image {image}: not on this machine. Build it (docker/Dockerfile says how), fetch it with `docker pull "
            f"{image}`, or name another one in ITKM_IMAGE."
        )
    raise InputError(
        f"ITKM_RUNNER=docker: Docker does not answer: {_last_line(asked.stderr)} Start it, or join its group `docker`."
    )


def _require_gpus(docker: str, image: str, gpus: str) -> None:
    """Refuses to begin without the GPUs: `docker run` itself would only speak of a device driver."""
    command = [docker, "run", "--rm", f"--gpus={gpus}", "--entrypoint=true", image]
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        raise InputError(
            f"ITKM_GPUS={gpus}: no container gets them: {_last_line(tried.stderr)} Install the NVIDIA Container "
            "Toolkit, or set ITKM_GPUS=none to run on the CPU."
        )


def _last_line(said: str) -> str:
    """The last line that is not docker's advice to read its help."""
    lines = [line for line in said.splitlines() if line.strip() and "--help" not in line]
    return lines[-1].strip().rstrip(".") + "." if lines else "it said nothing."


def _cache(workspace: Path) -> Path | None:
    """Where DVC keeps its cache; None for its usual place."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    config.read([workspace / ".dvc" / "config", workspace / ".dvc" / "config.local"], encoding="utf-8")
    folder = config.get("cache", "dir", fallback=None)
    return (workspace / ".dvc" / folder).resolve() if folder else None

"""Registered models on this machine: `models:/itkm@champion` becomes a folder, each file verified by its hash."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from itkm.errors import InputError
from itkm.files import sha256
from itkm.registry.store import FOLDER, NAME, Registry, Version, open_registry

CACHE = Path(".itkm") / "models"
PREFIX = "models:/"


def fetch(address: str, *, root: Path = Path()) -> Path:
    """The folder of a registered model; it is downloaded once.

    Args:
        address: `models:/itkm@ALIAS` or `models:/itkm/NUMBER`.
        root: the project's folder; the cache is `.itkm/models` in it.

    Raises:
        InputError: no such model, or files that are not those that were registered.
        ItkmError: no server answers.
    """
    found = re.fullmatch(rf"{PREFIX}{NAME}[@/]([\w.-]+)", address)
    if found is None:
        raise InputError(f"{address}: no model's address. Expected models:/{NAME}@champion or models:/{NAME}/3.")
    with open_registry(root) as registry:
        return fetch_version(registry.version(found[1]), registry, root=root)


def fetch_version(version: Version, registry: Registry, *, root: Path) -> Path:
    """The folder of a version, from the cache or the server; see `fetch`."""
    place = root / CACHE / f"{version.number}-{version.files['model.safetensors'][:16]}"
    if not _damaged(place, version):
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as temporary:
        folder = Path(temporary) / FOLDER
        _download(version, registry, temporary)
        if damaged := _damaged(folder, version):
            raise InputError(
                f"{_name(version)}: {damaged} is not the file that was registered (its SHA-256 differs). Do not use "
                "it; register the model again, or roll back with `itkm model rollback`."
            )
        try:
            folder.replace(place)
        except OSError:  # another process was faster
            if _damaged(place, version):
                raise
    return place


def _download(version: Version, registry: Registry, target: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        registry.client.download_artifacts(version.run_id, FOLDER, target)
    except (OSError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(
            f"{_name(version)}: its files are not there any more. Put them back from a backup, or promote another "
            "version with `itkm model promote --version N`."
        ) from error


def _damaged(folder: Path, version: Version) -> str:
    """The first file of a version that is missing or other than registered; "" where all are whole."""
    for name, expected in version.files.items():
        file = folder / name
        if not file.is_file() or sha256(file) != expected:
            return name
    return "" if len(list(folder.iterdir())) == len(version.files) else "a further file"


def _name(version: Version) -> str:
    return f"{PREFIX}{NAME}/{version.number}"

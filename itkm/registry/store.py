"""Our models in MLflow's registry: versions of safetensors and JSON files, and the aliases that point to them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itkm.errors import InputError
from itkm.files import sha256
from itkm.registry.rules import Decision, Scores
from itkm.tracking import mlflow_client, sqlite_file, tracking_address, uploading

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

NAME = "itkm"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
FOLDER = "model"  # of a run's artifacts
SUFFIXES = (".json", ".safetensors")  # nothing that could run code when it is loaded
LOCK = "dvc.lock.sha256"
FILES, SCORES, REPLACES, DECISION = "files", "scores", "replaces", "decision."  # tags of a version
_MOST = 1000  # versions that are looked at: more than anyone keeps


class NothingRegisteredError(InputError):
    """There is no registry yet, or no model in it."""


@dataclass(frozen=True)
class Version:
    """A registered model.

    Attributes:
        number: "1" and up.
        run_id: the run whose artifacts hold its files.
        created_at: UTC.
        aliases: those that point to it now.
        tags: lineage, scores, hashes of its files, and its decisions.
    """

    number: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def scores(self) -> Scores:
        """What is known of it, as last evaluated."""
        return Scores.model_validate_json(self.tags[SCORES])

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of each of its files."""
        found: dict[str, str] = json.loads(self.tags[FILES])
        return found

    @property
    def replaces(self) -> str | None:
        """The version that was the champion before it; None where there was none, or it never was the champion."""
        return self.tags.get(REPLACES) or None

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """All decisions on it, oldest first."""
        return [json.loads(value) for tag, value in sorted(self.tags.items()) if tag.startswith(DECISION)]

    @property
    def decided(self) -> bool:
        """Whether it was decided on and that was carried out: a promotion that was cut off leaves it the challenger."""
        decisions = self.decisions
        return bool(decisions) and not (decisions[-1]["outcome"] == "promote" and CHALLENGER in self.aliases)


@dataclass(frozen=True)
class Registry:
    """The versions of the model `itkm` on one MLflow."""

    client: MlflowClient

    def versions(self) -> list[Version]:
        """All versions, newest first; none where the model was never registered."""
        aliases = self.aliases()
        found = self.client.search_model_versions(f"name='{NAME}'", max_results=_MOST)
        ours = [_read(version, aliases) for version in found if SCORES in version.tags]
        return sorted(ours, key=lambda version: int(version.number), reverse=True)

    def aliases(self) -> dict[str, str]:
        """The version that each alias points to."""
        from mlflow.exceptions import MlflowException

        try:
            model = self.client.get_registered_model(NAME)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(number) for alias, number in model.aliases.items()}

    def version(self, name: str) -> Version:
        """The version of a number or alias.

        Raises:
            InputError: there is none.
        """
        versions = self.versions()
        if not versions:
            raise NothingRegisteredError(
                "no model is registered. Train one with `dvc repro`, then `itkm model register`."
            )
        for version in versions:
            if name == version.number or name in version.aliases:
                return version
        known = ", ".join([*self.aliases(), *(version.number for version in versions)])
        raise InputError(f"version {name!r}: not registered. Known are {known}; `itkm model list` shows them.")

    def holder(self, alias: str) -> Version | None:
        """The version that an alias points to, if there is one."""
        return next((version for version in self.versions() if alias in version.aliases), None)

    def find(self, files: Mapping[str, str], lock: str) -> Version | None:
        """The first version of these very files and this dvc.lock."""
        same = [version for version in self.versions() if version.files == files and version.tags.get(LOCK) == lock]
        return same[-1] if same else None

    def find_run(self, experiment: str, **tags: str) -> str | None:
        """The newest finished run with these tags."""
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            return None
        wanted = " and ".join(f"tags.{tag} = '{value}'" for tag, value in tags.items())
        runs = self.client.search_runs(
            [found.experiment_id],
            f"{wanted} and attributes.status = 'FINISHED'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return str(runs[0].info.run_id) if runs else None

    def add(self, folder: Path, run: str, tags: Mapping[str, str]) -> Version:
        """Uploads a model's files to a run and makes a version of them; there is none before all files are there."""
        from mlflow.exceptions import MlflowException

        with uploading(self.client):
            self.client.log_artifacts(run, str(folder), FOLDER)
        with contextlib.suppress(MlflowException):  # it is there already; where it cannot be, the next line says why
            self.client.create_registered_model(NAME)
        source = f"{self.client.get_run(run).info.artifact_uri}/{FOLDER}"
        number = str(self.client.create_model_version(NAME, source, run_id=run, tags=dict(tags)).version)
        return self.version(number)

    def withdraw(self, version: Version) -> None:
        """Takes a version out of the registry; its files stay with its run."""
        self.client.delete_model_version(NAME, version.number)

    def point(self, alias: str, number: str | None) -> None:
        """Points an alias to a version, in one step; None removes the alias."""
        if number is not None:
            self.client.set_registered_model_alias(NAME, alias, number)
        elif alias in self.aliases():
            self.client.delete_registered_model_alias(NAME, alias)

    def note(self, version: Version, tag: str, value: str) -> None:
        """Writes a tag of a version."""
        self.client.set_model_version_tag(NAME, version.number, tag, value)

    def record(self, version: Version, decision: Decision, *, against: str | None) -> None:
        """Keeps a decision with its reasons, for ever: each has a tag of its own.

        Args:
            version: on which was decided.
            decision: what was decided.
            against: the champion's number at that time.
        """
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        content = {"decided_at": now, "champion": against, **decision.model_dump(mode="json")}
        self.note(version, f"{DECISION}{now.replace(':', '').replace('+0000', 'Z')}", json.dumps(content))


@contextlib.contextmanager
def open_registry(root: Path, *, create: bool = False) -> Iterator[Registry]:
    """The registry at `itkm.tracking.tracking_address`.

    Args:
        root: the project's folder.
        create: make the database where there is none.

    Raises:
        InputError: no registry there, or an address or password that cannot be used.
        ItkmError: no server answers, or the database is locked: the same command may work later.
    """
    file = sqlite_file(tracking_address(root))
    if not create and file is not None and file.parent.is_dir() and not file.is_file():
        raise NothingRegisteredError(
            f"{file}: not found, so no model is registered. Run `dvc repro` and `itkm model register` here, or set "
            "MLFLOW_TRACKING_URI to the server that has models."
        )
    with mlflow_client(root) as client:
        yield Registry(client)


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model's folder.

    Raises:
        InputError: no model, or a file that is neither safetensors nor JSON.
    """
    files = sorted(file for file in folder.rglob("*") if not file.is_dir()) if folder.is_dir() else []
    strange = [file for file in files if not re.fullmatch(r"\w+", file.stem) or file.suffix not in SUFFIXES]
    strange += [file for file in files if file.parent != folder or file.is_symlink()]
    if strange:
        raise InputError(
            f"{strange[0]}: not part of a model, which is safetensors and JSON. Remove it, or train again."
        )
    hashes = {file.name: sha256(file) for file in files}
    if not {"config.json", "model.safetensors"} <= set(hashes):
        raise InputError(f"{folder}: no model. Expected config.json and model.safetensors, as `dvc repro` leaves them.")
    return hashes


def _read(version: ModelVersion, aliases: Mapping[str, str]) -> Version:
    own = tuple(sorted(alias for alias, number in aliases.items() if number == str(version.version)))
    made = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Version(str(version.version), str(version.run_id), made, own, dict(version.tags))

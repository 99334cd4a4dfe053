"""What a purge will erase, and the journal by which one that was cut off goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.errors import InputError
from itkm.files import sha256, write_bytes
from itkm.purge.history import in_git, look_back
from itkm.purge.stores import Store, open_stores
from itkm.purge.traces import Subject, Traces, file_holds, traces_of
from itkm.purge.working import Item, find_data, find_derived, find_elsewhere


class Journal(BaseModel):
    """What is known of the images before the first of them goes.

    Attributes:
        traces: what tells the images.
        objects: of DVC, that hold some of them, and where DVC knows them from.
        manifests: SHA-256 of all manifests that list them; models name theirs.
        scenarios: whose results go; of the images, and others whose shards hold the same images.
        unread: versions of the data whose manifest could not be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    traces: Traces
    objects: dict[str, str]
    manifests: frozenset[str]
    scenarios: frozenset[str]
    unread: int


@dataclass(frozen=True)
class Plan:
    """A purge, not yet begun.

    Attributes:
        root: the project's folder.
        subject: whose images go.
        journal: what is known of the images.
        stores: DVC's cache and remotes.
    """

    root: Path
    subject: Subject
    journal: Journal
    stores: list[Store]

    @property
    def file(self) -> Path:
        """The journal's place while a purge runs."""
        return journal_file(self.root, self.subject)

    def in_project(self) -> Iterator[Item]:
        """What goes from the project's folder, in the order in which it goes."""
        near = [folder for store in self.stores if (folder := store.folder())]
        for scenario in sorted(self.journal.scenarios):
            yield from find_data(self.root, self.subject, scenario, self.journal.traces)
        yield from find_derived(self.root, self.journal.scenarios)
        data = [self.root / "data" / scenario for scenario in self.journal.scenarios]
        yield from find_elsewhere(self.root, self.subject, self.journal.traces, [*near, *data, self.file.parent])

    def in_stores(self) -> Iterator[Item]:
        """The objects that go from DVC's cache and remotes."""
        for store in self.stores:
            for name, origin in sorted(self.journal.objects.items()):
                if store.has(name):
                    yield Item(store.name, f"{name} ({origin})", store.size(name), partial(store.erase, name))

    def out_of_reach(self) -> Iterator[str]:
        """What no command of ours can erase, and what people can do."""
        for store in self.stores:
            folder = store.folder()
            if folder is None:
                continue
            held = in_git(self.root, folder)
            paths = {store.odb.oid_to_path(name) for name in self.journal.objects}
            there = sorted(path for path in held if str(self.root / path) in paths)
            if there:
                yield (
                    f"{len(there)} files of {store.name!r} are in git's history and stay there, such as {there[0]}. "
                    "Rewrite it with `git filter-repo --invert-paths --path FILE`, push with force, and clone anew."
                )
        if self.journal.unread:
            yield (
                f"{self.journal.unread} older versions of the data have no manifest that can be read: their shards "
                "were looked at by content alone, and only in the cache and remotes on this machine."
            )
        yield (
            "Clones of this project, backups, and the source that the images were imported from. Run `itkm purge` in "
            "each clone; import again only from a source without them."
        )


def make_plan(root: Path, subject: Subject) -> Plan:
    """Looks for all that must go; writes nothing.

    Raises:
        InputError: nothing is known of such images, no such scenario, or a remote cannot be reached.
    """
    root = root.resolve()
    folder = root / "data" / subject.scenario
    before = _journal(journal_file(root, subject))
    traces = before.traces if before else Traces(scenario=subject.scenario)
    manifests = set(before.manifests if before else ())
    stores = open_stores(root)
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        rows = subject.rows(manifest)
        if rows.any():
            traces |= traces_of(manifest, rows, folder, scenario=subject.scenario)
            manifests.add(sha256(folder / MANIFEST_FILE))
    elif before is None and _is_tracked(root, subject.scenario):
        raise InputError(f"{folder}: not there. Run `dvc pull data.dvc` first, so that what stays can be written anew.")
    scenarios = {subject.scenario, *(before.scenarios if before else ()), *_also_in(root, traces)}
    past = look_back(root, subject, traces, scenarios, stores)
    journal = Journal(
        traces=past.traces,
        objects={**past.objects, **(before.objects if before else {})},
        manifests=frozenset(manifests | past.manifests),
        scenarios=frozenset(scenarios),
        unread=past.unread,
    )
    if not journal.traces.names:
        feeds = [item.name for item in find_elsewhere(root, subject, traces, []) if item.kind == "feed"]
        also = f" Remove its feeds yourself: {', '.join(feeds)}." if feeds else ""
        raise InputError(
            f"{folder}: no image of {subject.name} in any version of the data that is known here. "
            f"`itkm data show {folder}` shows the cameras; nothing was changed.{also}"
        )
    return Plan(root, subject, journal, stores)


def keep_journal(plan: Plan) -> None:
    """Writes down what is known, before the first image goes."""
    write_bytes(plan.file, plan.journal.model_dump_json().encode())


def journal_file(root: Path, subject: Subject) -> Path:
    """Where a purge that is running keeps its journal; it holds hashes and names, no image."""
    return root / ".itkm" / "purge" / f"{subject.name}.json"


def _journal(file: Path) -> Journal | None:
    return Journal.model_validate_json(file.read_bytes()) if file.is_file() else None


def _also_in(root: Path, traces: Traces) -> set[str]:
    """The scenarios whose shards hold any of the images."""
    shards = (root / "data").glob("*/**/*.tar")
    return {file.relative_to(root / "data").parts[0] for file in shards if file_holds(file, traces)}


def _is_tracked(root: Path, scenario: str) -> bool:
    return (root / "data.dvc").is_file() or (root / "data" / f"{scenario}.dvc").is_file()

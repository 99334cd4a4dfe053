"""A feed is killed at random moments: nothing is lost, and run again it ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import faults
import psutil
import pytest
from deliveries import digests, in_feed, judge, of, take

from forked import forked
from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.data.shards import ShardReader
from itkm.feeds import history
from itkm.feeds.accept import accept, read_profile
from itkm.feeds.feed import ACCEPTANCE_FILE, IMAGES

ROOT = Path(__file__).parents[2]
KILLS = 30


def from_drop_to_shard(source: Path, folder: Path, data: Path) -> None:
    """The commands `validate` and `accept`, without what a verdict and DVC take."""
    if not (folder / ACCEPTANCE_FILE).exists():
        take(source, folder)
        judge(folder)
    accept(folder, data)


def in_shards(data: Path) -> Counter[str]:
    """The contents that the manifest names as training data of feeds."""
    if not (data / MANIFEST_FILE).exists():
        return Counter()
    manifest, reader = read_manifest(data), ShardReader(data)
    return of({path: reader.read(shard, path) for path, shard in zip(manifest["path"], manifest["shard"], strict=True)})


def delivered(kind: str, drop: faults.Drop, folder: Path) -> Path:
    """The drop as a folder or as a tar."""
    if kind == "folder":
        return drop.write(folder)
    drop.write(folder.with_name("packed"))
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        tar.add(folder.with_name("packed"), arcname=".")
    return folder.with_suffix(".tar")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_killed_at_any_moment_each_file_is_in_one_place_and_the_end_is_the_same(tmp_path: Path, kind: str) -> None:
    drop = faults.clean_drop("vi", "vi-c1", images=60)
    for fault in ("truncated", "zero bytes", "html"):
        drop = faults.plant(drop, fault, 0.1)
    files = of(drop.files)
    broken = frozenset().union(*drop.planted.values())
    images = of({name: content for name, content in drop.files.items() if name not in broken})
    start = time.monotonic()
    source = delivered(kind, drop, tmp_path / "whole" / "drop")
    from_drop_to_shard(source, tmp_path / "whole" / "feed", tmp_path / "whole" / "vi")
    length = time.monotonic() - start
    whole = read_profile(tmp_path / "whole" / "feed")
    rng, seen = random.Random(7), Counter[str]()
    for number in range(KILLS // 2 if kind == "tar" else KILLS):
        home = tmp_path / str(number)
        source, folder, data = delivered(kind, drop, home / "drop"), home / "feed", home / "vi"
        while True:  # killed again and again, until it comes to its end
            child = forked(from_drop_to_shard, source, folder, data)
            child.start()
            child.join(rng.uniform(0, length))
            if child.exitcode is not None:
                break
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            seen[one_place(kind, source, folder, data, files=files, images=images)] += 1
        assert child.exitcode == 0
        assert one_place(kind, source, folder, data, files=files, images=images) == "shard"
        assert in_shards(data) == images and in_feed(folder) == files - images
        assert read_profile(folder).equals(whole) and len(history.read(data / history.ACCEPTED)) == 1
        assert {file.name for file in data.rglob("*")} == {file.name for file in (tmp_path / "whole" / "vi").rglob("*")}
    assert seen.total() >= KILLS // 2 and len(seen) > 1, seen


def one_place(kind: str, source: Path, folder: Path, data: Path, *, files: Counter[str], images: Counter[str]) -> str:
    """Where the files are: all in the drop, all in the feed folder, or the images in a shard and the others there."""
    shards, feed = in_shards(data), in_feed(folder)
    assert not shards or shards == images  # all or none
    if shards:
        left = digests(folder / IMAGES)  # what the manifest names is no longer the feed folder's
        assert not left - images and feed - left == files - images
        return "shard"
    if kind == "folder":
        assert digests(source) + feed == files  # each once, byte for byte
    else:
        assert feed in (Counter(), files) and source.exists()  # the archive is read and stays
    return "feed" if feed else "drop"


@pytest.mark.slow
def test_the_workers_of_a_killed_process_end_with_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from itkm.feeds.profile import profile_images; import faults\n"
        "if __name__ == '__main__':\n"
        "    content = next(iter(faults.clean_drop('vi', 'vi-c1', images=1).files.values()))\n"
        "    def forever():\n"
        "        while True: yield 'a.jpg', content\n"
        "    profile_images(forever(), workers=2)\n"
    )
    (tmp_path / "endless.py").write_text(script)
    paths = [str(ROOT), str(ROOT / "tests" / "feeds")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "endless.py"), *paths], env=environment)
    try:
        workers: list[psutil.Process] = []
        deadline = time.monotonic() + 120
        while sum(worker.cpu_times().user > 2 for worker in workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
            workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive

"""A DVC project of trivial stages under git, in which flows run within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STAGES = {"clean@a", "clean@b", "join", "score"}
EDGES = {("join", "clean@a"), ("join", "clean@b"), ("score", "join")}

GRAPH = """
stages:
  clean:
    matrix:
      part: [a, b]
    cmd: python step.py clean out/${item.part} data/${item.part}
    deps:
      - data/${item.part}
      - step.py
    outs:
      - out/${item.part}
  join:
    cmd: python step.py join out/all out/a out/b
    deps: [out/a, out/b, step.py]
    outs: [out/all]
  score:
    cmd: python step.py score metrics.json out/all
    deps: [out/all, step.py]
    metrics:
      - metrics.json:
          cache: false
"""
# A stage adds to ran.log, outside of the repository; it waits while a file `hold-<name>` is there, and fails once if
# there is a file `fail-<name>`: with the exit code, or by the signal, that the file names.
STEP = """
import json, os, pathlib, sys, time
name, target, *sources = sys.argv[1:]
outside = pathlib.Path(os.environ["TOY"])
with (outside / "ran.log").open("a") as log:
    log.write(f"{name} {target}\\n")
print(f"{name} begins", flush=True)
(outside / f"pid-{name}").write_text(str(os.getpid()))
while (outside / f"hold-{name}").exists():
    time.sleep(0.05)
fail = outside / f"fail-{name}"
if fail.exists():
    code = int(fail.read_text())
    fail.unlink()
    os.kill(os.getpid(), -code) if code < 0 else sys.exit(code)
text = "".join(pathlib.Path(source).read_text() for source in sources)
out = pathlib.Path(target)
out.parent.mkdir(exist_ok=True)
out.write_text(json.dumps({"length": len(text)}) if name == "score" else text.upper())
print(f"{name} ends", flush=True)
"""


@dataclass(frozen=True)
class Toy:
    """A project with its remote below `base`, which may be moved, and a folder by which a test steers its stages."""

    base: Path

    @property
    def folder(self) -> Path:
        """The project."""
        return self.base / "project"

    @property
    def outside(self) -> Path:
        """What the stages of `STEP` read and write beside their files."""
        return self.base / "outside"

    def ran(self) -> list[str]:
        """The names of the stages that ran since the last call."""
        log = self.outside / "ran.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]

    def say(self, *command: str, folder: Path | None = None) -> str:
        """What a command prints, which must succeed."""
        own = {**os.environ, "TOY": str(self.outside)}
        done = subprocess.run(command, cwd=folder or self.folder, env=own, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def dvc(self, *arguments: str, folder: Path | None = None) -> str:
        """What a command of DVC prints."""
        return self.say(sys.executable, "-m", "dvc", *arguments, folder=folder)

    def git(self, *arguments: str) -> str:
        """What a command of git prints."""
        return self.say("git", *arguments)

    def change(self, text: str) -> None:
        """New data, in a commit."""
        (self.folder / "data" / "a").unlink()
        (self.folder / "data" / "a").write_text(text)
        self.dvc("add", "--quiet", "data")
        self.git("commit", "--quiet", "--all", "--message", text)


def make_toy(folder: Path) -> Toy:
    """A project with a remote and one commit; nothing has run yet."""
    toy = Toy(folder)
    for each in (toy.folder / "data", toy.outside):
        each.mkdir(parents=True)
    (toy.folder / "dvc.yaml").write_text(GRAPH)
    (toy.folder / "step.py").write_text(STEP)
    (toy.folder / ".gitignore").write_text(".itkm/\n__pycache__/\n/data/\n/out/\n/mlflow.db*\n/mlartifacts/\n")
    (toy.folder / ".dvcignore").write_text(".itkm/\n")
    for part in "ab":
        (toy.folder / "data" / part).write_text(f"{part}\n")
    toy.git("init", "--quiet", "--initial-branch", "main")
    toy.git("config", "user.name", "Tester")
    toy.git("config", "user.email", "tester@localhost")
    toy.dvc("init", "--quiet")
    toy.dvc("remote", "add", "--quiet", "--default", "storage", "../storage")
    toy.dvc("config", "core.analytics", "false")
    toy.dvc("add", "--quiet", "data")
    toy.dvc("push", "--quiet")
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "toy")
    return toy

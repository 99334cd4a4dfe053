"""A `docker` that notes what it is asked and really runs the inner command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FAKE = '''#!{python}
"""Notes what it is asked, and really runs the inner command with just what `docker run` was given."""
import json, os, sys

asked, mood = sys.argv[1:], os.environ.get("FAKE_MOOD", "")
with open(os.environ["FAKE_LOG"], "a") as log:
    print(json.dumps(asked), file=log)

def refuse(message, code):
    print(message, file=sys.stderr)
    sys.exit(code)

if mood == "no daemon":
    refuse("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", 1)
if asked[:2] == ["image", "inspect"]:
    if mood == "no image":
        refuse(f"Error response from daemon: No such image: {{asked[-1]}}", 1)
    print("sha256:feed")
elif asked[0] == "run":
    options = [word for word in asked[1:] if word.startswith("--")]
    inner = asked[1 + next(i for i, word in enumerate(asked[1:]) if not word.startswith("--")):][1:]
    if "--entrypoint=true" in options:
        if mood == "no gpu":
            message = 'docker: Error response: could not select device driver "" with capabilities: [[gpu]].'
            refuse(message + "\\n\\nRun 'docker run --help' for more information", 125)
        sys.exit(0)
    given = [option.removeprefix("--env=").partition("=") for option in options if option.startswith("--env=")]
    environment = {{name: value if sign else os.environ[name] for name, sign, value in given}}
    environment |= {{"PATH": os.defpath, "HOME": "/tmp", "FAKE_INSIDE": "1"}}
    place = next(option.removeprefix("--workdir=") for option in options if option.startswith("--workdir="))
    mounts = [option.split("target=")[1].split(",")[0] for option in options if option.startswith("--mount=")]
    assert place in mounts, (place, mounts)
    os.chdir(place)
    if mood == "killed":
        sys.exit(137)
    if "FAKE_INNER" in os.environ:
        inner = ["python", "-c", os.environ["FAKE_INNER"]]
    os.execve({python!r}, [{python!r}, *inner[1:]], environment)
'''
"""An executable; `FAKE_MOOD` says what is wrong with this Docker, `FAKE_INNER` what runs for the stage's body."""


@dataclass(frozen=True)
class FakeDocker:
    """A project with a Docker that is none."""

    project: Path
    log: Path
    path: Path

    def environment(self, **changes: str) -> dict[str, str]:
        base = {name: value for name, value in os.environ.items() if not name.startswith(("ITKM_", "MLFLOW_"))}
        return {**base, "PATH": f"{self.path}:{base['PATH']}", "FAKE_LOG": str(self.log), **changes}

    def itkm(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """`python -m itkm` in the project, by default in a container."""
        environment = self.environment(**{"ITKM_RUNNER": "docker", **changes})
        command = [sys.executable, "-m", "itkm", *arguments]
        return subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True)

    def asked(self) -> list[list[str]]:
        """What `docker` was asked, each time."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def ran(self) -> list[str]:
        """The arguments of the container that had something to do."""
        (found,) = [asked for asked in self.asked() if asked[0] == "run" and "--entrypoint=true" not in asked]
        return found

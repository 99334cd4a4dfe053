"""Training that goes on where it was killed: its state every now and then, resumed only on an exact match.

The state lives outside the stage's outputs, which DVC deletes before a run: `.itkm/checkpoints/<stage>-<fingerprint>/`
holds `state.pt`, and `made-from.json` with the settings, files and code that the fingerprint is of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import pickle
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from itkm.errors import InputError
from itkm.files import sha256, write_bytes, write_json
from itkm.training.distributed import is_first

ROOT = Path(".itkm/checkpoints")
KEPT = 7 * 24 * 3600  # seconds that the state of an interrupted run with other settings, data or code is kept
PACKAGE = Path(__file__).parents[1]
CODE = ("labelling", "losses", "matching", "models", "stages", "training")  # whose change ends a resume
# A save stops training while it lasts: 0.1 s for the demo, seconds for a ViT-B, whose state has 1 GB. So the pause that
# follows one grows with what it cost, and training is never slowed by more than the share.
PAUSE = 10.0  # seconds at least between two saves
SHARE = 0.01  # of the time at most goes into saving
NAMED = 5  # differences that a message names

logger = logging.getLogger(__name__)


class Checkpoint:
    """The state of one stage, identified by its settings, the content of the files that it reads, and the code."""

    def __init__(self, stage: str, *, settings: dict[str, Any], inputs: Sequence[Path]) -> None:
        self._stage = stage
        files = {str(path): sha256(path) for path in inputs}
        self._made_from = {"settings": settings, "inputs": {**files, **code_hashes()}}
        digest = hashlib.sha256(json.dumps(self._made_from, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = ROOT / f"{stage}-{digest}"
        self._file = self.folder / "state.pt"
        self._saved, self._cost = time.monotonic(), 0.0

    def load(self) -> dict[str, Any] | None:
        """The newest state, or None; where one of other settings, data or code is there, the difference is logged.

        A damaged file is put aside, and said.

        Raises:
            InputError: the state is not of the settings, data and code that its folder claims.
        """
        if not self._file.exists():
            self._log_difference()
            return None
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
            logger.warning("%s: cannot be read (%s); kept as .damaged, training starts again", self._file, error)
            self._file.replace(self._file.with_suffix(".damaged"))
            return None
        with self.restoring():
            if state["of"] != self.folder.name:
                raise ValueError(f"it is the state of {state['of']}")
            logger.info("going on after epoch %d, step %d, from %s", state["epoch"], state["step"], self._file)
        return state

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Turns what goes wrong while a state is put back into an error that names the file and the misfit.

        Raises:
            InputError: the state claims to match, but something in it is missing or has another shape.
        """
        try:
            yield
        except torch.OutOfMemoryError:  # a RuntimeError, but none of the state
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            raise InputError(
                f"{self._file}: claims to be of these settings, data and code, but does not fit: {reason}. Delete "
                f"{self.folder}, and training starts anew."
            ) from error

    def due(self) -> bool:
        """Whether this process shall save, and enough time has passed since the last one."""
        return is_first() and time.monotonic() - self._saved >= max(PAUSE, self._cost / SHARE)

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the state atomically; `epoch` counts finished epochs, `step` finished steps of the one under way."""
        begun = time.monotonic()
        made_from = self.folder / "made-from.json"
        if not made_from.exists():
            write_json(made_from, self._made_from)
        content = io.BytesIO()  # torch's own writer hides why a write failed
        torch.save({"of": self.folder.name, **state}, content)
        write_bytes(self._file, content.getvalue())
        self._saved = time.monotonic()
        self._cost = self._saved - begun

    def require_finite(self, loss: float, *, epoch: int) -> None:
        """Ends a training that diverged in `epoch`, and forgets its state: from there nothing goes on.

        All processes of a run have the same loss, so that all of them end.

        Raises:
            InputError: the loss is not finite.
        """
        if math.isfinite(loss):
            return
        if is_first():
            self.remove()
        raise InputError(
            f"{self._stage}, epoch {epoch + 1}: the loss is not finite: training diverged. Lower "
            f"{self._stage}.learning_rate in params.yaml, or raise {self._stage}.warmup."
        )

    def remove(self) -> None:
        """Forgets the state, once the stage's outputs are written, and states that nobody came back for."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for other in self._others():
            if other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other, ignore_errors=True)

    def _others(self) -> list[Path]:
        """The folders of this stage's states of other settings, data or code, the newest last."""
        found = ROOT.glob(f"{self.folder.name.rpartition('-')[0]}-*")
        return sorted((path for path in found if path != self.folder), key=lambda path: path.stat().st_mtime)

    def _log_difference(self) -> None:
        """Says why the newest state of another run of this stage is of no use to this one."""
        for other in self._others()[-1:]:
            try:
                before = json.loads((other / "made-from.json").read_bytes())
                said = differences(before, json.loads(json.dumps(self._made_from)))
            except (OSError, ValueError, KeyError, TypeError):
                said = [f"{other} was made by another version"]
            more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
            logger.info("not resumed: %s%s; starting anew", "; ".join(said[:NAMED]), more)


def code_hashes() -> dict[str, str]:
    """The SHA-256 of each module that can change what is trained."""
    modules = [path for room in CODE for path in sorted((PACKAGE / room).rglob("*.py"))]
    return {path.relative_to(PACKAGE.parent).as_posix(): sha256(path) for path in modules}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a state was made from and what it would be now, one sentence for each setting and file that differs."""
    old, new = (dict(_leaves(content["settings"])) for content in (before, now))
    said = [
        f"{name} was {old.get(name, 'not there')}, is {new.get(name, 'not there')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    files, others = now["inputs"], before["inputs"]
    said += [f"{name} is gone" for name in sorted(others.keys() - files.keys())]
    said += [f"{name} is new" for name in sorted(files.keys() - others.keys())]
    said += [f"{name} differs" for name in sorted(files.keys() & others.keys()) if files[name] != others[name]]
    return said


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dicts, named by their path with dots."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

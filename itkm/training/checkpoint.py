"""Training that goes on where it was killed: the state after every epoch, resumed only on an exact match.

The state lives outside the stage's outputs, which DVC deletes before a run: `.itkm/checkpoints/<stage>-<fingerprint>/`.
Everything random is seeded by (seed, stage, epoch), so that no generator's state has to be kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from itkm.files import sha256, write_bytes

ROOT = Path(".itkm/checkpoints")
KEPT = 7 * 24 * 3600  # seconds that the state of an interrupted run with other settings or data is kept

logger = logging.getLogger(__name__)


class Checkpoint:
    """The state of one stage, identified by its settings and the content of the files that it reads."""

    def __init__(self, stage: str, *, settings: dict[str, Any], inputs: Sequence[Path]) -> None:
        content = {"settings": settings, "inputs": {str(path): sha256(path) for path in inputs}}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = ROOT / f"{stage}-{digest}"
        self._file = self.folder / "state.pt"

    def load(self) -> dict[str, Any] | None:
        """The state of the last finished epoch, or None. A damaged file is put aside, and said."""
        if not self._file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
            logger.warning("%s: cannot be read (%s); kept as .damaged, training starts again", self._file, error)
            self._file.replace(self._file.with_suffix(".damaged"))
            return None
        logger.info("going on after epoch %d, from %s", state["epoch"], self._file)
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the state atomically; `state["epoch"]` is the number of finished epochs."""
        content = io.BytesIO()  # torch's own writer hides why a write failed
        torch.save(state, content)
        write_bytes(self._file, content.getvalue())

    def remove(self) -> None:
        """Forgets the state, once the stage's outputs are written, and states that nobody came back for."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for other in ROOT.glob(f"{self.folder.name.rpartition('-')[0]}-*"):
            if other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other, ignore_errors=True)

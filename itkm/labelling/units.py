"""Rows as directions, in main memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_units(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows [N, D] scaled to norm 1; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), dtype=np.float32)

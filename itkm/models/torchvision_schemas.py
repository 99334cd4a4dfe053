"""Lets torchvision's pure-Python transforms import beside a CPU-only torch.

PyPI's Linux wheel of torchvision is a CUDA build: its `_C.so` links CUDA libraries, so that beside a CPU-only torch the
C++ operators are absent, and `import torchvision` dies while it registers fake kernels for operators that nobody has
defined. Two declared schemas are enough for the import. Nothing is faked: `torchvision.ops.nms` still raises its own
error.
Where the extension loads (GPU machines, CPU wheels of the PyTorch index) this does nothing.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import torch

_LIBRARIES: list[torch.library.Library] = []  # a library's schemas live as long as the object


def ensure_torchvision() -> None:
    """Declares the missing schemas; call before the first import of open_clip or timm."""
    spec = importlib.util.find_spec("torchvision")
    if _LIBRARIES or "torchvision" in sys.modules or spec is None or not spec.submodule_search_locations:
        return
    extension = next(pathlib.Path(spec.submodule_search_locations[0]).glob("_C*.so"), None)
    if extension is not None:
        try:
            torch.ops.load_library(str(extension))
            return
        except OSError:
            pass
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)

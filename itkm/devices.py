"""What goes to a GPU while it works.

In Stages I and III: features, memories and pixels are on the device; labels, places and numbers of scenarios stay on
the CPU and are sent where a kernel needs them. So a training step asks the device for nothing, and never waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copies to a GPU without waiting for what it still has to do; elsewhere it is `values.to(device)`."""
    if device.type == "cuda" and not values.is_cuda:
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)

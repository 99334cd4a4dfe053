"""How fast the real backbone learns and extracts, as images a second and as a share of what the device can multiply.

On a GPU: CLIP ViT-B/16 at 256x128 in bf16, 256 images a step. Without one: a small ViT in fp32 on the CPU, measured the
same way; its shares say how much a step adds to its matrix products there, and nothing about a GPU. The weights are
random: they do not change the speed. One thread decodes; the share of a GPU is of its bf16 rate, that of a CPU of fp32.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from itkm.config import Settings
from itkm.data.images import decode_all
from itkm.data.training import TrainingImages
from itkm.models.clip import Clip, build_open_clip, from_open_clip
from itkm.models.encoder import Encoder
from itkm.models.settings import ModelSettings
from itkm.models.torchvision_schemas import ensure_torchvision
from itkm.stages import heterogeneous
from itkm.stages.heterogeneous import Round, Target
from itkm.training.extraction import extract
from itkm.training.groups import Group, split_groups
from itkm.training.runtime import resolve_device
from itkm.training.trainer import Trainer

SCENARIOS = ("vi", "cc")
INSTANCES = 4


@dataclass(frozen=True)
class Size:
    """What is measured on a kind of device.

    Attributes:
        height, width: of the images.
        identities: P of each of the four groups; a step has 4 x P x 4 images.
        images: of each group.
        product: rows and columns of the matrices whose product is the device's rate.
        dtype: in which it multiplies and learns.
    """

    height: int
    width: int
    identities: int
    images: int
    product: int
    dtype: torch.dtype


SIZES = {
    "cuda": Size(256, 128, identities=16, images=4096, product=8192, dtype=torch.bfloat16),
    "cpu": Size(128, 64, identities=2, images=128, product=2048, dtype=torch.float32),
}


def build_clip(size: Size, device: torch.device) -> Clip:
    """CLIP ViT-B/16, or a small one of the same layers for a CPU."""
    if device.type == "cuda":
        settings = ModelSettings(name="vit-b-16", weights="", height=size.height, width=size.width)
        return build_open_clip(settings, None)
    ensure_torchvision()
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

    blocks = {"layers": 4, "width": 256, "head_width": 64, "block_type": "custom"}
    vision = CLIPVisionCfg(**blocks, patch_size=16, image_size=(size.height, size.width))
    text = CLIPTextCfg(width=64, heads=2, layers=1)
    return from_open_clip(CustomTextCLIP(embed_dim=128, vision_cfg=vision, text_cfg=text), scenario_tokens="all")


def make_groups(size: Size) -> list[Group]:
    """Two scenarios of noise images."""
    rng = np.random.default_rng(0)
    count = 2 * size.images
    return split_groups(
        [
            TrainingImages(
                paths=np.array([str(number) for number in range(count)]),
                scenario=scenario,
                group=np.arange(count) % 2,
                camera=np.zeros(count, dtype=np.int64),
                images=rng.integers(0, 256, (count, 3, size.height, size.width), dtype=np.uint8),
                group_names=("first", "second"),
                camera_names=("c1",),
            )
            for scenario in SCENARIOS
        ]
    )


def make_round(encoder: Encoder, groups: list[Group], device: torch.device) -> Round:
    """Targets as of an epoch whose clusters have eight images, and whose images have a few positives each."""
    trunk, targets = encoder.trunk, []
    for group in groups:
        count = len(group.rows)
        clusters = count // 8
        memory, instances, texts = (
            normalize(torch.randn(rows, width, device=device), dim=1)
            for rows, width in (
                (clusters, trunk.feature_dim),
                (count, trunk.feature_dim),
                (clusters, trunk.projected_dim),
            )
        )
        labels, positives = torch.arange(count) % clusters, torch.randint(count, (count, 3))
        targets.append(Target(memory, instances, texts, labels, torch.arange(clusters), positives, labels))
    return Round(targets)


def matrix_rate(size: Size, device: torch.device) -> float:
    """Operations a second of the best of several matrix products."""
    a, b = (torch.randn(size.product, size.product, device=device, dtype=size.dtype) for _ in range(2))
    return 2 * size.product**3 / min(seconds(lambda: a @ b, device) for _ in range(8))


def operations(encoder: Encoder, size: Size, device: torch.device) -> float:
    """Of one image's way forward, counted in the matrix products and convolutions that are called."""
    images = torch.rand(2, 3, size.height, size.width, device=device)
    zeros = torch.zeros(2, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        encoder(images, zeros, zeros)
    return float(counter.get_total_flops() / 2)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done it."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def train_steps(trainer: Trainer, groups: list[Group], options: Settings) -> Iterator[int]:
    """Steps of Stage III, epoch after epoch."""
    current = make_round(trainer.encoder, groups, trainer.device)
    while True:
        current.steps = 0
        yield from heterogeneous.train_steps(trainer, groups, current, options, 0, scale=100.0)


def measure_training(clip: Clip, groups: list[Group], size: Size, device: torch.device, **options: bool) -> float:
    """Seconds of a training step, the mean of twenty after five that warm up: the device never waits for a clock."""
    batch = {"identities": size.identities, "instances": INSTANCES, **options}
    settings = Settings.model_validate({"scenarios": SCENARIOS, "heterogeneous": batch})
    encoder = Encoder(clip.stem, clip.trunk, scenarios=SCENARIOS, mean=clip.mean, std=clip.std)
    trainer = Trainer(encoder, settings.heterogeneous, device=device)
    steps = train_steps(trainer, groups, settings)
    seconds(lambda: list(islice(steps, 5)), device)
    return seconds(lambda: list(islice(steps, 20)), device) / 20


def measure_extraction(encoder: Encoder, group: Group, device: torch.device) -> float:
    """Seconds an image, the better of two after one that warms up."""
    numbers = np.zeros(len(group.rows), dtype=np.int64)
    elapsed = [seconds(lambda: extract(encoder, group.images, scenario=0, group=numbers), device) for _ in range(3)]
    return min(elapsed[1:]) / len(group.rows)


def measure_batches(trainer: Trainer, groups: list[Group], device: torch.device) -> float:
    """Seconds until a batch of decoded images lies augmented on the device."""
    labels = [np.arange(len(group.rows)) % (len(group.rows) // 8) for group in groups]
    count, batches = trainer.batches(groups, labels, seed=(0,))
    return statistics.median(seconds(lambda: next(batches), device) for _ in range(min(count, 8)))


def measure_decoding(size: Size) -> float:
    """Images a second, from the bytes of JPEGs of 128x64 pixels to the model's size."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((64, 128), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    images = [("", stream.getvalue)] * 512
    begun = time.perf_counter()
    decode_all(images, height=size.height, width=size.width, workers=1)
    return len(images) / (time.perf_counter() - begun)


def forget_peak(device: torch.device) -> None:
    """The next peak counts from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> float:
    """Megabytes at the peak: of the GPU's memory, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def main() -> None:
    """Measures and prints."""
    device = resolve_device("auto")
    size = SIZES[device.type]
    torch.manual_seed(0)
    clip, groups = build_clip(size, device), make_groups(size)
    rate = matrix_rate(size, device)
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name(device)}, CLIP ViT-B/16, {size.height}x{size.width}, bf16")
    else:
        print(f"no GPU: a small ViT on {torch.get_num_threads()} threads of the CPU, {size.height}x{size.width}, fp32")
    batch = len(groups) * size.identities * INSTANCES
    encoder = Encoder(clip.stem, clip.trunk, scenarios=SCENARIOS, mean=clip.mean, std=clip.std).to(device)
    forward = operations(encoder, size, device)
    print(
        f"matrix products {rate / 1e12:.3f} TFLOP/s; an image forward {forward / 1e9:.2f} GFLOP; {batch} images a step"
    )
    print(f"{'':40}{'images/s':>10}{'share':>8}{'peak MB':>10}")

    def line(name: str, images: float, cost: float) -> None:
        print(f"{name:40}{images:>10,.0f}{images * cost / rate:>8.0%}{peak(device):>10,.0f}")

    for name, options in VARIANTS.items():
        forget_peak(device)
        line(f"training step{name}", batch / measure_training(clip, groups, size, device, **options), 3 * forward)
        if "gradient_checkpointing" not in options:
            forget_peak(device)
            line(f"extraction{name}", 1 / measure_extraction(encoder, groups[0], device), forward)
    settings = Settings.model_validate({"scenarios": SCENARIOS}).heterogeneous
    batches = settings.model_copy(update={"identities": size.identities, "instances": INSTANCES})
    loading = measure_batches(Trainer(encoder, batches, device=device), groups, device)
    print(f"{'a batch, taken and augmented':40}{batch / loading:>10,.0f}")
    print(f"{'decoding, one thread, once a run':40}{measure_decoding(size):>10,.0f}")


VARIANTS: dict[str, dict[str, bool]] = {
    "": {},
    ", gradient checkpointing": {"gradient_checkpointing": True},
    ", compiled": {"compile": True},
}


if __name__ == "__main__":
    main()

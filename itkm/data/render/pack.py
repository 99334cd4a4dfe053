"""A rendered scenario as rows and files, ready for `itkm.data.shards.write_scenario`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from PIL import Image

from itkm.data.manifest import RENDERED
from itkm.data.render.dataset import RenderedImage
from itkm.data.render.settings import RenderSettings


def packed(images: Iterable[RenderedImage], settings: RenderSettings) -> Iterator[tuple[Mapping[str, object], bytes]]:
    """Rows of the manifest (without `path` and `shard`) with JPEG files.

    Images come person by person; they are shuffled and numbered, so that neither name nor order tells an identity.
    """
    encoded = [(image, _jpeg(image, settings.jpeg_quality)) for image in images]
    for number, place in enumerate(np.random.default_rng(settings.seed).permutation(len(encoded))):
        image, content = encoded[place]
        yield _row(image, number), content


def _row(image: RenderedImage, number: int) -> dict[str, object]:
    height, width = image.image.shape[:2]
    return {
        "scenario": image.scenario,
        "group": image.group,
        "camera": image.camera,
        "split": image.split,
        "person": image.person,
        "clothes": image.clothes,
        "resolution": f"{width}x{height}",
        "timestamp": "",
        "caption": "",
        "source": f"{RENDERED}{image.camera}/{number:05d}.jpg",
    }


def _jpeg(image: RenderedImage, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()

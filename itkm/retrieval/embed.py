"""Features of any number of images or captions: decoded ahead block by block, written into preallocated arrays."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from itkm.data.images import Encoded, decode_all
from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.progress import progress
from itkm.retrieval.gallery import Gallery
from itkm.retrieval.images import Images, labels_of, read_rows
from itkm.retrieval.model import Model
from itkm.training.extraction import extract

BLOCK = 128  # images or captions at once: the stages' batch, so that the features are theirs to the last bit

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def embed_images(
    images: Images,
    model: Model,
    *,
    scenario: str | None = None,
    group: str | None = None,
    projected: bool = False,
    flip: bool = False,
) -> Gallery:
    """Unit features of images, in their order.

    Args:
        images: what to read; all of one scenario.
        model: what embeds them.
        scenario, group: as which the model sees the images; None = as their labels say.
        projected: take the projection into the text space as the feature, and nothing else: to be scored against
            captions.
        flip: embed the mirrored images too.

    Raises:
        InputError: an unreadable image, or a scenario or group that the model does not know.
    """
    count, labels = len(images.encoded), images.labels
    seen_as = labels["group"] if group is None else np.full(count, group)
    number, groups = model.numbers(scenario or str(labels["scenario"][0]), seen_as)
    widths = (model.encoder.trunk.feature_dim, model.encoder.trunk.projected_dim)
    kept = (1,) if projected else (0, 1)  # places among what `extract` gives
    columns = [np.empty((count, widths[place]), dtype=np.float32) for place in kept]
    flipped = np.empty_like(columns[0]) if flip else None
    size = model.card.model
    blocks = _blocks(images.encoded, height=size.height, width=size.width)
    for rows, pixels in progress(blocks, total=-(-count // BLOCK), title="embed"):
        outputs = extract(model.encoder, pixels, scenario=number, group=groups[rows], batch=BLOCK)
        for column, place in zip(columns, kept, strict=True):
            column[rows] = outputs[place].numpy()
        if flipped is not None:
            mirrored = np.ascontiguousarray(pixels[..., ::-1])
            outputs = extract(model.encoder, mirrored, scenario=number, group=groups[rows], batch=BLOCK)
            flipped[rows] = outputs[kept[0]].numpy()
    features = FeatureSet(columns[0], **labels, flipped=flipped)
    return Gallery(features, None if projected else columns[1], model.fingerprint, images.data)


def embed_captions(folder: Path, splits: Sequence[str], model: Model) -> Gallery:
    """Unit features of the captions of a scenario's manifest, in the space of the images' projections.

    An image may have several, one a line; each becomes a row with the labels of its image.

    Args:
        folder: the scenario's, as `itkm data import` leaves it.
        splits: whose captions; none = all.
        model: what embeds them.

    Raises:
        InputError: an unusable manifest, or no caption in it.
    """
    rows = read_rows(folder, splits)
    lines = rows.assign(caption=rows["caption"].str.split("\n")).explode("caption")
    captions = lines[lines["caption"].str.strip() != ""]
    if captions.empty:
        raise InputError(f"{folder}: none of {len(rows)} images has a caption. Import a data set that has them.")
    features = embed_texts(captions["caption"].tolist(), model)
    return Gallery(FeatureSet(features, **labels_of(captions)), None, model.fingerprint, folder)


@torch.no_grad()
def embed_texts(texts: Sequence[str], model: Model) -> Floats:
    """Unit features [N, E] of texts."""
    features = np.empty((len(texts), model.encoder.trunk.projected_dim), dtype=np.float32)
    starts = range(0, len(texts), BLOCK)
    for start in progress(starts, total=len(starts), title="embed"):
        rows = slice(start, start + BLOCK)
        features[rows] = normalize(model.text.encode(texts[rows]), dim=1).cpu().numpy()
    return features


def _blocks(images: Sequence[Encoded], *, height: int, width: int) -> Iterator[tuple[slice, Pixels]]:
    """Rows and pixels of block after block; each core decodes one ahead of the one that is embedded."""
    ahead = os.cpu_count() or 1
    waiting: deque[tuple[slice, Future[Pixels]]] = deque()
    with ThreadPoolExecutor(ahead) as pool:
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            waiting.append((rows, pool.submit(decode_all, images[rows], height=height, width=width, workers=1)))
            if len(waiting) > ahead:
                done, pixels = waiting.popleft()
                yield done, pixels.result()
        for done, pixels in waiting:
            yield done, pixels.result()

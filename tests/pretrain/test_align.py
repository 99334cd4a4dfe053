"""The alignment's losses and batches."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from itkm.pretrain.align import Corpus, attribute_loss, contrastive, jitter


def test_contrastive_is_clips_symmetric_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 8, generator=generator)
    scale = torch.tensor(1.3)
    logits = math.exp(1.3) * normalize(images, dim=1) @ normalize(texts, dim=1).T
    rows = sum(-math.log(logits[i].softmax(0)[i]) for i in range(6)) / 6
    columns = sum(-math.log(logits[:, i].softmax(0)[i]) for i in range(6)) / 6
    torch.testing.assert_close(contrastive(images, texts, scale).item(), (rows + columns) / 2)


def test_colours_are_not_asked_where_they_are_hidden() -> None:
    heads = nn.ModuleDict({"hair": nn.Linear(4, 3), "hair_colour": nn.Linear(4, 2)})
    classes = {"hair": torch.tensor([0, 1, 2]), "hair_colour": torch.tensor([0, 1, 1])}
    empty = torch.zeros(3, 3, 5, dtype=torch.long)
    corpus = Corpus(torch.zeros(3, 3, 8, 4).byte().numpy(), empty, empty, torch.zeros(3).bool().numpy(), classes)
    feature, rows = torch.randn(3, 4), torch.arange(3)
    hidden = torch.tensor([False, True, False])
    expected = cross_entropy(heads["hair"](feature), classes["hair"]) + cross_entropy(
        heads["hair_colour"](feature[[0, 2]]), classes["hair_colour"][[0, 2]]
    )
    found = attribute_loss(feature, heads, corpus, rows, hidden, torch.device("cpu"))
    torch.testing.assert_close(found, expected)


def test_jitter_keeps_the_range_and_differs_by_image() -> None:
    pixels = torch.full((4, 3, 6, 3), 0.9)
    changed = jitter(pixels, torch.Generator().manual_seed(1))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len({round(float(value), 6) for value in changed[:, 0, 0, 0]}) > 1

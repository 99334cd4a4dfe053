"""The alignment's losses and batches."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from itkm.models.clip import DemoConfig, build_demo
from itkm.models.tokenizer import tokenize
from itkm.pretrain.align import Corpus, attribute_loss, contrastive, jitter, prompt_logits


def test_contrastive_is_clips_symmetric_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 8, generator=generator)
    scale = torch.tensor(1.3)
    logits = math.exp(1.3) * normalize(images, dim=1) @ normalize(texts, dim=1).T
    rows = sum(-math.log(logits[i].softmax(0)[i]) for i in range(6)) / 6
    columns = sum(-math.log(logits[:, i].softmax(0)[i]) for i in range(6)) / 6
    torch.testing.assert_close(contrastive(images, texts, scale).item(), (rows + columns) / 2)


def test_colours_are_not_asked_where_they_are_hidden() -> None:
    classes = {"hair": torch.tensor([0, 1, 2]), "hair_colour": torch.tensor([0, 1, 1])}
    logits = {"hair": torch.randn(3, 3), "hair_colour": torch.randn(3, 2)}
    empty = torch.zeros(3, 3, 5, dtype=torch.long)
    pixels, infrared = torch.zeros(3, 3, 8, 4).byte().numpy(), torch.zeros(3).bool().numpy()
    corpus = Corpus(pixels, empty, empty, infrared, classes, prompts={})
    expected = cross_entropy(logits["hair"], classes["hair"]) + cross_entropy(
        logits["hair_colour"][[0, 2]], classes["hair_colour"][[0, 2]]
    )
    found = attribute_loss(logits, corpus, torch.arange(3), torch.tensor([False, True, False]))
    torch.testing.assert_close(found, expected)


def test_prompts_answer_by_cosine() -> None:
    clip = build_demo(DemoConfig(words=("a", "bag", "hat", "beard"))).eval()
    texts = {"bag": ["a bag", "a"], "hat": ["a hat", "a beard", "hat a"]}
    prompts = {name: tokenize(clip.text.tokenizer, values) for name, values in texts.items()}
    projected = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    found = prompt_logits(clip, projected, prompts)
    for name, values in texts.items():
        for image, answers in zip(projected, found[name], strict=True):
            cosines = [cosine_similarity(image, clip.text.encode([text])[0], dim=0) for text in values]
            torch.testing.assert_close(answers, clip.logit_scale.exp() * torch.stack(cosines))


def test_jitter_keeps_the_range_and_differs_by_image() -> None:
    pixels = torch.full((4, 3, 6, 3), 0.9)
    changed = jitter(pixels, torch.Generator().manual_seed(1))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len({round(float(value), 6) for value in changed[:, 0, 0, 0]}) > 1

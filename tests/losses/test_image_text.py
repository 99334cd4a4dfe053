from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from itkm.losses.image_text import supervised_contrastive, text_guided
from itkm.losses.separation import separation


def unit(rows: int, width: int, seed: int) -> Tensor:
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(values, dim=1)


NOTHING = torch.zeros(6, 6, dtype=torch.bool)


def contrastive_by_hand(anchors: Tensor, others: Tensor, labels: list[int], undecided: Tensor = NOTHING) -> float:
    """CLIP-ReID's L_i2t (and, with exchanged arguments, L_t2i): the mean over the positives of each anchor."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        terms = [math.exp(float(anchor @ other)) * (not undecided[i, j]) for j, other in enumerate(others)]
        positives = [j for j, label in enumerate(labels) if label == labels[i]]
        total -= sum(math.log(terms[j] / sum(terms)) for j in positives) / len(positives)
    return total / len(anchors)


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0], [0, 1, 2, 3, 4, 5], [3, 3, 3, 3, 3, 3]])
def test_supervised_contrastive_in_both_directions(labels: list[int]) -> None:
    images, texts = 10 * unit(6, 5, 0), unit(6, 5, 1)
    for anchors, others in ((images, texts), (texts, images)):
        loss = supervised_contrastive(anchors, others, torch.tensor(labels), undecided=NOTHING)
        assert loss.item() == pytest.approx(contrastive_by_hand(anchors, others, labels), rel=1e-9)


def test_the_two_directions_differ() -> None:
    images, texts, labels = 10 * unit(6, 5, 0), unit(6, 5, 1), torch.tensor([0, 1, 0, 2, 1, 0])
    forth = supervised_contrastive(images, texts, labels, undecided=NOTHING)
    back = supervised_contrastive(texts, images, labels, undecided=NOTHING)
    assert abs(float(forth - back)) > 1e-3


def test_a_possible_match_is_neither_positive_nor_negative() -> None:
    """Without a gradient to it, too: the loss must not push apart what Stage III wants to match."""
    images, texts, labels = (10 * unit(6, 5, 0)).requires_grad_(), unit(6, 5, 1).requires_grad_(), [0, 1, 0, 2, 1, 3]
    undecided = NOTHING.clone()
    undecided[3, 5] = undecided[5, 3] = True
    loss = supervised_contrastive(images, texts, torch.tensor(labels), undecided=undecided)
    assert loss.item() == pytest.approx(
        contrastive_by_hand(images.detach(), texts.detach(), labels, undecided), rel=1e-9
    )
    (gradient,) = torch.autograd.grad(loss, texts)
    assert gradient.isfinite().all()
    alone = [row for row in range(6) if row not in (3, 5)]
    for kept, other in ((3, 5), (5, 3)):
        changed = images.detach().clone()
        changed[other] += 1.0
        again = texts.detach().clone().requires_grad_()
        moved = supervised_contrastive(changed, again, torch.tensor(labels), undecided=undecided)
        (after,) = torch.autograd.grad(moved, again)
        assert torch.allclose(after[kept], gradient[kept])
        assert not torch.allclose(after[alone], gradient[alone])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_text_guided_is_label_smoothed_cross_entropy(smoothing: float) -> None:
    """The target is 1 - e + e/C for the image's own text and e/C for every other."""
    projected, texts, labels = unit(4, 5, 2), unit(3, 5, 3), [2, -1, 0, 0]
    terms = []
    for image, label in zip(projected, labels, strict=True):
        if label < 0:
            continue
        logits = [14.0 * float(image @ text) for text in texts]
        log_sum = math.log(sum(map(math.exp, logits)))
        shares = [smoothing / 3 + (1 - smoothing) * (c == label) for c in range(3)]
        terms.append(-sum(share * (logit - log_sum) for share, logit in zip(shares, logits, strict=True)))
    loss = text_guided(projected, texts, torch.tensor(labels), scale=14.0, smoothing=smoothing)
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-9)


@pytest.mark.parametrize("rows", [0, 3])
def test_text_guided_without_labels_is_zero_with_a_graph(rows: int) -> None:
    projected = unit(rows, 5, 0).requires_grad_()
    loss = text_guided(projected, unit(0, 5, 1), torch.full((rows,), -1), scale=10.0, smoothing=0.1)
    assert loss.item() == 0
    loss.backward()
    assert projected.grad is not None


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.2])
def test_separation_is_the_mean_hinge_over_pairs_of_different_scenarios(margin: float) -> None:
    texts, scenario = unit(6, 3, 4), [0, 1, 1, 2, 0, 2]
    terms = [
        max(0.0, float(texts[i] @ texts[j]) - margin) for i in range(6) for j in range(i) if scenario[i] != scenario[j]
    ]
    assert any(term > 0 for term in terms)
    assert float(separation(texts, torch.tensor(scenario), margin=margin)) == pytest.approx(sum(terms) / len(terms))


def test_separation_leaves_texts_within_the_margin_and_of_one_scenario_alone() -> None:
    texts = torch.eye(4).requires_grad_()
    for scenario, margin in (([0, 0, 1, 1], 0.2), ([0, 0, 0, 0], -1.0)):
        loss = separation(texts, torch.tensor(scenario), margin=margin)
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, texts)
        assert not gradient.any()


def test_a_step_down_the_separation_loss_separates() -> None:
    texts = unit(2, 3, 7)
    texts[1] = normalize(texts[0] + 0.1, dim=0)
    texts.requires_grad_()
    scenario = torch.tensor([0, 1])
    (gradient,) = torch.autograd.grad(separation(texts, scenario, margin=0.2), texts)
    moved = normalize(texts - 0.1 * gradient, dim=1)
    assert float(moved[0] @ moved[1]) < float(texts[0] @ texts[1])

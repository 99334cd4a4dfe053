"""The multi-scenario separation loss: texts of different scenarios keep apart [paper: a hinge; formula ours]."""

from __future__ import annotations

from torch import Tensor


def separation(texts: Tensor, scenario: Tensor, *, margin: float) -> Tensor:
    """L_sep = mean over pairs of texts from different scenarios of max(0, cos(T_i, T_j) - mu) [ours].

    Args:
        texts: unit vectors [C, E].
        scenario: number of each text's scenario, int64 [C].
        margin: mu.

    Returns:
        a scalar; zero, with a graph, if all texts are of one scenario.
    """
    different = scenario[:, None] != scenario[None, :]
    if not different.any():
        return texts.sum() * 0.0
    return (texts @ texts.T - margin).clamp(min=0.0)[different].mean()

"""One learnable prompt per cluster: "A photo of a [X1]...[XM] person." [paper; CLIP-ReID]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from itkm.models.text import TextEncoder
from itkm.models.tokenizer import tokenize

PREFIX = "A photo of a"
SUFFIX = "person."


class Prompts(nn.Module):
    """Learnable token embeddings [C, M, W] inside a fixed sentence; the text tower itself stays frozen.

    Args:
        text: the frozen text tower.
        count: C, the number of clusters over all scenarios and groups.
        tokens: M, learnable tokens a cluster.
    """

    numbers: Tensor
    sentence: Tensor

    def __init__(self, text: TextEncoder, *, count: int, tokens: int, generator: torch.Generator) -> None:
        super().__init__()
        filler = " ".join(["person"] * tokens)
        device = text.transformer.positional_embedding.device
        numbers = tokenize(text.tokenizer, [f"{PREFIX} {filler} {SUFFIX}"]).to(device)
        used = int(numbers.argmax(dim=1)) + 1  # attention is causal: nothing after the end token matters
        self.start = 1 + len(text.tokenizer.encode(PREFIX))
        self.tokens = tokens
        self.register_buffer("numbers", numbers[:, :used])
        with torch.no_grad():
            self.register_buffer("sentence", text.embed(numbers[:, :used]))
        width = self.sentence.shape[-1]
        self.learned = nn.Parameter(0.02 * torch.randn(count, tokens, width, generator=generator))

    def forward(self, text: TextEncoder, clusters: Tensor) -> Tensor:
        """Text features [B, E] of the clusters [B]; gradients reach the learned tokens alone."""
        sentence = self.sentence.expand(len(clusters), -1, -1)
        end = self.start + self.tokens
        embeddings = torch.cat([sentence[:, : self.start], self.learned[clusters], sentence[:, end:]], dim=1)
        features: Tensor = text(self.numbers.expand(len(clusters), -1), embeddings)
        return features

"""CLIP's text tower, open at the token embeddings so that prompts can be learned through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from itkm.models.tokenizer import Tokenizer, tokenize


class TextEncoder(nn.Module):
    """open_clip's text transformer, with its tokenizer.

    Args:
        transformer: open_clip's `TextTransformer`, pooled at the end token (the highest number of a row).
        tokenizer: turns words into the transformer's tokens.
    """

    transformer: Any

    def __init__(self, transformer: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.transformer = transformer
        self.tokenizer = tokenizer

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings [B, L, W] of token numbers [B, L]."""
        return self.transformer.token_embedding(tokens)  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """Text features [B, E] of token numbers [B, L]; `embeddings` [B, L, W] stand in for the tokens' own."""
        tower = self.transformer
        end = tokens.argmax(dim=1)
        length = int(end.max()) + 1  # attention is causal: what follows the last end token changes nothing
        x = self.embed(tokens[:, :length]) if embeddings is None else embeddings[:, :length]
        x = x + tower.positional_embedding[:length]
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), end] @ tower.text_projection  # type: ignore[no-any-return]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Text features [B, E] of plain texts."""
        device = self.transformer.positional_embedding.device
        return self(tokenize(self.tokenizer, texts).to(device))  # type: ignore[no-any-return]

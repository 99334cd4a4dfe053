"""Words to numbers: CLIP's byte-pair encoding for real text towers, whole words for the tiny demo tower."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Tokenizer(Protocol):
    """What prompts need of a tokenizer; open_clip's `SimpleTokenizer` fits as it is."""

    sot_token_id: int
    eot_token_id: int
    context_length: int | None

    def encode(self, text: str) -> list[int]:
        """The text's tokens, without the start and end tokens."""
        ...


class WordTokenizer:
    """One token a word, over a fixed vocabulary; unknown words share one token.

    As in CLIP the end token has the highest number, so that its position is the arg-max of a row.
    """

    PADDING, UNKNOWN = 0, 1

    def __init__(self, words: Sequence[str], *, context_length: int) -> None:
        self.words = tuple(words)
        self.context_length: int | None = context_length
        self._index = {word: number for number, word in enumerate(self.words, start=2)}
        self.sot_token_id = len(self.words) + 2
        self.eot_token_id = len(self.words) + 3
        self.vocab_size = len(self.words) + 4

    def encode(self, text: str) -> list[int]:
        """The numbers of the words of `text`."""
        return [self._index.get(word, self.UNKNOWN) for word in self._split(text)]

    def unknown(self, text: str) -> list[str]:
        """The words of `text` that are not in the vocabulary."""
        return [word for word in self._split(text) if word not in self._index]

    @staticmethod
    def _split(text: str) -> list[str]:
        """Letters, digits and inner hyphens make a word."""
        return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower())


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Texts as rows of token numbers [B, context_length], cut to fit, padded with zeros."""
    length = tokenizer.context_length or 77
    rows = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        tokens = [tokenizer.sot_token_id, *tokenizer.encode(text)[: length - 2], tokenizer.eot_token_id]
        row[: len(tokens)] = torch.tensor(tokens)
    return rows

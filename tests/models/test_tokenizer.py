from __future__ import annotations

import torch

from itkm.models.tokenizer import WordTokenizer, tokenize

TOKENIZER = WordTokenizer(["a", "photo", "t-shirt", "red"], context_length=6)


def test_words_become_their_numbers_and_unknown_words_share_one() -> None:
    assert TOKENIZER.encode("A RED, t-shirt; blue (green)!") == [2, 5, 4, 1, 1]
    assert TOKENIZER.encode("") == []
    assert TOKENIZER.unknown("A RED, t-shirt; blue (green)!") == ["blue", "green"]


def test_rows_begin_with_start_end_with_the_highest_number_and_are_padded() -> None:
    rows = tokenize(TOKENIZER, ["a photo", "", "red " * 20])
    assert rows.tolist() == [[6, 2, 3, 7, 0, 0], [6, 7, 0, 0, 0, 0], [6, 5, 5, 5, 5, 7]]
    assert rows.argmax(1).tolist() == [3, 1, 5]
    assert int(rows.max()) < TOKENIZER.vocab_size


def test_open_clips_tokenizer_gives_its_own_rows() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    own = SimpleTokenizer()
    texts = ["A photo of a person.", "word " * 100, ""]
    assert torch.equal(tokenize(own, texts), own(texts))

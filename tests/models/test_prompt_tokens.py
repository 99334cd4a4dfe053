from __future__ import annotations

import pytest
import torch

from itkm.models.clip import Clip, from_open_clip
from itkm.models.prompts import Prompts
from toy import make_clip, make_open_clip


def make_prompts(clip: Clip, *, count: int = 3, tokens: int = 4) -> Prompts:
    clip.requires_grad_(False)
    return Prompts(clip.text, count=count, tokens=tokens, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tokens", [1, 4])
def test_learned_tokens_stand_between_a_photo_of_a_and_person(clip: Clip, tokens: int) -> None:
    """Filled with the embeddings of plain words, the prompt is the plain sentence that holds them there."""
    prompts = make_prompts(clip, tokens=tokens)
    words = ["person", "photo", "of", "a"][:tokens]
    with torch.no_grad():
        for place, word in enumerate(words):
            (number,) = clip.text.tokenizer.encode(word)
            prompts.learned[1, place] = clip.text.embed(torch.tensor(number))
        expected = clip.text.encode([f"A photo of a {' '.join(words)} person."])
        features = prompts(clip.text, torch.tensor([0, 1]))
    assert torch.allclose(features[1:], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(features[:1], expected, rtol=1e-4, atol=1e-3)


def test_sentence_around_the_learned_tokens() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    own = SimpleTokenizer()
    clips = from_open_clip(make_open_clip("vit"), scenario_tokens="all"), make_clip()[0]
    for clip, dot in zip(clips, (own.encode("."), []), strict=True):
        encode = clip.text.tokenizer.encode
        prompts = make_prompts(clip, tokens=4)
        numbers = prompts.numbers[0].tolist()
        end = prompts.start + prompts.tokens
        assert numbers[1 : prompts.start] == encode("a photo of a")
        assert numbers[end:-1] == [*encode("person"), *dot]
        assert (numbers[0], numbers[-1]) == (clip.text.tokenizer.sot_token_id, clip.text.tokenizer.eot_token_id)


def test_only_the_learned_tokens_get_gradients(clip: Clip) -> None:
    prompts = make_prompts(clip)
    features = prompts(clip.text, torch.tensor([2, 0]))
    features.square().sum().backward()
    assert [name for name, _ in prompts.named_parameters()] == ["learned"]
    assert prompts.learned.grad is not None
    assert (prompts.learned.grad.abs().sum((1, 2)) > 0).tolist() == [True, False, True]
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_start_is_small_and_drawn_from_the_generator(clip: Clip) -> None:
    first, second = make_prompts(clip, count=50), make_prompts(clip, count=50)
    assert torch.equal(first.learned, second.learned)
    assert 0.018 < float(first.learned.detach().std()) < 0.022

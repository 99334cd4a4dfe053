"""The gallery images nearest to an image or to words, by cosine."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.models.tokenizer import WordTokenizer
from itkm.retrieval.embed import embed_images, embed_texts
from itkm.retrieval.gallery import Gallery
from itkm.retrieval.images import list_files
from itkm.retrieval.model import Model

Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """One gallery image of a ranked list.

    Attributes:
        rank: from 1.
        row: its place in the gallery.
        similarity: cosine.
        path: its name, without characters that a terminal or a page could take for commands.
        person: None where unknown.
        group: "" where unknown.
    """

    rank: int
    row: int
    similarity: float
    path: str
    person: int | None
    camera: int
    group: str


def search_by_image(file: Path, gallery: Gallery, model: Model, *, top: int, scenario: str, group: str) -> list[Hit]:
    """The images that look most like the person in a file, best first.

    Args:
        file: the query.
        gallery: where to search.
        model: what embedded the gallery.
        top: the length of the list.
        scenario, group: as which the model sees the query.

    Raises:
        InputError: an unreadable image, unknown names, or a gallery of other features.
    """
    query = embed_images(list_files([file], scenario, group), model)
    return _nearest(query.images.features[0], gallery.images.features, gallery, model, top=top)


def search_by_text(text: str, gallery: Gallery, model: Model, *, top: int) -> list[Hit]:
    """The images that words describe best, best first; see `search_by_image`.

    Raises:
        InputError: no word, or a gallery without features in the text space.
    """
    tokenizer = model.text.tokenizer
    if not tokenizer.encode(text):
        raise InputError(f'--text {text!r}: no word in it. Describe a person, for instance "a man in a red jacket".')
    if gallery.projected is None:
        raise InputError(
            "the gallery has no column `projected`, with which words are compared. Embed its images with `itkm embed`, "
            "without --projected or --captions."
        )
    if isinstance(tokenizer, WordTokenizer) and (unknown := tokenizer.unknown(text)):
        logger.warning("the model does not know: %s. It knows: %s", ", ".join(unknown), ", ".join(tokenizer.words))
    return _nearest(embed_texts([text], model)[0], gallery.projected, gallery, model, top=top)


def choose_view(gallery: Gallery, model: Model, *, scenario: str | None, group: str | None) -> tuple[str, str]:
    """As which scenario and group the model sees a query: what is given, else what the whole gallery is.

    Where the gallery is of several, or of names that the model does not know, it is the model's first.

    Raises:
        InputError: names that the model does not know.
    """
    chosen, _ = model.choose(scenario or _only(gallery.images.scenario, among=model.card.scenarios), None)
    return model.choose(chosen, group or _only(gallery.images.group, among=model.card.scenarios[chosen]))


def _only(names: NDArray[np.str_] | None, *, among: Collection[str]) -> str | None:
    """The one name that stands in a column, if it is among those known."""
    found = set() if names is None else set(names.tolist())
    return found.pop() if len(found) == 1 and found <= set(among) else None


def _nearest(query: Floats, features: Floats, gallery: Gallery, model: Model, *, top: int) -> list[Hit]:
    """The `top` rows of features [N, D] nearest to a unit query [D]; ties by row."""
    if gallery.model != model.fingerprint:
        who = "another model" if gallery.model else "an unknown model"
        logger.warning("the gallery was embedded by %s: similarities may mean nothing. Embed it again.", who)
    if features.shape[1] != len(query):
        raise InputError(
            f"the gallery's features have {features.shape[1]} values, the model's {len(query)}. Embed the gallery with "
            "this model, without --projected or --captions."
        )
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))  # no second matrix; features may be of any norm
    similarity = features @ query / np.maximum(norms, 1e-12)
    order = np.argsort(-similarity, kind="stable")[:top]
    return [_hit(rank, int(row), float(similarity[row]), gallery.images) for rank, row in enumerate(order, 1)]


def _hit(rank: int, row: int, similarity: float, images: FeatureSet) -> Hit:
    path, group = ("" if names is None else printable(str(names[row])) for names in (images.path, images.group))
    person = int(images.person[row])
    return Hit(rank, row, similarity, path, None if person < 0 else person, int(images.camera[row]), group)


def printable(name: str) -> str:
    """A name as it may be shown: what is no visible character could command a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)

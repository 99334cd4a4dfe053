"""A trained model, ready to embed: its encoder, its text tower, and the names that it knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.files import sha256
from itkm.models.encoder import Encoder
from itkm.models.store import ModelCard, load_model
from itkm.models.text import TextEncoder
from itkm.registry.fetch import PREFIX, fetch
from itkm.training.runtime import resolve_device


@dataclass(frozen=True, eq=False)
class Model:
    """Both towers on one device.

    Attributes:
        encoder: the image tower with its branches and embeddings.
        text: the text tower, whose features the encoder's projection shares a space with.
        card: scenarios, groups and image size.
        fingerprint: SHA-256 of the weights' file; tells whether features come from this model.
    """

    encoder: Encoder
    text: TextEncoder
    card: ModelCard
    fingerprint: str

    def choose(self, scenario: str | None, group: str | None) -> tuple[str, str]:
        """The scenario and group as which images are embedded: the model's first where none is given.

        Raises:
            InputError: the model knows no such scenario, or the scenario no such group.
        """
        chosen = next(iter(self.card.scenarios)) if scenario is None else scenario
        return chosen, self._groups(chosen)[0] if group is None else self._known(chosen, [group])[0]

    def numbers(self, scenario: str, groups: NDArray[np.str_]) -> tuple[int, NDArray[np.int64]]:
        """The number of a scenario and of the group of each image, int64 [N].

        Raises:
            InputError: the model knows no such scenario, or the scenario no such group.
        """
        distinct, places = np.unique(groups, return_inverse=True)
        known = self._groups(scenario)
        codes = [known.index(name) for name in self._known(scenario, distinct.tolist())]
        return list(self.card.scenarios).index(scenario), np.array(codes, dtype=np.int64)[places]

    def _groups(self, scenario: str) -> tuple[str, str]:
        if scenario not in self.card.scenarios:
            raise InputError(f"scenario {scenario!r}: unknown to the model. {self._choices()}")
        return self.card.scenarios[scenario]

    def _known(self, scenario: str, groups: Iterable[str]) -> list[str]:
        names = list(groups)
        for name in names:
            if name not in self._groups(scenario):
                raise InputError(f"group {name!r}: unknown to the model in scenario {scenario!r}. {self._choices()}")
        return names

    def _choices(self) -> str:
        known = "; ".join(f"{scenario}: {', '.join(groups)}" for scenario, groups in self.card.scenarios.items())
        return f"Choose with --scenario and --group as what it shall see the images ({known})."


def open_model(place: Path) -> Model:
    """Reads a model onto the GPU where there is one.

    Args:
        place: a folder as `dvc repro` leaves it in artifacts/model, or a registered model as `itkm.registry.fetch`
            names it: `models:/itkm@champion`.

    Raises:
        InputError: no such model, or files missing, damaged, or not belonging together.
    """
    folder = fetch(str(place)) if str(place).startswith(PREFIX) else place
    encoder, clip, card = load_model(folder)
    device = resolve_device("auto")
    return Model(encoder.to(device), clip.text.to(device), card, sha256(folder / "model.safetensors"))

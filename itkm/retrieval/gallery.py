"""The file of features that `itkm embed` writes and `itkm search` reads: a `FeatureSet` and three columns more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet, opened
from itkm.files import write_npz


@dataclass(frozen=True, eq=False)
class Gallery:
    """Features, and what a search needs beside them. The further columns are optional: any features can be searched.

    Attributes:
        images: the features for search by image, with their labels.
        projected: [N, E] float32 unit features in the text space, for search by words; None where they are not there.
        model: fingerprint of the model that made them, "" where unknown.
        data: the folder in which `images.path` is found.
    """

    images: FeatureSet
    projected: NDArray[np.float32] | None = None
    model: str = ""
    data: Path = Path()

    def save(self, path: Path) -> None:
        """Writes the `.npz`, atomically; the same features give the same bytes.

        Raises:
            InputError: the folder cannot be written.
        """
        columns = {**vars(self.images), "projected": self.projected}
        present: dict[str, NDArray[Any]] = {name: values for name, values in columns.items() if values is not None}
        write_npz(path, {**present, "model": np.array(self.model), "data": np.array(str(self.data))})

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Reads a `.npz` of features, whoever wrote it.

        Raises:
            InputError: no such file, not such a file, no feature in it, or a column that does not fit.
        """
        images = FeatureSet.load(path)
        if not len(images):
            raise InputError(f"{path}: an empty gallery. Embed at least one image with `itkm embed`.")
        with opened(path, expected="`projected`, `model`, `data`") as archive:
            found = {name: archive[name] for name in ("projected", "model", "data") if name in archive}
        projected = found.get("projected")
        if projected is not None and (projected.ndim != 2 or len(projected) != len(images)):
            raise InputError(
                f"{path}: projected: expected one row for each of {len(images)} features, found shape "
                f"{projected.shape}. Write the file again with `itkm embed`."
            )
        return cls(images, projected, str(found.get("model", "")), Path(str(found.get("data", ""))))

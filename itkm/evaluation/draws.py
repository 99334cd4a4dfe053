"""Galleries that are drawn: a few images of each person, several trials, seeded or as the authors published them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet

Rows = NDArray[np.int64]

PUBLISHED = "rand_perm_cam"
"""The variable of SYSU-MM01's `rand_perm_cam.mat`."""

Draw = Callable[[FeatureSet, Rows], list[Rows]]
"""(gallery, the rows that may be drawn) to the sorted rows of each trial's gallery."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeededDraw:
    """Persons in order, their cameras in order, and of each some images from the list sorted by file name.

    Attributes:
        per_camera: images of each camera of a person, not of the person.
        images: how many, or all where there are fewer.
        seed: of the one stream of random numbers that all trials share; None seeds each trial with its number from 0.
        trials: how many galleries.
    """

    per_camera: bool
    images: int = 1
    seed: int | None = None
    trials: int = 10

    def __call__(self, gallery: FeatureSet, candidates: Rows) -> list[Rows]:
        """The rows of each trial's gallery."""
        if gallery.path is None:
            logger.warning(
                "the gallery has no column `path`: images are drawn from the order of its rows. The numbers compare "
                "with published ones only if that is the order of the file names."
            )
        groups = [rows.tolist() for _, _, rows in _grouped(gallery, candidates, per_camera=self.per_camera)]
        generator = random.Random(self.seed)
        galleries = []
        for trial in range(self.trials):
            if self.seed is None:
                generator.seed(trial)
            galleries.append(np.sort([row for rows in groups for row in self._some(rows, generator)]))
        return galleries

    def _some(self, rows: list[int], generator: random.Random) -> list[int]:
        """One image by `choice`, as published code draws it, several without replacement."""
        if self.images == 1:
            return [generator.choice(rows)]
        return generator.sample(rows, min(self.images, len(rows)))

    @property
    def single_shot(self) -> bool:
        """Whether it leaves one image of each person."""
        return self.images == 1 and not self.per_camera


@dataclass(frozen=True, eq=False)
class PublishedDraw:
    """The draw of SYSU-MM01's authors: a permutation of the images of each camera and person for each trial.

    Attributes:
        permutations: for each camera and then each person, both from 1, [trials, images] places from 1 among the
            images sorted by file name.
        images: how many of each camera and person, from the permutation's beginning.
        trials: how many galleries.
    """

    permutations: list[list[NDArray[np.int64]]]
    images: int
    trials: int = 10

    def __call__(self, gallery: FeatureSet, candidates: Rows) -> list[Rows]:
        """The rows of each trial's gallery.

        Raises:
            InputError: an image that the draw names is not there.
        """
        galleries: list[list[int]] = [[] for _ in range(self.trials)]
        for person, camera, rows in _grouped(gallery, candidates, per_camera=True):
            places = self._places(person, camera)[:, : self.images]
            if len(places) < self.trials or places.max(initial=0) > len(rows) or places.min(initial=1) < 1:
                raise InputError(
                    f"person {person}, camera {camera}: the published draw does not fit the {len(rows)} gallery images "
                    "(it has fewer trials, or names images that are not there). Give all images of SYSU-MM01's test "
                    "persons, with the numbers of their folders."
                )
            for trial in range(self.trials):
                galleries[trial] += rows[places[trial] - 1].tolist()
        return [np.sort(rows) for rows in galleries]

    def _places(self, person: int, camera: int) -> NDArray[np.int64]:
        try:
            return self.permutations[camera - 1][person - 1]
        except IndexError as error:
            raise InputError(
                f"person {person}, camera {camera}: not in the published draw. Use the numbers of SYSU-MM01's folders."
            ) from error


def read_published_draw(path: Path, *, images: int) -> PublishedDraw:
    """Reads SYSU-MM01's `rand_perm_cam.mat`: a cell of cameras, of cells of persons, of matrices [trials, images].

    Args:
        path: the file.
        images: how many images of each camera and person the protocol shows.

    Raises:
        InputError: no such file, or not of that form.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: no such file. The authors of SYSU-MM01 publish rand_perm_cam.mat.")
    try:
        cameras = loadmat(path)[PUBLISHED]
        permutations = [[_matrix(cell) for cell in camera.ravel()] for camera in cameras.ravel()]
    except Exception as error:  # a damaged file can make the reader raise anything; all of it means the same
        raise InputError(
            f"{path}: not SYSU-MM01's rand_perm_cam.mat ({error}). Expected a .mat file with the cell {PUBLISHED}."
        ) from error
    return PublishedDraw(permutations, images)


def _matrix(cell: Any) -> NDArray[np.int64]:
    """One person's permutations [trials, images]; a person who was not seen by the camera has none."""
    return np.atleast_2d(np.asarray(cell)).astype(np.int64)


def _grouped(gallery: FeatureSet, candidates: Rows, *, per_camera: bool) -> Iterator[tuple[int, int, Rows]]:
    """(person, camera, rows sorted by file name), persons and cameras in order; camera 0 where all are one group."""
    person = gallery.person[candidates]
    camera = gallery.camera[candidates] if per_camera else np.zeros_like(person)
    names = candidates if gallery.path is None else gallery.path[candidates]
    order = np.lexsort((names, camera, person))
    keys = np.stack([person, camera])[:, order]
    starts = np.flatnonzero(np.any(keys[:, 1:] != keys[:, :-1], axis=0)) + 1
    for part in np.split(order, starts):
        if part.size:
            yield int(person[part[0]]), int(camera[part[0]]), candidates[part]

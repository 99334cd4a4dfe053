"""Named protocols: who asks, what is shown, which images are junk, how CMC counts.

The same features score differently under each, so every number carries the name of its protocol.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.draws import Draw, SeededDraw, read_published_draw
from itkm.evaluation.features import FeatureSet

Rows = NDArray[np.int64]

JunkRule = Callable[[FeatureSet, FeatureSet, Rows, Rows], NDArray[np.bool_]]
"""(queries, gallery, rows of queries, rows of the gallery) that show one person: True where the pair is junk."""


def no_junk(queries: FeatureSet, gallery: FeatureSet, asking: Rows, shown: Rows) -> NDArray[np.bool_]:
    """Every image of the person counts."""
    return np.zeros(np.broadcast_shapes(asking.shape, shown.shape), dtype=bool)


def same_camera(queries: FeatureSet, gallery: FeatureSet, asking: Rows, shown: Rows) -> NDArray[np.bool_]:
    """The Market-1501 rule: an image of the same person by the same camera proves nothing [field]."""
    return np.asarray(queries.camera[asking] == gallery.camera[shown])


def same_camera_or_clothes(queries: FeatureSet, gallery: FeatureSet, asking: Rows, shown: Rows) -> NDArray[np.bool_]:
    """LTCC's clothing change: what shows the same clothes is junk too."""
    same_clothes = _clothes("queries", queries, asking) == _clothes("gallery", gallery, shown)
    return np.asarray(same_camera(queries, gallery, asking, shown) | same_clothes)


def same_camera_or_other_clothes(
    queries: FeatureSet, gallery: FeatureSet, asking: Rows, shown: Rows
) -> NDArray[np.bool_]:
    """LTCC's standard setting, the reverse: what shows other clothes is junk too."""
    other_clothes = _clothes("queries", queries, asking) != _clothes("gallery", gallery, shown)
    return np.asarray(same_camera(queries, gallery, asking, shown) | other_clothes)


def _clothes(name: str, images: FeatureSet, rows: Rows) -> Rows:
    """The clothes of some images.

    Raises:
        InputError: they are not known.
    """
    if images.clothes is None:
        raise InputError(f"{name}: no column `clothes`, by which this protocol tells junk. Add it.")
    found = images.clothes[rows]
    if (found < 0).any():
        row = int(rows[found < 0][0])
        raise InputError(
            f"{name}: the clothes in {images.name_row(row)} are unknown (-1), by which this protocol tells junk. Label "
            "them, or choose a protocol without clothes."
        )
    return found


@dataclass(frozen=True)
class Protocol:
    """How query and gallery are judged.

    Attributes:
        name: what users type and what stands beside every number.
        about: data set and rules, in words.
        junk_rule: which gallery images of its own person a query does not see.
        blind: for a camera of queries, the cameras whose gallery images they do not see, of whomever.
        query_cameras: the cameras whose images ask; empty means all.
        gallery_cameras: the cameras whose images are shown; empty means all.
        draw: the galleries that are drawn from what is shown, over which scores are averaged; None shows all.
        precision_of_all: mAP and mINP rank all that is shown, only CMC ranks what was drawn.
        count_persons: CMC counts each person of the gallery once, at the closest image.
        distractor: the identity that is in the gallery but never a positive; None where there is no such number.
        both_ways: published with query and gallery exchanged, too.
    """

    name: str
    about: str
    junk_rule: JunkRule = same_camera
    blind: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    query_cameras: tuple[int, ...] = ()
    gallery_cameras: tuple[int, ...] = ()
    draw: Draw | None = None
    precision_of_all: bool = False
    count_persons: bool = False
    distractor: int | None = None
    both_ways: bool = False

    @property
    def single_shot(self) -> bool:
        """Whether single images of persons are drawn, so that rank-1 has a closed form."""
        return isinstance(self.draw, SeededDraw) and self.draw.single_shot

    def asking(self, queries: FeatureSet) -> Rows:
        """The rows of the queries that ask.

        Raises:
            InputError: none does.
        """
        rows = np.flatnonzero(_by(queries, self.query_cameras))
        if not rows.size:
            raise InputError(f"protocol {self.name}: {self._no_images('query', queries, self.query_cameras)}")
        return rows

    def shown(self, gallery: FeatureSet) -> Rows:
        """The rows of the gallery that are shown or may be drawn; images of unknown persons (-1) are not.

        Raises:
            InputError: none is.
        """
        rows = np.flatnonzero(_by(gallery, self.gallery_cameras) & (gallery.person != -1))
        if not rows.size:
            raise InputError(f"protocol {self.name}: {self._no_images('gallery', gallery, self.gallery_cameras)}")
        return rows

    def hides(self, queries: FeatureSet, gallery: FeatureSet, asking: Rows, shown: Rows) -> NDArray[np.bool_]:
        """Which pairs of one person, given as rows that are broadcast, are junk."""
        hidden = self.junk_rule(queries, gallery, asking, shown)
        for camera, unseen in self.blind.items():
            hidden = hidden | ((queries.camera[asking] == camera) & np.isin(gallery.camera[shown], unseen))
        return hidden

    def junk(self, queries: FeatureSet, gallery: FeatureSet) -> NDArray[np.bool_]:
        """[q, G] every gallery image that a query does not see, for lists of a few queries."""
        asking, shown = np.nonzero(queries.person[:, None] == gallery.person)
        hidden = np.zeros((len(queries), len(gallery)), dtype=bool)
        hidden[asking, shown] = self.hides(queries, gallery, asking, shown)
        for camera, unseen in self.blind.items():
            hidden |= (queries.camera == camera)[:, None] & np.isin(gallery.camera, unseen)
        return np.asarray(hidden | ~_by(gallery, self.gallery_cameras) | (gallery.person == -1))

    def _no_images(self, part: str, images: FeatureSet, cameras: tuple[int, ...]) -> str:
        """Why a part has no images, and what to do."""
        if not len(images):
            return f"the {part} is empty. Give at least one feature."
        if not cameras:
            return f"all {len(images)} {part} images are of unknown persons (-1). Give their persons."
        wanted, found = (", ".join(map(str, numbers)) for numbers in (cameras, np.unique(images.camera)[:20]))
        return (
            f"it takes {part} images of the cameras {wanted}, and no known person is there by one of these (cameras: "
            f"{found}). Number the cameras as the data set does, or choose another protocol."
        )


def _by(images: FeatureSet, cameras: tuple[int, ...]) -> NDArray[np.bool_]:
    """[N] whether an image is by one of the cameras; empty means all."""
    return np.isin(images.camera, cameras) if cameras else np.ones(len(images), dtype=bool)


_SYSU_VISIBLE, _SYSU_INDOOR, _SYSU_INFRARED = (1, 2, 4, 5), (1, 2), (3, 6)
_PRCC_A, _PRCC_B, _PRCC_C = (1,), (2,), (3,)


def _sysu(name: str, about: str, gallery: tuple[int, ...], images: int) -> Protocol:
    """SYSU-MM01: cameras 2 and 3 stand in one place, and that alone is junk."""
    return Protocol(
        name=name,
        about=f"SYSU-MM01, {about}; mean of 10 drawn galleries; camera 3 does not see camera 2; CMC counts persons",
        junk_rule=no_junk,
        blind={3: (2,)},
        query_cameras=_SYSU_INFRARED,
        gallery_cameras=gallery,
        draw=SeededDraw(per_camera=True, images=images),
        count_persons=True,
    )


def _prcc(name: str, about: str, query: tuple[int, ...], draw: SeededDraw | None) -> Protocol:
    return Protocol(
        name=name,
        about=f"PRCC, {about}; gallery camera A (1); no junk",
        junk_rule=no_junk,
        query_cameras=query,
        gallery_cameras=_PRCC_A,
        draw=draw,
    )


_PRCC_DRAW = SeededDraw(per_camera=False, seed=3)
_SINGLE_SHOT = SeededDraw(per_camera=False)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("cross-group", "your own data; junk = same person and camera"),
        Protocol("market1501", "Market-1501; junk = same person and camera; person 0 is a distractor", distractor=0),
        Protocol("msmt17", "MSMT17; junk = same person and camera"),
        _sysu("sysu-all", "all-search, single-shot", _SYSU_VISIBLE, 1),
        _sysu("sysu-all-multi", "all-search, 10 images of each camera and person", _SYSU_VISIBLE, 10),
        _sysu("sysu-indoor", "indoor-search, single-shot", _SYSU_INDOOR, 1),
        _sysu("sysu-indoor-multi", "indoor-search, 10 images of each camera and person", _SYSU_INDOOR, 10),
        Protocol("regdb", "RegDB, one trial, both directions; no junk", junk_rule=no_junk, both_ways=True),
        Protocol(
            "llcm",
            "LLCM, both directions; one gallery image of each camera and person, mean of 10 drawn galleries; junk = "
            "same person and camera; CMC counts persons",
            draw=SeededDraw(per_camera=True),
            count_persons=True,
            both_ways=True,
        ),
        _prcc("prcc", "clothing change: query camera C (3), multi-shot", _PRCC_C, None),
        _prcc("prcc-single", "clothing change: query camera C (3), single-shot, 10 draws", _PRCC_C, _PRCC_DRAW),
        _prcc("prcc-same", "same clothes: query camera B (2), multi-shot", _PRCC_B, None),
        _prcc("prcc-single-same", "same clothes: query camera B (2), single-shot, 10 draws", _PRCC_B, _PRCC_DRAW),
        Protocol("ltcc", "LTCC, general; junk = same person and camera"),
        Protocol(
            "ltcc-cc",
            "LTCC, clothing change; junk = same person and (camera or clothes)",
            junk_rule=same_camera_or_clothes,
        ),
        Protocol(
            "ltcc-sc",
            "LTCC, same clothes; junk = same person and (camera or other clothes)",
            junk_rule=same_camera_or_other_clothes,
        ),
        Protocol("vc-clothes", "VC-Clothes, all cameras; junk = same person and camera"),
        Protocol(
            "vc-clothes-cc",
            "VC-Clothes, clothing change: cameras 3 and 4; junk = same person and camera",
            query_cameras=(3, 4),
            gallery_cameras=(3, 4),
        ),
        Protocol(
            "vc-clothes-sc",
            "VC-Clothes, same clothes: cameras 2 and 3; junk = same person and camera",
            query_cameras=(2, 3),
            gallery_cameras=(2, 3),
        ),
        Protocol(
            "mlr-single-shot",
            "MLR-CUHK03, MLR-VIPeR; CMC with one gallery image of each person, mean of 10 draws and rank-1 in closed "
            "form; mAP on the full gallery; junk = same person and camera",
            draw=_SINGLE_SHOT,
            precision_of_all=True,
        ),
        Protocol(
            "caviar",
            "CAVIAR4REID; one gallery image of each person, mean of 10 draws and rank-1 in closed form; no junk",
            junk_rule=no_junk,
            draw=_SINGLE_SHOT,
        ),
        Protocol("text", "CUHK-PEDES, ICFG-PEDES, RSTPReid; texts ask for images; no junk", junk_rule=no_junk),
    )
}
"""By name. In all of them an image of an unknown person (-1) is dropped from the gallery."""


def with_published_draw(protocol: Protocol, path: Path) -> Protocol:
    """The same protocol with the galleries that the authors of SYSU-MM01 drew, in place of the seeded ones.

    Args:
        protocol: one of SYSU-MM01's.
        path: their `rand_perm_cam.mat`.

    Raises:
        InputError: another protocol, or an unusable file.
    """
    if not (protocol.name.startswith("sysu-") and isinstance(protocol.draw, SeededDraw)):
        raise InputError(f"--draw {path}: only SYSU-MM01 has a published draw, {protocol.name} has none. Leave it out.")
    return replace(protocol, draw=read_published_draw(path, images=protocol.draw.images))


def protocol_named(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none; the nearest one is suggested.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"protocol {name!r} is not known. {meant}Choose one of: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
